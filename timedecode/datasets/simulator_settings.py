"""The sensor and the display that `simulator` simulates."""

import math
from typing import NamedTuple

from timedecode.datasets import arguments

BLOCK = 10  # Steps; a pixel has at most one shot event in a block.
_MAY_BE_ZERO = ("amplitude", "refractory_ms", "leak_hz", "shot_hz")


class Settings(NamedTuple):
  """Sensor, display, and spreads: standard deviations over recordings."""

  step_ms: float = 0.5  # Of the simulation.
  refresh_hz: float = 75.0  # Frames of the display.
  blur: float = (
    0.05  # Width of an edge between two pixels of the image, (0, 1].
  )
  background: float = 0.01  # Light of black; of white: + amplitude.
  amplitude: float = 1.0
  amplitude_spread: float = 0.05  # Relative.
  cutoff_hz: float = 29.0  # Low pass of the sensor.
  threshold_on: float = 0.97  # Natural logarithm of light.
  threshold_off: float = 0.92
  threshold_spread: float = 0.04  # Relative, one factor for all pixels.
  pixel_threshold_spread: float = 0.07  # As the threshold, and over pixels.
  refractory_ms: float = 2.5  # Rounded up to steps.
  leak_hz: float = 0.1  # ON events of a pixel that sees no change.
  shot_hz: float = 0.02  # Of a pixel, both polarities together.
  magnification: float = 1.06  # Window pixels per pixel of the image.
  magnification_spread: float = 0.03  # Relative.
  centre_spread: float = 0.5  # Of the path, x and y, window pixels.
  start_spread_s: float = 0.02  # Where in the path a recording begins.
  period_s: float = 1.24  # Of the path: (seconds, x, y) in window pixels from
  # the middle, straight lines between.
  path: tuple[tuple[float, float, float], ...] = (
    (0.0, 0.0, 0.0), (0.265, -4.6, 3.7), (0.570, 1.5, -0.5), (0.875, 7.3, 3.8),
  )  # fmt: skip


def _check_path(settings):
  try:
    knots = [tuple(map(float, knot)) for knot in settings.path]
  except (TypeError, ValueError):
    knots = []
  numbers = [number for knot in knots for number in knot]
  times = [knot[0] for knot in knots if len(knot) == 3]
  ends = [0.0, *times, settings.period_s]
  if (
    not times or len(numbers) != 3 * len(times)
    or not all(map(math.isfinite, numbers))
    or times != sorted(set(times)) or ends != sorted(ends)
  ):  # fmt: skip
    raise ValueError(
      "settings.path: expected finite (seconds, x, y), times ascending from 0"
      f" on up to period_s = {settings.period_s}, got {settings.path}"
    )


def check(
  settings: Settings, duration_s: float = 2.0, bin_ms: float = 10.0
) -> tuple[int, int]:
  """Steps per bin and bins of a recording.

  Raises:
    ValueError: a setting out of its range, or times that are no multiples.
  """
  for name, value in settings._asdict().items():
    if name != "path":
      zero = "spread" in name or name in _MAY_BE_ZERO
      arguments.positive(f"settings.{name}", value, or_zero=zero)
  if settings.blur > 1:
    raise ValueError(f"settings.blur: expected at most 1, got {settings.blur}")
  most = 1e3 / (BLOCK * settings.step_ms)
  if settings.shot_hz > most:
    raise ValueError(
      f"settings.shot_hz: expected at most {most:g}, one in {BLOCK} steps, got"
      f" {settings.shot_hz}"
    )
  _check_path(settings)
  bin_steps = arguments.multiple("bin_ms", bin_ms, "step_ms", settings.step_ms)
  num_bins = arguments.multiple("duration_s", duration_s, "bin_ms", bin_ms, 1e3)
  return bin_steps, num_bins
