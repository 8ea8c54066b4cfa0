"""Estimators against exact gradients by enumeration of all spike trains."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from timedecode import bottleneck, encoder, estimators, readout, training

NUM_STEPS, NUM_READOUT, NUM_INPUTS, NUM_OUTPUTS = 4, 2, 3, 2
LOSSES = functools.partial(
  bottleneck.vdib, beta=0.5, prior=bottleneck.independent_prior(0.3)
)


def _problem():
  layer = encoder.dense(5, weight_scale=20.0)
  snn = encoder.make_encoder((NUM_INPUTS,), [layer], NUM_READOUT)
  decode = lambda weights, view: 2.0 * jnp.tanh(view.reshape(-1) @ weights)
  model = training.Model(snn, decode, readout.whole_train, LOSSES)
  encoder_params = snn.init(jax.random.key(7))
  encoder_params = encoder_params._replace(
    readout=jax.tree.map(lambda w: 2.0 * w, encoder_params.readout)
  )
  decoder_params = jax.random.normal(
    jax.random.key(8), (NUM_STEPS * NUM_READOUT, NUM_OUTPUTS)
  )
  params = training.ModelParams(encoder_params, decoder_params)
  rng = np.random.default_rng(1)
  inputs = jnp.asarray(rng.random((NUM_STEPS, NUM_INPUTS)) < 0.6, jnp.float32)
  return model, params, inputs, jnp.array([1.0, 0.0])


def _forced(logits, spikes):
  return spikes + 0.0 * jax.lax.stop_gradient(logits)


def _expected_loss(model, params, inputs, target):
  """sum_y P(y | x) loss(y, x): the gradient of this is the exact one."""

  def one(pattern):
    sample = model.encoder.run(params.encoder, inputs, pattern, sampler=_forced)
    log_p = bottleneck.log_probability(sample.spikes, sample.logits)
    return (
      jnp.exp(log_p) * model.objective(params.decoder, sample, target).total
    )

  patterns = jnp.asarray(references.patterns(NUM_STEPS, NUM_READOUT))
  return jnp.sum(jax.vmap(one)(patterns))


def _estimates(model, params, inputs, target, estimator, num):
  def one(key):
    surrogate = lambda params: estimator(
      model.encoder, model.objective, params, inputs, target, key
    )[0]
    return jax.flatten_util.ravel_pytree(jax.grad(surrogate)(params))[0]

  keys = jax.random.split(jax.random.key(11), num)
  return np.asarray(
    jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=500))(keys),
    np.float64,
  )


def test_score_function_is_unbiased():
  model, params, inputs, target = _problem()
  exact = jax.grad(_expected_loss, argnums=1)(model, params, inputs, target)
  exact = np.asarray(jax.flatten_util.ravel_pytree(exact)[0], np.float64)
  estimates = _estimates(
    model, params, inputs, target, estimators.score_function(4), 20_000
  )
  deviation = estimates.std(axis=0) / np.sqrt(len(estimates))
  moves = deviation > 1e-8
  assert moves.mean() > 0.5
  z = (estimates.mean(axis=0) - exact)[moves] / deviation[moves]
  assert np.abs(z).max() < 5.0 and np.mean(z**2) < 1.6
  np.testing.assert_allclose(
    estimates.mean(axis=0)[~moves], exact[~moves], atol=1e-6
  )
  signal = np.abs(exact[moves] / deviation[moves])
  assert np.median(signal) > 5.0  # The test can tell a gradient from none.


def test_z_test_notices_a_bias():
  """The same test rejects straight-through, whose bias is real."""
  model, params, inputs, target = _problem()
  exact = jax.grad(_expected_loss, argnums=1)(model, params, inputs, target)
  exact = np.asarray(jax.flatten_util.ravel_pytree(exact)[0], np.float64)
  estimates = _estimates(
    model, params, inputs, target, estimators.straight_through(1), 20_000
  )
  deviation = estimates.std(axis=0) / np.sqrt(len(estimates)) + 1e-9
  z = (estimates.mean(axis=0) - exact) / deviation
  assert np.abs(z).max() > 10.0


def test_straight_through_matches_its_own_expectation():
  """Its mean is sum_y P(y) grad loss with dy/du = sigma'(u), enumerated."""
  model, params, inputs, target = _problem()
  weight = lambda u, y: (
    jax.nn.sigmoid(u) + jax.lax.stop_gradient(y - jax.nn.sigmoid(u))
  )

  def one(params, pattern):
    sample = model.encoder.run(params.encoder, inputs, pattern, sampler=weight)
    return model.objective(params.decoder, sample, target).total

  patterns = jnp.asarray(references.patterns(NUM_STEPS, NUM_READOUT))
  gradients = jax.vmap(jax.grad(one), in_axes=(None, 0))(params, patterns)
  forced = jax.vmap(
    lambda y: model.encoder.run(params.encoder, inputs, y, sampler=_forced)
  )(patterns)
  probability = jnp.exp(
    jax.vmap(bottleneck.log_probability)(forced.spikes, forced.logits)
  )
  np.testing.assert_allclose(probability.sum(), 1.0, rtol=1e-5)
  expected = jax.tree.map(
    lambda g: jnp.tensordot(probability, g, axes=1), gradients
  )
  expected = np.asarray(jax.flatten_util.ravel_pytree(expected)[0])
  estimates = _estimates(
    model, params, inputs, target, estimators.straight_through(2), 20_000
  )
  deviation = estimates.std(axis=0) / np.sqrt(len(estimates))
  moves = deviation > 1e-8
  z = (estimates.mean(axis=0) - expected)[moves] / deviation[moves]
  assert np.abs(z).max() < 5.0
  assert np.median(np.abs(expected[moves] / deviation[moves])) > 5.0


def test_baseline_lowers_the_variance():
  """Leave-one-out against the raw score function at equal samples."""
  model, params, inputs, target = _problem()
  ours = _estimates(
    model, params, inputs, target, estimators.score_function(4), 4_000
  )

  def raw(snn, objective, params, inputs, target, key):
    def one(key):
      sample = snn.sample(params.encoder, inputs, key)
      total = objective(params.decoder, sample, target).total
      log_p = bottleneck.log_probability(sample.spikes, sample.logits)
      return total + jax.lax.stop_gradient(total) * log_p

    return jnp.mean(jax.vmap(one)(jax.random.split(key, 4))), None

  theirs = _estimates(model, params, inputs, target, raw, 4_000)
  assert ours.var(axis=0).sum() < 0.7 * theirs.var(axis=0).sum()


def test_too_few_samples_are_refused():
  with pytest.raises(ValueError, match="num_samples.*at least 2.*got 1"):
    estimators.score_function(1)
  with pytest.raises(ValueError, match="num_samples.*at least 1.*got 0"):
    estimators.straight_through(0)
