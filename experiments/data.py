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
from experiments.data_flags import check, define, expand
from timedecode import datasets
from timedecode.datasets import coded_images, recordings, sources


def load(values: flags.FlagValues, options: recordings.Options):
  """The source that the flags name, inputs in the sensor's shape."""
  name, folder = values.source, expand(values.data_dir)
  if name == "blobs":
    return sources.blobs(values.num_steps, values.delta, values.ring)
  if name in recordings.NAMES:
    return recordings.load(name, folder or None, options, flat=False)

  splits = datasets.load(name, 0, folder, values.download)
  return coded_images.load(splits, values.coding, values.num_steps, flat=False)


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
  for together, count in (report["expected"] or {}).items():
    there = sum(
      report["splits"][split]["examples"] for split in together.split(", ")
    )
    lines.append(f"{together}: {data_checks.missing(there, count)}")
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
  folder = pathlib.Path(expand(values.output))
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
    "files": source.remarks.splitlines(),
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
