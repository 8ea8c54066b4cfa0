"""Rules of credit against each other, by hand and in NumPy loops."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import references

from timedecode import credit, encoder, glm, neurons, surrogate, synapses

STEPS, NUM_IN, NUM_Y = 25, 6, 3


def _memoryless():
  """Spikes without a past: no refractory term."""
  spike = surrogate.spike_function(surrogate.triangular)

  def step(params, state, drive):
    potential = drive + jnp.broadcast_to(params, drive.shape)
    return state, (spike(potential), potential)

  init = lambda key, shape, fan_in: 0.1 * jax.random.normal(key, shape)
  return neurons.Neuron(init, lambda shape: (), step)


def _layers(kind, neuron=None):
  if kind == "dense":
    return (NUM_IN,), [encoder.dense(7, neuron, weight_scale=12.0)]
  if kind == "two":
    layers = [encoder.dense(7, neuron, weight_scale=12.0) for _ in range(2)]
    return (NUM_IN,), layers
  layer = encoder.convolutional(2, 3, 2, neuron, weight_scale=12.0)
  return (8, 8), [layer]


def _gradient(rule, kind="dense", neuron=None, remat=0, steps=STEPS):
  """Of a smooth loss of the readout's spikes, straight through."""
  shape, layers = _layers(kind, neuron)
  snn = encoder.make_encoder(
    shape, layers, NUM_Y, credit=rule, remat_every=remat
  )
  params = snn.init(jax.random.key(2))
  params = params._replace(
    readout=params.readout._replace(
      weights=4.0 * params.readout.weights,
      feedback=jnp.zeros(NUM_Y) if neuron else params.readout.feedback,
    )
  )
  rng = np.random.default_rng(5)
  inputs = jnp.asarray(rng.random((steps, *shape)) < 0.3, jnp.float32)
  uniforms = jnp.asarray(rng.random((steps, NUM_Y)), jnp.float32)
  weights = jnp.asarray(rng.normal(size=(steps, NUM_Y)), jnp.float32)

  def loss(params):
    sample = snn.run(
      params, inputs, uniforms, sampler=glm.bernoulli_straight_through
    )
    return jnp.sum(weights * sample.spikes), sample

  gradient, sample = jax.jit(jax.grad(loss, has_aux=True))(params)
  return gradient, (params, inputs, weights, sample)


def _largest(tree):
  return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))


def _assert_equal(a, b, rtol=2e-5):
  for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True):
    assert float(jnp.max(jnp.abs(y))) > 1e-4
    np.testing.assert_allclose(x, y, rtol=1e-3, atol=rtol * _largest(b))


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_local_is_exact_without_another_path_through_time(kind):
  exact, _ = _gradient(credit.bptt(), kind, _memoryless())
  local, _ = _gradient(credit.local(), kind, _memoryless())
  _assert_equal(local.hidden, exact.hidden)
  _assert_equal(local.readout, exact.readout)


@pytest.mark.parametrize("kind", ["dense", "conv", "two"])
def test_rules_differ_elsewhere_and_their_angle_is_acute(kind):
  exact, _ = _gradient(credit.bptt(), kind)
  for rule in (credit.local(), credit.symmetric()):
    other, _ = _gradient(rule, kind)
    a = np.asarray(jax.flatten_util.ravel_pytree(exact.hidden)[0])
    b = np.asarray(jax.flatten_util.ravel_pytree(other.hidden)[0])
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert 0.1 < cosine < 0.9999, (rule.name, cosine)


@pytest.mark.parametrize("name", ["local", "symmetric", "feedback"])
@pytest.mark.parametrize("kind", ["conv", "two"])
def test_forward_pass_is_the_same(name, kind):
  _, (_, _, _, exact) = _gradient(credit.bptt(), kind)
  _, (_, _, _, other) = _gradient(credit.CREDITS[name](), kind)
  for a, b in zip(*map(jax.tree.leaves, (exact, other)), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  assert 0.02 < float(jnp.mean(exact.hidden[0])) < 0.98


def _errors(params, weights, sample):
  """dL / d logits of the straight-through loss, no path through time."""
  p = references.sigmoid(np.asarray(sample.logits, np.float64))
  return np.asarray(weights) * p * (1 - p)


def _eligible(sample, inputs, errors):
  """sum_t e_t psi(u_t) p_t of one dense layer, in loops."""
  q, p = np.zeros(NUM_IN), np.zeros(NUM_IN)
  total = np.zeros((NUM_IN, errors.shape[1]))
  for t in range(STEPS):
    p = 0.9 * p + 0.1 * q
    q = 0.85 * q + 0.15 * np.asarray(inputs[t])
    psi = np.maximum(1 - np.abs(np.asarray(sample.potentials[0][t])), 0)
    total += np.outer(p, errors[t] * psi)
  return total


@pytest.mark.parametrize("name", ["local", "symmetric", "feedback"])
def test_rules_are_their_formulas(name):
  gradient, (params, inputs, weights, sample) = _gradient(
    credit.CREDITS[name]()
  )
  errors = _errors(params, weights, sample)
  kernels = synapses.raised_cosine_kernels(8, 10)
  readout = np.asarray(params.readout.weights, np.float64)  # [N, K, N_y]
  back = np.zeros((STEPS, 7))
  for t in range(STEPS):
    if name == "local":
      for lag in range(min(10, STEPS - t)):
        w = np.einsum("hkn,k->hn", readout, kernels[:, lag])
        back[t] += w @ errors[t + lag]
    elif name == "symmetric":
      w = np.einsum("hkn,k->hn", readout, kernels.sum(1))
      back[t] = w @ errors[t]
    else:
      bound = np.sqrt(3 / NUM_Y)
      matrix = jax.random.uniform(
        jax.random.fold_in(jax.random.key(0), 0), (7, NUM_Y), minval=-bound,
        maxval=bound,
      )  # fmt: skip
      back[t] = np.asarray(matrix) @ errors[t]
  expected = _eligible(sample, inputs, back)
  assert np.abs(expected).max() > 1e-2
  np.testing.assert_allclose(
    gradient.hidden[0].weights, expected, rtol=1e-3,
    atol=1e-5 * np.abs(expected).max(),
  )  # fmt: skip


def test_between_layers_the_synapse_acts_at_once():
  """Two layers: the lower one's error is the upper's by W, gain 1."""
  gradient, (params, inputs, weights, sample) = _gradient(credit.local(), "two")
  errors = _errors(params, weights, sample)
  kernels = synapses.raised_cosine_kernels(8, 10)
  readout = np.asarray(params.readout.weights, np.float64)
  upper = np.zeros((STEPS, 7))
  for t in range(STEPS):
    for lag in range(min(10, STEPS - t)):
      upper[t] += (
        np.einsum("hkn,k->hn", readout, kernels[:, lag]) @ errors[t + lag]
      )
  psi = np.maximum(1 - np.abs(np.asarray(sample.potentials[1])), 0)
  lower = (upper * psi) @ np.asarray(params.hidden[1].weights).T
  expected = _eligible(sample, inputs, lower)
  np.testing.assert_allclose(
    gradient.hidden[0].weights, expected, rtol=1e-3,
    atol=1e-5 * np.abs(expected).max(),
  )  # fmt: skip


def test_published_gain_is_the_filter_s():
  unit, published = synapses.lif_filter(), synapses.lif_filter(gain="published")
  np.testing.assert_allclose(unit.gain, 1.0)
  np.testing.assert_allclose(published.gain, 4444.4, rtol=1e-4)
  for kernel in (unit, published):
    _, out = kernel.run(kernel.initial_state((1,)), jnp.ones((300, 1)))
    np.testing.assert_allclose(out[-1, 0], kernel.gain, rtol=1e-4)


def test_feedback_matrices():
  """Fixed, different per layer, within the bound; nothing else passes."""
  seen = {}
  for seed in (0, 0, 1):
    gradient, _ = _gradient(credit.feedback(seed=seed), "two")
    flat = np.asarray(jax.flatten_util.ravel_pytree(gradient.hidden)[0])
    assert np.array_equal(seen.setdefault(seed, flat), flat)
  assert not np.allclose(seen[0], seen[1])
  wide, _ = _gradient(credit.feedback(lambda n, m: 2.0 * np.sqrt(3 / m)))
  unit, _ = _gradient(credit.feedback())
  np.testing.assert_allclose(
    wide.hidden[0].weights, 2 * unit.hidden[0].weights, rtol=1e-4, atol=1e-6
  )
  assert credit.published_bound(600, 8) == pytest.approx(0.1)
  assert credit.unit_bound(600, 12) == pytest.approx(0.5)


def test_send_back_by_its_formula():
  rng = np.random.default_rng(0)
  drive, spikes, weights, cotangent = (
    jnp.asarray(rng.normal(size=shape), jnp.float32)
    for shape in ((5, 2), (5, 4), (4, 2), (5, 2))
  )
  value, back = jax.vjp(credit.send_back, drive, spikes, weights)
  np.testing.assert_array_equal(value, drive)
  by_drive, by_spikes, by_weights = back(cotangent)
  np.testing.assert_array_equal(by_drive, cotangent)
  np.testing.assert_allclose(
    by_spikes, np.asarray(cotangent) @ np.asarray(weights).T, rtol=1e-5
  )
  assert not np.any(by_weights)


@pytest.mark.parametrize("every", [5, 7, 24])
def test_remat_changes_nothing(every):
  rule = credit.bptt()
  plain, (_, _, _, a) = _gradient(rule)
  again, (_, _, _, b) = _gradient(rule, remat=every)
  np.testing.assert_array_equal(a.spikes, b.spikes)
  np.testing.assert_allclose(a.logits, b.logits, rtol=1e-5, atol=1e-5)
  _assert_equal(again, plain)


def test_refused():
  with pytest.raises(ValueError, match="remat_every.*>= 0 steps, got -1"):
    encoder.make_encoder((3,), [], 2, remat_every=-1)


def _memory(remat, steps, batch=4):
  layer = encoder.dense(64)
  snn = encoder.make_encoder((100,), [layer], 8, remat_every=remat)
  params = jax.eval_shape(snn.init, jax.random.key(0))

  def loss(params, inputs, uniforms):
    run = lambda x, u: (
      snn.run(params, x, u, sampler=glm.bernoulli_straight_through).spikes
    )
    return jnp.sum(jax.vmap(run)(inputs, uniforms))

  shapes = [
    jax.ShapeDtypeStruct((batch, steps, n), jnp.float32) for n in (100, 8)
  ]
  compiled = jax.jit(jax.grad(loss)).lower(params, *shapes).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def test_remat_takes_a_fifth_at_1000_and_a_twentieth_at_5000():
  assert _memory(32, 1000) < _memory(0, 1000) / 5
  assert _memory(70, 5000) < _memory(0, 5000) / 20
