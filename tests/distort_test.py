"""Distorted spikes: no distortion is plain judging, all of it says nothing."""

import jax
import numpy as np
import pytest

from experiments import distort, evaluate, inputs, scoring, train
from experiments.configs import smoke
from timedecode import plots


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
  config = smoke.get_config()
  config.update({"steps": 3, "eval_every": 3, "eval_samples": 1,
                 "baseline_view": "", "decoder_width": 8})  # fmt: skip
  config.encoder.hidden, config.encoder.num_readout = (6,), 3
  folder = tmp_path_factory.mktemp("distort") / "run"
  train.run(config, folder)
  return folder


def test_nothing_lost_and_everything_lost(run):
  (flips,) = distort.judge(run, "flips", ["0", "1"])
  (prefix,) = distort.judge(run, "prefix", ["0", "4", "10"])
  whole = [flips["points"][0], prefix["points"][2]]
  config, runs, source = evaluate.load(run)
  rows, key = source.rows("test"), jax.random.key(config.seed)
  plain, _ = runs["full"].evaluate(
    inputs.judge(config, source), runs["full"].state.params, rows, key, 1
  )
  for name, value in plain.items():
    if "spikes" in name or "information" in name or "rate" in name:
      for point in whole:  # What is sent; keys differ, the mean does not.
        assert point[name] == pytest.approx(value, rel=0.05)
  assert whole[0]["distortion"] == pytest.approx(plain["distortion"], rel=0.02)
  model, params = runs["full"].built.model, runs["full"].state.params
  silent = np.zeros((config.num_steps, 3), np.float32)
  logits = np.asarray(model.decode(params.decoder, silent), np.float64)
  r = rows.data.reshape(-1, 784) / 255.0
  nats = np.sum(np.logaddexp(0, logits) - r * logits, axis=1)
  nothing = prefix["points"][0]["distortion"]
  assert nothing == pytest.approx(nats.mean(), rel=1e-4)
  figure = distort.draw([flips], "flips")
  (axis,) = figure.axes
  np.testing.assert_array_equal(axis.lines[0].get_xdata(), [0, 1])
  assert axis.get_title() == "3 neurons"
  assert axis.containers[0].get_label() == "learned time decoding\n(seeds 0)"


def test_all_strengths_are_one_program(run, caplog):
  config, runs, source = evaluate.load(run)
  evaluator = scoring.make_evaluator(
    config, "full", source, distort.CHANNELS["flips"]
  )
  params, key = runs["full"].state.params, jax.random.key(0)
  judge = inputs.judge(config, source)
  few = jax.tree.map(lambda leaf: leaf[:20], source.rows("test"))
  with jax.log_compiles(), caplog.at_level("WARNING"):
    for strength in (0.0, 0.1, 0.5):
      evaluator(judge, params, few, key, 1, strength)
  compiled = [r for r in caplog.records if "jit(evaluate_batch)" in r.message]
  assert sum(r.message.startswith("Compiling") for r in compiled) == 1


def test_no_flip_is_plain_judging_exactly(run):
  """The same keys, and a channel that hands everything on."""
  config, runs, source = evaluate.load(run)
  params, key = runs["full"].state.params, jax.random.key(2)
  judge = inputs.judge(config, source)
  few = jax.tree.map(lambda leaf: leaf[:20], source.rows("test"))
  whole = lambda spikes, key, strength: spikes
  make = lambda way: scoring.make_evaluator(config, "full", source, way)
  plain, _ = make(whole)(judge, params, few, key)
  flips, _ = make(distort.CHANNELS["flips"])(judge, params, few, key, 1, 0.0)
  assert flips == pytest.approx(plain, rel=1e-6)


def test_table_and_one_task():
  curve = lambda metric, points, seed=0: {
    "label": "a", "seed": seed, "data": "d (simulated)", "metric": metric,
    "view": "rate", "trained_for": 0.1,
    "points": [{"strength": s, metric: v} for s, v in points],
  }  # fmt: skip
  curves = [curve("accuracy", [(0, 0.5), (0.1, 0.25)])]
  other = curve("accuracy", [(0.1, 0.75)]) | {"label": "b", "trained_for": 0.2}
  curves += [curve("accuracy", [(0.1, 0.125)], 1), other]
  lines = distort.table(curves, "flips").splitlines()
  assert lines[2:] == [
    "| 0 | 0.500 | - |", "| 0.1 | 0.188 ± 0.088 | 0.750 |"
  ]  # fmt: skip
  assert lines[0].endswith(
    "| rate decoding, a, d (simulated) (seeds 0, 1) |"
    " rate decoding, b, d (simulated) (seeds 0) |"
  )
  full = other | {"label": "c", "view": "full", "trained_for": 0.0}
  curves = distort.ordered([*curves, full])
  more = curves[0] | {"label": "a", "trained_for": 0.1}
  panels = distort.draw([*curves, more], "flips").axes
  drawn = [bars for axis in panels for bars in axis.containers]
  means = np.asarray(drawn[2].lines[0].get_ydata(), float)
  np.testing.assert_allclose(means, [0.5, 0.1875])
  # A panel for each training; a line and a colour for each view, the main one
  # first.
  assert [axis.get_title() for axis in panels] == ["c", "a", "b"]
  assert [bars.get_label() for bars in drawn] == [
    "learned time decoding\n(seeds 0)", "learned time decoding\n(seeds 0)",
    "rate decoding\n(seeds 0, 1)", "rate decoding\n(seeds 0)",
  ]  # fmt: skip
  colours, styles = zip(
    *((bars.lines[0].get_color(), bars.lines[0].get_linestyle())
      for bars in drawn), strict=True,
  )  # fmt: skip
  full, rate = plots.COLOURS[:2]
  assert colours == (full, full, rate, rate)
  assert styles == ("-", "-", "--", "--")
  distort.check(curves)
  with pytest.raises(ValueError, match="one task, got accuracy and judge_acc"):
    distort.check([*curves, curve("judge_accuracy", [])])


def test_a_line_is_of_runs_that_differ_in_their_seed(tmp_path):
  def write(name, **fields):
    config = smoke.get_config()
    config.update(fields)
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(config.to_json())
    return str(tmp_path / name)

  one, two = write("one"), write("two", seed=1, checkpoint_seconds=5.0)
  distort.check_runs([one, two, write("rate", view="rate", beta=0.5)])
  with pytest.raises(ValueError, match="a seed once, got 1 in .*again"):
    distort.check_runs([one, two, write("again", seed=1)])
  with pytest.raises(ValueError, match="one and .*dear, which .* got beta"):
    distort.check_runs([one, write("dear", seed=2, beta=0.5)])


@pytest.mark.parametrize("kind, given, message", [
  ("flips", ["nan"], "got .'nan'"),
  ("prefix", ["3.5"], r"expected whole numbers in \[0, 30\]"),
  ("flips", ["1.5"], r"strengths: expected numbers in \[0, 1.0\], got \['1.5"),
  ("prefix", ["31"], r"in \[0, 30\]"),
  ("flips", ["many"], "got .'many'"),
])  # fmt: skip
def test_rejects(kind, given, message):
  with pytest.raises(ValueError, match=message):
    distort.strengths(kind, given, 30)


def test_grids():
  assert distort.strengths("flips", [], 30)[0] == 0.0
  assert distort.strengths("prefix", [], 30) == list(range(0, 31, 3))
