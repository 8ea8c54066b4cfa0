"""How much of what can be decoded lies in spike times, and not in counts.

  share = 1 - I(counts; label) / I(train; label)                          (1)

Both are estimates of probes that are fitted alike: the one to the counts alone,
others to them and to the counts in 2, 4, 8 windows of the train and in every
step, of which held-out trains choose one, since with few examples fine times
are learned by heart. Counts are part of the train: where they do better on
held-out trains than any of these, they stand for it, and the interval says how
much may yet be in times. 0: a rate code; 1: a code whose counts say nothing.
"""

from typing import NamedTuple

import numpy as np

from timedecode import arrays, intervals, probe

WINDOWS = (2, 4, 8)
LEAST = 4  # Fitting examples: one of them, at least, is held out.


class TimingShare(NamedTuple):
  """The answer.

  Attributes:
    share: equation (1) in [0, 1]; None where nothing can be decoded.
    low, high: 95 % interval over test examples (bootstrap, in pairs), or None;
      of the best probe of times, also where counts stand for it. What a better
      probe would find is not in it.
    intact: `probe.Probe` of what stands for whole trains; None where no spikes
      vary.
    timed: the best `probe.Probe` of times, which is `intact` unless counts
      stand for it; None likewise.
    counts: `probe.Probe` of counts; None likewise.
    windows: in how many `timed` counts spikes, or None.
    statement: in words.
  """

  share: float | None
  low: float | None
  high: float | None
  intact: probe.Probe | None
  timed: probe.Probe | None
  counts: probe.Probe | None
  windows: int | None
  statement: str


def _features(spikes: np.ndarray, windows: int) -> np.ndarray:
  """Counts, and counts in windows of like length: [M, N + windows N]."""
  parts = np.array_split(spikes, windows, axis=1)
  counts = np.stack([part.sum(1) for part in parts], 1)
  return np.concatenate([spikes.sum(1), counts.reshape(len(spikes), -1)], 1)


def _fit(train, test, seed, steps):
  """(probe of counts, the best probe of times, its windows)."""
  (spikes, labels), (others, theirs) = train, test
  most = spikes.shape[1]
  found = {}
  for windows in sorted({w for w in WINDOWS if w < most} | {most}):
    fitted = _features(spikes, windows), labels
    judged = _features(others, windows), theirs
    found[windows] = probe.fit(fitted, judged, seed, steps)
  best = min(found, key=lambda windows: found[windows].held_out_loss)
  few = (spikes.sum(1), labels), (others.sum(1), theirs)
  return probe.fit(*few, seed, steps), found[best], best


def _share(intact: float, counts: float) -> float:
  return float(np.clip(1.0 - counts / intact, 0.0, 1.0))


def _interval(timed, counts, seed):
  """Of the share, over test examples that are drawn anew."""
  ends = intervals.of_ratio(counts, timed, seed) or (0.0, 1.0)
  return tuple(_share(1.0, end) for end in reversed(ends))


def _no_answer(spikes: np.ndarray) -> str:
  """Why there is nothing to ask; "" where there is."""
  if not spikes.any():
    return "silent: no neuron fires, nothing can be decoded"
  if spikes.all():
    return "saturated: every neuron fires at every step, nothing can be decoded"
  if (spikes == spikes[:1]).all():
    return "constant: all trains are equal, nothing can be decoded"
  return ""


def _checked(name, pair, least):
  """(spikes [M, T, N], labels [M]) in NumPy, or an error that says what is."""
  spikes = arrays.spikes(f"spikes of {name}", pair[0])
  labels = arrays.labels(f"labels of {name}", pair[1], len(spikes))
  arrays.at_least(name, labels, least, "examples")
  return spikes, labels


def _checked_pairs(train, test):
  """Both pairs, whose trains are of one size."""
  train = _checked("train", train, LEAST)
  test = _checked("test", test, 2)
  spikes, others = train[0], test[0]
  if others.shape[1:] != spikes.shape[1:]:
    raise ValueError(
      f"spikes of test: expected [M, {spikes.shape[1]}, {spikes.shape[2]}] as"
      f" those of train, got shape {others.shape}"
    )
  return train, test


def timing_share(
  train: tuple[np.ndarray, np.ndarray],
  test: tuple[np.ndarray, np.ndarray],
  seed: int = 0,
  steps: int = 1000,
) -> TimingShare:
  """Fits both probes and compares them.

  Args:
    train: spikes [M, T, N] of 0 and 1, and labels [M].
    test: the same, of other examples.
    seed: of the fits.
    steps: of each fit.

  Raises:
    ValueError: shapes, spikes other than 0 and 1, labels that are no whole
      numbers >= 0, fewer than four examples to fit or two to test.
  """
  train, test = _checked_pairs(train, test)
  if told := _no_answer(np.concatenate([train[0], test[0]])):
    return TimingShare(None, None, None, None, None, None, None, told)
  counts, timed, windows = _fit(train, test, seed, steps)
  intact = min(counts, timed, key=lambda one: one.held_out_loss)
  if intact.bits < 2 * intact.standard_error:
    told = (
      f"nothing that can be told from 0 is decoded: {intact.bits:.3f} ±"
      f" {intact.standard_error:.3f} bits of whole trains"
    )
    return TimingShare(None, None, None, intact, timed, counts, windows, told)
  low, high = _interval(timed.gains, counts.gains, seed)
  share = _share(intact.bits, counts.bits)
  low, high = min(low, share), max(high, share)
  told = (
    f"probes decode {counts.bits:.2f} bits of the label from counts and"
    f" {timed.bits:.2f} from times (counts in {windows} windows): a share of"
    f" {share:.2f} ({low:.2f} to {high:.2f}) lies in spike times"
  )
  if intact is counts:
    told += "; times that these probes can't learn from so few are not excluded"
  return TimingShare(share, low, high, intact, timed, counts, windows, told)
