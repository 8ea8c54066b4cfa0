"""Part of `predict`: results.jsonl, table.md, prediction.png, learning.png."""

import json
import pathlib

import numpy as np
from matplotlib.figure import Figure

from timedecode.plots import COLOURS

NAMES = {"full": "learned decoding (VDIB)", "rate": "rate decoding"}
LOOKS = {
  "full": {"color": COLOURS[0], "marker": "o", "linestyle": "-"},
  "rate": {"color": COLOURS[1], "marker": "s", "linestyle": "--"},
}
_KEYS = ("rule", "view", "delta", "beta")


_POINTS = 50  # Of a curve of learning, at most.
_KINDS = {-1: "smoother", 0: "filter", 1: "predictor"}


def curve(accuracy: np.ndarray) -> list[float]:
  """Means over equal parts of training; accuracy [batches], in their order."""
  parts = np.array_split(accuracy, min(_POINTS, len(accuracy)))
  return [round(float(np.mean(part)), 4) for part in parts]


def groups(rows) -> dict[tuple, list[dict]]:
  """(rule, view, delta, beta) -> rows of all seeds, in the table's order."""
  found = {}
  for row in sorted(rows, key=lambda row: [row[k] for k in ("delta", "beta")]):
    found.setdefault(tuple(row[key] for key in _KEYS), []).append(row)
  return found


def spread(rows, name) -> tuple[float, float]:
  """Mean and standard deviation over seeds."""
  values = np.array([row[name] for row in rows])
  return float(values.mean()), float(values.std(ddof=1))


def table(rows, references) -> str:
  """Markdown: a line per condition, and one of references per delta."""
  columns = (
    "delta", "beta", "decoding", "rule", "rate", "factor", "n", "accuracy",
    "first T steps", "cross-entropy (bits)", "information (bits)",
    "spike rate", "accuracy, each seed",
  )  # fmt: skip
  lines = [_line(columns), "|" + "---|" * len(columns)]
  for (rule, view, delta, beta), seeds in groups(rows).items():
    cell = lambda name, digits, seeds=seeds: "{:.{d}f} ± {:.{d}f}".format(
      *spread(seeds, name), d=digits
    )
    lines.append(_line((
      f"{delta:+d}", f"{beta:g}", view, rule, f"{seeds[0]['rate']:g}",
      f"{seeds[0]['factor']:g}", len(seeds), cell("accuracy", 3),
      cell("accuracy_start", 3), cell("cross_entropy_bits", 2),
      cell("information_bits", 2), cell("spikes", 3),
      " ".join(f"{row['accuracy']:.3f}" for row in seeds),
    )))  # fmt: skip
  columns = (
    "delta", "most frequent pattern", "first T steps", "persistence",
    "first T steps",
  )  # fmt: skip
  lines += ["", _line(columns), "|" + "---|" * len(columns)]
  for delta, found in sorted(references.items()):
    names = ("most_frequent", "persistence")
    cells = [found[n + end] for n in names for end in ("", "_start")]
    lines.append(_line((f"{delta:+d}", *(f"{cell:.3f}" for cell in cells))))
  return "\n".join(lines) + "\n"


def _line(cells):
  return "| " + " | ".join(map(str, cells)) + " |"


def _errorbars(axis, xs, groups_of, name, **look):
  means, deviations = zip(*(spread(g, name) for g in groups_of), strict=True)
  axis.errorbar(xs, means, deviations, capsize=3, markersize=5, **look)


def _against_delta(axis, found, references, beta):
  for view, name in NAMES.items():
    keys = [k for k in found if k[0] == "tuned" and k[1] == view]
    keys = [k for k in keys if k[3] == beta]
    _errorbars(axis, [k[2] for k in keys], [found[k] for k in keys],
               "accuracy", label=name, **LOOKS[view])  # fmt: skip
    keys = [k for k in found if k[0] == "published" and k[1] == view]
    if keys:
      look = LOOKS[view] | {"linestyle": "none", "markerfacecolor": "white"}
      _errorbars(axis, [k[2] for k in keys], [found[k] for k in keys],
                 "accuracy", label=f"{name}, published", **look)  # fmt: skip
  deltas = sorted(references)
  for name, label, style, colour in (
    ("persistence", "guess: the present pattern", ":", "0.3"),
    ("most_frequent", "guess: the most frequent pattern", "-.", "0.6"),
  ):
    values = [references[delta][name] for delta in deltas]
    axis.plot(deltas, values, style, color=colour, label=label)
  axis.set(xlabel="delta (steps from input to target)", xticks=deltas,
           ylabel="exact-pattern accuracy", ylim=(0, 1.02))  # fmt: skip
  axis.set_title(f"accuracy against delta, beta {beta:g}", fontsize="medium")


def _against_beta(axis, found, name, label):
  """Deltas with several betas; the second and later ones are hollow, pale."""
  tuned = [key[1:] for key in found if key[0] == "tuned"]
  betas = sorted({beta for _, _, beta in tuned})
  of_delta = {d: {b for _, e, b in tuned if e == d} for _, d, _ in tuned}
  several = sorted(d for d, own in of_delta.items() if len(own) > 1)
  for view, named in NAMES.items():
    for index, delta in enumerate(several):
      own = sorted(of_delta[delta])
      look = LOOKS[view] | {"alpha": 0.6, "markerfacecolor": "white"}
      _errorbars(
        axis, [betas.index(beta) for beta in own],
        [found["tuned", view, delta, beta] for beta in own], name,
        label=f"{named}, delta {delta:+d}", **look if index else LOOKS[view],
      )  # fmt: skip
  axis.set(xlabel="beta (nats per nat)", ylabel=label, ylim=(0, None))
  axis.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
  axis.set_title(f"{name.split('_')[0]} against beta", fontsize="medium")


def figure(path, rows, references, beta) -> None:
  """Accuracy against delta; accuracy and information against beta."""
  found = groups(rows)
  drawn = Figure((14, 5.6), layout="constrained")
  axes = drawn.subplots(1, 3)
  _against_delta(axes[0], found, references, beta)
  _against_beta(axes[1], found, "accuracy", "exact-pattern accuracy")
  _against_beta(axes[2], found, "information_bits", "information (bits/step)")
  below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)}
  for axis in axes:
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
      axis.legend(fontsize="small", **below)
  seeds = len(next(iter(found.values())))
  drawn.suptitle(
    f"Drifting blobs: mean and standard deviation of {seeds} seeds",
    fontsize="medium",
  )
  drawn.savefig(path, dpi=150, metadata={"Software": None})


def learning(path, rows, references, beta) -> bool:
  """Accuracy while a smoother, a filter, a predictor is learnt, a panel per
  delta; whether there was anything to draw, as earlier rows have no curve."""
  found = {
    key: group for key, group in groups(rows).items()
    if key[0] == "tuned" and key[3] == beta
    and all("learning" in row for row in group)
  }  # fmt: skip
  deltas = sorted({delta for _, _, delta, _ in found})
  if not deltas:
    return False
  drawn = Figure((1 + 2.6 * len(deltas), 3.8), layout="constrained")
  axes = drawn.subplots(1, len(deltas), sharey=True, squeeze=False)[0]
  for axis, delta in zip(axes, deltas, strict=True):
    for view, name in NAMES.items():
      for number, row in enumerate(found.get(("tuned", view, delta, beta), ())):
        values = row["learning"]
        share = (np.arange(len(values)) + 0.5) / len(values)
        seen = row["sequences"] / 1000 * share
        look = {k: LOOKS[view][k] for k in ("color", "linestyle")}
        axis.plot(
          seen, values, **look, alpha=0.7, label=None if number else name
        )
    axis.axhline(references[delta]["persistence_start"], ls=":", color="0.3",
                 label="guess: the present pattern")  # fmt: skip
    axis.set_title(
      f"{_KINDS[np.sign(delta)]}, delta {delta:+d}", fontsize="medium"
    )
    axis.set(xlabel="sequences, thousands", ylim=(0, 1.02))
    axis.grid(alpha=0.3)
  axes[0].set_ylabel("accuracy while learning")
  axes[-1].legend(fontsize="small")
  drawn.suptitle(
    f"Drifting blobs, beta {beta:g}: a line per seed, means over training"
    " sequences as they come", fontsize="medium",
  )  # fmt: skip
  drawn.savefig(path, dpi=150, metadata={"Software": None})
  return True


def write(folder: pathlib.Path, rows, references, beta) -> str:
  """Writes the files; returns the table."""
  lines = [json.dumps(row) + "\n" for row in rows]
  (folder / "results.jsonl").write_text("".join(lines))
  text = table(rows, references)
  (folder / "table.md").write_text(text)
  figure(folder / "prediction.png", rows, references, beta)
  learning(folder / "learning.png", rows, references, beta)
  return text
