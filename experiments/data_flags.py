"""The flags of `experiments.data`, checked before anything is read."""

import os

from absl import flags

from timedecode import datasets
from timedecode.datasets import coded_images, recordings, simulator
from timedecode.datasets.options import DURATIONS, OF

NAMES = (*datasets.SOURCES, *recordings.NAMES, "blobs")
_TONIC = OF["download"]
_FILES = ("mnist_5k_official", "mnist", "mnist_dvs", *_TONIC)
# Which sources a flag is for; the others refuse it.
_OF = dict(OF) | {
  "data_dir": _FILES,
  "download": ("mnist", *_TONIC),
  "dt_ms": recordings.NAMES,
  "duration_s": recordings.NAMES,
  "num_steps": (*datasets.SOURCES, "blobs"),
  "coding": datasets.SOURCES,
  **dict.fromkeys(("delta", "ring"), ("blobs",)),
}


def define(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
  """Defines the flags."""
  defaults = recordings.Options()
  text = lambda numbers: ",".join(map(str, numbers))
  of = lambda name, help: f"Of {', '.join(_OF[name])}: {help}"
  seconds = ", ".join(map(str, DURATIONS))
  strings = {
    "source": ("", f"One of {', '.join(NAMES)}."),
    "output": ("runs", "Folder of the picture."),
    "data_dir": ("", of("data_dir", "folder of the files.")),
    "polarity": (defaults.polarity, of("polarity", "both or merged.")),
    "digits": (text(defaults.digits), of("digits", "which are read.")),
    "bounds": (text(defaults.bounds), of("bounds",
               "first numbers of validation and test recordings.")),
    "simulated": (text(defaults.simulated), of("simulated",
                  "recordings for training, validation and test.")),
    "crop": (text(defaults.crop), of("crop",
             "leftmost column, uppermost row, width, height.")),
    "tfds_dir": ("", of("tfds_dir",
                 "read raw events that TFDS keeps there, or prepares.")),
    "coding": ("latency", of("coding", "latency or rate.")),
  }  # fmt: skip
  for name, (default, help_text) in strings.items():
    flags.DEFINE_string(name, default, help_text, flag_values=values)
  for name, help_text in (
    ("dt_ms", "milliseconds per step."),
    ("duration_s", f"seconds kept; by default {seconds}."),
  ):  # fmt: skip
    default = getattr(defaults, name)
    flags.DEFINE_float(name, default, of(name, help_text), flag_values=values)
  for name, default, help_text in (
    ("scale", defaults.scale, "4, 8 or 16."), ("num_steps", 30, "steps."),
    ("delta", 0, "steps that the target is ahead."),
    ("simulator_seed", 0, "other recordings of the same images."),
  ):  # fmt: skip
    flags.DEFINE_integer(name, default, of(name, help_text), flag_values=values)
  for name, help_text in (
    ("download", "fetch what is missing."),
    ("ring", "distances round the ring."),
  ):
    flags.DEFINE_bool(name, False, of(name, help_text), flag_values=values)
  flags.DEFINE_list(
    "simulator", [], of("simulator", "settings of the sensor and display that"
    " differ, name=value with commas between, see"
    " timedecode.datasets.simulator."), flag_values=values,
  )  # fmt: skip
  return values


def _numbers(values, name: str, count: int | None, least: int) -> tuple:
  """A flag's numbers, comma-separated."""
  try:
    found = tuple(int(part) for part in values[name].value.split(","))
  except ValueError:
    found = ()
  if not found or min(found) < least or count not in (None, len(found)):
    what = "numbers" if count is None else f"{count} numbers"
    raise ValueError(
      f"{name}: expected {what} from {least} on with commas between, got"
      f" {values[name].value!r}"
    )
  return found


def _settings(values) -> simulator.Settings:
  """The simulator's settings, changed as the flag says."""
  defaults, given = simulator.Settings(), {}
  for part in values.simulator:
    name, _, number = part.partition("=")
    if name not in defaults._fields or name == "path":
      names = ", ".join(n for n in defaults._fields if n != "path")
      raise ValueError(
        f"simulator: expected name=value of {names}, got {part!r}"
      )
    try:
      given[name] = float(number)
    except ValueError:
      raise ValueError(f"simulator: expected a number, got {part!r}") from None
  return defaults._replace(**given)


def check(values: flags.FlagValues) -> recordings.Options:
  """Finds what is wrong with the flags before anything is read.

  Raises:
    ValueError: a flag that is of no use, or of no use for this source.
  """
  name = values.source
  if name not in NAMES:
    raise ValueError(
      f"source: expected one of {', '.join(NAMES)}, got {name!r}"
    )
  for flag, names in _OF.items():
    if values[flag].present and name not in names:
      raise ValueError(f"{flag}: is of {', '.join(names)}, not of {name}")
  folder = values.data_dir
  if name in _FILES and not folder:
    raise ValueError(f"data_dir: expected the folder of {name}, got none")
  if folder and not (values.download or os.path.isdir(expand(folder))):
    raise ValueError(f"data_dir: expected a folder, got {folder!r}")
  if values.coding not in coded_images.CODINGS:
    raise ValueError(
      f"coding: expected one of {', '.join(coded_images.CODINGS)}, got"
      f" {values.coding!r}"
    )
  if values.num_steps < 2:
    raise ValueError(f"num_steps: expected at least 2, got {values.num_steps}")
  if name not in recordings.NAMES:
    return recordings.Options()
  options = recordings.Options(
    values.dt_ms, values.duration_s, values.scale, values.polarity,
    crop=_numbers(values, "crop", 4, 0),
    digits=_numbers(values, "digits", None, 0),
    bounds=_numbers(values, "bounds", 2, 1),
    simulated=_numbers(values, "simulated", 3, 1),
    tfds_dir=expand(values.tfds_dir),
    simulator=_settings(values), simulator_seed=values.simulator_seed,
    download=values.download,
  )  # fmt: skip
  return recordings.resolve(name, options)


def expand(folder: str) -> str:
  """The folder with the user's own in place of ~."""
  return os.path.expanduser(folder)
