"""The pictures of `microscope`; each function draws one and returns it."""

import numpy as np
from matplotlib.figure import Figure

from timedecode import plots

XLABELS = {
  "shuffle": "window of the shuffle (steps)",
  "jitter": "reach of the jitter (steps; rms move a third of it)",
  "merge": "share of steps with merged neurons",
  "drop": "share of spikes dropped",
  "add": "share of silences that fire",
}


def _band(axis, x, points, name, index, label):
  """A curve with its 95 % interval."""
  y, low, high = (
    [p[name + end] for p in points] for end in ("", "_low", "_high")
  )
  colour = plots.COLOURS[index]
  axis.plot(
    x, y, color=colour, linestyle=plots.STYLES[index % 4], markersize=3.5,
    marker="os^Dv"[index], label=label,
  )  # fmt: skip
  axis.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)


def timing(found: dict, title: str) -> Figure:
  """What is lost when times are destroyed, identities, spikes."""
  figure = Figure((11.0, 6.4), layout="constrained")
  axes = figure.subplots(2, 3).ravel()
  metric = found["metric"].replace("_", " ")
  levels = [
    (found["retrained"][name], style, label)
    for name, style, label in (
      ("counts", "--", "decoder retrained on counts"),
      ("trains", ":", "decoder retrained on trains"),
    )
  ]
  for index, (axis, kind) in enumerate(zip(axes, XLABELS, strict=False)):
    points = found["curves"][kind]
    x = [p["strength"] for p in points]
    _band(axis, x, points, "accuracy", index, "as trained")
    for level, style, label in levels:
      accuracy, *ends = (
        level[f"accuracy{end}"] for end in ("", "_low", "_high")
      )
      axis.axhline(accuracy, color="0.35", linestyle=style, lw=1, label=label)
      axis.axhspan(*ends, color="0.35", alpha=0.12, lw=0)
    axis.set(xlabel=XLABELS[kind], ylabel=metric, ylim=(0, 1))
    axis.grid(alpha=0.3)
    axis.set_title(kind, fontsize="medium")
  axes[0].legend(fontsize="x-small", loc="lower left")
  _shares(axes[5], found)
  figure.suptitle(title, fontsize="medium")
  return figure


def _shares(axis, found) -> None:
  """Bits of the label that probes find in trains and in counts."""
  share = found["timing_share"]
  if share["share"] is None:
    axis.text(0.5, 0.5, share["statement"], ha="center", wrap=True)
    axis.set_axis_off()
    return
  names = f"counts in {share['windows']} windows", "counts of the train"
  bits = [share[n]["bits"] for n in ("timed", "counts")]
  errors = [1.96 * share[n]["standard_error"] for n in ("timed", "counts")]
  axis.bar(names, bits, yerr=errors, color=plots.COLOURS[:2], capsize=4)
  axis.set(ylabel="bits of the label, by probes")
  axis.set_title(
    f"share in spike times: {share['share']:.2f} ({share['low']:.2f} to"
    f" {share['high']:.2f})",
    fontsize="medium",
  )


def anytime(found: dict, title: str) -> Figure:
  """Accuracy, distortion and information by the time that has gone by."""
  figure = Figure((11.0, 3.6), layout="constrained")
  left, middle, right = figure.subplots(1, 3)
  if not found["information"]:
    right.set_axis_off()
  labels = {
    "as trained": "decoder as trained", "prefixes": "trained for prefixes"
  }  # fmt: skip
  for index, (name, points) in enumerate(found["anytime"].items()):
    x = [p["steps"] for p in points]
    _band(left, x, points, "accuracy", index, labels[name])
    _band(middle, x, points, "distortion", index, labels[name])
    if found["latency"][name] is not None:
      at = found["latency"][name]["steps"]
      left.axvline(at, color=plots.COLOURS[index], lw=1, ls=":")
  left.set(ylabel=found["metric"].replace("_", " "), ylim=(0, 1))
  left.set_title("dotted lines: 90 % of the end", fontsize="medium")
  middle.set(ylabel="distortion (nats per example)")
  middle.axhline(
    found["constant_distortion"], color="0.35", lw=1, ls="--",
    label="best answer without spikes",
  )  # fmt: skip
  for index, (name, entry) in enumerate(found["information"].items()):
    right.plot(
      np.arange(1, len(entry["per_step"]) + 1), entry["per_step"],
      color=plots.COLOURS[index], linestyle=plots.STYLES[index],
      label=f"{name} prior: {entry['total']:.1f} bits",
    )  # fmt: skip
  right.set(ylabel="information bound (bits per step)", ylim=(0, None))
  for axis in (left, middle, right):
    axis.set_xlabel("steps of y that have arrived")
    axis.grid(alpha=0.3)
    if axis.axison:
      axis.legend(fontsize="x-small")
  right.set_xlabel("step")
  figure.suptitle(title, fontsize="medium")
  return figure


def _image(figure, axis, values, label, **options) -> None:
  shown = axis.imshow(values, aspect="auto", interpolation="nearest", **options)
  figure.colorbar(shown, ax=axis, label=label)


def structure(found: dict, arrays: dict, title: str) -> Figure:
  """Where bits are, when neurons fire, intervals, variability, correlation."""
  figure = Figure((11.0, 9.4), layout="constrained")
  axes = figure.subplots(3, 3).ravel()
  some, trials = arrays["statistics"], arrays["trial_statistics"]
  _map(
    figure, axes[0], arrays["information_bits"], "information bound", "bits",
    cmap="viridis", vmin=0,
  )  # fmt: skip
  _map(
    figure, axes[1], np.nan_to_num(some.times), "when neurons fire",
    "share of a neuron's spikes", cmap="magma", vmin=0,
  )  # fmt: skip
  known = ~np.isnan(some.intervals)
  gaps = np.where(known, some.intervals, 0).sum(1)
  gaps /= max(known.any(0).sum(), 1)
  axes[2].bar(np.arange(1, len(gaps) + 1), gaps, color=plots.COLOURS[0])
  axes[2].set(xlabel="interval between spikes (steps)", ylabel="share of all")
  axes[2].set_title("intervals, mean over neurons", fontsize="medium")
  _variability(axes[3], some, trials)
  rest = ("within classes", some.correlation_within)
  if trials is not None:
    rest = ("of one example (noise)", trials.correlation)
  pairs = (("all", some.correlation), rest)
  for axis, (words, values) in zip(axes[4:6], pairs, strict=True):
    _image(
      figure, axis, values, "correlation of counts", cmap="RdBu_r", vmin=-1,
      vmax=1,
    )  # fmt: skip
    axis.set_title(f"correlation of counts, {words}", fontsize="medium")
    axis.set(xlabel="readout neuron", ylabel="readout neuron")
  x = np.arange(len(some.selectivity))
  axes[6].bar(x, some.selectivity, color=plots.COLOURS[2])
  axes[6].set(xlabel="readout neuron", ylabel="I(count; class), bits")
  axes[6].set_title("selectivity", fontsize="medium")
  _classes(figure, axes[7], arrays)
  _embedding(axes[8], found, arrays)
  figure.suptitle(title, fontsize="medium")
  return figure


def _map(figure, axis, values, title, label, **options) -> None:
  """Of [T, N]; nothing where there is none."""
  if values is None:
    axis.set_axis_off()
    return
  _image(figure, axis, values.T, label, origin="lower", **options)
  axis.set(xlabel="step", ylabel="readout neuron")
  axis.set_title(title, fontsize="medium")


def _variability(axis, some, trials) -> None:
  """Fano factors of all examples, of a class, and of one example."""
  bars = [("all", some.fano), ("within classes", some.fano_within)]
  if trials is not None:
    bars.append(("one example", trials.fano))
  width, x = 0.8 / len(bars), np.arange(len(some.fano))
  for place, (label, values) in enumerate(bars):
    at = x + width * (place - (len(bars) - 1) / 2)
    axis.bar(at, values, width, label=label, color=plots.COLOURS[place])
  axis.axhline(1.0, color="0.5", lw=1, label="Poisson")
  axis.set(xlabel="readout neuron", ylabel="Fano factor of counts")
  values = [value for _, value in bars]
  axis.set_ylim(0, 1.5 * np.nanmax([*values, np.ones_like(some.fano)]))
  axis.legend(fontsize="x-small", loc="upper center", ncols=2)


def _classes(figure, axis, arrays) -> None:
  """Mean counts of every class."""
  spikes, labels = arrays["spikes"], arrays["labels"]
  counts = spikes.sum(1)
  means = np.stack([counts[labels == c].mean(0) for c in np.unique(labels)])
  _image(figure, axis, means.T, "spikes per example", cmap="viridis",
         vmin=0, origin="lower")  # fmt: skip
  axis.set(xlabel="class", ylabel="readout neuron")
  axis.set_title("mean counts", fontsize="medium")


def _embedding(axis, found, arrays) -> None:
  """t-SNE of whole trains."""
  embedded, labels = arrays["embedding"], arrays["labels"]
  if embedded is None:
    axis.set_axis_off()
    return
  for label in np.unique(labels):
    x, y = embedded[labels == label].T
    axis.plot(
      x, y, linestyle="none", marker=f"${label}$", markersize=4,
      color=f"C{label % 10}",
    )  # fmt: skip
  axis.set(xticks=[], yticks=[])
  scores = [
    f"{name} {found['silhouette'][f'silhouette_of_{name}']:.3f}"
    for name in ("embedding", "trains", "counts")
  ]
  axis.set_title(
    f"t-SNE of trains; silhouettes:\n{', '.join(scores)}", fontsize="medium"
  )
