"""Pictures of a run: reconstructions, spike rasters, learning curves.

Each function writes one PNG; a function of the same name with a leading
underscore draws it and returns the figure. Colours are those of Okabe and
Ito, told apart also by people with colour-blindness, and line styles differ.
"""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":")
MAX_ROWS = 200  # Neurons of a layer in a raster; more would not be visible.


def _save(figure: Figure, path: str | os.PathLike) -> None:
  figure.savefig(path, dpi=150, metadata={"Software": None})


def _reconstructions(named: dict[str, np.ndarray], title: str) -> Figure:
  count = len(next(iter(named.values())))
  for name, images in named.items():
    if images.ndim != 3 or len(images) != count:
      raise ValueError(
        f"{name}: expected {count} images [N, height, width], got"
        f" shape {images.shape}"
      )
  figure = Figure(
    (0.8 * count + 1.6, 0.8 * len(named) + 0.6), layout="constrained"
  )
  axes = figure.subplots(len(named), count, squeeze=False)
  for line, (name, images) in zip(axes, named.items(), strict=True):
    for axis, image in zip(line, images, strict=True):
      axis.imshow(image, cmap="gray", vmin=0.0, vmax=1.0)
      axis.set(xticks=[], yticks=[])
    line[0].set_ylabel(
      name.replace(", ", ",\n").replace(" decoding", "\ndecoding"),
      rotation=0, ha="right", va="center",
    )  # fmt: skip
  figure.suptitle(title, fontsize="medium")
  return figure


def reconstructions(
  path: str | os.PathLike, rows: dict[str, np.ndarray], title: str
) -> None:
  """Originals and reconstructions below each other.

  Args:
    path: of the PNG.
    rows: label -> images [N, height, width] in [0, 1], one row each.
    title: of the figure.

  Raises:
    ValueError: numbers of images that differ.
  """
  _save(_reconstructions(rows, title), path)


def _draw_spikes(axis, spikes: np.ndarray, name: str, colour: str) -> None:
  steps, neurons = np.nonzero(spikes)
  size = np.clip(300.0 / spikes.shape[1], 0.6, 6.0)
  axis.plot(steps, neurons, "|", color=colour, markersize=size, mew=1.0)
  axis.set_ylabel(name)
  axis.set_ylim(-0.5, spikes.shape[1] - 0.5)
  axis.set_xlim(-0.5, spikes.shape[0] - 0.5)
  axis.yaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))


def _thin(spikes: np.ndarray) -> tuple[np.ndarray, str]:
  """At most `MAX_ROWS` neurons, the most active ones, in their order."""
  total = spikes.shape[1]
  if total <= MAX_ROWS:
    return spikes, f"all {total}"
  busiest = np.argsort(-spikes.sum(axis=0), kind="stable")[:MAX_ROWS]
  return spikes[:, np.sort(busiest)], f"{MAX_ROWS} busiest of {total}"


def _raster(
  inputs: np.ndarray,
  hidden: Sequence[np.ndarray],
  readout: np.ndarray,
  pictures: dict[str, np.ndarray],
  title: str,
) -> Figure:
  layers = [("input", inputs)]
  layers += [(f"hidden {i + 1}", spikes) for i, spikes in enumerate(hidden)]
  layers += [("readout", readout)]
  figure = Figure((8.0, 1.9 * len(layers) + 0.6), layout="constrained")
  grid = figure.add_gridspec(2 * len(layers), 4)
  axes = []
  for index, (name, spikes) in enumerate(layers):
    axis = figure.add_subplot(
      grid[2 * index : 2 * index + 2, : 3 if pictures else 4],
      sharex=axes[0] if axes else None,
    )
    spikes, shown = _thin(spikes)
    _draw_spikes(
      axis, spikes, f"{name} neuron\n({shown})", COLOURS[index % len(COLOURS)]
    )
    axis.tick_params(labelbottom=index == len(layers) - 1)
    axes.append(axis)
  axes[-1].set_xlabel("time (steps)")
  halves = slice(0, len(layers)), slice(len(layers), None)
  for half, (name, image) in zip(halves, pictures.items(), strict=False):
    axis = figure.add_subplot(grid[half, 3])
    axis.imshow(image, cmap="gray", vmin=0.0, vmax=1.0)
    axis.set(xticks=[], yticks=[], xlabel=name)
  figure.suptitle(title, fontsize="medium")
  return figure


def raster(
  path: str | os.PathLike,
  inputs: np.ndarray,
  hidden: Sequence[np.ndarray],
  readout: np.ndarray,
  pictures: dict[str, np.ndarray],
  title: str,
) -> None:
  """Spikes of every layer over time, beside the image and its decoding.

  Args:
    path: of the PNG.
    inputs: spikes [T, N_x].
    hidden: spikes [T, N_h] per hidden layer; of a layer with more than
      `MAX_ROWS` neurons the most active ones are drawn, and the label says so.
    readout: y, spikes [T, N_y].
    pictures: name -> [height, width] in [0, 1], none or two.
    title: of the figure.
  """
  _save(_raster(inputs, hidden, readout, pictures, title), path)


CURVES = {
  "judge_accuracy": (
    ("judge_accuracy", "judge accuracy (share of images)"),
    ("pixel_cross_entropy", "distortion (nats per pixel)"),
    ("information_bits", "information bound (bits per example)"),
  ),
  "accuracy": (
    ("accuracy", "accuracy (share of examples)"),
    ("distortion", "distortion (nats per example)"),
    ("information_bits", "information bound (bits per example)"),
  ),
}


def _learning_curves(
  runs: dict[str, list[dict]], title: str, metric: str = "judge_accuracy"
) -> Figure:
  curves = CURVES[metric]
  figure = Figure((11.0, 3.4), layout="constrained")
  axes = figure.subplots(1, len(curves))
  for axis, (field, label) in zip(axes, curves, strict=True):
    for index, (name, rows) in enumerate(runs.items()):
      axis.plot(
        [row["examples_seen"] / 1000 for row in rows],
        [row[field] for row in rows],
        STYLES[index % len(STYLES)],
        color=COLOURS[index % len(COLOURS)],
        marker="o",
        markersize=3,
        label=name,
      )
    axis.set(xlabel="examples seen (thousands)", ylabel=label)
    axis.grid(alpha=0.3)
  axes[0].legend(fontsize="small")
  figure.suptitle(title, fontsize="medium")
  return figure


def learning_curves(
  path: str | os.PathLike,
  runs: dict[str, list[dict]],
  title: str,
  metric: str = "judge_accuracy",
) -> None:
  """Validation figures against examples seen.

  Args:
    path: of the PNG.
    runs: label -> rows of a metrics file, with `examples_seen` and the fields
      of ``CURVES[metric]``.
    title: of the figure.
    metric: 'judge_accuracy' or 'accuracy'.
  """
  _save(_learning_curves(runs, title, metric), path)
