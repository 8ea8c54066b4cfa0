"""How recordings are binned and which are taken, checked before any is read."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from timedecode.datasets import arguments, mnist_dvs
from timedecode.datasets import mnist_dvs_files as files
from timedecode.datasets import simulator as simulator_lib

NAMES = ("mnist_dvs", "mnist_dvs_sim", "nmnist", "dvs_gesture", "shd")
DURATIONS = (2.0, 2.0, 0.3, 2.0, 1.4)  # Seconds, where none are given.
# Which sources an option is for; the others refuse it.
OF = {
  **dict.fromkeys(("scale", "polarity", "crop", "digits", "bounds"), NAMES[:1]),
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
  simulated: tuple[int, int, int] = LARGEST
  simulator: simulator_lib.Settings = simulator_lib.Settings()
  simulator_seed: int = 0
  download: bool = False


def _check_mnist_dvs(options: Options) -> None:
  files.check_selection(options.scale, options.digits)
  mnist_dvs.check_polarity(options.polarity)
  mnist_dvs.check_crop(options.crop)
  bounds = _numbers("bounds", options.bounds, 2)
  if bounds[0] > bounds[1]:
    raise ValueError(f"bounds: expected ascending numbers, got {bounds}")


def _check_simulated(options: Options) -> None:
  counts = _numbers("simulated", options.simulated, 3)
  if any(n > most for n, most in zip(counts, LARGEST, strict=True)):
    raise ValueError(
      f"simulated: expected at most {LARGEST} recordings for training,"
      f" validation and test, got {counts}"
    )
  arguments.whole("simulator_seed", options.simulator_seed, 0, 2**30)
  simulator_lib.check(options.simulator, options.duration_s, options.dt_ms)


def _numbers(name: str, values: Iterable[int], count: int) -> tuple[int, ...]:
  numbers = tuple(arguments.whole(name, value, 1) for value in values)
  if len(numbers) != count:
    raise ValueError(f"{name}: expected {count} numbers, got {numbers}")
  return numbers


def _default_duration(name: str, dt_ms: float) -> float:
  seconds = DURATIONS[NAMES.index(name)]
  if 1e-3 <= dt_ms < math.inf:  # Others are refused where steps are counted.
    seconds = max(1, round(1e3 * seconds / dt_ms)) * dt_ms / 1e3
  return seconds


def resolve(name: str, options: Options) -> Options:
  """The options, checked, with the source's own duration if none is given.

  Raises:
    ValueError: an option out of its range, or one that isn't of this source
      and differs from its default.
  """
  options = options._replace(digits=tuple(options.digits))
  for option, names in OF.items():
    given, default = getattr(options, option), getattr(Options(), option)
    same = given == default or np.array_equal(
      np.asarray(given, object), np.asarray(default, object)
    )
    if name not in names and not same:
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
  return options
