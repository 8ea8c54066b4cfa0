"""Distorted spikes: no distortion is plain judging, all of it says nothing."""

import jax
import numpy as np
import pytest

from experiments import distort, evaluate, inputs, scoring, train
from experiments.configs import smoke


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
  figure = distort.draw([flips, prefix], "flips")
  (axis,) = figure.axes
  np.testing.assert_array_equal(axis.lines[0].get_xdata(), [0, 1])
  assert "3 neurons (seed 0)" in axis.lines[0].get_label()


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


@pytest.mark.parametrize("kind, given, message", [
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
