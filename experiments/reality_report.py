"""Part of `reality`: its tables."""

import numpy as np


def _error(values: np.ndarray) -> float:
  """Standard error of the mean; 0 for a single value."""
  few = len(values) < 2
  return 0.0 if few else float(np.std(values, ddof=1) / np.sqrt(len(values)))


def pooled(figures: dict[str, dict]) -> dict[str, tuple[float, float, int]]:
  """Kind and view -> share judged right, its standard error, seeds.

  Seeds judge the same recordings: the error is that of recordings, each with
  its mean over seeds.
  """
  groups: dict[str, list] = {}
  for name, found in figures.items():
    values = found["judged_right"]["by_recording"]
    groups.setdefault(name.rpartition(", ")[0], []).append(values)
  result = {}
  for name, values in groups.items():
    each = np.mean(values, axis=0)
    result[name] = float(np.mean(each)), _error(each), len(values)
  return result


def paired(figures: dict[str, dict]) -> dict[str, tuple[float, float]]:
  """Kind of recordings -> how much larger the share judged right is with whole
  trains than with counts, and its standard error over the same recordings."""
  groups: dict[str, dict[str, list]] = {}
  for name, found in figures.items():
    kind, view, _ = name.split(", ")
    values = found["judged_right"]["by_recording"]
    groups.setdefault(kind, {}).setdefault(view, []).append(values)
  result = {}
  for kind, views in groups.items():
    if {"full", "rate"} <= set(views):
      full, rate = (np.mean(views[view], axis=0) for view in ("full", "rate"))
      result[kind] = float(np.mean(full - rate)), _error(full - rate)
  return result


def table(figures: dict[str, dict]) -> str:
  """Three tables: judged right, judged as what, and the gap."""
  names = ["set_bits", "share_of_set_bits", "share_near_the_middle",
           "readout_rate", "information_bits"]  # fmt: skip
  right = [["judged right", "share ± standard error", "runs"], ["---"] * 3]
  for kind, (share, error, runs) in pooled(figures).items():
    right.append([kind, f"{share:.3f} ± {error:.3f}", str(runs)])
  for kind, (share, error) in paired(figures).items():
    right.append([f"{kind}, full less rate", f"{share:.3f} ± {error:.3f}", "-"])
  rows = [["judged as", *map(str, range(10))], ["---"] * 11]
  gap = [["mean ± deviation over recordings", "number", *names, "hidden_rate"]]
  gap.append(["---"] * len(gap[0]))
  for kind, found in figures.items():
    rows.append([kind, *(f"{share:.3f}" for share in found["judged_as"])])
    cell = lambda v: f"{v['mean']:.4g} ± {v['standard_deviation']:.2g}"
    cells = [cell(found[name]) for name in names]
    number, hidden = str(found["recordings"]), f"{found['hidden_rate']:.4g}"
    gap.append([kind, number, *cells, hidden])
  line = lambda row: f"| {' | '.join(row)} |\n"
  return "\n".join("".join(map(line, part)) for part in (right, rows, gap))
