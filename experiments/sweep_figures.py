"""The pictures of a sweep; each function draws one and returns it."""

from collections import defaultdict

import numpy as np
from matplotlib.figure import Figure

from experiments import constant
from timedecode import plots


def cell(value) -> str:
  """A value as text; "" for None."""
  if value is None:
    return ""
  return f"{value:.4g}" if isinstance(value, float) else str(value)


def seedless(result) -> tuple:
  """The values of a member but its seed."""
  return tuple((k, v) for k, v in result["values"].items() if k != "seed")


def _finish(figure, axis, title: str, legend: bool) -> None:
  """What both pictures share: axes, grid, legend, title."""
  axis.set(
    xlabel="information bound (bits per example)",
    ylabel="distortion (nats per example)",
  )
  axis.grid(alpha=0.3)
  if legend:
    axis.legend(fontsize="x-small")
  figure.suptitle(title, fontsize="medium")


def rate_distortion(results: list[dict], title: str) -> Figure:
  """Distortion against information on the test set, means over seeds.

  A line joins the values of beta where that is swept; a label names them.
  """
  series = defaultdict(lambda: defaultdict(list))
  for result in results:
    if result["test"] and result["status"] == "finished":
      rest = {k: v for k, v in seedless(result) if k != "beta"}
      name = ", ".join(f"{k}={cell(v)}" for k, v in rest.items())
      beta = result["values"].get("beta")
      series[name][beta].append(result["test"])
  figure = Figure((7.0, 4.6), layout="constrained")
  axis = figure.subplots()
  for index, (name, points) in enumerate(series.items()):
    betas = sorted(points, key=lambda b: b or 0)
    moments = [
      [[test[k] for test in points[beta]] for beta in betas]
      for k in ("information_bits", "distortion")
    ]
    x, y = ([np.mean(v) for v in column] for column in moments)
    dx, dy = (
      [np.std(v, ddof=1) if len(v) > 1 else 0 for v in column]
      for column in moments
    )
    axis.errorbar(
      x, y, dy, dx, marker="os^D"[index % 4], capsize=2, linewidth=1,
      color=plots.COLOURS[index % len(plots.COLOURS)],
      linestyle=plots.STYLES[index // len(plots.COLOURS) % 4],
      label=name or None,
    )  # fmt: skip
    if len(series) <= 3 and betas != [None]:
      for beta, place in zip(betas, zip(x, y, strict=True), strict=True):
        axis.annotate(
          f"β = {cell(beta)}", place, xytext=(4, 4),
          textcoords="offset points", fontsize="x-small",
        )  # fmt: skip
  _finish(figure, axis, title, 1 < len(series) <= 24)
  return figure


def information_plane(ends: list, without: list[float], title: str) -> Figure:
  """Information about the target against that about x while members train.

  Args:
    ends: `sweep_report.End`s.
    without: of each the distortion of the best constant answer, see `constant`.
    title: of the picture.
  """
  figure = Figure((7.0, 4.6), layout="constrained")
  axis = figure.subplots()
  for index, (end, nats) in enumerate(zip(ends, without, strict=True)):
    some = [row for row in end.rows if row["distortion"] is not None]
    x = [row["information_bits"] for row in some]
    y = [constant.taken(nats, row["distortion"]) for row in some]
    colour = plots.COLOURS[index % len(plots.COLOURS)]
    axis.plot(
      x, y, color=colour, linewidth=1, marker=".", markersize=4,
      linestyle=plots.STYLES[index // len(plots.COLOURS) % 4],
      label=end.member.name,
    )  # fmt: skip
    axis.plot(x[-1:], y[-1:], color=colour, marker="o", markersize=7)
  axis.axhline(0, color="0.6", linewidth=0.8)  # As good as without spikes.
  _finish(figure, axis, title, 1 < len(ends) <= 16)
  axis.set_ylabel("taken about the target (bits per example)")
  return figure
