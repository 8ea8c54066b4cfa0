"""Online gradients of one loss at the end: equal to stored ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import (
  bottleneck,
  credit,
  encoder,
  glm,
  online_final,
  priors,
  readout,
  training,
)

NUM_IN, NUM_Y, OUTPUTS = 5, 3, 4


def _problem(
  rule, steps, prior=None, view=readout.whole_train, size=6, layers=1
):
  """Model, parameters and a batch of 2."""
  hidden = [encoder.dense(size, weight_scale=12.0) for _ in range(layers)]
  snn = encoder.make_encoder((NUM_IN,), hidden, NUM_Y, credit=rule)
  losses = functools.partial(bottleneck.vdib, beta=0.3)
  decode = lambda weights, view: jnp.tanh(view.reshape(-1) @ weights)
  prior = priors.glm(0.2, 4) if prior is None else prior
  model = training.Model(snn, decode, view, losses, prior)
  seen = view(jnp.zeros((steps, NUM_Y))).size
  params = training.ModelParams(
    snn.init(jax.random.key(0)),
    jax.random.normal(jax.random.key(1), (seen, OUTPUTS)),
    jax.tree.map(lambda a: a + 0.1, prior.init(NUM_Y)),
  )
  rng = np.random.default_rng(0)
  inputs = jnp.asarray(rng.random((steps, 2, NUM_IN)) < 0.3, jnp.float32)
  targets = jnp.asarray(rng.random((2, OUTPUTS)), jnp.float32)
  return model, params, inputs, targets, jax.random.split(jax.random.key(3), 2)


def _stored(model, params, inputs, targets, keys, score, num_samples):
  """The whole train at once: the loss, and the gradient of the surrogate."""

  def one(params, x, target, key):
    def train(k):
      uniform = lambda t: jax.random.uniform(
        jax.random.fold_in(jax.random.fold_in(key, k), t), (NUM_Y,)
      )
      sampler = glm.bernoulli_straight_through
      sample = model.encoder.run(
        params.encoder, x, jax.vmap(uniform)(jnp.arange(len(x))),
        sampler=glm.bernoulli if score else sampler,
      )  # fmt: skip
      total = model.objective(params, sample, target).total
      return total, bottleneck.log_probability(sample.spikes, sample.logits)

    total, log_p = jax.vmap(train)(jnp.arange(num_samples))
    if not score:
      return jnp.mean(total), jnp.mean(total)
    fixed = jax.lax.stop_gradient(total)
    others = (jnp.sum(fixed) - fixed) / (num_samples - 1)
    return jnp.mean(total + (fixed - others) * log_p), jnp.mean(total)

  def loss(params):
    values = jax.vmap(functools.partial(one, params), (1, 0, 0))(
      inputs, targets, keys
    )
    return tuple(map(jnp.mean, values))

  (_, value), gradients = jax.value_and_grad(loss, has_aux=True)(params)
  return value, gradients


@pytest.mark.parametrize(
  "rule, layers, steps, chunk, view, estimator, num_samples",
  [
    ("local", 2, 67, 20, readout.whole_train, "straight_through", 1),
    ("feedback", 2, 60, 20, readout.counts, "straight_through", 2),
    ("local", 1, 30, 64, readout.whole_train, "score_function", 3),
    ("symmetric", 1, 41, 40, readout.first_spike, "score_function", 2),
  ],
)
def test_online_is_stored_then_summed(
  rule, layers, steps, chunk, view, estimator, num_samples
):
  problem = _problem(credit.CREDITS[rule](), steps, view=view, layers=layers)
  model, arguments = problem[0], problem[1:]
  gradient = online_final.make_final_gradient(
    model, chunk, estimator, num_samples
  )
  found = jax.jit(gradient)(*arguments)
  score = estimator == "score_function"
  value, gradients = jax.jit(
    lambda *batch: _stored(model, *batch, score, num_samples)
  )(*arguments)
  np.testing.assert_allclose(found.losses.total, value, rtol=1e-5)
  largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(gradients))
  pairs = zip(*map(jax.tree.leaves, (found.gradients, gradients)), strict=True)
  for ours, stored in pairs:
    assert float(jnp.max(jnp.abs(stored))) > 1e-5 * largest
    np.testing.assert_allclose(ours, stored, rtol=2e-3, atol=1e-5 * largest)


def test_hidden_layers_take_no_room_that_grows_with_the_train():
  """From T = 2,000 to 4,000 only the readout's numbers are added."""

  def memory(steps):
    model, *arguments = _problem(
      credit.local(), steps, priors.independent(0.2), readout.counts, size=200
    )
    gradient = online_final.make_final_gradient(model)
    compiled = jax.jit(gradient).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  added = memory(4000) - memory(2000)
  of_readout = 2 * 2000 * NUM_Y * 4  # Bytes of one number per step.
  of_hidden = 2 * 2000 * 200 * 4
  assert of_readout <= added <= 12 * of_readout < 0.1 * 2 * of_hidden


def test_what_means_nothing_is_refused():
  exact = _problem(credit.bptt(), 30)[0]
  with pytest.raises(ValueError, match="credit: online .* got 'bptt'"):
    online_final.make_final_gradient(exact)
  model = _problem(credit.local(), 30)[0]
  with pytest.raises(ValueError, match="chunk: expected more than the 9 steps"):
    online_final.make_final_gradient(model, chunk=9)
  with pytest.raises(ValueError, match="score_function expects at least 2"):
    online_final.make_final_gradient(model, estimator="score_function")
  with pytest.raises(ValueError, match="estimator.*got 'disarm'"):
    online_final.make_final_gradient(model, estimator="disarm")
