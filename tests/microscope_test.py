"""The microscope on a tiny trained run: agreement, silence, the page."""

import json
import math

import binaries
import jax
import jax.numpy as jnp
import numpy as np
import pages
import pytest
import tiny

from experiments import (
  constant,
  evaluate,
  finish,
  inputs,
  microscope,
  microscope_decoding,
  microscope_figures,
  microscope_look,
  microscope_page,
  microscope_subject,
  scoring,
  train,
)
from experiments import microscope_measure as measure
from experiments import trains as trains_lib
from timedecode import bottleneck


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
  """(configuration, run, source, judge) of a run of a few steps."""
  folder = tmp_path_factory.mktemp("run") / "run"
  config = tiny.configuration(**{
    "steps": 40, "batch_size": 32, "eval_every": 40, "decoder_width": 16,
    "encoder.hidden": (12,), "encoder.num_readout": 4,
  })  # fmt: skip
  train.run(config, folder)
  config, runs, source = evaluate.load(folder)
  return config, runs["full"], source, inputs.judge(config, source)


@pytest.fixture(name="quick", autouse=True)
def _quick(monkeypatch):
  """Short fits."""
  monkeypatch.setattr(microscope_decoding, "RETRAINING_STEPS", 20)
  monkeypatch.setattr(microscope_look, "PRIOR_STEPS", 5)


@pytest.fixture(name="subject", scope="module")
def _subject(run):
  return microscope_subject.of_run(*run, 120)


@pytest.fixture(name="seen", scope="module")
def _seen(subject):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(microscope_decoding, "RETRAINING_STEPS", 20)
    patch.setattr(microscope_look, "PRIOR_STEPS", 5)
    return microscope_look.look(subject)


def _decoding(run, trains):
  config, model, _, judge = run
  built = model.built
  loss = bottleneck.DISTORTIONS[inputs.task(config).distortion]
  decoder = microscope_decoding.Decoder(
    built.ann.init, built.model.decode, loss, judge
  )
  return microscope_decoding.Decoding(decoder, built.model.view, trains)


def test_intact_trains_are_judged_as_the_evaluator_does(run, seen):
  """Other spikes of the same model: within 4 standard errors."""
  config, model, source, judge = run
  rows = source.rows("test")
  evaluate_ = scoring.make_evaluator(config, "full", source)
  expected, _ = evaluate_(judge, model.state.params, rows, jax.random.key(8))
  sample = trains_lib.make_sampler(source, model.built.model)
  trains = trains_lib.draw(
    sample, model.state.params, rows, jax.random.key(9), 1000
  )
  decoding = _decoding(run, trains)
  found = decoding.quality(model.state.params.decoder)
  assert found.distortion == pytest.approx(
    expected["distortion"],
    abs=found.distortion_high - found.distortion_low,
  )
  assert found.accuracy == pytest.approx(
    expected["judge_accuracy"], abs=found.accuracy_high - found.accuracy_low
  )
  assert trains.spikes.sum((1, 2)).mean() == pytest.approx(
    expected["readout_spikes_per_example"], rel=0.1
  )


def test_hidden_spikes_are_counted_once_each(run):
  """Also of a number of examples that fills no whole batches."""
  _, model, source, _ = run
  sample = trains_lib.make_sampler(source, model.built.model)
  trains = trains_lib.draw(
    sample, model.state.params, source.rows("test"), jax.random.key(9), 130
  )
  assert trains.hidden_counts.shape == (130, 1) and trains.hidden.any()
  np.testing.assert_array_equal(
    trains.hidden_counts[:, 0], trains.hidden.sum((1, 2))
  )


def test_what_changes_nothing_changes_no_figure(seen):
  found, _ = seen
  figures = lambda p: {k: p[k] for k in microscope_decoding.Quality._fields}
  intact = figures(found["curves"]["drop"][0])
  assert found["curves"]["drop"][0]["strength"] == 0
  for points in found["curves"].values():
    assert figures(points[0]) == intact
  last = found["anytime"]["as trained"][-1]
  assert figures(last) == intact and last["steps"] == 10
  assert last["spikes"] == pytest.approx(found["spikes_per_example"])
  assert found["curves"]["shuffle"][-1]["strength"] == 10
  assert figures(found["curves"]["drop"][-1]) != intact


def test_no_steps_are_all_alike(seen):
  """Nothing has arrived: one picture for all, right for one class in ten."""
  first = seen[0]["anytime"]["as trained"][0]
  assert first["spikes"] == 0 and first["accuracy"] < 0.2


def test_latency_of_a_curve_by_hand():
  points = [
    {"accuracy": a, "steps": s, "spikes": 2.0 * s}
    for s, a in enumerate((0.1, 0.5, 0.89, 0.91, 1.0))
  ]
  assert measure.latency(points, 100) == {"steps": 3, "spikes": 6.0}
  assert measure.latency(points, 100, 0.4) == {"steps": 1, "spikes": 2.0}
  little = [points[0], points[0] | {"accuracy": 0.14, "steps": 1}]
  assert measure.latency(little, 100) is None
  assert measure.latency(little, 10_000)["steps"] == 1


def test_no_steps_are_never_the_latency():
  """Chance is right in half of the cases, and 90 % of the end is less."""
  points = [
    {"accuracy": a, "steps": s, "spikes": 2.0 * s}
    for s, a in enumerate((0.5, 0.51, 0.55))
  ]
  assert measure.latency(points, 10_000) == {"steps": 1, "spikes": 2.0}


def test_prefixes_are_of_all_lengths():
  """0 .. T, each in a sixth of the cases."""
  keys = jax.random.split(jax.random.key(0), 3000)
  cut = jax.vmap(measure.random_prefix, (None, 0))(jnp.ones((5, 2)), keys)
  assert (cut[:, :, 0] == cut[:, :, 1]).all()
  steps = np.asarray(cut[:, :, 0]).sum(1).astype(int)
  shares = np.bincount(steps, minlength=6) / 3000
  np.testing.assert_allclose(shares, 1 / 6, atol=0.03)
  assert (np.diff(np.asarray(cut[:, :, 0]), axis=1) <= 0).all()


def test_the_picture_of_prefixes_has_what_no_spikes_give(seen):
  figure = microscope_figures.anytime(seen[0], "a title")
  lines = {line.get_label(): line for line in figure.axes[1].lines}
  level = lines["best answer without spikes"].get_ydata()
  assert list(level) == [seen[0]["constant_distortion"]] * 2


def test_bars_are_the_probes_they_name(seen):
  """Also where counts stand for trains: times have bits of their own."""
  probe = lambda bits: {"bits": bits, "standard_error": 0.1}
  share = {
    "share": 0.0, "low": 0.0, "high": 0.2, "windows": 4, "statement": "",
    "intact": probe(1.5), "counts": probe(1.5), "timed": probe(1.25),
  }  # fmt: skip
  figure = microscope_figures.timing(seen[0] | {"timing_share": share}, "")
  axis = figure.axes[5]
  bars = [bar.get_height() for bar in axis.patches]
  names = [label.get_text() for label in axis.get_xticklabels()]
  assert dict(zip(names, bars, strict=True)) == {
    "counts in 4 windows": 1.25, "counts of the train": 1.5
  }  # fmt: skip


def test_titles_say_how_the_input_is_coded(run, subject):
  """Decoding by counts or times is one thing, the input's code another."""
  name = run[0].name
  assert subject.title.startswith(
    f"{name}: learned time decoding of latency-coded input, 4 readout neurons"
  )


def test_hidden_neurons_of_a_run_have_fields(subject, seen):
  """Those whose weights are shown, which are their columns."""
  found = seen[0]["fields"]
  assert len(found["hidden"]) == len(subject.weights) == 10
  counts = subject.test.hidden.sum((0, 1))
  order = found["hidden_neurons"]
  assert (np.diff(counts[order]) <= 0).all()
  assert seen[1]["averages"]["hidden"].shape[::2] == (10, 784)
  assert found["hidden"][0][0] > 0


def test_the_share_of_the_distortion_by_hand():
  """Counts leave a third of what trains take off, of every example."""
  gain = np.random.default_rng(0).random(50) + 1.0
  found = microscope_look.distortion_share(9 + gain, 9 + gain / 3, 9 + 0 * gain)
  assert found == pytest.approx(dict.fromkeys(("share", "low", "high"), 1 / 3))
  assert microscope_look.distortion_share(gain, gain, gain + 1) is None


def test_no_share_of_what_is_not_taken_away(seen):
  """The mean gain is positive, but not by two standard errors."""
  noise = np.random.default_rng(0).normal(size=100)
  gain = noise - noise.mean() + 0.1
  assert microscope_look.distortion_share(gain, gain, 0 * gain) is None
  assert microscope_look.distortion_share(gain + 0.3, gain, 0 * gain)
  said = microscope_page.statements(seen[0] | {"distortion_share": None})
  (told,) = (text for text in said if "can be told from 0, so" in text)
  assert "%" not in told and "nats without spikes" in told


def test_intervals_are_those_of_the_examples(run, subject, seen):
  """Wilson's for the accuracy; the mean's for the distortion."""
  config, model, source, judge = run
  losses, right = _decoding(run, subject.test).judged(
    model.state.params.decoder
  )
  intact = seen[0]["curves"]["drop"][0]
  assert intact["accuracy"] == right.mean()
  ends = intact["accuracy_low"], intact["accuracy_high"]
  for end in ends:
    spread = math.sqrt(end * (1 - end) / 120)
    assert abs(right.mean() - end) == pytest.approx(1.96 * spread, rel=1e-3)
  half = 1.96 * losses.std(ddof=1) / math.sqrt(120)
  assert intact["distortion_high"] - losses.mean() == pytest.approx(
    half, rel=1e-3
  )


def test_retraining_lowers_the_loss(run, monkeypatch):
  """Fresh parameters, fitted; those of the run are not touched."""
  config, model, source, judge = run
  monkeypatch.setattr(microscope_decoding, "RETRAINING_STEPS", 2000)
  sample = trains_lib.make_sampler(source, model.built.model)
  trains = trains_lib.draw(
    sample, model.state.params, source.rows("train"), jax.random.key(3), 400
  )
  decoding = _decoding(run, trains)
  before = np.asarray(jax.tree.leaves(model.state.params.decoder)[0]).copy()
  fitted = decoding.quality(decoding.retrain(trains)).distortion
  answers = trains.targets, trains.labels
  assert fitted < constant.distortion(inputs.task(config), answers, answers)
  after = jax.tree.leaves(model.state.params.decoder)[0]
  np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("bias", [None, -60.0, 60.0])
def test_any_encoder_gets_a_page_without_a_nan(run, seen, tmp_path, bias):
  """As trained; silent; firing at every step."""
  config, model, source, judge = run
  found, arrays = seen
  if bias is not None:
    readout = model.state.params.encoder.readout
    readout = readout._replace(bias=jnp.full_like(readout.bias, bias))
    encoder = model.state.params.encoder._replace(readout=readout)
    params = model.state.params._replace(encoder=encoder)
    other = model._replace(state=model.state._replace(params=params))
    subject = microscope_subject.of_run(config, other, source, judge, 60)
    found, arrays = microscope_look.look(subject)
    word = "silent" if bias < 0 else "saturated"
    assert found["timing_share"]["statement"].startswith(word)
    assert found["distortion_share"] is None
  text = json.dumps(found, allow_nan=False)
  assert json.loads(text)["examples"] == (120 if bias is None else 60)
  paths = microscope.draw(found, arrays, tmp_path, finish.LABELS["full"])
  assert list(paths) == ["timing", "anytime", "structure", "fields"]
  page = microscope_page.page(found, paths, "a <title>")
  tags = [tag for tag, _ in pages.check(page)]
  assert tags.count("img") == 4
  assert (
    "a &lt;title&gt;" in page and "nan" not in page.lower().split("base64")[0]
  )
  said = microscope_page.statements(found)
  assert any(line.startswith("Latency:") for line in said)


def test_a_view_that_is_not_there(tmp_path):
  result = binaries.run("microscope", f"--workdir={tmp_path}")
  assert result.returncode == 1
  last = result.stderr.strip().splitlines()[-1]
  assert last.startswith("error: workdir: expected a run's folder")
