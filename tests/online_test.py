"""Online gradients: equal to stored ones, and no larger for longer trains."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import references

from timedecode import (
  bottleneck,
  credit,
  encoder,
  glm,
  online,
  priors,
  readout,
  training,
)

NUM_IN, NUM_Y, CLASSES, WINDOW = 5, 3, 4, 4


def _model(
  rule=None, layers=1, prior=None, size=6, window=WINDOW, num_in=5, events=False
):  # fmt: skip
  hidden = [
    encoder.dense(size, weight_scale=12.0, event_driven=events)
    for _ in range(layers)
  ]
  snn = encoder.make_encoder(
    (num_in,), hidden, NUM_Y, credit=credit.local() if rule is None else rule
  )
  losses = functools.partial(
    bottleneck.vdib, beta=0.3, distortion=bottleneck.categorical_distortion
  )
  decode = lambda weights, view: view.reshape(-1) @ weights
  prior = priors.independent(0.2) if prior is None else prior
  model = training.Model(snn, decode, readout.whole_train, losses, prior)
  params = training.ModelParams(
    snn.init(jax.random.key(0)),
    jax.random.normal(jax.random.key(1), (window * NUM_Y, CLASSES)),
    jax.tree.map(lambda a: a + 0.1, prior.init(NUM_Y)),
  )
  return model, params


def _batch(steps, batch=2):
  rng = np.random.default_rng(0)
  inputs = jnp.asarray(rng.random((steps, batch, NUM_IN)) < 0.3, jnp.float32)
  targets = jnp.asarray(rng.integers(0, CLASSES, (steps, batch)), jnp.int32)
  return inputs, targets, jax.random.split(jax.random.key(3), batch)


def _stored(model, params, inputs, targets, keys, window=WINDOW):
  """Straight-through over the whole train, differentiated at the end."""

  def one(params, x, target, key):
    def uniform(t):
      step_key = jax.random.fold_in(jax.random.fold_in(key, 0), t)
      return jax.random.uniform(step_key, (NUM_Y,))

    u = jax.vmap(uniform)(jnp.arange(len(x)))
    sample = model.encoder.run(
      params.encoder, x, u, sampler=glm.bernoulli_straight_through
    )
    views = readout.sliding_window(sample.spikes, window)
    logits = views.reshape(len(x), -1) @ params.decoder
    q = model.prior.logits(params.prior, sample.spikes)
    log_p = jax.nn.log_softmax(logits)[jnp.arange(len(x)), target]
    information = jnp.sum(bottleneck.divergence(sample.logits, q))
    return -jnp.sum(log_p) + 0.3 * information

  def loss(params):
    return jnp.mean(
      jax.vmap(one, (None, 1, 1, 0))(params, inputs, targets, keys)
    )

  return jax.value_and_grad(loss)(params)


def _assert_equal(a, b):
  largest = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(b))
  for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True):
    assert float(jnp.max(jnp.abs(y))) > 1e-5 * largest
    np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-5 * largest)


@pytest.mark.parametrize(
  "rule, steps, chunk",
  [
    ("local", 60, 20), ("local", 67, 20), ("local", 30, 64), ("local", 41, 40),
    ("feedback", 67, 20), ("symmetric", 67, 20),
  ],
)  # fmt: skip
def test_online_is_stored_then_summed(rule, steps, chunk):
  layers = 2 if steps == 67 else 1
  model, params = _model(credit.CREDITS[rule](), layers=layers)
  batch = _batch(steps)
  found = jax.jit(online.make_online_gradient(model, WINDOW, chunk))(
    params, *batch
  )
  loss, gradients = jax.jit(functools.partial(_stored, model))(params, *batch)
  np.testing.assert_allclose(found.losses.total, loss, rtol=1e-5)
  _assert_equal(found.gradients, gradients)


def test_online_with_a_learned_prior():
  model, params = _model(prior=priors.glm(0.2, 6))
  batch = _batch(70)
  found = jax.jit(online.make_online_gradient(model, WINDOW, 24))(
    params, *batch
  )
  loss, gradients = jax.jit(functools.partial(_stored, model))(params, *batch)
  np.testing.assert_allclose(found.losses.total, loss, rtol=1e-5)
  _assert_equal(found.gradients, gradients)


def test_score_function_chunks_agree():
  model, params = _model()
  batch = _batch(67)
  make = functools.partial(
    online.make_online_gradient, model, WINDOW, estimator="score_function",
    num_samples=3,
  )  # fmt: skip
  found = jax.jit(make(chunk=20))(params, *batch)
  whole = jax.jit(make(chunk=100))(params, *batch)
  np.testing.assert_allclose(found.losses.total, whole.losses.total, rtol=1e-5)
  _assert_equal(found.gradients, whole.gradients)


def test_score_function_is_unbiased():
  """Two neurons' worth of patterns, enumerated: 3 neurons, 3 steps."""
  model, params = _model(window=2)
  steps = 3
  inputs, targets, _ = _batch(steps, 1)
  inputs = jnp.ones_like(inputs)
  patterns = jnp.asarray(references.patterns(steps, NUM_Y))
  given = lambda logits, y: y + 0.0 * jax.lax.stop_gradient(logits)

  def one(params, y):
    sample = model.encoder.run(params.encoder, inputs[:, 0], y, sampler=given)
    logits = readout.sliding_window(y, 2).reshape(steps, -1) @ params.decoder
    log_q = jax.nn.log_softmax(logits)[jnp.arange(steps), targets[:, 0]]
    prior = model.prior.logits((), y)
    loss = -jnp.sum(log_q) + 0.3 * jnp.sum(
      bottleneck.divergence(sample.logits, prior)
    )
    return jnp.exp(bottleneck.log_probability(y, sample.logits)) * loss

  expected = lambda p: jnp.sum(jax.vmap(lambda y: one(p, y))(patterns))
  exact = jax.jit(jax.grad(expected))(params)
  gradient = online.make_online_gradient(
    model, 2, 64, "score_function", num_samples=2
  )
  draw = lambda key: jax.flatten_util.ravel_pytree(
    gradient(params, inputs, targets, key[None]).gradients
  )[0]
  keys = jax.random.split(jax.random.key(4), 8_000)
  estimates = np.asarray(
    jax.jit(lambda k: jax.lax.map(draw, k, batch_size=500))(keys), np.float64
  )
  exact = np.asarray(jax.flatten_util.ravel_pytree(exact)[0], np.float64)
  deviation = estimates.std(0) / np.sqrt(len(estimates))
  moves = deviation > 1e-8
  z = (estimates.mean(0) - exact)[moves] / deviation[moves]
  assert np.abs(z).max() < 5.0 and np.mean(z**2) < 2.0
  assert np.median(np.abs(exact[moves] / deviation[moves])) > 2.0


@pytest.mark.parametrize("estimator", online.ESTIMATORS)
def test_memory_does_not_grow_with_the_train(estimator):
  model, params = _model(size=64, num_in=100)
  num_samples = 2
  gradient = online.make_online_gradient(
    model, WINDOW, 50, estimator, num_samples
  )

  def memory(steps):
    batch = jax.eval_shape(lambda: _batch_shapes(steps))
    compiled = jax.jit(gradient).lower(params, *batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  def _batch_shapes(steps):
    keys = jax.random.split(jax.random.key(0), 4)
    inputs = jnp.zeros((steps, 4, 100))
    return inputs, jnp.zeros((steps, 4), jnp.int32), keys

  short, long = memory(100), memory(10_000)
  assert long < 1.1 * short, (short, long)


def test_what_means_nothing_is_refused():
  model, _ = _model(credit.bptt())
  with pytest.raises(ValueError, match="credit.*'bptt'.*nearest is 'local'"):
    online.make_online_gradient(model, WINDOW)
  model, _ = _model()
  make = online.make_online_gradient
  with pytest.raises(ValueError, match="chunk: expected more than the 12"):
    make(model, WINDOW, 12)
  with pytest.raises(ValueError, match="estimator.*got 'disarm'"):
    make(model, WINDOW, 64, "disarm")
  with pytest.raises(ValueError, match="num_samples.*at least 2, got 1"):
    make(model, WINDOW, 64, "score_function")
  with pytest.raises(ValueError, match="layers: expected none .*event-driven"):
    make(_model(events=True)[0], WINDOW, 64)
  with pytest.raises(ValueError, match="window.*at least 1 step, got 0"):
    make(model, 0)
