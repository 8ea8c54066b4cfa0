"""Rows into batches: images, recordings, blobs against direct computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from experiments import inputs
from timedecode import coding, datasets
from timedecode.datasets import (
  augmentation,
  blobs,
  coded_images,
  packing,
  sources,
)

SHAPE = (3, 5, 2)
STEPS, NEURONS = 4, 30
RNG = np.random.default_rng(0)
SPIKES = (RNG.random((7, STEPS, NEURONS)) < 0.3).astype(np.float32)
LABELS = np.array([0, 2, 1, 2, 0, 1, 2], np.int32)


def _rows(begin, end):
  packed = packing.pack(SPIKES[begin:end])
  return sources.Rows(packed, LABELS[begin:end])


def _recordings(targets=sources.label_targets, flat=True):
  splits = {"train": _rows(0, 5), "test": _rows(5, 7)}
  return sources.recordings("some", splits, SHAPE, targets, flat)


def _keys(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def test_recordings_are_unpacked():
  source = _recordings()
  indices = np.array([3, 0, 3])
  rows = sources.gather(source.rows("train"), indices)
  batch = jax.jit(source.decode)(rows, _keys(3))
  assert batch.inputs.dtype == jnp.float32
  np.testing.assert_array_equal(
    batch.inputs, np.moveaxis(SPIKES[indices], 0, 1)
  )
  np.testing.assert_array_equal(batch.labels, [2, 0, 2])
  np.testing.assert_array_equal(batch.targets, [2, 0, 2])
  assert (source.size("train"), source.size("test")) == (5, 2)
  assert (source.input_shape, source.num_steps) == ((NEURONS,), STEPS)


def test_recordings_in_the_shape_of_the_sensor():
  source = _recordings(flat=False)
  batch = source.decode(source.rows("test"), _keys(2))
  want = np.moveaxis(SPIKES[5:7], 0, 1).reshape(STEPS, 2, *SHAPE)
  np.testing.assert_array_equal(batch.inputs, want)
  assert source.input_shape == SHAPE


def test_training_recordings_are_moved_as_a_whole():
  """All steps and polarities by the same pixels; the rest is as it was."""
  splits = {"train": _rows(0, 5)}
  source = sources.recordings(
    "some", splits, SHAPE, flat=False, moves=augmentation.Moves(2)
  )
  rows = sources.gather(source.rows("train"), np.full(90, 3))
  moved = jax.jit(source.augment)(rows, _keys(90))
  height, width = SHAPE[:2]
  still = SPIKES[3].reshape(STEPS, *SHAPE)
  padded = np.pad(still, ((0, 0), (2, 2), (2, 2), (0, 0)))
  possible = {
    padded[:, i : i + height, j : j + width].tobytes()
    for i in range(5)
    for j in range(5)
  }
  batch = source.decode(moved, _keys(90))
  found = {np.asarray(batch.inputs[:, i]).tobytes() for i in range(90)}
  assert len(possible) == 25 and found <= possible and len(found) > 20
  np.testing.assert_array_equal(batch.targets, np.full(90, LABELS[3]))
  assert moved.data.dtype == rows.data.dtype  # Bits until decoded.


@pytest.mark.parametrize("shape, shift", [((NEURONS,), 1), (SHAPE, -1)])
def test_recordings_that_cannot_be_moved(shape, shift):
  with pytest.raises(
    ValueError, match=rf"moves.shift: .* got {shift} for steps"
  ):
    sources.recordings(
      "some", {"a": _rows(0, 2)}, shape, moves=augmentation.Moves(shift)
    )


def test_prototype_targets():
  pictures = RNG.random((3, 2, 2))
  source = _recordings(sources.prototype_targets(pictures))
  batch = source.decode(source.rows("train"), _keys(5))
  want = pictures.astype(np.float32)[LABELS[:5]]
  np.testing.assert_array_equal(batch.targets, want)


def test_random_targets_are_of_the_class_and_all_come_up():
  # The hundreds of a picture are its class, the ones its number.
  pictures = np.zeros((3, 4, 2, 2), np.uint8)
  pictures += (50 * np.arange(3)[:, None] + np.arange(4))[
    ..., None, None
  ].astype(np.uint8)
  target = sources.random_targets(pictures)
  labels = np.repeat(np.arange(3, dtype=np.int32), 100)
  got = np.round(255 * np.asarray(target(labels, _keys(300)))).astype(int)
  assert (got == got[:, :1, :1]).all()
  classes, numbers = np.divmod(got[:, 0, 0], 50)
  np.testing.assert_array_equal(classes, labels)
  each = np.bincount(numbers, minlength=4)
  assert each.sum() == 300 and (abs(each - 75) < 5 * np.sqrt(56)).all()
  again = target(labels, _keys(300))
  np.testing.assert_array_equal(np.round(255 * again), got)


def test_an_example_is_the_same_in_any_batch():
  pictures = RNG.integers(0, 256, (3, 9, 2, 2), dtype=np.uint8)
  source = _recordings(sources.random_targets(pictures))
  keys = _keys(5)
  whole = source.decode(source.rows("train"), keys)
  for places in ([4], [2, 2, 0]):
    at = np.array(places)
    part = source.decode(sources.gather(source.rows("train"), at), keys[at])
    np.testing.assert_array_equal(part.inputs, whole.inputs[:, at])
    np.testing.assert_array_equal(part.targets, whole.targets[at])


@pytest.fixture(name="splits")
def _splits():
  parts = []
  for size in (6, 3, 2):
    pixels = RNG.integers(0, 256, (size, 28, 28), dtype=np.uint8)
    parts.append(datasets.Images(pixels, np.arange(size, dtype=np.int32)))
  return datasets.Splits(*parts, "some images")


def _coded(splits, **options):
  return coded_images.load(splits, num_steps=8, **options)


@pytest.mark.parametrize("flat", [False, True])
def test_images_are_encoded_in_the_step(splits, flat):
  source = _coded(splits, code="rate", flat=flat)
  shape = (784,) if flat else (28, 28)
  assert source.name == "some images" and source.input_shape == shape
  assert [source.size(split) for split in sources.SPLITS] == [6, 3, 2]
  indices, keys = np.array([5, 1]), _keys(2)
  rows = sources.gather(sources.place(source.rows("train")), indices)
  batch = jax.jit(source.decode)(rows, keys)
  for i, index in enumerate(indices):
    values = splits.train.images[index].reshape(shape).astype(np.float32) / 255
    key = jax.random.split(keys[i])[1]
    want = coding.rate_encode(key, jnp.asarray(values), 8)
    np.testing.assert_array_equal(batch.inputs[:, i], want)
    np.testing.assert_allclose(batch.targets[i], values.reshape(-1), rtol=1e-6)
  np.testing.assert_array_equal(batch.labels, [5, 1])
  same = source.augment(rows, keys)
  np.testing.assert_array_equal(same.data, rows.data)


def test_training_images_are_shifted_and_zeros_come_in(splits):
  source = _coded(splits, moves=augmentation.Moves(2), target="label")
  rows = sources.gather(source.rows("train"), np.zeros(60, int))
  moved = np.asarray(jax.jit(source.augment)(rows, _keys(60)).data)
  padded = np.pad(splits.train.images[0], 2)
  possible = {
    padded[i : i + 28, j : j + 28].tobytes() for i in range(5) for j in range(5)
  }
  found = {image.tobytes() for image in moved}
  assert found <= possible and len(found) > 15
  batch = source.decode(rows, _keys(60))
  np.testing.assert_array_equal(batch.targets, rows.labels)
  steps = 8 - np.round(splits.train.images[0].ravel() / np.float32(255) * 7)
  want = steps[None] == np.arange(8)[:, None]
  np.testing.assert_array_equal(batch.inputs[:, 0], want)


def test_images_are_moved_as_configured_and_their_targets_with_them():
  config = tiny.configuration(
    data__max_shift=2, data__max_rotation=40.0, data__max_zoom=0.05
  )
  source, keys = inputs.load(config), _keys(6)
  rows = sources.gather(source.rows("train"), np.arange(6))
  moved = jax.jit(source.augment)(rows, keys)
  moves = augmentation.Moves(shift=2, rotation=40.0, zoom=0.05)
  for i, key in enumerate(keys):
    want = augmentation.moved_image(
      jnp.asarray(rows.data[i]), jax.random.split(key)[0], moves
    )
    np.testing.assert_array_equal(moved.data[i], want)
    assert (moved.data[i] != rows.data[i]).any()
  batch = source.decode(moved, keys)
  np.testing.assert_allclose(
    batch.targets, np.asarray(moved.data).reshape(6, -1) / np.float32(255),
    rtol=1e-6,
  )  # fmt: skip


@pytest.mark.parametrize("options, message", [
  ({"code": "morse"}, "code: expected one of .*latency.*, got 'morse'"),
  ({"target": "random"}, "target: expected one of .*image.*, got 'random'"),
  ({"moves": augmentation.Moves(-1)}, "moves.shift: expected .* got -1"),
])  # fmt: skip
def test_coded_images_reject(splits, options, message):
  with pytest.raises(ValueError, match=message):
    _coded(splits, **options)


@pytest.mark.parametrize("delta, ring", [(0, False), (2, True)])
def test_blobs_are_numbered_and_need_no_key(delta, ring):
  source = sources.blobs(12, delta, ring, sizes=(20, 4, 3))
  decode = jax.jit(source.decode)
  make = jax.jit(lambda key: blobs.drifting_blobs(key, 12, delta, ring))
  numbers = np.array([7, 0, 19])
  for split, seed in (("train", 1), ("validation", 2), ("test", 3)):
    at = numbers % source.size(split)
    rows = sources.gather(source.rows(split), at)
    batch = decode(rows, _keys(3))
    for i, number in enumerate(at):
      key = jax.random.fold_in(jax.random.key(seed), number)
      x, index = make(key)
      np.testing.assert_array_equal(batch.inputs[:, i], x)
      np.testing.assert_array_equal(batch.targets[:, i], index)
    other = decode(rows, _keys(3, seed=9))
    np.testing.assert_array_equal(other.inputs, batch.inputs)
  first = lambda split: (
    decode(
      sources.gather(source.rows(split), np.zeros(3, int)), _keys(3)
    ).inputs
  )
  assert not np.array_equal(first("train"), first("test"))
  assert sources.nbytes(source.rows("train")) == 8 * 20


def test_place_has_a_limit():
  rows = _rows(0, 5)
  size = rows.data.nbytes + rows.labels.nbytes
  assert sources.nbytes(rows) == size == 5 * (STEPS * 4 + 4)
  placed = sources.place(rows, limit=size)
  assert all(isinstance(leaf, jax.Array) for leaf in placed)
  np.testing.assert_array_equal(placed.data, rows.data)
  with pytest.raises(
    ValueError, match=f"at most {size - 1} bytes.*got {size}; use feed.batches"
  ):
    sources.place(rows, limit=size - 1)


def test_every_example_is_seen_once_an_epoch():
  """Six steps of two are two epochs of five, and two examples more."""
  source = _recordings()
  rows, decode = source.rows("train"), jax.jit(source.decode)

  def run(first, last):
    for step in range(first, last):
      at = datasets.batch_indices(5, 2, 11, step)
      yield np.asarray(decode(sources.gather(rows, at), _keys(2)).inputs)

  whole = list(run(0, 6))
  seen = np.concatenate(whole, axis=1)[:, :10]  # Two epochs.
  both = np.concatenate([np.moveaxis(SPIKES[:5], 0, 1)] * 2, axis=1)
  order = lambda trains: sorted(map(bytes, np.moveaxis(trains, 1, 0)))
  assert order(seen) == order(both)


def test_rejects():
  with pytest.raises(ValueError, match="split: expected one of train, test"):
    _recordings().rows("validation")
  narrow = _rows(0, 2)._replace(data=np.zeros((2, STEPS, 3), np.uint8))
  with pytest.raises(ValueError, match=r"splits\['test'\]: expected data"):
    sources.recordings("some", {"test": narrow}, SHAPE)
  fewer = _rows(0, 2)._replace(labels=LABELS[:1])
  with pytest.raises(ValueError, match=r"expected data \[1, T, 4\], got"):
    sources.recordings("some", {"test": fewer}, SHAPE)
  short = sources.Rows(_rows(0, 2).data[:, :2], LABELS[:2])
  with pytest.raises(ValueError, match="expected one number of steps"):
    sources.recordings("some", {"a": _rows(0, 2), "b": short}, SHAPE)
  with pytest.raises(ValueError, match="expected one number of steps, got"):
    sources.recordings("some", {}, SHAPE)
