"""Tests of readout: what a decoder sees of the spike trains."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import readout


@pytest.fixture
def spikes():
  return np.random.default_rng(0).integers(0, 2, (12, 5)).astype(np.float32)


def test_whole_train(spikes):
  np.testing.assert_array_equal(readout.whole_train(spikes), spikes)


@pytest.mark.parametrize("length", [1, 5, 12])
def test_windows_match_the_loop(spikes, length):
  found = readout.sliding_window(spikes, length)
  expected = np.zeros((12, length, 5))
  for t in range(12):
    for i in range(length):
      if t - length + 1 + i >= 0:
        expected[t, i] = spikes[t - length + 1 + i]
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(
    readout.last_window(spikes, length), spikes[12 - length :]
  )


def test_sliding_window_is_causal():
  def output(spikes):
    return readout.sliding_window(spikes, 3).sum(axis=(1, 2))

  found = jax.jacrev(output)(jnp.zeros((6, 1)))[..., 0]
  expected = [[float(0 <= t - s < 3) for s in range(6)] for t in range(6)]
  np.testing.assert_array_equal(found, expected)


def test_counts():
  spikes = jnp.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
  np.testing.assert_allclose(readout.counts(spikes), [[2.0, 0.0, 4.0]])
  np.testing.assert_allclose(readout.counts(spikes, 2.0), [[1.0, 0.0, 2.0]])


def test_first_spike_edges():
  spikes = np.zeros((4, 5), np.float32)
  spikes[0, 0] = spikes[3, 1] = spikes[1, 2] = spikes[2, 2] = 1
  spikes[:, 3] = 1
  np.testing.assert_array_equal(
    readout.first_spike(spikes), [[1.0, 0.25, 0.75, 1.0, 0.0]]
  )


def test_first_spike_matches_the_loop():
  spikes = np.random.default_rng(1).random((30, 200)) < 0.05
  expected = []
  for train in spikes.T:
    steps = [t for t in range(30) if train[t]]
    expected.append((30 - steps[0]) / 30 if steps else 0.0)
  assert 0.0 in expected
  found = readout.first_spike(spikes.astype(np.float32))
  assert found.shape == (1, 200)
  np.testing.assert_allclose(found[0], expected, rtol=1e-6)


def test_first_spike_of_probabilities_is_the_expectation_over_patterns():
  probabilities = np.array([0.2, 0.7, 0.4, 0.5])

  def value(pattern):
    return (4 - pattern.index(1)) / 4 if 1 in pattern else 0.0

  def mean(p):
    return sum(
      value(pattern) * np.prod(np.where(pattern, p, 1 - p))
      for pattern in itertools.product((0, 1), repeat=4)
    )

  def found(p):
    return readout.first_spike(p[:, None])[0, 0]

  p = jnp.asarray(probabilities, jnp.float32)
  assert float(found(p)) == pytest.approx(mean(probabilities), rel=1e-5)
  gradient = jax.grad(found)(p)
  for i, step in enumerate(np.eye(4)):
    # Linear in each probability, so the difference over [0, 1] is exact.
    rest = probabilities * (1 - step)
    expected = mean(rest + step) - mean(rest)
    assert float(gradient[i]) == pytest.approx(expected, rel=1e-5)


def test_first_spike_gradient_at_spikes_moves_the_first_one_only():
  spikes = jnp.array([[0.0], [1.0], [0.0], [1.0]])
  gradient = jax.grad(lambda s: readout.first_spike(s)[0, 0])(spikes)
  # Adding a spike before the first gains a step; taking the first away loses
  # two; nothing after it matters.
  np.testing.assert_allclose(gradient[:, 0], [0.25, 0.5, 0.0, 0.0], atol=1e-7)


@pytest.mark.parametrize(
  ("name", "options", "expected"),
  [
    ("full", {}, lambda s: s),
    ("window", {"length": 3}, lambda s: s[-3:]),
    ("rate", {}, lambda s: 4 * s.mean(0, keepdims=True)),
    ("rate", {"scale": 1.0}, lambda s: s.mean(0, keepdims=True)),
    ("first_spike", {}, readout.first_spike),
  ],
)
def test_view_by_name(spikes, name, options, expected):
  found = readout.view(name, **options)(spikes)
  np.testing.assert_allclose(found, expected(spikes), rtol=1e-6)


def test_view_batches_by_vmap(spikes):
  batch = np.stack([spikes, 1 - spikes])
  found = jax.jit(jax.vmap(readout.view("rate")))(batch)
  np.testing.assert_allclose(found, 4 * batch.mean(1, keepdims=True), rtol=1e-6)


def test_view_rejects():
  with pytest.raises(ValueError, match="full, window, rate.*got 'counts'"):
    readout.view("counts")
  with pytest.raises(ValueError, match="window: expected length, got none"):
    readout.view("window")
  with pytest.raises(ValueError, match="full: expected none, got length"):
    readout.view("full", length=3)
  with pytest.raises(ValueError, match="rate: expected scale, got factor"):
    readout.view("rate", factor=3)


@pytest.mark.parametrize(
  "function", [readout.last_window, readout.sliding_window]
)
@pytest.mark.parametrize("length", [0, -1, 13, 2.0])
def test_windows_reject_a_length_that_does_not_fit(spikes, function, length):
  with pytest.raises(ValueError, match=f"length: .*T = 12, got {length}"):
    function(spikes, length)


@pytest.mark.parametrize("name", readout.VIEWS)
@pytest.mark.parametrize("shape", [(5,), (2, 5, 3), (0, 3)])
def test_views_reject_other_shapes(name, shape):
  options = {"length": 1} if name == "window" else {}
  with pytest.raises(ValueError, match="spikes: expected shape"):
    readout.view(name, **options)(np.zeros(shape, np.float32))
