"""How recordings are binned and which are taken, checked before any is read."""

import math
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from timedecode.datasets import arguments, mnist_dvs
from timedecode.datasets import mnist_dvs_files as files
from timedecode.datasets import simulator_settings as simulator_lib

NAMES = ("mnist_dvs", "mnist_dvs_sim", "nmnist", "dvs_gesture", "shd")
DURATIONS = (2.0, 2.0, 0.3, 2.0, 1.4)  # Seconds, where none are given.
# Which sources an option is for; the others refuse it.
OF = {
  **dict.fromkeys(
    ("scale", "polarity", "crop", "digits", "bounds", "tfds_dir"), NAMES[:1]
  ),
  **dict.fromkeys(("simulated", "simulator", "simulator_seed"), NAMES[1:2]),
  "download": NAMES[2:],
}
LARGEST = (3600, 400, 1000)  # Images of 'mnist_5k' per split.


class Options(NamedTuple):
  """How recordings are binned, and which are taken.

  Attributes:
    dt_ms: milliseconds per step.
    duration_s: seconds kept of a recording, a whole number of steps; None:
      the source's of `DURATIONS`, rounded to one.
    scale: of mnist_dvs: 4, 8 or 16.
    polarity: of mnist_dvs: 'both' or 'merged'.
    crop: of mnist_dvs: leftmost column, uppermost row, width, height.
    digits: of mnist_dvs.
    tfds_dir: of mnist_dvs: read the raw events that TFDS keeps there, prepared
      from the originals if they aren't; '': read the originals.
    bounds: of mnist_dvs: first numbers of validation and test recordings.
    simulated: of mnist_dvs_sim: recordings per split, at most the images.
    simulator: of mnist_dvs_sim: sensor and display, `simulator.Settings`.
    simulator_seed: of mnist_dvs_sim: other seeds, other recordings.
    download: of tonic's sources: fetch what is missing.
  """

  dt_ms: float = 10.0
  duration_s: float | None = None
  scale: int = 4
  polarity: str = "both"
  crop: tuple[int, int, int, int] = mnist_dvs.CROP
  digits: Iterable[int] = range(10)
  bounds: tuple[int, int] = (mnist_dvs.VALIDATION_FROM, mnist_dvs.TEST_FROM)
  tfds_dir: str = ""
  simulated: tuple[int, int, int] = LARGEST
  simulator: simulator_lib.Settings = simulator_lib.Settings()
  simulator_seed: int = 0
  download: bool = False


def _check_mnist_dvs(options: Options) -> None:
  files.check_selection(options.scale, options.digits)
  mnist_dvs.check_polarity(options.polarity)
  mnist_dvs.check_crop(options.crop)
  first, second = arguments.wholes("bounds", options.bounds, 2)
  if not 1 < first < second <= files.NUM_RECORDINGS:
    raise ValueError(
      "bounds: expected 1 < validation < test <="
      f" {files.NUM_RECORDINGS}, got {first} and {second}"
    )
  if options.tfds_dir and os.path.isfile(options.tfds_dir):
    raise ValueError(f"tfds_dir: expected a folder, got {options.tfds_dir!r}")


def _check_simulated(options: Options) -> None:
  counts = arguments.wholes("simulated", options.simulated, 3, 1)
  if any(n > most for n, most in zip(counts, LARGEST, strict=True)):
    raise ValueError(
      f"simulated: expected at most {LARGEST} recordings for training,"
      f" validation and test, got {counts}"
    )
  arguments.whole("simulator_seed", options.simulator_seed, 0, 2**30)
  simulator_lib.check(options.simulator, options.duration_s, options.dt_ms)


def _default_duration(name: str, dt_ms: float) -> float:
  seconds = DURATIONS[NAMES.index(name)]
  if 1e-3 <= dt_ms < math.inf:  # Others are refused where steps are counted.
    seconds = max(1, round(1e3 * seconds / dt_ms)) * dt_ms / 1e3
  return seconds


def _same(given: Any, default: Any) -> bool:
  """Equal, whether as a range, a list, an array or a tuple."""
  plain = lambda value: (
    value if isinstance(value, str) else np.asarray(value, object)
  )
  return np.array_equal(plain(given), plain(default))


def resolve(name: str, options: Options) -> Options:
  """The options, checked, with the source's own duration if none is given.

  Raises:
    ValueError: an option out of its range, or one that isn't of this source
      and differs from its default.
  """
  if name not in NAMES:
    raise ValueError(
      f"source: expected one of {', '.join(NAMES)}, got {name!r}"
    )
  digits = arguments.wholes("digits", options.digits)
  options = options._replace(digits=digits)
  for option, names in OF.items():
    given, default = getattr(options, option), getattr(Options(), option)
    if name not in names and not _same(given, default):
      raise ValueError(f"{option}: is of {', '.join(names)}, not of {name}")
  arguments.positive("dt_ms", options.dt_ms)
  if options.duration_s is None:
    duration_s = _default_duration(name, options.dt_ms)
    options = options._replace(duration_s=duration_s)
  arguments.steps(options.dt_ms, "duration_s", options.duration_s, 1e3)
  if name == "mnist_dvs":
    _check_mnist_dvs(options)
  elif name == "mnist_dvs_sim":
    _check_simulated(options)
    path = tuple(tuple(map(float, knot)) for knot in options.simulator.path)
    sensor = options.simulator._replace(path=path)
    options = options._replace(simulator=sensor)
  return options
