"""Prepares a source of examples, checks it, and shows what is in it.

  python -m experiments.data --source=mnist_5k
  python -m experiments.data --source=mnist_dvs --data_dir=DIR --digits=0

Whatever is slow is kept in the cache folder. Prints a report, then the same as
one line of JSON, and draws `data-<source>.png`: an example per class, its
spikes over time, and how often neurons fire.
"""

import json
import os
import pathlib
import time

from absl import app, flags

from experiments import data_checks, data_contents
from timedecode import datasets
from timedecode.datasets import coded_images, mnist_dvs, recordings, sources

NAMES = (*datasets.SOURCES, *recordings.NAMES, "blobs")
_TONIC = recordings.OF["download"]
_FILES = ("mnist_5k_official", "mnist", "mnist_dvs", *_TONIC)
# Which sources a flag is for; the others refuse it.
_OF = {name: of for name, of in recordings.OF.items() if name != "crop"} | {
  "data_dir": _FILES,
  "download": ("mnist", *_TONIC),
  "dt_ms": recordings.NAMES,
  "duration_s": recordings.NAMES,
  "num_steps": (*datasets.SOURCES, "blobs"),
  "coding": datasets.SOURCES,
  "delta": ("blobs",),
}


def define(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
  """Defines the flags."""
  defaults = recordings.Options()
  text = lambda numbers: ",".join(map(str, numbers))
  of = lambda name, help: f"Of {', '.join(_OF[name])}: {help}"
  seconds = ", ".join(map(str, recordings.DURATIONS))
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
  ):  # fmt: skip
    flags.DEFINE_integer(name, default, of(name, help_text), flag_values=values)
  flags.DEFINE_bool(
    "download", False, of("download", "fetch what is missing."),
    flag_values=values,
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
  if folder and not (values.download or os.path.isdir(_expand(folder))):
    raise ValueError(f"data_dir: expected a folder, got {folder!r}")
  if values.coding not in coded_images.CODINGS:
    raise ValueError(
      f"coding: expected one of {', '.join(coded_images.CODINGS)}, got"
      f" {values.coding!r}"
    )
  if values.num_steps < 2:
    raise ValueError(f"num_steps: expected at least 2, got {values.num_steps}")
  bounds = _numbers(values, "bounds", 2, 1)
  if bounds[0] > bounds[1]:
    raise ValueError(f"bounds: expected ascending numbers, got {bounds}")
  options = recordings.Options(
    values.dt_ms, values.duration_s, values.scale, values.polarity,
    digits=_numbers(values, "digits", None, 0), bounds=bounds,
    simulated=_numbers(values, "simulated", 3, 1), download=values.download,
  )  # fmt: skip
  binned = name in recordings.NAMES
  return recordings.resolve(name, options) if binned else options


def _expand(folder: str) -> str:
  return os.path.expanduser(folder)


def load(values: flags.FlagValues, options: recordings.Options):
  """The source that the flags name, inputs in the sensor's shape."""
  name, folder = values.source, _expand(values.data_dir)
  if name == "blobs":
    return sources.blobs(values.num_steps, values.delta)
  if name in recordings.NAMES:
    return recordings.load(name, folder or None, options, flat=False)

  splits = datasets.load(name, 0, folder, values.download)
  return coded_images.load(splits, values.coding, values.num_steps, flat=False)


def left_out(values, options: recordings.Options) -> list[str]:
  """What the files hold that the splits don't, in words; from the cache."""
  if values.source != "mnist_dvs":
    return []
  found = mnist_dvs.load(
    _expand(values.data_dir), datasets.cache_folder(), dt_ms=options.dt_ms,
    duration_s=options.duration_s, scale=options.scale,
    polarity=options.polarity, crop=options.crop, digits=options.digits,
  )  # fmt: skip
  return mnist_dvs.describe(found).split("\n")


def text(report: dict) -> str:
  """The report for a person."""
  simulated = " (simulated)" if report["simulated"] else ""
  lines = [
    f"{report['source']}{simulated}: {report['steps']}"
    f" {report['step']}, {report['neurons']:,} neurons"
  ]
  for split, found in report["splits"].items():
    lines.append(
      f"{split}: {found['examples']:,} examples;"
      f" {100 * found['share_of_set_bits']:.3g} % of bits set;"
      f" {found['silent_neurons']:,} silent neurons;"
      f" {found['examples_without_spikes']:,} examples without a spike;"
      f" {found['bytes'] / 1e6:,.2f} MB kept,"
      f" {found['bytes_as_float32'] / 1e6:,.2f} MB as float32 spikes"
    )
    if found["per_class"]:
      counts = found["per_class"].items()
      each = ", ".join(f"{label}: {count:,}" for label, count in counts)
      lines.append(f"  per class: {each}")
    if report["expected"]:
      count = report["expected"][split]
      lines.append(f"  {data_checks.missing(found['examples'], count)}")
  if report["held_out_also_in_training"] is not None:
    lines.append(
      "held-out examples that are also for training:"
      f" {report['held_out_also_in_training']:,}"
    )
  lines += [f"files: {line}" for line in report["files"]]
  if report["checked"]:
    lines.append(f"checked: {report['checked']}")
  lines.append(f"picture: {report['picture']}; {report['seconds']:.1f} s")
  return "\n".join(lines)


def run(values: flags.FlagValues) -> dict:
  """The whole job; returns the report.

  Raises:
    ValueError, OSError, ImportError: what a person has to put right.
    RuntimeError: what was done for the job failed, say a download.
  """
  start, options = time.perf_counter(), check(values)
  folder = pathlib.Path(_expand(values.output))
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(f"output: expected a folder: {error}") from error
  if not os.access(folder, os.W_OK):
    raise ValueError(f"output: {folder} can't be written")
  source = load(values, options)
  binned = source.name in recordings.NAMES
  checked = data_checks.check(source) if binned else None
  found, spikes = data_contents.statistics(source)
  dt_ms = options.dt_ms if binned else None
  picture = folder / f"data-{source.name}.png"
  name = source.name
  if name in datasets.SOURCES:
    name = f"{name}, {values.coding} code"
  data_contents.draw(picture, source, spikes["train"], name, dt_ms)
  return {
    "source": source.name,
    "simulated": source.name in data_contents.SIMULATED,
    "steps": source.num_steps,
    "step": f"steps of {dt_ms:g} ms" if binned else "steps",
    "neurons": len(spikes["train"]),
    "splits": found,
    "held_out_also_in_training": data_contents.also_in_training(source),
    "files": left_out(values, options),
    "expected": data_checks.expected(name, options) if binned else None,
    "checked": checked,
    "picture": str(picture),
    "seconds": time.perf_counter() - start,
  }


def main(argv, values: flags.FlagValues = flags.FLAGS):
  """Prints the report, or one line that says what is wrong."""
  if len(argv) > 1:
    raise SystemExit(f"error: unexpected arguments: {argv[1:]}")
  try:
    report = run(values)
  except (ValueError, OSError, ImportError, RuntimeError) as error:
    raise SystemExit(f"error: {' '.join(str(error).split())}") from error
  print(text(report))
  print(json.dumps(report))


if __name__ == "__main__":
  define()
  app.run(main)
