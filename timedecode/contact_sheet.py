"""One picture of a source of examples: what it shows, when, and how often.

Drawn in the style of `plots`: a function writes a PNG, and the one of the
same name with a leading underscore draws it and returns the figure.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from timedecode import plots

MAX_CLASSES = 10  # Columns of a sheet.


class Row(NamedTuple):
  """Pictures of one kind, one per class, on one scale from 0.

  label: of the row; pictures: [K, height, width] >= 0; unit: of their values.
  """

  label: str
  pictures: np.ndarray
  unit: str


class Rates(NamedTuple):
  """How often neurons fire: values [N] >= 0, and their unit."""

  values: np.ndarray
  unit: str


def _draw_rates(axis, rates: Rates) -> None:
  """A histogram; silent neurons have their own number, not a bar."""
  values = np.asarray(rates.values)
  silent = int((values == 0).sum())
  active = values[values > 0]
  if active.size:
    axis.hist(
      active,
      bins=min(40, max(5, active.size // 5)),
      color=plots.COLOURS[0],
      edgecolor="white",
      linewidth=0.3,
    )
  axis.set_xlim(left=0.0)
  axis.set(xlabel=f"firing rate ({rates.unit})", ylabel="neurons")
  axis.set_title(
    f"{silent:,} of {values.size:,} neurons silent",
    fontsize="small",
  )
  axis.grid(alpha=0.3)


def _draw_row(figure, axes, row: Row, classes: Sequence[str], top: bool):
  highest = max(float(row.pictures.max(initial=0.0)), 1e-9)
  used = axes[: len(classes)]
  for axis, picture, name in zip(used, row.pictures, classes, strict=True):
    shown = axis.imshow(
      picture, cmap="gray", vmin=0.0, vmax=highest, aspect="auto"
      if max(picture.shape) > 2 * min(picture.shape) else "equal",
    )  # fmt: skip
    axis.set(xticks=[], yticks=[])
    if top:
      axis.set_title(name, fontsize="small")
  axes[0].set_ylabel(row.label, rotation=0, ha="right", va="center")
  if len(used) < len(axes):  # Beside the last picture.
    place = {"cax": axes[len(used)].inset_axes((0.02, 0.0, 0.08, 1.0))}
  else:
    place = {"ax": list(axes), "pad": 0.01, "aspect": 12}
  bar = figure.colorbar(shown, **place)
  bar.set_label(row.unit, fontsize="small")
  bar.locator = ticker.MaxNLocator(3, integer=highest > 1)
  bar.update_ticks()


def _spread(spikes: np.ndarray) -> tuple[np.ndarray, str]:
  """At most `plots.MAX_ROWS` neurons, evenly from those that spike."""
  active = np.flatnonzero(spikes.any(axis=0))
  if spikes.shape[1] <= plots.MAX_ROWS:
    return spikes, f"all {spikes.shape[1]}"
  if len(active) > plots.MAX_ROWS:
    places = np.linspace(0, len(active) - 1, plots.MAX_ROWS).round()
    chosen = active[places.astype(int)]
    return spikes[:, chosen], f"{len(chosen)} of {len(active):,} active"
  return spikes[:, active], f"all {len(active)} active"


def _examples(
  rows: Sequence[Row],
  classes: Sequence[str],
  spikes: np.ndarray,
  rates: Rates,
  title: str,
  step: str = "steps",
) -> Figure:
  count = len(classes)
  if not 1 <= count <= MAX_CLASSES:
    raise ValueError(f"classes: expected 1..{MAX_CLASSES}, got {count}")
  for row in rows:
    if row.pictures.ndim != 3 or len(row.pictures) != count:
      raise ValueError(
        f"{row.label!r}: expected {count} pictures [K, height, width], got"
        f" shape {row.pictures.shape}"
      )
  figure = Figure((11.0, 1.1 * len(rows) + 3.8), layout="constrained")
  upper, lower = figure.subfigures(
    2, 1, height_ratios=(1.1 * len(rows) + 0.4, 3.2)
  )
  # As many columns as ten classes take: pictures keep their size.
  grid = upper.subplots(len(rows), MAX_CLASSES, squeeze=False)
  for number, (line, row) in enumerate(zip(grid, rows, strict=True)):
    for axis in line[count:]:
      axis.set_axis_off()
    _draw_row(upper, line, row, classes, number == 0)
  train, histogram = lower.subplots(1, 2, width_ratios=(3, 2))
  shown, name = _spread(np.asarray(spikes))
  plots._draw_spikes(train, shown, f"neuron\n({name})", plots.COLOURS[0])
  train.set_xlabel(f"time ({step})")
  train.set_title(f"spikes of the example of {classes[0]}", fontsize="small")
  _draw_rates(histogram, rates)
  figure.suptitle(title, fontsize="medium")
  return figure


def examples(
  path: str | os.PathLike,
  rows: Sequence[Row],
  classes: Sequence[str],
  spikes: np.ndarray,
  rates: Rates,
  title: str,
  step: str = "steps",
) -> None:
  """An example per class, the spikes of the first, and rates of neurons.

  Args:
    path: of the PNG.
    rows: `Row`s of as many pictures as there are classes.
    classes: their names, at most `MAX_CLASSES`.
    spikes: [T, N] of the first class's example; of more than
      `plots.MAX_ROWS` neurons as many are drawn, evenly from those that spike.
    rates: over a split.
    title: names the source, and says where it is simulated.
    step: unit of time, say "steps of 10 ms".

  Raises:
    ValueError: no class, too many, or other numbers of pictures.
  """
  plots._save(_examples(rows, classes, spikes, rates, title, step), path)


def _sequences(trains: np.ndarray, rates: Rates, title: str) -> Figure:
  if trains.ndim != 3 or not len(trains):
    raise ValueError(
      f"trains: expected at least one [K, T, N], got shape {trains.shape}"
    )
  lines = -(-len(trains) // 2)
  figure = Figure((11.0, 1.7 * lines + 0.6), layout="constrained")
  grid = figure.add_gridspec(lines, 5)
  first = None
  for number, spikes in enumerate(trains):
    line, column = divmod(number, 2)
    axis = figure.add_subplot(
      grid[line, 2 * column : 2 * column + 2],
      sharex=first, sharey=first,
    )  # fmt: skip
    first = first or axis
    name = "neuron" if column == 0 else ""
    plots._draw_spikes(axis, spikes, name, plots.COLOURS[0])
    axis.set_title(f"example {number}", fontsize="small")
    last = number + 2 >= len(trains)
    axis.tick_params(labelbottom=last, labelleft=column == 0)
    axis.set_xlabel("time (steps)" if last else "")
  _draw_rates(figure.add_subplot(grid[:, 4]), rates)
  figure.suptitle(title, fontsize="medium")
  return figure


def sequences(
  path: str | os.PathLike, trains: np.ndarray, rates: Rates, title: str
) -> None:
  """Rasters of trains that have no classes, and rates of neurons.

  Args:
    path: of the PNG.
    trains: spikes [K, T, N], K >= 1.
    rates: over a split.
    title: names the source, and says where it is simulated.

  Raises:
    ValueError: no train, or another rank.
  """
  plots._save(_sequences(trains, rates, title), path)
