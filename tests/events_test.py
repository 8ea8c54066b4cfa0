"""Binning and cropping of events against slow loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from timedecode.datasets import packing
from timedecode.datasets.events import Events, bin_events, crop


def _random(num, width=26, height=26, until=2_200_000, seed=0):
  rng = np.random.default_rng(seed)
  return Events(
    rng.integers(0, width, num).astype(np.int16),
    rng.integers(0, height, num).astype(np.int16),
    rng.integers(0, 2, num).astype(np.uint8),
    rng.integers(0, until, num),
  )


def _slow(events, shape, dt_us, num_steps, start_us):
  height, width, signs = shape
  out = np.zeros((num_steps, height * width * signs), bool)
  for x, y, polarity, time_us in zip(
    *(f.tolist() for f in events), strict=True
  ):
    step = (time_us - start_us) // dt_us
    if 0 <= step < num_steps:
      sign = polarity if signs == 2 else 0
      out[step, (y * width + x) * signs + sign] = True
  return out


@pytest.mark.parametrize("signs", [1, 2])
@pytest.mark.parametrize("start", [-500, 0, 70_001])
def test_binning_is_the_loop(signs, start):
  shape = (5, 7, signs)
  events = _random(400, width=7, height=5, until=200_000)
  got = bin_events(events, shape, 1_500, 100, start)
  assert got.dtype == np.uint8
  assert got.shape == (100, packing.packed_size(5 * 7 * signs))
  want = _slow(events, shape, 1_500, 100, start)
  np.testing.assert_array_equal(got, packing.pack(want))
  spikes = packing.unpack(jnp.asarray(got), 5 * 7 * signs)
  np.testing.assert_array_equal(spikes, want.astype(np.float32))


def test_one_event_sets_one_bit_of_the_convention():
  events = Events(*(np.array([v]) for v in (2, 1, 1, 35)))
  spikes = packing.unpack(
    jnp.asarray(bin_events(events, (3, 4, 2), 10, 5, 0)), 24
  )
  np.testing.assert_array_equal(np.argwhere(spikes), [[3, (1 * 4 + 2) * 2 + 1]])
  merged = packing.unpack(
    jnp.asarray(bin_events(events, (3, 4, 1), 10, 5, 0)), 12
  )
  np.testing.assert_array_equal(np.argwhere(merged), [[3, 1 * 4 + 2]])


def test_bins_begin_at_their_start_and_time_zero_is_the_earliest_event():
  zeros = np.zeros(4, int)
  events = Events(zeros, zeros, zeros, np.array([129, 100, 110, 109]))
  got = bin_events(events, (1, 1, 1), 10, 3)
  np.testing.assert_array_equal(got, [[1], [1], [1]])
  got = bin_events(events, (1, 1, 1), 10, 3, 101)
  np.testing.assert_array_equal(got, [[1], [0], [1]])


def test_moving_time_and_start_together_changes_nothing():
  events = _random(1000)
  later = events._replace(timestamp=events.timestamp + 2**40)
  a = bin_events(events, (26, 26, 2), 10_000, 200, 5)
  b = bin_events(later, (26, 26, 2), 10_000, 200, 5 + 2**40)
  np.testing.assert_array_equal(a, b)


def test_no_events_are_silence():
  got = bin_events(_random(0), (2, 3, 2), 10, 4)
  np.testing.assert_array_equal(got, np.zeros((4, 2), np.uint8))
  assert len(crop(_random(0), 0, 0, 1, 1).x) == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_crop_is_the_loop(dtype):
  events = _random(500, 128, 128)
  events = events._replace(x=events.x.astype(dtype), y=events.y.astype(dtype))
  got = crop(events, 48, 50, 26, 20)
  want = [
    (x - 48, y - 50, p, t)
    for x, y, p, t in zip(*(f.tolist() for f in events), strict=True)
    if 48 <= x <= 73 and 50 <= y <= 69
  ]
  assert want and list(zip(*(f.tolist() for f in got), strict=True)) == want
  assert got.x.dtype == got.y.dtype == dtype
  assert len(crop(events, 300, 0, 5, 5).x) == 0


def test_unsigned_64_bit_fields_are_binned_as_others():
  events = _random(300)
  wide = Events(*(field.astype(np.uint64) for field in events))
  np.testing.assert_array_equal(
    bin_events(wide, (26, 26, 2), 10_000, 200),
    bin_events(events, (26, 26, 2), 10_000, 200),
  )


def test_bad_input_is_named():
  good = _random(3, 4, 4)
  for changed, message in (
    ({"x": np.array([0, 1, 4])}, r"events.x: expected 0\.\.3, got 0\.\.4"),
    ({"y": np.array([0, -1, 3])}, r"events.y: expected 0\.\.3, got -1\.\.3"),
    ({"polarity": np.array([0, 1, 2])}, r"events.polarity: expected 0\.\.1"),
    ({"x": np.zeros(2, int)}, r"events.x: expected shape \(3,\)"),
    ({"x": np.zeros(3)}, "events.x: expected an integer dtype, got float64"),
    (
      {"timestamp": np.array([0, 1, 2**63], np.uint64)},
      r"events.timestamp: expected -2\*\*62..2\*\*62, got 0..9223372036854775",
    ),
    ({"timestamp": np.zeros((3, 1), int)}, r"timestamp: expected shape \[E\]"),
  ):
    with pytest.raises(ValueError, match=message):
      bin_events(good._replace(**changed), (4, 4, 2), 10, 5)
  for arguments, message in (
    (((4, 4), 10, 5), "shape: expected"),
    (((4, 4, 3), 10, 5), "shape: expected"),
    (((4, 0, 2), 10, 5), "shape: expected at least 1, got 0"),
    (((4, 4, 2), 0, 5), "dt_us: expected at least 1, got 0"),
    (((4, 4, 2), 2.5, 5), "dt_us: expected a whole number, got 2.5"),
    (((4, 4, 2), 10, 0), "num_steps: expected at least 1"),
    (((4, 4, 2), 10, 5, 0.5), "start_us: expected a whole number"),
    (((4, 4, 2), 10, 5, 2**63), "start_us: expected at most"),
  ):  # fmt: skip
    with pytest.raises(ValueError, match=message):
      bin_events(good, *arguments)
  with pytest.raises(ValueError, match="width: expected at least 1, got 0"):
    crop(good, 0, 0, 0, 1)
  with pytest.raises(ValueError, match="y0: expected at least 0, got -1"):
    crop(good, 0, -1, 1, 1)
