"""Priors against loops; the bound tightens from the first to the last."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references

from timedecode import bottleneck, encoder, priors, readout, training

SPIKES = np.random.default_rng(0).integers(0, 2, (7, 3)).astype(np.float32)


def test_independent_and_learned_rate():
  logit = np.log(0.2 / 0.8)
  fixed = priors.independent(0.2)
  assert fixed.init(3) == ()
  np.testing.assert_allclose(
    fixed.logits((), jnp.asarray(SPIKES)), np.full((7, 3), logit), rtol=1e-6
  )
  learned = priors.learned_rate(0.2)
  np.testing.assert_allclose(learned.init(3), np.full(3, logit), rtol=1e-6)
  params = jnp.array([0.1, -0.2, 0.3])
  np.testing.assert_array_equal(
    learned.logits(params, jnp.asarray(SPIKES)), np.tile(params, (7, 1))
  )


@pytest.mark.parametrize("length", [1, 3, 9])
def test_glm_is_the_loop(length):
  prior = priors.glm(0.2, length)
  start = prior.init(3)
  np.testing.assert_allclose(
    prior.logits(start, jnp.asarray(SPIKES)), np.log(0.25), rtol=1e-5
  )
  rng = np.random.default_rng(1)
  bias, weights = rng.normal(size=3), rng.normal(size=(length, 3, 3))
  expected = np.tile(bias, (7, 1))
  for t in range(7):
    for lag in range(1, min(length, t) + 1):
      expected[t] += SPIKES[t - lag] @ weights[lag - 1]
  params = priors.GLMPriorParams(jnp.float32(bias), jnp.float32(weights))
  found = prior.logits(params, jnp.asarray(SPIKES))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  assert prior.reach == length


def test_glm_is_causal():
  prior = priors.glm(0.2, 4)
  params = jax.tree.map(lambda a: a + 0.5, prior.init(3))
  jacobian = jax.jacobian(lambda y: prior.logits(params, y))(
    jnp.asarray(SPIKES)
  )
  by_step = np.abs(jacobian).sum((1, 3))  # [output step, input step]
  assert (np.triu(by_step) == 0).all()
  assert (np.diag(by_step, -1) > 0).all() and (np.diag(by_step, -5) == 0).all()


def _model(prior):
  layer = encoder.dense(5, weight_scale=25.0)
  snn = encoder.make_encoder((3,), [layer], 2)
  losses = functools.partial(bottleneck.vdib, beta=1.0)
  decode = lambda weights, view: weights
  return training.Model(snn, decode, readout.whole_train, losses, prior)


def test_bounds_tighten_and_stay_above_the_information():
  """Enumerated: 4 inputs, 2 neurons, 4 steps, every prior at its optimum."""
  rng = np.random.default_rng(0)
  inputs = jnp.asarray(rng.random((4, 4, 3)) < 0.5, jnp.float32)
  patterns = jnp.asarray(references.patterns(4, 2))
  given = lambda logits, spikes: spikes + 0.0 * logits
  snn = _model(priors.independent(0.3)).encoder
  params = snn.init(jax.random.key(3))
  params = params._replace(
    readout=jax.tree.map(lambda w: 4.0 * w, params.readout)
  )
  logits = jax.vmap(
    lambda x: jax.vmap(lambda y: snn.run(params, x, y, sampler=given).logits)(
      patterns
    )
  )(inputs)
  logs = np.asarray(
    patterns[None] * logits - jax.nn.softplus(logits), np.float64
  )
  step_logs = logs.sum(axis=3)  # [X, Y, T]
  joint = np.exp(step_logs.sum(axis=2)) / 4
  y = np.asarray(patterns).reshape(len(patterns), -1)
  marginal = np.zeros(joint.shape[1])
  for step in range(4):  # log P(y_t | y^{t-1}), inputs drawn by their posterior
    same = (y[:, None, : 2 * step] == y[None, :, : 2 * step]).all(-1)
    same_now = (y[:, None, : 2 * step + 2] == y[None, :, : 2 * step + 2]).all(
      -1
    )
    total = joint.sum(axis=0)
    marginal += np.log((same_now @ total) / (same @ total))
  information = np.sum(joint * (step_logs.sum(2) - marginal))

  def bound(prior, prior_params):
    def one(logits, y):
      return jnp.sum(
        bottleneck.sampled_ratio(y, logits, prior.logits(prior_params, y))
      )

    ratios = jax.vmap(jax.vmap(one), in_axes=(0, None))(logits, patterns)
    return jnp.sum(jnp.asarray(joint, jnp.float32) * ratios)

  bounds = []
  for name in ("independent", "rate", "glm"):
    prior = priors.PRIORS[name](0.3)
    state = prior.init(2)
    if jax.tree.leaves(state):
      optimizer = optax.adam(0.05)
      value = functools.partial(bound, prior)

      def step(carry, _, value=value, optimizer=optimizer):
        state, memory = carry
        updates, memory = optimizer.update(jax.grad(value)(state), memory)
        return (optax.apply_updates(state, updates), memory), None

      carry = (state, optimizer.init(state))
      (state, _), _ = jax.lax.scan(step, carry, length=400)
    bounds.append(float(bound(prior, state)))
  assert bounds[0] > bounds[1] + 1e-3 and bounds[1] > bounds[2] + 1e-3
  assert bounds[2] > information > 0.05


def test_bad_values_are_refused():
  for make in priors.PRIORS.values():
    with pytest.raises(ValueError, match=r"prior_rate.*\(0, 1\), got 1"):
      make(1.0)
  with pytest.raises(ValueError, match="length.*at least 1 step, got 0"):
    priors.glm(0.3, 0)
