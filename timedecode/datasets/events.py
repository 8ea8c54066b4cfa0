"""Events of a dynamic vision sensor, and their binning into spike trains.

An event is a pixel (x, y), a sign (polarity 1: ON, brighter; 0: OFF, darker)
and a time. Binning makes a train of it: neuron (y width + x) polarities +
polarity spikes in step floor((timestamp - start) / dt) if at least one of its
events falls there. Everything is NumPy on the host.
"""

from typing import NamedTuple

import numpy as np

from timedecode.datasets.arguments import whole


class Events(NamedTuple):
  """E events, arrays [E] of integers.

  x: column; y: row; polarity: 1 ON, 0 OFF; timestamp: int64 microseconds.
  """

  x: np.ndarray
  y: np.ndarray
  polarity: np.ndarray
  timestamp: np.ndarray


_FAR = 2**62  # Differences of times fit into 64 bits.


def _check(events: Events) -> None:
  shape = np.shape(events.timestamp)
  if len(shape) != 1:
    raise ValueError(f"events.timestamp: expected shape [E], got {shape}")
  for name, field in events._asdict().items():
    if field.shape != shape:
      raise ValueError(
        f"events.{name}: expected shape {shape}, as timestamp has, got"
        f" {field.shape}"
      )
    if field.dtype.kind not in "iu":
      raise ValueError(
        f"events.{name}: expected an integer dtype, got {field.dtype}"
      )
  time = events.timestamp
  if time.size and (time.min() < -_FAR or time.max() > _FAR):
    raise ValueError(
      f"events.timestamp: expected -2**62..2**62, got {time.min()}"
      f"..{time.max()}"
    )


def _check_range(name: str, field: np.ndarray, size: int) -> None:
  if field.size and (field.min() < 0 or field.max() >= size):
    raise ValueError(
      f"events.{name}: expected 0..{size - 1}, got"
      f" {field.min()}..{field.max()} (crop first?)"
    )


def crop(events: Events, x0: int, y0: int, width: int, height: int) -> Events:
  """The events of a rectangle, in its own coordinates.

  Args:
    events: of any array.
    x0: leftmost column that is kept, 0 afterwards.
    y0: uppermost row that is kept, 0 afterwards.
    width: columns kept, at least 1.
    height: rows kept, at least 1.

  Returns:
    Events with x in 0..width-1 and y in 0..height-1, in their order and with
    their dtypes; there may be none.

  Raises:
    ValueError: malformed events or arguments.
  """
  _check(events)
  x0, y0 = whole("x0", x0, 0), whole("y0", y0, 0)
  width, height = whole("width", width, 1), whole("height", height, 1)
  x, y = events.x, events.y
  kept = np.flatnonzero(
    (x >= x0) & (x < x0 + width) & (y >= y0) & (y < y0 + height)
  )
  x, y, polarity, timestamp = (field[kept] for field in events)
  x = (x.astype(np.int64) - x0).astype(x.dtype)
  y = (y.astype(np.int64) - y0).astype(y.dtype)
  return Events(x, y, polarity, timestamp)


def bin_events(
  events: Events,
  shape: tuple[int, int, int],
  dt_us: int,
  num_steps: int,
  start_us: int | None = None,
) -> np.ndarray:
  """Binary bins of dt_us, as packed bits.

  An event outside the num_steps dt_us microseconds from the start is left
  out, and several of one neuron in one step count once. Events may come in
  any order. While it works it takes num_steps * N bytes.

  Args:
    events: x in 0..width-1, y in 0..height-1, polarity 0 or 1.
    shape: (height, width, 2), or (height, width, 1) to merge polarities.
    dt_us: microseconds per step, at least 1.
    num_steps: T, at least 1.
    start_us: time at which step 0 begins; by default that of the earliest
      event.

  Returns:
    uint8 [T, ceil(N / 8)] with N = prod(shape), for `packing.unpack`; neuron
    (y * width + x) * shape[2] + polarity, the first in the lowest bit.

  Raises:
    ValueError: malformed events or arguments, an event outside the shape.
  """
  _check(events)
  if len(shape) != 3 or shape[2] not in (1, 2):
    raise ValueError(
      f"shape: expected (height, width, 1 or 2), got {tuple(shape)}"
    )
  height, width = (whole("shape", size, 1) for size in shape[:2])
  dt_us = whole("dt_us", dt_us, 1, _FAR)
  num_steps = whole("num_steps", num_steps, 1)
  _check_range("x", events.x, width)
  _check_range("y", events.y, height)
  _check_range("polarity", events.polarity, 2)
  x, y, polarity, time = (f.astype(np.int64, copy=False) for f in events)
  if start_us is None:
    start_us = time.min() if time.size else 0
  step = (time - whole("start_us", start_us, -_FAR, _FAR)) // dt_us
  neuron = y * width + x
  if shape[2] == 2:
    neuron = neuron * 2 + polarity
  kept = (step >= 0) & (step < num_steps)
  size = height * width * shape[2]
  spikes = np.zeros(num_steps * size, bool)
  spikes[(step * size + neuron)[kept]] = True
  spikes = spikes.reshape(num_steps, size)
  return np.packbits(spikes, axis=-1, bitorder="little")
