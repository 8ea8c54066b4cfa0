"""Damaged files: every reader gives values within bounds or a ValueError."""

import gzip
import struct

import hypothesis
import numpy as np
import pytest
import tonic_sources_test
from hypothesis import strategies

from timedecode.datasets import idx, tonic_sources

SETTINGS = hypothesis.settings(
  max_examples=60, deadline=None, database=None,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)  # fmt: skip
# (place as a share of the file, new byte) of bytes that change; a cut.
CHANGES = strategies.lists(
  strategies.tuples(strategies.floats(0, 0.999), strategies.integers(0, 255)),
  max_size=6,
)
CUT = strategies.one_of(strategies.just(1.0), strategies.floats(0, 1))


def _damage(data, changes, cut):
  data = bytearray(data[: round(cut * len(data))])
  for place, value in changes if data else ():
    data[int(place * len(data))] = value
  return bytes(data)


def _outcome(read):
  """What is read, or None where it is refused as it should be."""
  try:
    return read()
  except ValueError as error:
    assert str(error)
    return None


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
IDX = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + IMAGES.tobytes()


@pytest.mark.parametrize("packed", [False, True])
@SETTINGS
@hypothesis.given(CHANGES, CUT)
def test_idx(tmp_path, packed, changes, cut):
  whole = gzip.compress(IDX, mtime=0) if packed else IDX
  path, data = tmp_path / "images", _damage(whole, changes, cut)
  path.write_bytes(data)
  found = _outcome(lambda: idx.read_images(path))
  if data == whole:
    np.testing.assert_array_equal(found, IMAGES)
  if found is not None:
    assert found.dtype == np.uint8 and found.ndim == 3 and found.size
    if not packed:  # Of the bytes that are there, and no others.
      assert found.tobytes() == data[16:]


def _nmnist(folder):
  events = [(x, 30 - x, 900 * x, x % 2) for x in range(8)]
  tonic_sources_test.write_nmnist(folder, {(3, "1"): events})
  return folder / "NMNIST" / "Test" / "3" / "1.bin"


def _gesture(folder):
  rows = [[8 * i, 100 - i, i % 2, 3 * i] for i in range(8)]
  events = {("user01_lab", 7): rows}
  tonic_sources_test.write_gesture(folder, events)
  return folder / "DVSGesture" / "ibmGestureTest" / "user01_lab" / "7.npy"


def _shd(folder):
  events = [[(0.001 * i, 30 * i) for i in range(8)]] * 2
  return tonic_sources_test.write_shd(folder, events, [3, 4])


@pytest.mark.parametrize("name, write", [
  ("nmnist", _nmnist), ("dvs_gesture", _gesture), ("shd", _shd),
])  # fmt: skip
@SETTINGS
@hypothesis.given(CHANGES, CUT)
def test_sets_that_tonic_reads(tmp_path, name, write, changes, cut):
  path = tmp_path / "whole"
  if not path.exists():
    path.write_bytes(write(tmp_path).read_bytes())
  whole = path.read_bytes()
  place = write(tmp_path)
  place.write_bytes(_damage(whole, changes, cut))
  found = _outcome(lambda: tonic_sources.load(name, tmp_path, "test", 5, 50))
  if found is None:
    return
  trains, labels = found
  neurons = tonic_sources.SOURCES[name].num_neurons
  assert trains.shape[1:] == (10, -(-neurons // 8)) and len(trains)
  bits = np.unpackbits(trains, axis=-1, bitorder="little")
  assert not bits[..., neurons:].any() and bits.sum() <= 16
  assert 0 <= labels.min() <= labels.max()
  assert labels.max() < tonic_sources.SOURCES[name].num_classes
