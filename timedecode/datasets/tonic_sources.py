"""N-MNIST, DVS-Gesture and SHD, found by the package tonic, binned here.

tonic is under the GPL, so it is an extra that nothing else needs, and it is
imported where it is used. It reads the recordings, except DVS-Gesture's, whose
times it would multiply by 1000 in the type of the file. The bins are `events`':
tonic's frames differ in number where a recording is short or empty. Where a
set lies below the folder that is given is tonic's choice:

  nmnist       NMNIST/{Train,Test}/<digit>/*.bin
  dvs_gesture  DVSGesture/{ibmGestureTrain,ibmGestureTest}/<user>/<class>.npy
  shd          SHD/{shd_train,shd_test}.h5

Without ``download=True`` any number of recordings there will do, and nothing
is fetched; tonic alone fetches a whole set if it misses any file of it.

Sources: Orchard et al. 2015, Amir et al. 2017, Cramer et al. 2020.
"""

import math
import os
import pathlib
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from timedecode.datasets import arguments, cache, events, identity, packing

RECORDING_LIMIT = 2**30  # Bytes of a recording's file; SHD is one for all.
_READER_VERSION = 1  # Part of the cache's key: other results, other number.


class Source(NamedTuple):
  """A data set that tonic reads.

  reader: tonic's class; shape: (height, width, polarities) of the trains,
  whose neurons are numbered (y * width + x) * polarities + polarity;
  pooling: pixels of the sensor per neuron, in each direction; num_classes:
  labels are below it; start_us: time of step 0, None for the first event's;
  places: folder or file of a split below tonic's own; pattern: recordings in
  that folder, empty for a file.
  """

  reader: str
  shape: tuple[int, int, int]
  pooling: int
  num_classes: int
  start_us: int | None
  places: dict[str, str]
  pattern: str

  @property
  def num_neurons(self) -> int:
    """N, the neurons of a train."""
    return math.prod(self.shape)


# Times in DVS-Gesture are those of the long recordings that its gestures were
# cut from, or count from the cut; the first event is a start in both cases.
SOURCES = {
  "nmnist": Source(
    "NMNIST", (34, 34, 2), 1, 10, 0,
    {"train": "Train", "test": "Test"}, "*/*.bin",
  ),
  "dvs_gesture": Source(
    "DVSGesture", (32, 32, 2), 4, 11, None,
    {"train": "ibmGestureTrain", "test": "ibmGestureTest"}, "*/*.npy",
  ),
  "shd": Source(
    "SHD", (1, 700, 1), 1, 20, 0,
    {"train": "shd_train.h5", "test": "shd_test.h5"}, "",
  ),
}  # fmt: skip


def path_of(name: str, data_dir, split: str) -> pathlib.Path:
  """The folder of a split's recordings, or SHD's file."""
  source, folder = SOURCES[name], pathlib.Path(data_dir).expanduser()
  return folder / source.reader / source.places[split]


def _open(name: str, data_dir, split: str, download: bool) -> Any:
  """tonic's data set, which fetches nothing unless it is told to."""
  try:
    import numpy.lib.recfunctions  # noqa: F401  tonic takes it for granted.
    from tonic import datasets
  except ImportError as error:
    raise ImportError(
      f"the data set {name!r} is read by the package tonic, an extra because "
      "it is under the GPL: pip install timedecode[tonic]"
    ) from error
  source = SOURCES[name]
  reader = getattr(datasets, source.reader)
  place = path_of(name, data_dir, split)
  if not download:
    one_file = not source.pattern
    if not (place.is_file() if one_file else any(place.glob(source.pattern))):
      raise FileNotFoundError(
        f"{place / source.pattern}: no recordings of {name!r}, split "
        f"{split!r}. Put them there, or let tonic download the set with "
        "download=True"
      )
    there = {"_check_exists": lambda self: True}
    reader = type(source.reader, (reader,), there)
  try:
    return reader(os.path.expanduser(data_dir), train=split == "train")
  except (KeyError, OSError, TypeError, ValueError) as error:
    raise ValueError(f"{place}: tonic cannot open it: {error}") from error


def _file_size(path: str) -> int:
  if (size := os.path.getsize(path)) > RECORDING_LIMIT:
    raise ValueError(f"expected at most {RECORDING_LIMIT} bytes, got {size}")
  return size


def _read_gesture(path: str) -> events.Events:
  """A file's rows x, y, p and t in ms; tonic would wrap them to 16 bits."""
  _file_size(path)
  rows = np.load(path, allow_pickle=False)
  if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iuf":
    raise ValueError(
      f"expected numbers x, y, p, t [E, 4], got {rows.dtype} {rows.shape}"
    )
  limits = (128, 128, 2, 2**40)  # Milliseconds: 35 years.
  if rows.size and not (rows.min() >= 0 and (rows.max(0) < limits).all()):
    raise ValueError(
      "expected x and y in 0..127, p 0 or 1 and t from 0 on, got minima"
      f" {rows.min(axis=0)} and maxima {rows.max(axis=0)}"
    )
  x, y, polarity, _ = rows.astype(np.int64).T
  wide = rows[:, 3].astype(float if rows.dtype.kind == "f" else np.int64)
  time = (1000 * wide).astype(np.int64)
  return events.Events(x, y, polarity, time)


def _read_other(dataset: Any, index: int) -> tuple[events.Events, int]:
  """What tonic reads, which passes over half an event at the end."""
  if dataset.data and (size := _file_size(dataset.data[index])) % 5:
    raise ValueError(f"expected 5 bytes per event, got {size} bytes")
  with np.errstate(invalid="ignore"):  # Times that are no numbers: see below.
    recording, label = dataset[index]
  time = recording["t"].astype(np.int64)
  if time.size and time.min() < 0:
    raise ValueError(f"expected times from 0 on, got {time.min()} us")
  x, polarity = (recording[name].astype(np.int64) for name in "xp")
  flat = "y" not in recording.dtype.names
  y = np.zeros_like(x) if flat else recording["y"].astype(np.int64)
  return events.Events(x, y, polarity, time), int(label)


def _read(dataset: Any, index: int, name: str) -> tuple[events.Events, int]:
  """A recording in the neurons' coordinates, and its label."""
  source = SOURCES[name]
  if name == "dvs_gesture":
    path, label = dataset.data[index], dataset.targets[index]
    recording = _read_gesture(path)
  else:
    recording, label = _read_other(dataset, index)
  if not 0 <= label <= (last := source.num_classes - 1):
    raise ValueError(f"label: expected 0..{last}, got {label}")
  x, y = recording.x // source.pooling, recording.y // source.pooling
  return recording._replace(x=x, y=y), label


def _bin_all(
  dataset: Any, name: str, split: str, dt_us: int, num_steps: int
) -> dict[str, np.ndarray]:
  """Trains and labels, as `load` returns them."""
  source, order = SOURCES[name], range(len(dataset))
  if source.pattern:  # tonic walks through folders as the system lists them.
    order = sorted(order, key=dataset.data.__getitem__)
  size = (len(order), num_steps, packing.packed_size(source.num_neurons))
  trains = np.zeros(size, np.uint8)
  labels = np.zeros(len(order), np.int32)
  for row, index in enumerate(order):
    try:
      recording, labels[row] = _read(dataset, index, name)
      trains[row] = events.bin_events(
        recording, source.shape, dt_us, num_steps, source.start_us
      )
    except Exception as error:  # tonic checks nothing: any kind may come.
      place = dataset.data[index] if source.pattern else source.places[split]
      raise ValueError(f"{place}: recording {index}: {error}") from error
  return {"trains": trains, "labels": labels}


def load(
  name: str,
  data_dir: str | os.PathLike,
  split: str,
  dt_ms: float,
  duration_ms: float,
  *,
  download: bool = False,
  cache_dir: str | os.PathLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """All recordings of a split as trains of the same length.

  A neuron spikes in step t if one of its events, or several, falls into
  [t dt, (t + 1) dt). Later ones are cut off; a recording that is shorter, or
  empty, is silent afterwards. Time is that of the recording, for dvs_gesture
  since its first event. DVS-Gesture's 128x128 pixels become 32x32 neurons,
  each of which sees 4x4 pixels.

  Args:
    name: of `SOURCES`: 'nmnist' (34x34x2), 'dvs_gesture' (32x32x2) or 'shd'
      (700 channels).
    data_dir: the folder in which tonic keeps data sets.
    split: 'train' or 'test'.
    dt_ms: step in milliseconds, a whole number of microseconds.
    duration_ms: length of the trains, T steps; a multiple of dt_ms.
    download: let tonic fetch the set if it misses any of it.
    cache_dir: for the result, which is made anew when a file's name, size or
      time of change differs; None: nothing is kept.

  Returns:
    Trains uint8 [M, T, ceil(N / 8)], for `packing.unpack`, and labels int32
    [M]; in the order of the files' paths, for SHD that of its file.

  Raises:
    ValueError: an unknown name or split, steps that do not fit, a recording
      that is damaged, outside the sensor, larger than `RECORDING_LIMIT`, or
      that changes while it is read; it names the file.
    FileNotFoundError: no recording there, without ``download``.
    ImportError: tonic is not installed.
  """
  if name not in SOURCES:
    raise ValueError(f"name: expected one of {tuple(SOURCES)}, got {name!r}")
  source = SOURCES[name]
  if split not in source.places:
    raise ValueError(f"split: expected 'train' or 'test', got {split!r}")
  dt_us, num_steps = arguments.steps(dt_ms, "duration_ms", duration_ms)
  dataset = _open(name, data_dir, split, download)
  one_file = () if source.pattern else (path_of(name, data_dir, split),)
  before = identity.snapshot(map(pathlib.Path, one_file or dataset.data))

  def make():
    made = _bin_all(dataset, name, split, dt_us, num_steps)
    identity.check_unchanged(before, identity.snapshot(before))
    return made

  if cache_dir is None:
    return tuple(make().values())
  key = {
    "source": identity.digest(before), "data": name, "split": split,
    "reader": _READER_VERSION, "tonic": metadata.version("tonic"),
    "options": [dt_us, num_steps],
  }  # fmt: skip
  found = cache.arrays(cache_dir, key, None, make)
  return found["trains"], found["labels"]
