"""Batches in parts: the mean of the whole, in the memory of one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from experiments import build, inputs, loop
from timedecode import (
  bottleneck,
  encoder,
  estimators,
  microbatches,
  precision,
  priors,
  published,
  readout,
  training,
)
from timedecode.datasets import sources

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
    others = jnp.uint32(2**32 - 5), jnp.array(True), jax.random.key(9)
    return {
      "told": (jnp.mean(trains["x"], 1), jnp.mean(numbers * bits)),
      "others": others,
    }

  found = jax.jit(functools.partial(microbatches.mean, one, 3))(
    {"x": jnp.asarray(inputs)}, (jnp.asarray(others), keys)
  )
  found, (number, boolean, key) = found["told"], found["others"]
  jax.effects_barrier()
  np.testing.assert_allclose(found[0], inputs.mean(1), rtol=1e-6)
  bits = np.array([jax.random.uniform(key) for key in keys])
  np.testing.assert_allclose(found[1], np.mean(others * bits), rtol=1e-6)
  assert int(number) == 2**32 - 5 and number.dtype == jnp.uint32
  assert boolean and boolean.dtype == bool
  assert (
    jax.random.key_data(key) == jax.random.key_data(jax.random.key(9))
  ).all()
  # Part k has the examples k, k + 3.
  wanted = [others.astype(np.float32)[k::3].tolist() for k in range(3)]
  assert sorted(seen) == sorted(wanted)


def test_parts_that_cannot_be():
  for parts in (4, 0, 2.0):
    with pytest.raises(ValueError, match=f"divisor of the 6 exam.*got {parts}"):
      microbatches.mean(lambda x: x, parts, jnp.ones((3, BATCH)))
  model = _model()
  for rule in (
    estimators.score_function(1, "batch"),
    published.published_rule(model.encoder, ("averaging", "reset")),
  ):
    with pytest.raises(ValueError, match="num_microbatches: expected 1 where"):
      training.make_train_step(model, rule, optax.sgd(0.1), None, 2)


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
  "published": lambda _: published.published_rule(_model().encoder),
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


@pytest.mark.parametrize("parallel", ["none", "pmap"])
def test_a_configuration_has_its_parts(parallel):
  """The step of a run stores less where its configuration says so."""
  sizes = []
  for parts in (1, 8):
    config = tiny.configuration(
      batch_size=32, num_microbatches=parts, parallel=parallel, num_steps=40
    )
    source, layout = inputs.load(config), build.layout(config)
    built = build.build(config, config.view)
    state = layout.replicate(build.init_state(config, built))
    step = loop.make_step(source, built, layout)
    rows = sources.gather(source.rows("train"), slice(32))
    key = layout.replicate(jax.random.key(0))
    compiled = step.lower(state, layout.place(rows), key, False).compile()
    sizes.append(compiled.memory_analysis().temp_size_in_bytes)
  assert 0 < sizes[1] < sizes[0]


def test_parts_in_bfloat16(monkeypatch):
  """Products within parts are rounded as those of the whole."""
  small = functools.partial(precision.bfloat16_products, least=1, per_number=0)
  monkeypatch.setattr(precision, "bfloat16_products", small)

  def moments(**fields):
    config = tiny.configuration(batch_size=16, **fields)
    built, source = build.build(config, "full"), inputs.load(config)
    rows = sources.gather(source.rows("train"), slice(16))
    step = loop.make_step(source, built)
    state = build.init_state(config, built)
    state, _ = step(state, rows, jax.random.key(0), False)
    return np.concatenate(
      [np.ravel(leaf) for leaf in jax.tree.leaves(state.optimizer)]
    )

  rounded = moments(precision="bfloat16")
  far = lambda a: np.linalg.norm(a - rounded) / np.linalg.norm(rounded)
  assert far(moments(precision="bfloat16", num_microbatches=4)) < 2e-5
  assert far(moments(num_microbatches=4)) > 3e-4


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
