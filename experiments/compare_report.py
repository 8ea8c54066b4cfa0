"""The comparison's table and figure."""

import json
import pathlib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from timedecode.plots import COLOURS

READINGS = ("equal examples", "equal time")


def _figures(row, reading, name):
  return [run[reading]["test"][name] for run in row["runs"]]


def _mean(row, reading, name, digits=3):
  values = _figures(row, reading, name)
  return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def table(rows, gradients, size) -> list[str]:
  """Markdown rows of one readout size."""
  lines = [
    "| rule | learning rate | judge, equal examples | nats/pixel | bits |"
    " judge, equal time | examples then | examples/s | MB | bias | cosine |"
    " variance |",
    "|" + "---|" * 12,
  ]
  for row in rows:
    if row["size"] != size:
      continue
    seen = row["runs"][0]["steps"]["equal time"] * row["batch_size"]
    found = gradients.get(row["rule"], {})
    cells = [
      f"`{row['rule']}`", f"{row['learning_rate']:g}",
      _mean(row, READINGS[0], "judge_accuracy"),
      _mean(row, READINGS[0], "pixel_cross_entropy", 4),
      _mean(row, READINGS[0], "information_bits", 0),
      _mean(row, READINGS[1], "judge_accuracy"),
      f"{seen:,}", f"{row['batch_size'] / row['step_seconds']:,.0f}",
      f"{row['bytes'] / 1e6:.0f}",
    ]  # fmt: skip
    keys = ("relative_bias", "cosine", "relative_variance")
    shown = (found.get(key) for key in keys)
    cells += ["-" if value is None else f"{value:.3g}" for value in shown]
    lines.append("| " + " | ".join(cells) + " |")
  return lines


def figure(path: pathlib.Path, rows, sizes, title: str) -> None:
  """Judge accuracy of every rule, both readings; dots are seeds."""
  names = list(dict.fromkeys(row["rule"] for row in rows))
  size = (5.2 * len(sizes) + 2, 0.3 * len(names) + 1.6)
  fig = Figure(size, layout="constrained")
  axes = fig.subplots(1, len(sizes), sharey=True, squeeze=False)
  for axis, size in zip(axes[0], sizes, strict=True):
    for index, reading in enumerate(READINGS):
      for row in rows:
        if row["size"] != size:
          continue
        values = _figures(row, reading, "judge_accuracy")
        y = names.index(row["rule"]) + (index - 0.5) * 0.3
        marker = "os"[index]
        axis.plot(values, [y] * len(values), marker, ms=4,
                  color=COLOURS[index], alpha=0.5)  # fmt: skip
        axis.plot(np.mean(values), y, "|", ms=10, color=COLOURS[index], mew=2)
    axis.axvline(0.1, color="0.6", ls=":", lw=1)
    axis.set_title(f"{size} readout neurons")
    axis.set_xlabel("judge accuracy on test images (dotted: chance)")
    axis.set_xlim(0, 1)
    axis.grid(axis="x", color="0.9")
  axes[0][0].set_yticks(range(len(names)), names)
  axes[0][0].invert_yaxis()
  handles = [
    Line2D([], [], color=COLOURS[i], marker="os"[i], ls="", label=reading)
    for i, reading in enumerate(READINGS)
  ]
  axes[0][-1].legend(handles=handles, loc="lower right")
  fig.suptitle(title)
  fig.savefig(path, dpi=130)


def write(folder, config, rows, gradients, examples, seconds) -> None:
  """Writes table.md, comparison.json and comparison.png."""
  for row in rows:
    row["batch_size"] = config.batch_size
  sizes = list(dict.fromkeys(row["size"] for row in rows))
  lines = []
  for size in sizes:
    lines += [f"N_y = {size}", "", *table(rows, gradients, size), ""]
  (folder / "table.md").write_text("\n".join(lines))
  everything = {
    "task": config.name, "data_source": config.data.source,
    "equal_examples": examples, "equal_seconds": seconds, "rows": rows,
    "gradients": gradients,
  }  # fmt: skip
  text = json.dumps(everything, indent=1) + "\n"
  (folder / "comparison.json").write_text(text)
  title = (
    f"{config.name} on {config.data.source}: {examples:,} examples, or"
    f" {seconds:g} s of training"
  )
  figure(folder / "comparison.png", rows, sizes, title)
  print("\n".join(lines))
