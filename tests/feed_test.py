"""Streams: the batches of a direct gather, errors, ends, waiting."""

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import datasets
from timedecode.datasets import feed, sources

ROWS = sources.Rows(
  np.arange(11 * 3, dtype=np.uint8).reshape(11, 3),
  np.arange(11, dtype=np.int32),
)


@pytest.mark.parametrize("first_step", [0, 5])
@pytest.mark.parametrize("depth", [1, 3])
def test_batches_are_those_of_a_direct_gather(first_step, depth):
  steps = []
  with feed.Stream(ROWS, 4, 7, first_step, 9, depth) as stream:
    for step, batch in stream:
      at = datasets.batch_indices(11, 4, 7, step)
      assert all(isinstance(leaf, jax.Array) for leaf in batch)
      np.testing.assert_array_equal(batch.data, ROWS.data[at])
      np.testing.assert_array_equal(batch.labels, at)
      steps.append(step)
    for _ in range(2):
      with pytest.raises(StopIteration):
        next(stream)
  assert steps == list(range(first_step, 9))


def test_rows_may_be_mapped_from_a_file(tmp_path):
  np.save(tmp_path / "rows.npy", ROWS.data)
  mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
  with feed.Stream(ROWS._replace(data=mapped), 4, 7) as stream:
    step, batch = next(stream)
  at = datasets.batch_indices(11, 4, 7, step)
  np.testing.assert_array_equal(batch.data, ROWS.data[at])


class Broken:
  """Rows of which no batch can be taken after the first."""

  nbytes = 0

  def __init__(self):
    self.asked = 0

  def __getitem__(self, indices):
    self.asked += 1
    if self.asked > 1:
      raise OSError("the disk is gone")
    return ROWS.data[indices]


def test_an_error_of_the_thread_comes_where_the_batch_is_asked_for(
  monkeypatch,
):
  broken = Broken()
  gather = lambda rows, at: sources.Rows(rows.data[at], rows.labels[at])
  monkeypatch.setattr(sources, "gather", gather)
  with feed.Stream(ROWS._replace(data=broken), 4, 7) as stream:
    assert next(stream)[0] == 0
    for _ in range(2):
      with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def test_a_bad_batch_size_comes_where_the_batch_is_asked_for():
  with feed.Stream(ROWS, 0, 7) as stream:
    with pytest.raises(ValueError, match="batch_size: expected at least 1"):
      next(stream)


def test_close_ends_a_thread_that_is_blocked():
  before = threading.active_count()
  stream = feed.Stream(ROWS, 4, 7, depth=1)
  deadline = time.monotonic() + 10
  while not stream._ready.full() and time.monotonic() < deadline:
    time.sleep(0.01)
  assert stream._ready.full() and stream._thread.is_alive()
  stream.close()
  assert not stream._thread.is_alive()
  assert threading.active_count() == before
  for _ in range(2):  # And nobody waits for a batch that never comes.
    with pytest.raises(StopIteration):
      next(stream)
  stream.close()


def test_depth_is_checked():
  with pytest.raises(ValueError, match="depth: expected at least 1 batch"):
    feed.Stream(ROWS, 4, 7, depth=0)


def test_waiting_is_counted(monkeypatch):
  gather = sources.gather

  def slow(rows, at):
    time.sleep(0.05)
    return gather(rows, at)

  with feed.Stream(ROWS, 4, 7, last_step=4, depth=5) as stream:
    assert (stream.waited, stream.total) == (0.0, 0.0)
    stream._thread.join(10)  # All is ready, and the end.
    assert not stream._thread.is_alive()
    for _ in stream:
      time.sleep(0.02)
    assert stream.total >= 4 * 0.02
    assert stream.waited < 0.25 * stream.total
  monkeypatch.setattr(sources, "gather", slow)
  with feed.Stream(ROWS, 4, 7, last_step=4) as stream:
    assert len(list(stream)) == 4
    # The first batch may have been begun before it was asked for.
    assert 3 * 0.05 <= stream.waited <= stream.total


@pytest.mark.parametrize("device_bytes, kind", [
  (0, feed.Stream), (feed.DEVICE_BYTES, feed.Resident)
])  # fmt: skip
def test_batches_are_the_same_from_the_device_and_from_the_host(
  device_bytes, kind
):
  with feed.batches(ROWS, 4, 7, 2, 6, device_bytes) as batches:
    assert type(batches) is kind and batches.total == 0.0
    found = list(batches)
    assert 0.0 <= batches.waited <= batches.total
  assert [step for step, _ in found] == [2, 3, 4, 5]
  for step, rows in found:
    at = datasets.batch_indices(11, 4, 7, step)
    np.testing.assert_array_equal(rows.data, ROWS.data[at])
    np.testing.assert_array_equal(rows.labels, ROWS.labels[at])
    assert all(isinstance(leaf, jax.Array) for leaf in rows)
  with pytest.raises(StopIteration):
    next(batches)


def test_rows_beyond_the_default_limit_are_kept_if_told_to(monkeypatch):
  """The limit is that of the caller: 3 GB, which no test could allocate."""
  huge = np.broadcast_to(np.uint8(7), (3 * 2**20, 1024))
  rows = sources.Rows(huge, np.zeros(len(huge), np.int32))
  placed = []
  small = lambda leaf: placed.append(leaf.nbytes) or jnp.zeros(1, leaf.dtype)
  monkeypatch.setattr(sources.jnp, "asarray", small)
  batches = feed.batches(rows, 2, 0, device_bytes=2**33)
  assert isinstance(batches, feed.Resident) and sum(placed) > 3 * 2**30
