"""MNIST-DVS: handwritten digits moving on a monitor, seen by an event camera.

At each of three scales 10,000 recordings of 128x128 pixels, 1,000 per digit
(Serrano-Gotarredona and Linares-Barranco 2015). They are read as their
authors distribute them, from either of

  <data_dir>/grabbed_data<digit>.zip    (or a tar)
  <data_dir>/grabbed_data<digit>/scale4/mnist_<digit>_scale04_<number>.aedat

and where both are there, from the folder. Numbers are 1..1000; 1..900 are
the official training set and 901..1000 the test set. Here the last of the
training set, 801..900, are for validation.

Files named `..._qt<n>.aedat` are cuts of recordings (those seen last 0.2 s):
they are left out and listed, as are recordings without an event.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from timedecode.datasets import aedat, arguments, cache, events, identity
from timedecode.datasets import mnist_dvs_files as files
from timedecode.datasets.mnist_dvs_report import describe

POLARITIES = ("both", "merged")
CROP = (48, 48, 26, 26)  # Columns and rows 48..73.
VALIDATION_FROM, TEST_FROM = 801, 901  # Numbers of recordings.
_READER_VERSION = 3  # Part of the cache's key: other results, other number.
_BY_RECORDING = ("spikes", "labels", "numbers", "special", "late")


class Recordings(NamedTuple):
  """M binned recordings, by number and within it by digit.

  spikes: uint8 [M, T, ceil(N / 8)], see `events.bin_events`.
  labels: int32 [M], digits; numbers: int32 [M], 1..1000.
  special, late: int32 [M], events left out and moved, see `aedat.Recording`.
  empty: int32 [K, 2], digit and number of recordings without an event.
  cut: int32 [C, 2], digit and number of cuts that were left out.
  short: int32 [S, 2], digit and number of recordings, of those that are there,
    whose last event is before the end: they are silent after it.
  repeated: int32 [R, 4], digit and number of recordings that are there, whose
    spikes equal those of an earlier one, and that one's.
  unmatched: uint8, names of what was passed over, a JSON list.
  """

  spikes: np.ndarray
  labels: np.ndarray
  numbers: np.ndarray
  special: np.ndarray
  late: np.ndarray
  empty: np.ndarray
  cut: np.ndarray
  short: np.ndarray
  repeated: np.ndarray
  unmatched: np.ndarray


def _repeated(spikes, labels, numbers) -> np.ndarray:
  """Which rows with spikes equal an earlier one, [R, 4]."""
  first, found = {}, []
  for row, digit, number in zip(spikes, labels, numbers, strict=True):
    content = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
    earlier = first.setdefault(content, (digit, number))
    if earlier != (digit, number) and row.any():
      found.append((digit, number, *earlier))
  return np.array(found, np.int32).reshape(-1, 4)


def _bin_all(
  found: Iterator[files.Item], crop, shape, dt_us, num_steps
) -> dict[str, np.ndarray]:
  """The arrays of `Recordings` but those of names."""
  rows, spikes, named = [], [], {"empty": [], "cut": [], "short": []}
  for item in found:
    seen, special, late = item.recording
    if item.cut or not len(seen.x):
      place = "cut" if item.cut else "empty"
      named[place].append((item.digit, item.number))
      continue
    rows.append((item.number, item.digit, special, late))
    cropped = events.crop(seen, *crop)
    start = seen.timestamp[0]
    if seen.timestamp[-1] - start < dt_us * num_steps:
      named["short"].append((item.digit, item.number))
    spikes.append(events.bin_events(cropped, shape, dt_us, num_steps, start))
  table = np.array(rows, np.int32).reshape(-1, 4)
  order = np.lexsort((table[:, 1], table[:, 0]))
  width = -(-np.prod(shape) // 8)
  packed = np.empty((len(rows), num_steps, width), np.uint8)
  for place, index in enumerate(order):
    packed[place], spikes[index] = spikes[index], None
  numbers, labels, special, late = table[order].T.copy()
  pairs = {
    name: np.array(sorted(which), np.int32).reshape(-1, 2)
    for name, which in named.items()
  }
  return {
    "spikes": packed, "labels": labels, "numbers": numbers,
    "special": special, "late": late,
    "repeated": _repeated(packed, labels, numbers),
  } | pairs  # fmt: skip


def check_polarity(polarity: str) -> None:
  """Raises ValueError unless 'both' or 'merged'."""
  if polarity not in POLARITIES:
    raise ValueError(
      f"polarity: expected one of {POLARITIES}, got {polarity!r}"
    )


def check_crop(crop: Iterable[int]) -> tuple[int, ...]:
  """The crop as whole numbers; raises ValueError unless inside the sensor."""
  crop = arguments.wholes("crop", crop, 4)
  if min(crop[:2]) < 0 or min(crop[2:]) < 1:
    raise ValueError(f"crop: expected (x, y, width, height), got {crop}")
  if crop[0] + crop[2] > aedat.WIDTH or crop[1] + crop[3] > aedat.HEIGHT:
    raise ValueError(f"crop: expected a part of 128x128 pixels, got {crop}")
  return crop


def _originals(data_dir, tfds_dir, scale, digits):
  """What lists the files, and what reads them: folders or archives, or TFDS."""
  if not tfds_dir:
    look = lambda: files.snapshot(data_dir, scale, digits)
    return look, lambda names: files.items(
      data_dir, scale, digits, others=names
    )
  from timedecode.datasets import mnist_dvs_tfds

  prepared = mnist_dvs_tfds.load(data_dir, tfds_dir, scale=scale, digits=digits)
  look = lambda: mnist_dvs_tfds.snapshot(tfds_dir, scale, digits)
  return look, lambda names: mnist_dvs_tfds.items(prepared)


def load(
  data_dir: str | os.PathLike,
  cache_dir: str | os.PathLike,
  *,
  dt_ms: float = 10.0,
  duration_s: float = 2.0,
  scale: int = 4,
  polarity: str = "both",
  crop: tuple[int, int, int, int] = CROP,
  digits: Iterable[int] = range(10),
  tfds_dir: str | os.PathLike | None = None,
) -> Recordings:
  """Recordings as packed spikes, prepared once and then read from a cache.

  A recording's first event, inside the crop or not, is at time 0; steps
  after its last one are silent. The cache is prepared anew when a source's
  name, size or time of change differs.

  Args:
    data_dir: holds `grabbed_data<digit>`, folders or archives.
    cache_dir: for the result, one file per source and options.
    dt_ms: milliseconds per step, whole microseconds.
    duration_s: seconds kept, a whole number of steps.
    scale: 4, 8 or 16.
    polarity: 'both', two neurons per pixel, or 'merged', one.
    crop: leftmost column, uppermost row, width, height.
    digits: which to load, each once.
    tfds_dir: read raw events that TFDS keeps in this folder, see
      `mnist_dvs_tfds.load`; `data_dir` is then needed to prepare it only.

  Returns:
    `Recordings`, T = duration / dt, N = height * width * (2 or 1).

  Raises:
    ValueError: bad options, no recording with events, files that change
      while they are read, or what `mnist_dvs_files.items` raises.
  """
  digits = files.check_selection(scale, digits)
  dt_us, num_steps = arguments.steps(dt_ms, "duration_s", duration_s, 1e3)
  check_polarity(polarity)
  crop = check_crop(crop)
  shape = (crop[3], crop[2], 2 if polarity == "both" else 1)
  look, read = _originals(data_dir, tfds_dir, scale, digits)
  before = look()
  key = {
    "source": identity.digest(before),
    "data": "mnist_dvs",
    "reader": _READER_VERSION,
    "options": [dt_us, num_steps, scale, polarity, crop, digits],
  }

  def make():
    names = []
    arrays = _bin_all(read(names), crop, shape, dt_us, num_steps)
    told = np.frombuffer(json.dumps(sorted(names)).encode(), np.uint8)
    made = Recordings(**arrays, unmatched=told)
    identity.check_unchanged(before, look())
    if not len(made.labels):
      raise ValueError(
        f"{data_dir}: scale {scale}, digits {digits}: expected a recording"
        f" with events, got none ({describe(made)})"
      )
    return made._asdict()

  return Recordings(**cache.arrays(cache_dir, key, None, make))


def _take(recordings: Recordings, kept: np.ndarray) -> Recordings:
  rows = {name: getattr(recordings, name)[kept] for name in _BY_RECORDING}
  return recordings._replace(**rows)


def split(
  recordings: Recordings,
  validation_from: int = VALIDATION_FROM,
  test_from: int = TEST_FROM,
) -> tuple[Recordings, Recordings, Recordings]:
  """Training, validation and test recordings, by their numbers.

  By default 1..800, 801..900 and 901..1000 of each digit: the official test
  set, and the end of the official training set for validation. Other bounds
  are for a part of the data. What was left out or is odd is handed on whole.

  Raises:
    ValueError: bounds that don't ascend from 1.
  """
  if not 1 <= validation_from <= test_from:
    raise ValueError(
      "validation_from, test_from: expected 1 <= validation_from <="
      f" test_from, got {validation_from} and {test_from}"
    )
  part = np.digitize(recordings.numbers, (validation_from, test_from))
  train, validation, test = (_take(recordings, part == i) for i in range(3))
  return train, validation, test
