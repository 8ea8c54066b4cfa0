"""What spike trains look like: counts, intervals, correlations, selectivity.

Of trains [M, T, N] of M examples, NumPy in and NumPy out, seldom needed inside
of a compiled program. What is not defined, as the variability of a neuron that
never fires, is NaN in the arrays here and left out where means are taken.
"""

from typing import NamedTuple

import numpy as np

from timedecode import arrays


class Statistics(NamedTuple):
  """Of N neurons.

  Attributes:
    rate: spikes per step, [N].
    times: share of all spikes of a neuron per step, [T, N]; NaN if it is
      silent.
    intervals: share of all intervals between successive spikes of a neuron,
      by their length 1 .. T - 1, [T - 1, N]; NaN where there is none.
    fano: variance over mean of the counts, [N]; 1 for a Poisson process,
      1 - rate for independent steps; NaN if silent.
    fano_within: the same within examples of a class, averaged over classes of
      two examples and more in which the neuron fires, [N]; without what the
      classes differ in, with what examples of a class differ in.
    correlation: of the counts of two neurons over examples, [N, N]; NaN where
      one's counts never change.
    correlation_within: the same of what is left of the counts when the mean of
      their class is taken off, [N, N]: noise, and what examples of a class
      differ in.
    selectivity: `count_information` of a neuron's count and the class, [N].
  """

  rate: np.ndarray
  times: np.ndarray
  intervals: np.ndarray
  fano: np.ndarray
  fano_within: np.ndarray
  correlation: np.ndarray
  correlation_within: np.ndarray
  selectivity: np.ndarray


class TrialStatistics(NamedTuple):
  """Of N neurons, over samples of y of the same example: what chance does.

  Attributes:
    fano: variance over mean of the counts of an example, averaged over the
      examples in which the neuron fires, [N]; NaN if it is silent.
    correlation: of what is left of two neurons' counts when the means of their
      example are taken off, [N, N]: noise correlations; NaN where nothing is.
  """

  fano: np.ndarray
  correlation: np.ndarray


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
  """above / below, NaN where below is 0."""
  safe = np.where(below == 0, 1, below)
  return np.where(below == 0, np.nan, above / safe)


def intervals(spikes: np.ndarray) -> np.ndarray:
  """How many intervals of every length: [T - 1, N] of trains [M, T, N].

  An interval of length d is a spike, d - 1 silent steps, and a spike.
  """
  num_steps = spikes.shape[1]
  found = np.zeros((num_steps - 1, spikes.shape[2]))
  since = np.full(spikes.shape[::2], -1)  # Steps since the last spike.
  for step in range(num_steps):
    fires = spikes[:, step] > 0
    known = fires & (since > 0)
    neurons = np.nonzero(known)[1]
    np.add.at(found, (since[known] - 1, neurons), 1)
    since = np.where(fires, 1, np.where(since > 0, since + 1, since))
  return found


def _correlation(values: np.ndarray) -> np.ndarray:
  """Of the columns of [M, N]; NaN where one is constant."""
  centred = values - values.mean(0)
  norms = np.sqrt((centred**2).sum(0))
  norms = np.where(norms < 1e-12, 0.0, norms)
  return _ratio(centred.T @ centred, np.outer(norms, norms))


GROUPS = 16  # Of counts, at most.
PER_CELL = 5  # Examples per pair of a group and a class, at least.


def count_information(counts: np.ndarray, labels: np.ndarray) -> float:
  """I(count; class) in bits, of counts [M] of one neuron and labels [M].

  Counts are joined to at most `GROUPS` groups of like size, which loses
  information if anything. Plug-in estimate less (A - 1)(B - 1) / (2 M ln 2) for
  A groups and B classes, its bias where they are independent, which is too
  much where they aren't: NaN unless M >= `PER_CELL` A B, where it is below
  0.15 bits. Not below 0. Source: Miller 1955.
  """
  edges = np.quantile(counts, np.arange(1, GROUPS) / GROUPS, method="lower")
  groups = np.searchsorted(np.unique(edges), counts, side="left")
  _, a = np.unique(groups, return_inverse=True)
  _, b = np.unique(labels, return_inverse=True)
  joint = np.zeros((a.max() + 1, b.max() + 1))
  if len(a) < PER_CELL * joint.size:
    return float("nan")
  np.add.at(joint, (a, b), 1.0 / len(a))
  alone = np.outer(joint.sum(1), joint.sum(0))
  some = joint > 0
  bits = float((joint[some] * np.log2(joint[some] / alone[some])).sum())
  bias = (joint.shape[0] - 1) * (joint.shape[1] - 1) / (2 * len(a) * np.log(2))
  return max(0.0, bits - bias)


def measure(spikes: np.ndarray, labels: np.ndarray) -> Statistics:
  """`Statistics` of trains.

  Args:
    spikes: [M, T, N] of 0 and 1.
    labels: the class of every train, [M].

  Raises:
    ValueError: other shapes, other values than 0 and 1, or labels that are
      no whole numbers >= 0.
  """
  spikes = arrays.spikes("spikes", spikes).astype(np.float64)
  labels = arrays.labels("labels", labels, len(spikes))
  counts = spikes.sum(1)
  found = intervals(spikes)
  classes = [counts[labels == label] for label in np.unique(labels)]
  several = [c for c in classes if len(c) > 1] or [np.zeros_like(counts[:2])]
  within = np.stack([_ratio(c.var(0, ddof=1), c.mean(0)) for c in several])
  some = ~np.isnan(within)
  means = np.zeros_like(counts)
  for label, group in zip(np.unique(labels), classes, strict=True):
    means[labels == label] = group.mean(0)
  return Statistics(
    rate=spikes.mean((0, 1)),
    times=_ratio(spikes.sum(0), spikes.sum((0, 1))),
    intervals=_ratio(found, found.sum(0)),
    fano=_ratio(counts.var(0), counts.mean(0)),
    fano_within=_ratio(np.where(some, within, 0).sum(0), some.sum(0)),
    correlation=_correlation(counts),
    correlation_within=_correlation(counts - means),
    selectivity=np.array([count_information(c, labels) for c in counts.T]),
  )


def measure_trials(spikes: np.ndarray) -> TrialStatistics:
  """`TrialStatistics` of trains.

  Args:
    spikes: of 0 and 1, S >= 2 samples of each of M examples, [M, S, T, N].

  Raises:
    ValueError: other shapes, or other values than 0 and 1.
  """
  spikes = arrays.spikes("spikes", spikes, "M S T N")
  if spikes.shape[1] < 2:
    raise ValueError(
      f"spikes: expected at least 2 samples of every example, got shape"
      f" {spikes.shape}"
    )
  counts = spikes.sum(2, dtype=np.float64)
  each = _ratio(counts.var(1, ddof=1), counts.mean(1))
  some = ~np.isnan(each)
  rest = counts - counts.mean(1, keepdims=True)
  return TrialStatistics(
    _ratio(np.where(some, each, 0).sum(0), some.sum(0)),
    _correlation(rest.reshape(-1, spikes.shape[3])),
  )
