"""How much of what can be decoded lies in spike times, and not in counts.

  share = 1 - I(counts; label) / I(train; label)                          (1)

Both are estimates of probes that are fitted alike: the one to the counts alone,
the other to the counts and the whole train. Counts are part of the train: where
the first does better on held-out trains, as with few examples it may, it stands
for both. 0: a rate code; 1: a code whose counts say nothing.
"""

from typing import NamedTuple

import numpy as np

from timedecode import probe

_RESAMPLES = 2000


class TimingShare(NamedTuple):
  """The answer.

  Attributes:
    share: equation (1) in [0, 1]; None where nothing can be decoded.
    low, high: 95 % interval over test examples (bootstrap), or None.
    intact: `probe.Probe` of whole trains; None where no spikes vary.
    counts: `probe.Probe` of counts; None likewise.
    statement: in words.
  """

  share: float | None
  low: float | None
  high: float | None
  intact: probe.Probe | None
  counts: probe.Probe | None
  statement: str


def _features(spikes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(of the counts [M, N], of counts and trains [M, N + T N])."""
  counts = spikes.sum(1)
  return counts, np.concatenate([counts, spikes.reshape(len(spikes), -1)], 1)


def _share(intact: float, counts: float) -> float:
  return float(np.clip(1.0 - counts / intact, 0.0, 1.0))


def _interval(intact, counts, seed):
  """Of the share, over test examples that are drawn anew."""
  generator, found = np.random.default_rng(seed), []
  for _ in range(_RESAMPLES):
    rows = generator.integers(0, len(intact), len(intact))
    whole = intact[rows].mean()
    if whole > 0:
      found.append(_share(whole, counts[rows].mean()))
  return tuple(map(float, np.quantile(found, (0.025, 0.975))))


def _no_answer(spikes: np.ndarray) -> str:
  """Why there is nothing to ask; "" where there is."""
  if not spikes.any():
    return "silent: no neuron fires, nothing can be decoded"
  if spikes.all():
    return "saturated: every neuron fires at every step, nothing can be decoded"
  if (spikes == spikes[:1]).all():
    return "constant: all trains are equal, nothing can be decoded"
  return ""


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
    ValueError: shapes.
  """
  (spikes, labels), (others, theirs) = train, test
  for name, value in (("train", spikes), ("test", others)):
    if value.ndim != 3:
      raise ValueError(
        f"{name}: expected spikes [M, T, N], got shape {value.shape}"
      )
  if told := _no_answer(np.concatenate([spikes, others])):
    return TimingShare(None, None, None, None, None, told)
  (few, many), (few_test, many_test) = _features(spikes), _features(others)
  counts = probe.fit((few, labels), (few_test, theirs), seed, steps)
  intact = probe.fit((many, labels), (many_test, theirs), seed, steps)
  if counts.held_out_loss <= intact.held_out_loss:
    intact = counts
  if intact.bits < 2 * intact.standard_error:
    told = (
      f"nothing that can be told from 0 is decoded: {intact.bits:.3f} ±"
      f" {intact.standard_error:.3f} bits of whole trains"
    )
    return TimingShare(None, None, None, intact, counts, told)
  low, high = _interval(intact.gains, counts.gains, seed)
  share = _share(intact.bits, counts.bits)
  told = (
    f"{intact.bits:.2f} bits of the label are decoded from whole trains,"
    f" {counts.bits:.2f} from counts: a share of {share:.2f} ({low:.2f} to"
    f" {high:.2f}) lies in spike times"
  )
  return TimingShare(share, low, high, intact, counts, told)
