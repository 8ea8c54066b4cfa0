"""Recordings by name: simulated, MNIST-DVS and tonic's, made by the test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import datasets
from timedecode.datasets import (
  cache,
  events,
  mnist,
  recordings,
  simulated,
  simulator,
  sources,
)
from timedecode.datasets import options as options_lib

OPTIONS = recordings.Options(dt_ms=10.0, duration_s=0.1, simulated=(3, 2, 2))


def _keys(count):
  return jax.random.split(jax.random.key(0), count)


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
  """A cache of its own, so that nothing made before is found in it."""
  load_5k, shared = mnist.load_5k, datasets.cache_folder()
  monkeypatch.setattr(mnist, "load_5k", lambda folder: load_5k(shared))
  monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path / "cache")
  return tmp_path


def test_simulated_are_those_of_the_simulator_and_made_once(
  folder, monkeypatch
):
  # Two at a time: the last part of three recordings overlaps the first.
  monkeypatch.setattr(simulated, "_AT_ONCE", 2)
  source = recordings.load("mnist_dvs_sim", options=OPTIONS)
  assert source.name == "mnist_dvs_sim" and source.num_steps == 10
  digits = datasets.load("mnist_5k")
  one = lambda key, image: simulator.mnist_dvs_sim(key, image, duration_s=0.1)
  pair = jax.jit(jax.vmap(one))
  for seed, (split, part) in enumerate(
    zip(sources.SPLITS, digits[:3], strict=True)
  ):
    rows, count = source.rows(split), OPTIONS.simulated[seed]
    assert rows.data.shape == (count, 10, 169)
    np.testing.assert_array_equal(rows.labels, part.labels[:count])
    for i in range(count - 1):
      key = lambda i, seed=seed: jax.random.fold_in(jax.random.key(seed), i)
      keys = jnp.stack([key(i), key(i + 1)])
      want = np.asarray(pair(keys, part.images[i : i + 2]))
      assert np.unpackbits(want).sum() > 200
      np.testing.assert_array_equal(rows.data[i : i + 2], want)

  def refuse(*arguments):
    raise AssertionError("simulated again")

  monkeypatch.setattr(simulated, "simulate", refuse)
  again = recordings.load("mnist_dvs_sim", options=OPTIONS, flat=False)
  for split in sources.SPLITS:
    for a, b in zip(again.rows(split), source.rows(split), strict=True):
      np.testing.assert_array_equal(a, b)
  assert again.input_shape == (26, 26, 2)
  load = lambda **change: recordings.load(
    "mnist_dvs_sim", options=OPTIONS._replace(**change)
  )
  with pytest.raises(AssertionError, match="simulated again"):
    load(dt_ms=5.0)
  with jax.default_prng_impl("rbg"):
    with pytest.raises(AssertionError, match="simulated again"):
      load()
  load()
  part = digits.train
  others = digits._replace(train=part._replace(images=255 - part.images))
  monkeypatch.setattr(datasets, "load", lambda name: others)
  with pytest.raises(AssertionError, match="simulated again"):
    load()


@pytest.fixture(name="blank")
def _blank(folder, monkeypatch):
  """Recordings without a spike: what is not about spikes needs no more."""
  del folder
  blank = lambda images, seed, duration_s, dt_ms, settings: np.zeros(
    (len(images), 10, 169), np.uint8
  )
  monkeypatch.setattr(simulated, "simulate", blank)


@pytest.mark.usefixtures("blank")
def test_targets_are_of_training_images(folder):
  images, labels = mnist.load_5k(folder)
  train = datasets.load("mnist_5k").train
  options = OPTIONS._replace(simulated=(20, 1, 1))
  load = lambda target: recordings.load(
    "mnist_dvs_sim", options=options, target=target
  )
  source = load("prototype")
  rows = source.rows("train")
  batch = source.decode(rows, _keys(20))
  for picture, label in zip(batch.targets, rows.labels, strict=True):
    first = images[np.flatnonzero(labels == label)[0]]
    np.testing.assert_allclose(picture, first.ravel() / 255.0, rtol=1e-6)
  batch = load("random").decode(rows, _keys(20))
  shown = np.round(255 * np.asarray(batch.targets)).astype(np.uint8)
  for picture, label in zip(shown, rows.labels, strict=True):
    of_class = train.images[train.labels == label]
    assert (of_class.reshape(-1, 784) == picture).all(1).any()
  assert len({picture.tobytes() for picture in shown}) > 15
  batch = load("label").decode(rows, _keys(20))
  np.testing.assert_array_equal(batch.targets, rows.labels)


def _write_dvs(folder, digit, number, events):
  """An AEDAT 2.0 file; events are (x, y, polarity, microseconds)."""
  x, y, polarity, time = np.array(events).T
  records = np.zeros((len(events), 2), ">u4")
  # The camera counts columns from the right and has 0 for ON.
  records[:, 0] = (y << 8) | ((127 - x) << 1) | (1 - polarity)
  records[:, 1] = time + 77
  name = f"mnist_{digit}_scale04_{number:04}.aedat"
  path = folder / f"grabbed_data{digit}" / "scale4" / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(b"#!AER-DAT2.0\r\n" + records.tobytes())


def write_dvs(folder, numbers=(1, 2, 3)):
  for digit in (2, 7):
    for number in numbers:
      _write_dvs(folder, digit, number, [
        (0, 0, 1, 0),  # Outside the window, but time begins here.
        (48 + digit, 48 + number % 100, 1, 12_000),
        (73, 73, 0, 39_000),
        (60, 60, 1, 41_000),  # After the end.
      ])  # fmt: skip


@pytest.mark.parametrize("polarity, signs", [("both", 2), ("merged", 1)])
def test_mnist_dvs(folder, polarity, signs):
  write_dvs(folder)
  options = recordings.Options(
    duration_s=0.04, digits=(2, 7), bounds=(2, 3), polarity=polarity
  )
  source = recordings.load("mnist_dvs", folder, options, flat=False)
  assert source.input_shape == (26, 26, signs)
  for number, split in enumerate(sources.SPLITS, 1):
    rows = source.rows(split)
    np.testing.assert_array_equal(rows.labels, [2, 7])
    got = np.asarray(source.decode(rows, _keys(2)).inputs)
    for column, digit in enumerate((2, 7)):
      on = 1 if polarity == "both" else 0
      want = [[1, number, digit, on], [3, 25, 25, 0]]
      assert np.argwhere(got[:, column]).tolist() == want


def test_nmnist_keeps_a_random_tenth_for_validation(folder):
  def write(split, digit, number, x):
    path = folder / "NMNIST" / split / str(digit) / f"{number:05}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    time = 15_000  # Big-endian 23 bits after the bit of the polarity.
    path.write_bytes(
      bytes((x, 3, 128 | time >> 16, time >> 8 & 255, time & 255))
    )

  for number in range(12):
    write("Train", number % 2, number, number)
  write("Test", 5, 0, 33)
  options = recordings.Options(duration_s=0.03)
  source = recordings.load("nmnist", folder, options, "prototype", flat=False)
  assert [source.size(split) for split in sources.SPLITS] == [10, 2, 1]
  assert source.input_shape == (34, 34, 2)
  columns = {}
  for split in sources.SPLITS:
    rows = source.rows(split)
    batch = source.decode(rows, _keys(len(rows.labels)))
    found = np.argwhere(np.asarray(batch.inputs))
    assert (found[:, [0, 2, 4]] == (1, 3, 1)).all()
    columns[split] = found[np.argsort(found[:, 1]), 3].tolist()
    assert batch.targets.shape == (len(rows.labels), 784)
  # In the order of the files: 0, 2, .. 10 are of digit 0, then 1, 3, .. 11.
  files = [*range(0, 12, 2), *range(1, 12, 2)]
  held_out = sorted(datasets.epoch_order(12, 0, 0)[:2])
  assert columns["validation"] == [files[index] for index in held_out]
  rest = [index for index in range(12) if index not in held_out]
  assert columns["train"] == [files[index] for index in rest]
  assert columns["test"] == [33]
  np.testing.assert_array_equal(source.rows("test").labels, [5])


def test_tonic_sets_are_binned_once(folder, monkeypatch):
  for split in ("Train", "Test"):
    for number in range(2):
      path = folder / "NMNIST" / split / "4" / f"{number}.bin"
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(bytes((number, 3, 128, 0, 0)))
  first = recordings.load("nmnist", folder)
  assert first.num_steps == 30  # Not of MNIST-DVS' two seconds.
  monkeypatch.setattr(events, "bin_events", lambda *_: 1 / 0)
  again = recordings.load("nmnist", folder)
  for split in sources.SPLITS:
    for a, b in zip(again.rows(split), first.rows(split), strict=True):
      np.testing.assert_array_equal(a, b)
  with pytest.raises(ValueError, match="division by zero"):
    recordings.load("nmnist", folder, recordings.Options(duration_s=0.2))


@pytest.mark.parametrize("name, dt_ms, want", [
  ("mnist_dvs", 10.0, 2.0), ("mnist_dvs_sim", 5.0, 2.0), ("nmnist", 10.0, 0.3),
  ("dvs_gesture", 10.0, 2.0), ("shd", 10.0, 1.4), ("shd", 3.0, 1.401),
  ("nmnist", 700.0, 0.7),
])  # fmt: skip
def test_durations_are_those_of_the_source(name, dt_ms, want):
  options = recordings.resolve(name, recordings.Options(dt_ms=dt_ms))
  assert options.duration_s == pytest.approx(want, rel=1e-12)
  given = recordings.Options(dt_ms=dt_ms, duration_s=7e-3 * dt_ms)
  assert recordings.resolve(name, given).duration_s == 7e-3 * dt_ms


@pytest.mark.parametrize("name, change, of", [
  ("mnist_dvs_sim", {"polarity": "merged"}, "mnist_dvs"),
  ("nmnist", {"digits": (1,)}, "mnist_dvs"),
  ("shd", {"scale": 8}, "mnist_dvs"),
  ("mnist_dvs_sim", {"crop": (0, 0, 9, 9)}, "mnist_dvs"),
  ("dvs_gesture", {"bounds": (2, 3)}, "mnist_dvs"),
  ("mnist_dvs", {"simulated": (1, 1, 1)}, "mnist_dvs_sim"),
  ("mnist_dvs", {"download": True}, "nmnist, dvs_gesture, shd"),
])  # fmt: skip
def test_options_of_other_sources_are_refused(name, change, of):
  options = recordings.Options(**change)
  message = f"^{next(iter(change))}: is of {of}, not of {name}$"
  with pytest.raises(ValueError, match=message):
    recordings.load(name, "nowhere", options)


def test_every_option_is_of_all_sources_or_of_some():
  """A default that is given, in whatever form, is refused nowhere."""
  common = {"dt_ms", "duration_s"}
  assert set(recordings.Options._fields) == common | set(options_lib.OF)
  for kind in (iter, list, np.array):
    options = recordings.Options(digits=kind(range(10)), bounds=[801, 901])
    assert recordings.resolve("shd", options).digits == tuple(range(10))
  options = recordings.Options(crop=np.array([1, 2, 3, 4]), scale=np.int64(8))
  assert recordings.resolve("mnist_dvs", options).crop.tolist() == [1, 2, 3, 4]
  path = [[0.0, 1.0, 2.0], [1.0, 3.0, 4.0]]
  options = recordings.Options(simulator=simulator.Settings(path=path))
  hash(recordings.resolve("mnist_dvs_sim", options))
  for change, message in (
    ({"crop": 5}, "crop: expected numbers, got 5"),
    ({"digits": 5}, "digits: expected numbers, got 5"),
    ({"scale": 4.0}, "scale: expected a whole number, got 4.0"),
    ({"scale": 5}, "scale: expected one of"),
  ):
    with pytest.raises(ValueError, match=message):
      recordings.resolve("mnist_dvs", recordings.Options(**change))
  with pytest.raises(ValueError, match="source: expected .*, got 'cifar'"):
    recordings.resolve("cifar", recordings.Options())


def test_a_split_without_recordings_is_refused(folder):
  write_dvs(folder)
  options = recordings.Options(duration_s=0.04, digits=(2, 7))
  message = (
    rf"{folder}: bounds \(801, 901\): expected .* validation, test, got none"
    r" \(digit 2: 3 recordings, numbers 1\.\.3"
  )
  with pytest.raises(ValueError, match=message):
    recordings.load("mnist_dvs", folder, options)


@pytest.mark.parametrize("arguments, message", [
  (("cifar",), "source: expected one of mnist_dvs, .*, got 'cifar'"),
  (("shd", "x", OPTIONS, "prototype"), "target: .*'prototype' for shd"),
  (("mnist_dvs", "x", OPTIONS, "image"), "target: .*got 'image'"),
  (("mnist_dvs",), "data_dir: expected the folder of mnist_dvs, got none"),
  (("nmnist", None), "data_dir: expected the folder of nmnist, got none"),
])  # fmt: skip
def test_rejects(arguments, message):
  with pytest.raises(ValueError, match=message):
    recordings.load(*arguments)


@pytest.mark.parametrize("change, message", [
  ({"simulated": (3, 2, 1001)}, r"simulated: expected at most \(3600, 400, 10"),
  ({"simulated": (0, 2, 2)}, "simulated: expected at least 1, got 0"),
  ({"simulated": (2, 2)}, r"simulated: expected 3 numbers, got \(2, 2\)"),
  ({"simulator_seed": -1}, "simulator_seed: expected at least 0, got -1"),
  ({"simulator": simulator.Settings(cutoff_hz=0.0)}, "settings.cutoff_hz: ex"),
  ({"simulator": simulator.Settings(step_ms=3.0)}, "bin_ms: .* step_ms = 3.0"),
  ({"dt_ms": 0.0}, "dt_ms: expected a positive number, got 0.0"),
  ({"duration_s": float("nan")}, "duration_s: expected a positive number"),
  ({"duration_s": 0.105}, "duration_s: expected a multiple of dt_ms"),
])  # fmt: skip
def test_rejects_before_it_simulates(folder, monkeypatch, change, message):
  del folder
  made = []
  monkeypatch.setattr(
    cache, "arrays", lambda *args: made.append(args[1]) or args[3]()
  )
  with pytest.raises(ValueError, match=message):
    recordings.load("mnist_dvs_sim", options=OPTIONS._replace(**change))
  assert not made
