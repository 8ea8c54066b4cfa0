"""Batches in parts: the mean of the whole, in the memory of one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from timedecode import (
  bottleneck,
  encoder,
  estimators,
  microbatches,
  priors,
  readout,
  training,
)

STEPS, BATCH, NUM_IN, NUM_OUT = 12, 6, 7, 3


def test_the_mean_of_parts_is_that_of_the_whole():
  rng = np.random.default_rng(0)
  inputs, others = rng.random((3, BATCH, 2)), rng.random(BATCH)
  keys = jax.random.split(jax.random.key(0), BATCH)
  seen = []

  def one(trains, pair):
    numbers, keys = pair
    jax.debug.callback(lambda some: seen.append(some.tolist()), numbers)
    bits = jax.vmap(lambda key: jax.random.uniform(key))(keys)
    told = jnp.mean(trains["x"], 1), jnp.mean(numbers * bits), jnp.int32(7)
    return {"told": told}

  found = jax.jit(functools.partial(microbatches.mean, one, 3))(
    {"x": jnp.asarray(inputs)}, (jnp.asarray(others), keys)
  )["told"]
  jax.effects_barrier()
  np.testing.assert_allclose(found[0], inputs.mean(1), rtol=1e-6)
  bits = np.array([jax.random.uniform(key) for key in keys])
  np.testing.assert_allclose(found[1], np.mean(others * bits), rtol=1e-6)
  assert found[2] == 7 and found[2].dtype == jnp.int32
  # Part k has the examples k, k + 3.
  wanted = [others.astype(np.float32)[k::3].tolist() for k in range(3)]
  assert sorted(seen) == sorted(wanted)


def test_parts_that_cannot_be():
  for parts in (4, 0):
    with pytest.raises(ValueError, match=f"divisor of the 6 exam.*got {parts}"):
      microbatches.mean(lambda x: x, parts, jnp.ones((3, BATCH)))


def _model():
  layers = [encoder.dense(6, weight_scale=10.0)]
  snn = encoder.make_encoder((NUM_IN,), layers, 3)
  losses = functools.partial(bottleneck.vdib, beta=0.1)
  decode = lambda weights, view: view.reshape(-1) @ weights
  prior = priors.independent(0.2)
  return training.Model(snn, decode, readout.whole_train, losses, prior)


def _batch(seed, steps=STEPS, batch=BATCH):
  rng = np.random.default_rng(seed)
  inputs = jnp.asarray(rng.random((steps, batch, NUM_IN)) < 0.3, jnp.float32)
  targets = jnp.asarray(rng.random((batch, NUM_OUT)), jnp.float32)
  return inputs, targets, jax.random.split(jax.random.key(seed), batch)


def _params(model, steps=STEPS):
  decoder = 0.3 * jax.random.normal(jax.random.key(1), (steps * 3, NUM_OUT))
  return training.ModelParams(model.encoder.init(jax.random.key(0)), decoder)


AVERAGE = functools.partial(
  estimators.score_function, baseline="moving_average"
)
RULES = estimators.ESTIMATORS | {
  "moving average": AVERAGE,
  "schedule": functools.partial(
    estimators.relaxed, temperature=lambda step: 1.0 / (1.0 + step)
  ),
}


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_step_in_parts_is_the_step(name):
  """Parameters, the estimator's state, all metrics after three steps."""
  model, optimizer = _model(), optax.sgd(0.1)
  rule = RULES[name](2)
  ends = []
  for parts in (1, 3):
    step = jax.jit(
      training.make_train_step(model, rule, optimizer, None, parts)
    )
    state = training.init_state(_params(model), optimizer, rule)
    for seed in range(3):
      state, metrics = step(state, *_batch(seed), True)
    ends.append((state, metrics))
  for got, want in zip(*map(jax.tree.leaves, ends[::-1]), strict=True):
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-6)
  rate = ends[0][1].diagnostics.hidden_rate
  assert 0 < float(rate[0]) < 1
  moved = ends[0][0].params.decoder - _params(model).decoder
  assert float(jnp.max(jnp.abs(moved))) > 1e-3


def test_parts_take_the_memory_of_one():
  steps, batch = 200, 32
  model, rule = _model(), estimators.straight_through()
  params, optimizer = _params(model, steps), optax.sgd(0.1)
  state = training.init_state(params, optimizer, rule)

  def temporary(parts):
    step = training.make_train_step(model, rule, optimizer, None, parts)
    compiled = jax.jit(step).lower(state, *_batch(0, steps, batch)).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert 0 < temporary(8) < 0.3 * temporary(1)
