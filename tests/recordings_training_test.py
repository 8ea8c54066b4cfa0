"""Training, judging and drawing on every source and every target."""

import importlib

import binaries
import jax
import numpy as np
import pytest
import recordings_test
import tonic_sources_test

from experiments import build, checks, evaluate, inputs, journal, loop, train
from experiments.configs import smoke
from timedecode import datasets
from timedecode.datasets import feed, recordings


def tiny(source, target, **fields):
  config = smoke.get_config()
  config.update({
    "steps": 3, "batch_size": 4, "num_steps": 4, "eval_every": 2,
    "eval_samples": 1, "baseline_view": "rate", "decoder_width": 8,
  })  # fmt: skip
  config.data.update({
    "source": source, "target": target, "max_shift": 0,
  })  # fmt: skip
  if source == "mnist_dvs_sim":
    config.data.simulated = (10, 10, 10)
  config.encoder.hidden, config.encoder.num_readout = (6,), 3
  for name, value in fields.items():
    place, _, leaf = name.rpartition("__")
    (config[place] if place else config)[leaf] = value
  return config


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
  """The judge is the session's."""
  judged = lambda config, source: (
    None
    if config.data.target == "label"
    else binaries.judge_params(smoke.get_config())
  )
  monkeypatch.setattr(inputs, "judge", judged)
  return tmp_path


@pytest.mark.parametrize("target, fields", [
  ("label", {"baseline_view": ""}),
  ("prototype", {"data__max_shift": 2, "data__max_rotation": 15.0,
                 "data__max_zoom": 0.1}),
  ("random", {"baseline_view": "", "encoder__kind": "convolutional",
              "encoder__hidden": (2,)}),
])  # fmt: skip
def test_simulated_recordings(folder, target, fields, capsys):
  config = tiny("mnist_dvs_sim", target, **fields)
  summary = train.run(config, folder / "run")
  printed = capsys.readouterr().out
  assert "mnist_dvs_sim (simulated): 10 training, 10 validation, 10" in printed
  metric = "accuracy" if target == "label" else "judge_accuracy"
  assert f"{metric.replace('_', ' ')} " in printed
  assert 0.0 <= summary[metric] <= 1.0 and summary["split"].startswith(
    "test, 10"
  )
  assert np.isfinite(summary["distortion"])
  again = evaluate.evaluate(folder / "run")
  assert again["full"][metric] == summary[metric]
  if config.baseline_view:
    assert "rate decoding: judge accuracy" in printed
    assert again["rate"][metric] == summary[f"baseline_{metric}"]
  figures = {path.name for path in (folder / "run" / "figures").iterdir()}
  pictures = {"raster.png", "learning_curves.png"}
  if target != "label":
    pictures |= {"reconstructions.png"}
    # Prototypes and training images are digits that the judge knows.
    assert summary["judge_clean_accuracy"] > 0.8
  assert figures == pictures
  row = journal.read_rows(folder / "run" / "metrics.jsonl")[-1]
  assert 0.0 < row["waiting_share"] < 1.0 and 0.0 <= row[metric] <= 1.0


def test_streamed_rows_train_to_the_same_parameters(folder, monkeypatch):
  config, ends, kinds = tiny("mnist_dvs_sim", "label", baseline_view=""), [], []
  for kind in (feed.Resident, feed.Stream):
    made = lambda *a, kind=kind, **o: kinds.append(kind) or kind(*a, **o)
    monkeypatch.setattr(feed, kind.__name__, made)
  for limit in (inputs.load(config).rows("train").data.nbytes + 10 * 4, 0):
    config.data.device_bytes = limit
    place = folder / str(limit)
    place.mkdir()
    source = inputs.load(config)
    run = loop.prepare(config, "full", place, source)
    ends.append(loop.train(config, run, source, None, lambda line: None))
  for a, b in zip(
    *(jax.tree.leaves(end.state.params) for end in ends), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  assert ends[1].rows[-1]["waiting_share"] > 0.0
  assert [kind.__name__ for kind in kinds] == ["Resident", "Stream"]


def test_the_simulator_is_that_of_the_configuration(folder):
  del folder
  rows = {}
  for name, fields in {
    "as it is": {},
    "again": {"simulator_seed": 0},
    "another seed": {"simulator_seed": 1},
    "without noise": {"simulator.shot_hz": 0.0},
  }.items():
    config = tiny("mnist_dvs_sim", "label")
    config.data.update_from_flattened_dict(fields)
    checks.validate(config)
    rows[name] = inputs.load(config).rows("train")
  np.testing.assert_array_equal(rows["again"].data, rows["as it is"].data)
  count = {name: np.unpackbits(r.data).sum() for name, r in rows.items()}
  assert (rows["another seed"].data != rows["as it is"].data).any()
  assert 0.5 < count["another seed"] / count["as it is"] < 2.0
  assert 0 < count["without noise"] < count["as it is"]


@pytest.mark.parametrize("source, field, value, of", [
  ("mnist_5k", "dt_ms", 5.0, "mnist_dvs, mnist_dvs_sim"),
  ("mnist_5k", "scale", 8, "mnist_dvs"),
  ("mnist_5k", "digits", (1,), "mnist_dvs"),
  ("mnist_5k", "bounds", (1, 2), "mnist_dvs"),
  ("mnist_5k", "crop", (1, 2, 3, 4), "mnist_dvs"),
  ("mnist_5k", "simulated", (1, 1, 1), "mnist_dvs_sim"),
  ("mnist_5k", "simulator_seed", 1, "mnist_dvs_sim"),
  ("mnist_5k", "simulator.shot_hz", 1.0, "mnist_dvs_sim"),
  ("mnist_5k", "data_dir", "x", "mnist_5k_official, mnist, mnist_dvs"),
  ("mnist_5k_official", "download", True, "mnist, nmnist"),
  ("mnist_dvs_sim", "split_seed", 1, "mnist_5k, mnist_5k_official, mnist"),
  ("mnist_dvs_sim", "coding", "rate", "mnist_5k, mnist_5k_official, mnist"),
  ("shd", "simulator.path", [[0.0, 1.0, 2.0]], "mnist_dvs_sim"),
])  # fmt: skip
def test_fields_without_effect_are_refused(source, field, value, of):
  target = "image" if source in datasets.SOURCES else "label"
  config = tiny(source, target)
  config.data.simulated = (3600, 400, 1000)
  checks.validate(config)
  place, _, leaf = field.rpartition(".")
  (config.data[place] if place else config.data)[leaf] = value
  name = place or field
  message = rf"^config\.data\.{name}: is of {of}.*, not of {source}$"
  with pytest.raises(ValueError, match=message):
    checks.validate(config)


@pytest.mark.parametrize("source, field, value, message", [
  ("mnist_dvs", "bounds", (901, 801), "bounds: expected 1 < validation < te"),
  ("mnist_dvs", "bounds", (1, 901), "bounds: .*, got 1 and 901"),
  ("mnist_dvs", "bounds", (801, 1001), "bounds: .*, got 801 and 1001"),
  ("mnist_dvs_sim", "simulator.path", (0.0, 1.0, 2.0), "settings.path: expect"),
  ("mnist_dvs_sim", "simulator.path", ((0.0, 1.0),), "settings.path: expected"),
  ("mnist_dvs_sim", "simulator.path", ((0.0, float("nan"), 0.0),), "settings"),
  ("mnist_dvs_sim", "simulator.blur", 1.5, "settings.blur: expected at most 1"),
  ("mnist_dvs_sim", "simulator.shot_hz", 201.0, "settings.shot_hz: .*200"),
  ("mnist_dvs", "bounds", (1.5, 3), "bounds: expected a whole number"),
  ("mnist_dvs", "digits", (3, 12), r"digits: expected some of 0\.\.9"),
  ("mnist_dvs", "crop", (100, 0, 40, 40), "crop: expected a part of 128x128"),
  ("mnist_dvs", "dt_ms", 0.0005, "dt_ms: expected whole microseconds"),
  ("mnist_dvs_sim", "simulated", (4000, 1, 1), "simulated: expected at most"),
  ("mnist_dvs_sim", "simulator_seed", -1, "simulator_seed: expected at least"),
  ("mnist_dvs_sim", "dt_ms", 0.7, "bin_ms: expected a multiple of step_ms"),
])  # fmt: skip
def test_bad_options_are_found_before_any_work(source, field, value, message):
  config = tiny(source, "label")
  place, _, leaf = field.rpartition(".")
  (config.data[place] if place else config.data)[leaf] = value
  with pytest.raises(ValueError, match=f"^config.data: {message}"):
    checks.validate(config)


def test_mnist_dvs(folder):
  recordings_test.write_dvs(folder, (1, 801, 901))
  config = tiny(
    "mnist_dvs", "prototype", data__data_dir=str(folder), data__digits=(2, 7)
  )
  summary = train.run(config, folder / "run")
  assert summary["split"] == "test, 2 examples, 1 samples of y each"
  assert summary["data_source"] == "mnist_dvs"
  merged = config.copy_and_resolve_references()
  merged.data.polarity = "merged"
  assert inputs.load(merged).input_shape == inputs.task(merged).input_shape
  assert inputs.task(merged).input_shape == (26 * 26,)


def _write_nmnist(folder):
  for split in ("Train", "Test"):
    events = {
      (label, f"{number:05}"): [(number, label, 1000 * label, 1)] * 3
      for label in (0, 1)
      for number in range(6)
    }
    tonic_sources_test.write_nmnist(folder, events, split)


def _write_gesture(folder):
  for split in ("ibmGestureTrain", "ibmGestureTest"):
    events = {
      (f"user0{user}_lab", label): [[8 * label, 4, 1, 0], [9, 5, 0, 9000]]
      for user in (1, 2)
      for label in (0, 3, 10)
    }
    tonic_sources_test.write_gesture(folder, events, split)


def _write_shd(folder):
  for split in ("train", "test"):
    events = [[(0.001 * i, 30 * i), (0.02, 699)] for i in range(8)]
    tonic_sources_test.write_shd(folder, events, [*range(7), 19], split)


@pytest.mark.parametrize("source, write, classes", [
  ("nmnist", _write_nmnist, 10),
  ("dvs_gesture", _write_gesture, 11),
  ("shd", _write_shd, 20),
])  # fmt: skip
def test_sets_that_tonic_reads(folder, source, write, classes):
  write(folder)
  module = importlib.import_module(f"experiments.configs.{source}")
  config = module.get_config()
  checks.validate(config)
  assert config.name == config.data.source == source
  config.update({
    "steps": 2, "batch_size": 4, "num_steps": 4, "eval_every": 2,
    "eval_samples": 1, "baseline_view": "",
  })  # fmt: skip
  config.data.data_dir, config.encoder.hidden = str(folder), (6,)
  checks.validate(config)
  loaded, task = inputs.load(config), inputs.task(config)
  assert (
    loaded.input_shape
    == task.input_shape
    == (int(np.prod(recordings.shape_of(source))),)
  )
  assert task.num_outputs == classes and loaded.num_steps == 4
  summary = train.run(config, folder / "run")
  assert summary["data_source"] == source and "accuracy" in summary


@pytest.mark.parametrize("target", inputs.TARGETS)
def test_a_model_is_built_for_what_it_is_asked(target):
  source = "mnist_5k" if target in ("image",) else "mnist_dvs_sim"
  config = tiny(source, target)
  config.encoder.kind = "dense"
  built = build.build(config, "full")
  state = jax.eval_shape(lambda: build.init_state(config, built))
  outputs = state.params.decoder["params"]["output"]["bias"].shape
  assert outputs == ((10,) if target == "label" else (784,))


def test_a_run_does_not_go_on_with_other_data(folder):
  recordings_test.write_dvs(folder / "a", (1, 801, 901))
  config = tiny(
    "mnist_dvs", "label", data__data_dir=str(folder / "a"),
    data__digits=(2, 7), baseline_view="",
  )  # fmt: skip
  train.run(config, folder / "run")
  (folder / "a").rename(folder / "b")  # The same elsewhere is the same.
  config.data.data_dir = str(folder / "b")
  train.run(config, folder / "run")
  recordings_test.write_dvs(folder / "b", (1, 2, 801, 901))
  with pytest.raises(
    ValueError, match="other data: of mnist_dvs the rows of t"
  ):
    train.run(config, folder / "run")


def test_missing_files_are_an_error_of_use(folder):
  config = tiny("nmnist", "label", data__data_dir=str(folder / "none"))
  with pytest.raises(
    ValueError, match="config.data.source nmnist: .*no record"
  ):
    train.run(config, folder / "run")
  assert not (folder / "run").exists()
