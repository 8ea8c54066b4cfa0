"""95 % intervals: of shares, of means, of the ratio of two means.

A share p of n examples, by Wilson: all q for which p is within z standard
errors of q, which is never empty at p = 0 or 1 and never leaves [0, 1]:

  |p - q| <= z sqrt(q (1 - q) / n)                                        (1)

Sources: Wilson 1927 (1); Newcombe 1998 (differences); Efron 1979 (bootstrap).
"""

import numpy as np

Z = 1.959964  # Of 95 %, two-sided.
RESAMPLES = 2000


def of_share(share: float, count: int) -> tuple[float, float]:
  """Equation (1), solved for both ends.

  Args:
    share: p, in [0, 1].
    count: n, at least 1.

  Raises:
    ValueError: either out of range.
  """
  if not 0 <= share <= 1 or count < 1:
    raise ValueError(
      f"share, count: expected a share in [0, 1] of at least 1, got {share} of"
      f" {count}"
    )
  weight = Z**2 / count
  centre = (share + weight / 2) / (1 + weight)
  half = np.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
  return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def of_difference(
  share: float, other: float, count: int, count_other: int
) -> tuple[float, float]:
  """Of share - other, two shares of independent examples.

  Of the same examples, whose answers mostly agree, it is too wide.

  Args:
    share, other: in [0, 1].
    count, count_other: of examples.
  """
  low, high = of_share(share, count)
  low_other, high_other = of_share(other, count_other)
  difference = share - other
  return (
    difference - float(np.hypot(share - low, high_other - other)),
    difference + float(np.hypot(high - share, other - low_other)),
  )


def of_mean(values: np.ndarray) -> tuple[float, float]:
  """Mean -+ z standard errors; values [M], of one the value twice."""
  mean, count = float(np.mean(values, dtype=np.float64)), len(values)
  error = np.std(values, ddof=1, dtype=np.float64) if count > 1 else 0.0
  half = float(Z * error / np.sqrt(count))
  return mean - half, mean + half


def of_ratio(
  above: np.ndarray, below: np.ndarray, seed: int = 0
) -> tuple[float, float] | None:
  """Of mean(above) / mean(below), by examples that are drawn anew in pairs.

  Args:
    above, below: of the same examples, [M].
    seed: of the draws.

  Returns:
    Quantiles over the draws whose mean below is positive; None without any.
  """
  generator, found = np.random.default_rng(seed), []
  for _ in range(RESAMPLES):
    rows = generator.integers(0, len(below), len(below))
    whole = below[rows].mean()
    if whole > 0:
      found.append(above[rows].mean() / whole)
  if not found:
    return None
  low, high = np.quantile(found, (0.025, 0.975))
  return float(low), float(high)
