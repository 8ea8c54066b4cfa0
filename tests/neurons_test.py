"""Neurons against NumPy loops, and their physics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from timedecode import glm, neurons, synapses


def _scan(neuron, params, drive):
  state = neuron.initial_state(drive.shape[1:])
  return jax.lax.scan(
    lambda state, d: neuron.step(params, state, d), state, drive
  )[1]


def test_lif_equals_a_loop():
  rng = np.random.default_rng(0)
  drive = rng.normal(0.3, 1.0, (40, 7)).astype(np.float32)
  bias = rng.normal(0, 0.1, 7).astype(np.float32)
  spikes, potential = _scan(neurons.lif(), neurons.LIFParams(bias), drive)
  rho, s = np.zeros(7), np.zeros(7)
  for t in range(40):
    rho = 0.65 * rho - s
    u = drive[t] + bias + rho
    s = (u >= 0).astype(float)
    np.testing.assert_allclose(potential[t], u, atol=1e-5)
    np.testing.assert_array_equal(spikes[t], s)
  assert 0.1 < spikes.mean() < 0.9


def test_lif_fires_at_the_threshold_and_is_silent_below():
  neuron, drive = neurons.lif(), jnp.zeros((3, 2))
  bias = jnp.asarray([0.0, -1e-6])
  spikes, _ = _scan(neuron, neurons.LIFParams(bias), drive)
  assert spikes[0].tolist() == [1.0, 0.0]
  assert spikes[:, 1].tolist() == [0.0, 0.0, 0.0]


def test_refractory_term_decays_geometrically():
  drive = jnp.asarray([[1.0]] + [[-5.0]] * 6)
  _, potential = _scan(neurons.lif(), neurons.LIFParams(jnp.zeros(1)), drive)
  expected = -5.0 - 0.65 ** np.arange(6)
  np.testing.assert_allclose(potential[1:, 0], expected, rtol=1e-6)


def test_refractory_decay_is_checked():
  with pytest.raises(ValueError, match=r"refractory_decay.*\[0, 1\).*1.5"):
    neurons.lif(refractory_decay=1.5)


@pytest.mark.parametrize("lateral", [False, True])
def test_glm_readout_equals_a_loop(lateral):
  rng = np.random.default_rng(1)
  num_in, num_readout, num_steps, length = 5, 3, 25, 10
  params = glm.init(jax.random.key(0), 8, num_in, num_readout, lateral)
  params = jax.tree.map(lambda w: 3.0 * w, params)
  hidden = (rng.random((num_steps, num_in)) < 0.3).astype(np.float32)
  kernels = synapses.raised_cosine_kernels(8, length)
  kernel = synapses.raised_cosine_kernels(1, length)[0]
  state = glm.initial_state(length, num_readout)
  products = jnp.tensordot(hidden, params.weights, axes=1)
  drive, _ = synapses.overlap_add(kernels, products, state.pending)
  uniforms = rng.random((num_steps, num_readout)).astype(np.float32)
  _, (spikes, logits) = glm.readout(
    params, kernel, state.history, drive, uniforms
  )
  expected = references.glm_logits(
    *(np.asarray(leaf, np.float64) for leaf in params),
    hidden, np.asarray(spikes), length,
  )  # fmt: skip
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(spikes, uniforms < references.sigmoid(expected))
  assert 0 < spikes.mean() < 1


def test_readout_bound_is_the_published_one():
  params = glm.init(jax.random.key(0), 8, 600, 256)
  bound = np.sqrt(6 / (8 * 600 + 8 * 256))
  for leaf in params:
    assert np.abs(leaf).max() <= bound
  assert np.abs(params.weights).max() > 0.999 * bound


def test_samplers_share_the_forward_and_differ_backward():
  logits = jnp.asarray([-1.0, 0.5, 2.0])
  uniforms = jnp.asarray([0.1, 0.9, 0.2])
  hard = glm.bernoulli(logits, uniforms)
  through = glm.bernoulli_straight_through(logits, uniforms)
  assert hard.tolist() == [1.0, 0.0, 1.0]
  np.testing.assert_allclose(through, hard, atol=1e-7)
  p = references.sigmoid(np.asarray(logits))
  np.testing.assert_allclose(glm.expected(logits, uniforms), p, rtol=1e-6)
  slope = lambda f: jax.grad(lambda u: jnp.sum(f(u, uniforms)))(logits)
  np.testing.assert_array_equal(slope(glm.bernoulli), np.zeros(3))
  np.testing.assert_allclose(
    slope(glm.bernoulli_straight_through), p * (1 - p), rtol=1e-5
  )


def test_sampling_frequency_is_sigma():
  logits = jnp.asarray([-2.0, 0.0, 1.0])
  uniforms = jax.random.uniform(jax.random.key(0), (40_000, 3))
  spikes = jax.vmap(lambda u: glm.bernoulli(logits, u))(uniforms)
  p = references.sigmoid(np.asarray(logits))
  deviation = np.sqrt(p * (1 - p) / 40_000)
  assert (np.abs(spikes.mean(axis=0) - p) < 4 * deviation).all()
