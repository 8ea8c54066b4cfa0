"""The training step against a hand-written one; its diagnostics; resuming."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from timedecode import (
  bottleneck,
  checkpoint,
  encoder,
  estimators,
  priors,
  readout,
  surrogate,
  training,
)

STEPS, BATCH, NUM_IN, NUM_OUT = 12, 5, 7, 3


def _model(layers=None):
  if layers is None:
    layers = [
      encoder.dense(6, weight_scale=10.0),
      encoder.dense(4, weight_scale=10.0),
    ]
  snn = encoder.make_encoder((NUM_IN,), layers, 3)
  losses = functools.partial(bottleneck.vdib, beta=0.1)
  decode = lambda weights, view: view.reshape(-1) @ weights
  prior = priors.independent(0.2)
  return training.Model(snn, decode, readout.whole_train, losses, prior)


def _params(model):
  decoder = 0.3 * jax.random.normal(jax.random.key(1), (STEPS * 3, NUM_OUT))
  return training.ModelParams(model.encoder.init(jax.random.key(0)), decoder)


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  inputs = jnp.asarray(rng.random((STEPS, BATCH, NUM_IN)) < 0.3, jnp.float32)
  targets = jnp.asarray(rng.random((BATCH, NUM_OUT)), jnp.float32)
  return inputs, targets, jax.random.split(jax.random.key(seed), BATCH)


def test_step_is_gradient_descent_on_the_mean_over_examples():
  model, rate = _model(), 0.1
  params = _params(model)
  estimator = estimators.straight_through()
  inputs, targets, keys = _batch()
  step = training.make_train_step(model, estimator, optax.sgd(rate))
  state = training.init_state(params, optax.sgd(rate), estimator)
  after, metrics = jax.jit(step)(state, inputs, targets, keys)
  gradients, losses = [], []
  single = jax.jit(functools.partial(estimator.estimate, model))
  for i in range(BATCH):
    one = slice(i, i + 1)
    estimate = single(params, (), inputs[:, one], targets[one], keys[one])
    gradients.append(estimate.gradients)
    losses.append(jax.tree.map(lambda leaf: leaf[0], estimate.losses))
  expected = jax.tree.map(
    lambda p, *g: p - rate * sum(g) / BATCH, params, *gradients
  )
  for got, want, old in zip(
    *map(jax.tree.leaves, (after.params, expected, params)), strict=True
  ):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    assert float(jnp.max(jnp.abs(got - old))) > 1e-5
  assert int(after.step) == 1
  for name in ("distortion", "information", "entropy"):
    want = np.mean([float(getattr(loss, name)) for loss in losses])
    np.testing.assert_allclose(getattr(metrics, name), want, rtol=1e-5)
  want = np.mean([float(loss.total) for loss in losses])
  np.testing.assert_allclose(metrics.loss, want, rtol=1e-5)


def test_diagnostics_equal_numpy_counts():
  model = _model()
  params = _params(model)
  inputs, targets, keys = _batch()
  rule = estimators.straight_through()
  step = training.make_train_step(model, rule, optax.sgd(0.1))
  state = training.init_state(params, optax.sgd(0.1), rule)
  _, metrics = jax.jit(step)(state, inputs, targets, keys, True)
  one = lambda x, key: model.encoder.run(
    params.encoder, x, jax.random.uniform(key, (1, STEPS, 3))[0]
  )
  sample = jax.jit(jax.vmap(one, (1, 0)))(inputs, keys)
  spikes = np.asarray(sample.spikes)
  np.testing.assert_allclose(metrics.readout_rate, spikes.mean(), rtol=1e-6)
  np.testing.assert_allclose(
    metrics.readout_spikes, spikes.sum((1, 2)).mean(), rtol=1e-6
  )
  psi = surrogate.get("triangular")
  for i, (hidden, potential) in enumerate(
    zip(sample.hidden, sample.potentials, strict=True)
  ):
    rate = np.asarray(hidden).mean((0, 1))
    found = jax.tree.map(lambda leaf, i=i: float(leaf[i]), metrics.diagnostics)
    np.testing.assert_allclose(found.hidden_rate, rate.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.silent_share, np.mean(rate == 0))
    np.testing.assert_allclose(found.saturated_share, np.mean(rate > 0.45))
    active = np.mean(np.asarray(psi(potential)) > 0.01)
    np.testing.assert_allclose(found.surrogate_active_share, active, rtol=1e-5)
    assert 0.0 < rate.mean() < 1.0 and 0.0 < active < 1.0
  estimate = jax.jit(functools.partial(rule.estimate, model))
  gradients = estimate(params, (), inputs, targets, keys).gradients
  parts = [*gradients.encoder.hidden, gradients.encoder.readout]
  norms = [
    np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(part)))
    for part in [*parts, gradients.decoder]
  ]
  np.testing.assert_allclose(
    metrics.diagnostics.gradient_norms, norms, rtol=1e-4
  )


def test_diagnostics_are_nan_unless_asked_for():
  model = _model()
  rule = estimators.straight_through()
  step = training.make_train_step(model, rule, optax.sgd(0.1))
  state = training.init_state(_params(model), optax.sgd(0.1), rule)
  _, metrics = jax.jit(step)(state, *_batch())
  for leaf in metrics.diagnostics:
    assert np.isnan(leaf).all()


def test_no_hidden_layers():
  model = _model(layers=[])
  rule = estimators.score_function(2)
  step = training.make_train_step(model, rule, optax.sgd(0.1))
  state = training.init_state(_params(model), optax.sgd(0.1), rule)
  after, metrics = jax.jit(step)(state, *_batch(), True)
  assert metrics.diagnostics.hidden_rate.shape == (0,)
  moved = jnp.abs(
    after.params.encoder.readout.weights - state.params.encoder.readout.weights
  )
  assert float(moved.max()) > 0


@pytest.mark.parametrize("name", sorted(estimators.ESTIMATORS))
def test_training_lowers_the_loss(name):
  model = _model()
  estimator = estimators.ESTIMATORS[name](4)
  optimizer = optax.adam(0.02)
  step = jax.jit(training.make_train_step(model, estimator, optimizer))
  state = training.init_state(_params(model), optimizer, estimator)
  inputs, targets, _ = _batch()
  losses = []
  for i in range(200):
    keys = jax.random.split(jax.random.fold_in(jax.random.key(3), i), BATCH)
    state, metrics = step(state, inputs, targets, keys)
    losses.append(float(metrics.loss))
  assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])


def test_one_step_restore_one_step_equals_two_steps(tmp_path):
  model, optimizer = _model(), optax.adam(0.01)
  rule = estimators.straight_through()
  step = jax.jit(training.make_train_step(model, rule, optimizer))
  state = training.init_state(_params(model), optimizer, rule)
  first, _ = step(state, *_batch(1))
  second, _ = step(first, *_batch(2))
  checkpoint.save(tmp_path / "checkpoint", first, {"step": 1})
  restored, _ = checkpoint.load(tmp_path / "checkpoint", state)
  again, _ = step(restored, *_batch(2))
  for got, want in zip(*map(jax.tree.leaves, (again, second)), strict=True):
    np.testing.assert_array_equal(got, want)


def test_evaluation_draws_independent_samples_of_the_model():
  model = _model()
  params = _params(model)
  inputs, targets, keys = _batch()
  result = jax.jit(training.make_eval_step(model, 400))(
    params, inputs, targets, keys
  )
  spikes = np.asarray(result.spikes)
  assert spikes.shape == (STEPS, 400, BATCH, 3)
  one = lambda x, k: model.encoder.run(
    params.encoder, x, jax.random.uniform(k, (STEPS, 3))
  )
  sample = jax.jit(jax.vmap(one, (1, 0)))(inputs, keys)
  first = jax.nn.sigmoid(sample.logits[:, 0])  # Depends on no earlier spike.
  error = np.abs(spikes[0].mean(0) - first)
  assert error.max() < 5 * 0.5 / np.sqrt(400)
  outputs = np.einsum(
    "tsbn,tno->sbo", spikes, np.asarray(params.decoder).reshape(STEPS, 3, -1)
  )
  np.testing.assert_allclose(result.outputs, outputs, rtol=1e-4, atol=1e-5)
  cross = np.logaddexp(0, outputs) - np.asarray(targets) * outputs
  np.testing.assert_allclose(result.losses.distortion, cross.sum(-1), rtol=1e-4)


def test_wrong_shapes_are_refused():
  model = _model()
  rule = estimators.straight_through()
  step = training.make_train_step(model, rule, optax.sgd(0.1))
  state = training.init_state(_params(model), optax.sgd(0.1), rule)
  inputs, targets, keys = _batch()
  with pytest.raises(ValueError, match=r"inputs: expected shape \[T, 7\]"):
    step(state, inputs[..., :6], targets, keys)
  with pytest.raises(ValueError, match="target: expected"):
    step(state, inputs, targets[:, :2], keys)
