"""Part of `report`: numbers as text, cells of tables, the Markdown."""

import math
import re
from html import escape

import numpy as np

MISSING = "–"
# Figure -> (name, unit, decimals); the first ones have columns.
METRICS = {
  "accuracy": ("accuracy", "share", 3),
  "judge_accuracy": ("judge accuracy", "share", 3),
  "pixel_cross_entropy": ("distortion", "nats/pixel", 4),
  "distortion": ("distortion", "nats/example", 3),
  "information_bits_per_example": ("information", "bits/example", 1),
  "mean_squared_error": ("squared error", "on [-1, 1]", 4),
  "readout_spikes_per_example": ("spikes", "spikes/example", 1),
  "baseline_accuracy": ("baseline: accuracy", "share", 3),
  "baseline_judge_accuracy": ("baseline: judge accuracy", "share", 3),
  "baseline_pixel_cross_entropy": ("baseline: distortion", "nats/pixel", 4),
  "train_seconds": ("training", "seconds", 0),
  "judge_clean_accuracy": ("judge on clean images", "share", 3),
  "validation_accuracy": ("accuracy, validation", "share", 3),
  "validation_judge_accuracy": ("judge accuracy, validation", "share", 3),
  "psnr_db": ("PSNR", "dB", 2),
  "information_bits_per_spike": ("information", "bits/spike", 2),
  "hidden_rate": ("hidden rate", "spikes/step", 4),
  "readout_rate": ("readout rate", "spikes/step", 4),
  "steps": ("steps", "", 0),
  "examples_seen": ("examples", "", 0),
  "examples_per_second": ("speed", "examples/s", 0),
}
_COLUMNS = [*METRICS][:11]

NOTE = (
  "Means ± standard deviations over runs that differ in their seed (ddof = 1;"
  " of one run its figure alone), each of the data and split beside it."
)


def is_number(value) -> bool:
  """Whether it is an integer or a float, and floats can hold it."""
  number = isinstance(value, int | float) and not isinstance(value, bool)
  return number and (isinstance(value, float) or abs(value) < 2**1023)


def value_text(value) -> str:
  """A setting as text."""
  if value is None:
    return MISSING
  if isinstance(value, list):
    return ", ".join(map(value_text, value)) or "none"
  return f"{value:.9g}" if isinstance(value, float) else str(value) or '""'


def mean_text(values: list[float], digits: int | None = None) -> str:
  """Mean ± standard deviation over seeds (ddof = 1); of one value its own.

  Decimals are `digits`, by default those of four significant ones; more where
  the deviation would vanish.
  """
  if not values:
    return MISSING
  mean = float(np.mean(values))
  spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
  place = lambda x: math.floor(math.log10(x)) if 0 < x < math.inf else 0
  if digits is None:
    digits = min(max(3 - place(abs(mean)), 0), 8)
  if abs(mean) * 1e-9 < spread < 0.5 * 10**-digits:
    digits = min(1 - place(spread), 8)
  style = "z.4g" if abs(mean) >= 1e9 else f"z,.{digits}f"
  return f"{mean:{style}}" + f" ± {spread:{style}}" * (len(values) > 1)


def values_of(row, name: str) -> list[float]:
  """The figure of every seed that has it."""
  found = [run.summary.get(name) for run in row.runs]
  return [float(value) for value in found if is_number(value)]


def columns(rows) -> list[str]:
  """Figures that get a column: those of `METRICS` first, then unknown ones."""
  names = {name for row in rows for run in row.runs for name in run.summary}
  names = [*_COLUMNS, *sorted(names - {*METRICS, "seed"})]
  found = [name for name in names if any(values_of(row, name) for row in rows)]
  if all(values_of(r, "pixel_cross_entropy") for r in rows if r.split):
    found = [name for name in found if name != "distortion"]  # The same twice.
  return found


def cells(row, fields: list[str], names: list[str]) -> tuple[list, list]:
  """As text: what a row is, with its number of runs; its figures."""
  done = sum(not run.state for run in row.runs)
  left = [f"seed {run.seed}: {run.state}" for run in row.runs if run.state]
  text = [row.name, *(value_text(row.settings.get(field)) for field in fields)]
  text += [row.data, row.split or MISSING, "; ".join([str(done), *left])]
  figures = []
  for name in names:
    values = values_of(row, name)
    part = f" ({len(values)} of {done})" if 0 < len(values) < done else ""
    figures.append(mean_text(values, METRICS.get(name, [None])[-1]) + part)
  return text, figures


def headings(names: list[str]) -> list[tuple[str, str]]:
  """Name and unit of every figure."""
  return [METRICS.get(name, (name, ""))[:2] for name in names]


def brief(study) -> str:
  """A study's rows in few columns, the figure that matters of every seed."""
  metric = "accuracy" if values_of(study.rows[0], "accuracy") else None
  metric = metric or "judge_accuracy"
  names = [
    metric, f"validation_{metric}", "information_bits_per_example",
    "mean_squared_error",
  ]  # fmt: skip
  names = [n for n in names if any(values_of(row, n) for row in study.rows)]
  heads = [", ".join(filter(None, pair)) for pair in headings(names)]
  head = ["row", heads[0], "by seed", *heads[1:], "training, seconds"]
  lines = [head, ["---"] * len(head)]
  for row in study.rows:
    first, *others = (
      mean_text(values_of(row, name), METRICS[name][-1]) for name in names
    )
    seeds = ", ".join(f"{value:.3f}" for value in values_of(row, metric))
    seconds = mean_text(values_of(row, "train_seconds"), 0)
    lines.append([row.name, first, seeds, *others, seconds])
  table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
  where = sorted({f"{row.data}, {row.split}" for row in study.rows})
  return f"{'; '.join(where)}.\n\n{table}\n"


def markdown(studies, problems: list[str]) -> str:
  """All rows of all studies as one table, and what could not be read."""
  clean = lambda text: re.sub(
    r"([\\`*\[\]|])", r"\\\1", escape(" ".join(text.split()), quote=False)
  )
  names = columns([row for study in studies for row in study.rows])
  head = ["study", "row", "settings", "data", "split", "runs"]
  units = [f"{n}, {unit}".strip(", ") for n, unit in headings(names)]
  lines = [[*head, *map(clean, units)]]
  lines.append(["---"] * len(head) + ["---:"] * len(names))
  shared = []
  for study in studies:
    for row in study.rows:
      text, figures = cells(row, study.differing, names)
      pairs = zip(study.differing, text[1:-3], strict=True)
      settings = "; ".join(f"{name} = {value}" for name, value in pairs)
      found = [study.name, row.name, settings or MISSING, *text[-3:], *figures]
      lines.append(map(clean, found))
    pairs = [f"{f} = {value_text(v)}" for f, v in study.shared.items()]
    said = "; ".join([*pairs, "all else as in experiments/configs/base.py"])
    shared.append(clean(f"All rows of {study.name}: {said}."))
  table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
  table = "\n\n".join([NOTE, *shared, table])
  told = "\n".join(f"- {clean(text)}" for text in problems)
  return f"{table}\n" + f"\nNot read:\n\n{told}\n" * bool(told)
