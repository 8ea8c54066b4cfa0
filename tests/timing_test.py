"""Probes against closed forms; timing shares of codes that are known."""

import math

import numpy as np
import pytest
from scipy import stats

from timedecode import probe, timing

T, N = 20, 6


def _labels(count, seed, classes=4):
  return np.random.default_rng(seed).integers(0, classes, count)


def _latency(labels, seed):
  """Every neuron fires once, at a step that the label gives, or the next."""
  generator = np.random.default_rng(seed + 1)
  spikes = np.zeros((len(labels), T, N))
  for n in range(N):
    at = (labels * (n + 1)) % 4 * 4 + generator.integers(0, 2, len(labels))
    spikes[np.arange(len(labels)), at, n] = 1
  return spikes


def _rate(labels, seed):
  """A number of spikes that the label gives, at random steps."""
  generator = np.random.default_rng(seed + 2)
  order = generator.random((len(labels), T, N)).argsort(1).argsort(1)
  counts = 3 + 3 * ((labels[:, None] + np.arange(N)) % 4)
  return (order < counts[:, None]).astype(float)


def _mixed(labels, seed):
  """One bit in half of the neurons' times, the other in the others' counts."""
  times = _latency(labels // 2, seed)[:, :, : N // 2]
  counts = _rate(labels % 2, seed)[:, :, N // 2 :]
  return np.concatenate([times, counts], axis=2)


CODES = {"latency": (_latency, 1.0), "rate": (_rate, 0.0), "mix": (_mixed, 0.5)}


@pytest.fixture(name="shares", scope="module")
def _shares():
  found = {}
  for name, (code, _) in CODES.items():
    train, test = _labels(2000, 0), _labels(1000, 9)
    found[name] = timing.timing_share(
      (code(train, 0), train), (code(test, 9), test), steps=400
    )
  return found


@pytest.mark.parametrize("name", CODES)
def test_shares_of_known_codes(shares, name):
  found, expected = shares[name], CODES[name][1]
  assert found.share == pytest.approx(expected, abs=0.1)
  assert found.low <= found.share <= found.high
  assert found.high - found.low < 0.15
  assert found.intact.bits == pytest.approx(2.0, abs=0.1)
  assert found.intact.accuracy > 0.98
  assert f"a share of {found.share:.2f}" in found.statement


@pytest.mark.parametrize("spikes, told", [
  (np.zeros, "silent: no neuron fires"),
  (np.ones, "saturated: every neuron fires at every step"),
  (lambda shape: np.broadcast_to(np.eye(T)[:, :N], shape), "constant: all"),
])  # fmt: skip
def test_trains_that_say_nothing(spikes, told):
  pair = spikes((50, T, N)), _labels(50, 0)
  found = timing.timing_share(pair, pair)
  assert found.share is None and found.statement.startswith(told)


def test_counts_stand_for_trains_where_these_overfit(monkeypatch):
  """A rate code, a quarter of its cells of chance, few examples, no windows."""
  monkeypatch.setattr(timing, "WINDOWS", ())

  def noisy(labels, seed):
    generator, spikes = np.random.default_rng(seed), _rate(labels, seed)
    chance = generator.random(spikes.shape) < 0.25
    return np.where(chance, generator.integers(0, 2, spikes.shape), spikes)

  train, test = _labels(300, 0), _labels(800, 9)
  found = timing.timing_share(
    (noisy(train, 0), train), (noisy(test, 9), test), steps=200
  )
  assert found.intact is found.counts and found.share == 0.0
  assert found.timed is not found.counts
  assert f"{found.timed.bits:.2f} from times" in found.statement
  assert found.counts.bits > 1.0
  assert found.low == 0.0 <= found.high and "not excluded" in found.statement


def test_four_examples_are_enough_to_ask():
  """One is held out; of so few nothing can be told."""
  spikes = np.random.default_rng(0).integers(0, 2, (4, 5, 2))
  found = timing.timing_share(
    (spikes, np.arange(4) % 2), (spikes[:2], np.arange(2)), steps=20
  )
  assert found.statement


def test_weak_times_beside_counts_are_found():
  """The label's parity in which half is the busier, the rest in counts."""

  def ramp(labels, seed):
    generator = np.random.default_rng(seed)
    late = np.arange(T) >= T // 2
    rate = 0.1 + 0.2 * (labels // 2)[:, None, None]
    sign = np.where(labels % 2, 1.0, -1.0)[:, None, None]
    slope = 1 + 0.4 * sign * np.where(late, 1, -1)[:, None]
    return (generator.random((len(labels), T, N)) < rate * slope).astype(float)

  train, test = _labels(3000, 0), _labels(1500, 9)
  found = timing.timing_share(
    (ramp(train, 1), train), (ramp(test, 2), test), steps=400
  )
  exact = _exact_share()
  assert found.windows < T and found.low > 0.05
  assert found.share == pytest.approx(exact, abs=0.1)


def _exact_share():
  """Of `ramp`: counts of both halves by sums over all their values."""
  half = np.arange(N * T // 2 + 1)
  likelihoods = []
  for label in range(4):
    rate, sign = 0.1 + 0.2 * (label // 2), 1 if label % 2 else -1
    first, last = (
      stats.binom.pmf(half, N * T // 2, rate * (1 + s * 0.4 * sign))
      for s in (-1, 1)
    )
    likelihoods.append(np.outer(first, last))
  whole = _bits(np.stack([p.ravel() for p in likelihoods]))
  sums = np.add.outer(half, half).ravel()
  counts = np.stack([
    np.bincount(sums, weights=p.ravel()) for p in likelihoods
  ])  # fmt: skip
  return 1 - _bits(counts) / whole


def _bits(likelihoods):
  """I(label; value) of likelihoods [labels, values], labels alike."""
  mean = likelihoods.mean(0)
  ratio = np.where(likelihoods > 0, likelihoods, 1) / np.where(
    mean > 0, mean, 1
  )
  return float((likelihoods * np.log2(ratio)).sum(1).mean())


def test_trains_of_chance_give_no_share():
  train, test = _labels(600, 0), _labels(600, 1)
  random = lambda seed: np.random.default_rng(seed).integers(0, 2, (600, T, N))
  found = timing.timing_share((random(5), train), (random(6), test), steps=100)
  assert found.share is None and "told from 0" in found.statement
  assert found.intact.bits < 0.05


def test_a_probe_finds_the_information_of_a_noisy_feature():
  """A bit flipped with probability 0.1, among features of chance."""
  generator = np.random.default_rng(0)

  def draw(count):
    labels = generator.integers(0, 2, count)
    flipped = labels ^ (generator.random(count) < 0.1)
    chance = generator.normal(size=(count, 3))
    return np.concatenate([flipped[:, None], chance], 1), labels

  found = probe.fit(draw(4000), draw(4000), steps=400)
  exact = 1 + 0.1 * math.log2(0.1) + 0.9 * math.log2(0.9)
  assert abs(found.bits - exact) < 4 * found.standard_error + 0.01
  assert found.accuracy == pytest.approx(0.9, abs=0.02)
  assert found.gains.mean() == pytest.approx(found.bits)
  assert found.standard_error == pytest.approx(
    found.gains.std() / math.sqrt(4000), rel=1e-3
  )


def test_no_probe_tells_more_than_there_is():
  """Few examples, many features of chance: it does not say that it knows."""
  generator = np.random.default_rng(0)
  draw = lambda count: (
    generator.normal(size=(count, 200)), generator.integers(0, 10, count)
  )  # fmt: skip
  found = probe.fit(draw(300), draw(2000), steps=300)
  assert found.bits < 2 * found.standard_error


FEATURES, LABELS = np.zeros((5, 3)), np.arange(5)
SPIKES = np.zeros((5, 4, 2))


@pytest.mark.parametrize("train, test, message", [
  ((np.zeros(5), LABELS), None, r"features of train: expected \[M, D\], each"),
  ((FEATURES, LABELS[:4]), None, r"labels of train: expected \[5\], .* \(4,\)"),
  (None, (FEATURES * np.nan, LABELS), "features of test: .* got 15 of 15"),
  (None, (FEATURES[:, :2], LABELS), r"features of test: expected \[M, 3\]"),
  (None, (FEATURES, LABELS - 1), "labels of test: expected whole .* got -1"),
  (None, (FEATURES, LABELS + 0.5), r"whole numbers in 0 .. 9999, got 0.5"),
  (None, (FEATURES, LABELS * 1e9), r"in 0 .. 9999, got 1000000000.0"),
  (None, (FEATURES, list("abcde")), "labels of test: expected numbers, got <U"),
  (None, (FEATURES[:1], LABELS[:1]), "test: expected at least 2 examples, got"),
  ((FEATURES[:0], LABELS[:0]), None, r"each at least 1, got shape \(0, 3\)"),
  ((FEATURES.tolist()[:4] + [[1.0]], LABELS), None, "parts of different shape"),
  ((FEATURES * 1j, LABELS), None, "expected real numbers, got complex128"),
])  # fmt: skip
def test_features_that_no_probe_takes(train, test, message):
  good = FEATURES, LABELS
  with pytest.raises(ValueError, match=message):
    probe.fit(train or good, test or good)


@pytest.mark.parametrize("options, message", [
  ({"steps": 0}, "steps: expected at least 1, got 0"),
  ({"held_out": 0.01}, "held_out: expected a share .* of 5 examples"),
  ({"held_out": 1.0}, "held_out: expected a share .* got 1.0"),
])  # fmt: skip
def test_numbers_that_no_fit_takes(options, message):
  good = FEATURES, LABELS
  with pytest.raises(ValueError, match=message):
    probe.fit(good, good, **options)


@pytest.mark.parametrize("train, test, message", [
  ((FEATURES, LABELS), None, r"spikes of train: expected \[M, T, N\], each"),
  (None, (SPIKES + 0.5, LABELS), "spikes of test: .* 40 of 40 .* first 0.5"),
  (None, (SPIKES[:, :3], LABELS), r"spikes of test: expected \[M, 4, 2\]"),
  ((SPIKES, LABELS[None]), None, r"labels of train: .* got shape \(1, 5\)"),
  ((SPIKES + np.inf, LABELS), None, "spikes of train: expected finite"),
  ((SPIKES[:3], LABELS[:3]), None, "^train: expected at least 4 ex.* 3$"),
  (None, (SPIKES[:1], LABELS[:1]), "^test: expected at least 2 ex.* 1$"),
])  # fmt: skip
def test_trains_that_have_no_timing(train, test, message):
  good = SPIKES, LABELS
  with pytest.raises(ValueError, match=message):
    timing.timing_share(train or good, test or good)
