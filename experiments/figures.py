"""Figures of studies, from their records.

  python -m experiments.figures --records=DIR/records.jsonl --output=FOLDER

Draws what the study of the records has a figure for, <study>.png, and writes
its table, <study>.md, means ± standard deviations over seeds:

  readout_neurons  accuracy against the number of neurons, and information
  ablations        distortion and accuracy against bits as beta rises
"""

import os
import pathlib
import re
from collections import defaultdict

import numpy as np
from absl import app, flags
from matplotlib import colormaps
from matplotlib.figure import Figure

from experiments import finish, study_records
from experiments.configs import base
from timedecode import plots


def by_row(records: list[dict], pattern: str) -> dict[tuple, list[dict]]:
  """Groups of the pattern in a row's name -> summaries of its seeds."""
  found = defaultdict(list)
  for record in records:
    match = re.fullmatch(pattern, record["row"])
    if match:
      found[match.groups()].append(record["summary"])
  return dict(found)


def _spread(summaries: list[dict], name: str) -> tuple[float, float]:
  """Mean and standard deviation over seeds; 0 for a single one."""
  values = np.array([summary[name] for summary in summaries])
  return values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0


def _betas(records: list[dict]) -> str:
  """For a title."""
  default = base.get_config().beta
  found = {record["settings"].get("beta", default) for record in records}
  return "β = " + ", ".join(f"{beta:g}" for beta in sorted(found))


def _bars(axis, x, summaries, name, index, label) -> None:
  """A line with error bars, of colour and style number `index`."""
  mean, error = np.array([_spread(found, name) for found in summaries]).T
  axis.errorbar(
    x, mean, error, color=plots.COLOURS[index], linestyle=plots.STYLES[index],
    marker="os^D"[index], markersize=5, capsize=3, label=label,
  )  # fmt: skip


def _provenance(records: list[dict]) -> str:
  """Data, budget and seeds, for a title."""
  first = records[0]["summary"]
  counts = [len(found) for found in by_row(records, "(.*)").values()]
  few, many = min(counts), max(counts)
  seeds = f"{few} to {many}" if few < many else f"{many}"
  return (
    f"{first['split'].split(' examples')[0]} images of {first['data_source']},"
    f" {first['examples_seen']:,} training examples, seeds: {seeds}"
  )


def _with_error(summary: dict) -> dict:
  return summary | {"judge_error": 1 - summary["judge_accuracy"]}


def readout_neurons(records: list[dict]) -> Figure:
  """Share of images not read, and information, against N_y for every view."""
  groups = by_row(records, r"(\w+), N_y (\d+)")
  figure = Figure((10.0, 4.4), layout="constrained")
  left, right = figure.subplots(1, 2)
  for index, view in enumerate(("full", "rate", "first_spike")):
    sizes = sorted(int(size) for name, size in groups if name == view)
    found = [list(map(_with_error, groups[view, str(n)])) for n in sizes]
    if not sizes:
      continue
    label = finish.LABELS[view]
    _bars(left, sizes, found, "judge_error", index, label)
    _bars(right, sizes, found, "information_bits_per_example", index, label)
  clean = 1 - records[0]["summary"]["judge_clean_accuracy"]
  left.axhline(clean, color="0.5", linewidth=1, label="clean images")
  for axis in (left, right):
    axis.set_xscale("log", base=2)
    ticks = sorted({int(size) for _, size in groups})
    axis.set_xticks(ticks, map(str, ticks))
    axis.set_xlabel("readout neurons")
    axis.grid(alpha=0.3)
  for axis in (left, right):
    axis.set_yscale("log")
  shares = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
  left.set_yticks(shares, [f"{share:g}" for share in shares])
  left.set_ylabel("share of test images misread by the judge")
  right.set_ylabel("information bound (bits per example)")
  bits = (20, 50, 100, 200, 500, 1000, 2000, 5000)
  right.set_yticks(bits, [f"{some:,}" for some in bits])
  figure.legend(
    *left.get_legend_handles_labels(), fontsize="small", ncols=4,
    loc="outside lower center",
  )  # fmt: skip
  title = f"{_provenance(records)}\n{_betas(records)}"
  figure.suptitle(title, fontsize="medium")
  return figure


def ablations(records: list[dict]) -> Figure:
  """Distortion and accuracy against bits: a point per beta, a dot per seed."""
  groups = {
    float(beta): found
    for (beta,), found in by_row(records, r"beta ([\d.e+-]+)").items()
  }
  figure = Figure((10.0, 4.0), layout="constrained")
  left, right = figure.subplots(1, 2)
  betas, bits_of = sorted(groups), "information_bits_per_example"
  points = {
    name: [_spread(groups[beta], name) for beta in betas]
    for name in (bits_of, "pixel_cross_entropy", "judge_accuracy")
  }
  for axis, name, label in (
    (left, "pixel_cross_entropy", "distortion (nats per pixel)"),
    (right, "judge_accuracy", "judge accuracy (share of test images)"),
  ):
    bits = points[bits_of]
    for index, (beta, (x, _), (y, _)) in enumerate(
      zip(betas, bits, points[name], strict=True)
    ):
      colour = colormaps["viridis"](0.95 * index / max(len(betas) - 1, 1))
      look = {"color": colour, "marker": "os^Dv<>P"[index % 8], "linestyle": ""}
      axis.plot(x, y, label=f"β = {beta:g}", **look)
      each = [(run[bits_of], run[name]) for run in groups[beta]]
      axis.plot(*zip(*each, strict=True), markersize=2.5, alpha=0.6, **look)
    axis.set(xlabel="information bound (bits per example)", ylabel=label)
    axis.grid(alpha=0.3)
  right.legend(fontsize="small", loc="lower center")
  default = base.get_config().encoder.num_readout
  size = records[0]["settings"].get("encoder.num_readout", default)
  title = (
    f"{_provenance(records)}\n{size} readout neurons; means, and each seed in"
    " small"
  )
  figure.suptitle(title, fontsize="medium")
  return figure


METRICS = {
  "judge accuracy": ("judge_accuracy", 3),
  "nats/pixel": ("pixel_cross_entropy", 4),
  "bits/example": ("information_bits_per_example", 0),
}


def table(records: list[dict]) -> str:
  """A row per row of the study, with the accuracy of every seed."""
  head = ["row", *METRICS, "accuracy of each seed"]
  lines = [head, ["---"] * len(head)]
  for (row,), found in by_row(records, "(.*)").items():
    cells = [row]
    for name, digits in METRICS.values():
      mean, error = _spread(found, name)
      spread = f" ± {error:,.{digits}f}" if len(found) > 1 else ""
      cells.append(f"{mean:,.{digits}f}{spread}")
    each = ", ".join(f"{s['judge_accuracy']:.3f}" for s in found)
    lines.append([*cells, each])
  return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


FIGURES = {"readout_neurons": readout_neurons, "ablations": ablations}


def draw(path: pathlib.Path, output: str | os.PathLike) -> pathlib.Path:
  """Draws the figure of the records in a file; returns the picture's path."""
  records = study_records.read(path)
  name = records[0]["study"] if records else None
  if name not in FIGURES:
    raise ValueError(
      f"records: expected a study of {', '.join(FIGURES)} in {path}, got {name}"
    )
  folder = pathlib.Path(output)
  folder.mkdir(parents=True, exist_ok=True)
  picture = folder / f"{name}.png"
  (folder / f"{name}.md").write_text(table(records))
  FIGURES[name](records).savefig(picture, dpi=150, metadata={"Software": None})
  return picture


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_string("records", None, "File that `study` wrote.")
  flags.DEFINE_string("output", ".", "Folder of the pictures.")


def main(argv):
  """Parses the flags and turns errors of use into one line."""
  if len(argv) > 1 or not flags.FLAGS.records:
    raise app.UsageError("expected --records=FILE and no other arguments")
  try:
    print(draw(pathlib.Path(flags.FLAGS.records), flags.FLAGS.output))
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  define()
  app.run(main)
