"""Statistics of trains against loops, closed forms and trains by hand."""

import math

import numpy as np
import pytest

from timedecode import spike_statistics


def _random(count=60, steps=9, neurons=4, seed=0):
  generator = np.random.default_rng(seed)
  rates = np.array([0.1, 0.3, 0.6, 0.0])[:neurons]
  spikes = (generator.random((count, steps, neurons)) < rates).astype(float)
  return spikes, generator.integers(0, 3, count)


def test_against_loops():
  spikes, labels = _random()
  found = spike_statistics.measure(spikes, labels)
  count, steps, neurons = spikes.shape
  for n in range(neurons):
    lengths = []
    for train in spikes[:, :, n]:
      at = np.flatnonzero(train)
      lengths += list(np.diff(at))
    histogram = np.bincount(lengths, minlength=steps)[1:] if lengths else None
    counts = [int(train.sum()) for train in spikes[:, :, n]]
    mean = sum(counts) / count
    variance = sum((c - mean) ** 2 for c in counts) / count
    if not mean:
      assert math.isnan(found.fano[n]) and np.isnan(found.times[:, n]).all()
      assert np.isnan(found.intervals[:, n]).all()
      continue
    np.testing.assert_allclose(
      found.intervals[:, n], histogram / histogram.sum(), rtol=1e-12
    )
    assert found.fano[n] == pytest.approx(variance / mean)
    times = [spikes[:, t, n].sum() / sum(counts) for t in range(steps)]
    np.testing.assert_allclose(found.times[:, n], times)
    assert found.rate[n] == pytest.approx(mean / steps)
  totals = spikes.sum(1)
  expected = np.corrcoef(totals[:, :3].T)
  np.testing.assert_allclose(found.correlation[:3, :3], expected, rtol=1e-9)
  assert np.isnan(found.correlation[3]).all()


def test_independent_steps_have_a_known_fano_factor():
  spikes, labels = _random(count=40_000)
  found = spike_statistics.measure(spikes, labels)
  np.testing.assert_allclose(found.fano[:3], [0.9, 0.7, 0.4], atol=0.03)
  np.testing.assert_allclose(found.fano_within, found.fano, atol=0.01)
  geometric = 0.3 * 0.7 ** np.arange(3)  # Up to the end of the train.
  ratio = found.intervals[1:3, 1] / found.intervals[:2, 1]
  fewer = [7 / 8, 6 / 7]  # Places that an interval of 2, 3 has, to one less.
  np.testing.assert_allclose(
    ratio, fewer * geometric[1:] / geometric[:2], rtol=0.05
  )
  assert np.abs(found.selectivity[:3]).max() < 5e-4  # Labels say nothing.


def test_what_classes_differ_in_is_told_from_noise():
  """Two neurons that follow the class and are else independent."""
  generator = np.random.default_rng(1)
  labels = generator.integers(0, 2, 20_000)
  rates = np.where(labels, 0.8, 0.2)[:, None, None]
  spikes = (generator.random((len(labels), 20, 2)) < rates).astype(float)
  found = spike_statistics.measure(spikes, labels)
  assert found.correlation[0, 1] > 0.8
  assert abs(found.correlation_within[0, 1]) < 0.03
  assert found.fano[0] > 3 and found.fano_within[0] < 0.6
  assert (found.selectivity > 0.96).all() and (found.selectivity <= 1).all()


def test_information_of_a_count_in_closed_form():
  """A binary symmetric channel from class to count, flipped 0.1 times."""
  labels = np.repeat([0, 1], 5000)
  counts = np.where(np.arange(10_000) % 10 == 0, 1 - labels, labels)
  h = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
  bits = spike_statistics.count_information(counts, labels)
  assert bits == pytest.approx(1 - h, abs=1e-4)


def test_counts_that_are_the_class():
  """At most its entropy, not far below; too few examples have no answer."""
  labels = np.arange(1000) % 10
  bits = spike_statistics.count_information(labels, labels)
  assert math.log2(10) - 0.15 < bits <= math.log2(10)
  few = labels[:100]
  assert math.isnan(spike_statistics.count_information(few, few))


def test_counts_of_many_values_that_say_nothing():
  generator = np.random.default_rng(0)
  counts, labels = generator.integers(0, 200, 2000), np.arange(2000) % 10
  assert 0 <= spike_statistics.count_information(counts, labels) < 0.03


def test_classes_of_one_example_have_no_variability():
  """Their variance would count as 0; unbiased in classes of two."""
  generator = np.random.default_rng(0)
  spikes = (generator.random((4001, 10, 1)) < 0.3).astype(float)
  labels = np.append(np.arange(4000) // 2, 2000)
  found = spike_statistics.measure(spikes, labels)
  counts = spikes[:4000, :, 0].sum(1).reshape(2000, 2)
  known = counts[counts.sum(1) > 0]
  want = np.mean((np.ptp(known, 1) ** 2 / 2) / known.mean(1))
  assert found.fano_within[0] == pytest.approx(want, rel=1e-9)
  single = spike_statistics.measure(spikes[:3], np.arange(3))
  assert math.isnan(single.fano_within[0])


def test_trials_against_loops():
  generator = np.random.default_rng(3)
  spikes = (generator.random((7, 3, 9, 4)) < [0.1, 0.3, 0.6, 0.0]).astype(bool)
  found = spike_statistics.measure_trials(spikes)
  rest = []
  for n in range(3):
    ratios, left = [], []
    for example in spikes[..., n]:
      counts = [sum(map(int, train)) for train in example]
      mean = sum(counts) / 3
      left += [count - mean for count in counts]
      if mean:
        ratios.append(sum((c - mean) ** 2 for c in counts) / 2 / mean)
    assert found.fano[n] == pytest.approx(sum(ratios) / len(ratios))
    rest.append(left)
  np.testing.assert_allclose(found.correlation[:3, :3], np.corrcoef(rest))
  assert math.isnan(found.fano[3]) and np.isnan(found.correlation[3]).all()


def test_noise_that_neurons_share_is_told_from_what_examples_differ_in():
  """Rates of the example; a third neuron copies what chance did in the first.

  Within classes, of which there is one, the examples' own rates correlate.
  """
  generator = np.random.default_rng(0)
  rates = generator.choice([0.1, 0.5], 4000)[:, None, None]
  trials = generator.random((4000, 4, 20)) < rates
  other = generator.random((4000, 4, 20)) < rates
  spikes = np.stack([trials, other, trials], -1).astype(float)
  found = spike_statistics.measure_trials(spikes)
  assert abs(found.correlation[0, 1]) < 0.02
  assert found.correlation[0, 2] == pytest.approx(1.0)
  np.testing.assert_allclose(found.fano, 1 - 0.3, atol=0.02)
  one = spike_statistics.measure(spikes[:, 0], np.zeros(4000))
  assert one.correlation_within[0, 1] > 0.5


@pytest.mark.parametrize("spikes, message", [
  (np.zeros((2, 3, 4)), r"spikes: expected \[M, S, T, N\], each at least 1"),
  (np.zeros((2, 1, 4, 3)), "at least 2 samples of every example, got shape"),
  (np.full((2, 2, 4, 3), 2), "spikes: expected 0 and 1 only, got 48 of 48"),
])  # fmt: skip
def test_bad_trials(spikes, message):
  with pytest.raises(ValueError, match=message):
    spike_statistics.measure_trials(spikes)


@pytest.mark.parametrize("spikes, labels, message", [
  (np.zeros((2, 3)), np.zeros(2), r"spikes: expected \[M, T, N\]"),
  (np.full((2, 3, 4), 0.5), np.zeros(2), "spikes: expected 0 and 1 only"),
  (np.zeros((2, 3, 4)), np.zeros(3), r"labels: expected \[2\], one for each"),
  (np.zeros((0, 3, 4)), np.zeros(0), r"spikes: .* got shape \(0, 3, 4\)"),
  (np.zeros((2, 3, 4)), np.array([0, -1]), "labels: expected whole .* got -1"),
])  # fmt: skip
def test_bad_input(spikes, labels, message):
  with pytest.raises(ValueError, match=message):
    spike_statistics.measure(spikes, labels)
