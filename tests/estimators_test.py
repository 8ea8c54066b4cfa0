"""Estimators against exact gradients by enumeration of all spike trains."""

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
  estimators,
  priors,
  published,
  readout,
  training,
)

NUM_STEPS, NUM_READOUT, NUM_INPUTS, NUM_OUTPUTS = 4, 2, 3, 2
LOSSES = functools.partial(bottleneck.vdib, beta=0.5)


def _problem(prior=None, losses=LOSSES, rule=None, lateral=False):
  """A network of 2 neurons and 4 steps whose feedback is strong."""
  layer = encoder.dense(5, weight_scale=20.0)
  snn = encoder.make_encoder(
    (NUM_INPUTS,), [layer], NUM_READOUT, lateral=lateral, credit=rule
  )
  decode = lambda weights, view: 2.0 * jnp.tanh(view.reshape(-1) @ weights)
  prior = priors.glm(0.3, 2) if prior is None else prior
  model = training.Model(snn, decode, readout.whole_train, losses, prior)
  encoder_params = snn.init(jax.random.key(7))
  encoder_params = encoder_params._replace(
    readout=jax.tree.map(lambda w: 2.0 * w, encoder_params.readout)
  )
  decoder_params = jax.random.normal(
    jax.random.key(8), (NUM_STEPS * NUM_READOUT, NUM_OUTPUTS)
  )
  prior_params = jax.tree.map(
    lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(9), leaf.shape),
    prior.init(NUM_READOUT),
  )
  params = training.ModelParams(encoder_params, decoder_params, prior_params)
  rng = np.random.default_rng(1)
  inputs = jnp.asarray(rng.random((NUM_STEPS, NUM_INPUTS)) < 0.6, jnp.float32)
  return model, params, inputs, jnp.array([1.0, 0.0])


def _forced(logits, spikes):
  return spikes + 0.0 * jax.lax.stop_gradient(logits)


def _flat(tree):
  return np.asarray(jax.flatten_util.ravel_pytree(tree)[0], np.float64)


def _expected_loss(model, params, inputs, target):
  """sum_y P(y | x) loss(y, x): the gradient of this is the exact one."""

  def one(pattern):
    sample = model.encoder.run(params.encoder, inputs, pattern, sampler=_forced)
    log_p = bottleneck.log_probability(sample.spikes, sample.logits)
    return jnp.exp(log_p) * model.objective(params, sample, target).total

  patterns = jnp.asarray(references.patterns(NUM_STEPS, NUM_READOUT))
  return jnp.sum(jax.vmap(one)(patterns))


def _exact(problem):
  model, *rest = problem
  expected = functools.partial(_expected_loss, model)
  return _flat(jax.jit(jax.grad(expected))(*rest))


def _estimates(problem, estimator, num, state=None, batch=1):
  """Independent estimates for a batch that repeats the example, [num, P]."""
  model, params, inputs, target = problem
  state = estimator.init(params) if state is None else state
  inputs, targets = jnp.stack([inputs] * batch, 1), jnp.stack([target] * batch)

  def one(key):
    estimate = estimator.estimate(
      model, params, state, inputs, targets, jax.random.split(key, batch)
    )
    return jax.flatten_util.ravel_pytree(estimate.gradients)[0]

  # Batches of one size are one program, whatever the number of estimates.
  keys = jax.random.split(jax.random.key(11), num).reshape(-1, min(num, 500))
  draw = jax.jit(jax.vmap(one))
  return np.concatenate([np.asarray(draw(k), np.float64) for k in keys])


def _check_mean(estimates, expected):
  """A z-test per parameter, with the power to see a missing gradient."""
  deviation = estimates.std(axis=0) / np.sqrt(len(estimates))
  moves = deviation > 1e-8
  assert moves.mean() > 0.4
  z = (estimates.mean(axis=0) - expected)[moves] / deviation[moves]
  # Parameters are correlated: the mean of z^2 is 1 with the spread of as many
  # independent ones as the correlations leave.
  correlation = np.corrcoef(estimates[:, moves].T)
  dimensions = moves.sum() ** 2 / np.sum(correlation**2)
  assert np.mean(z**2) < 1.0 + 4.0 * np.sqrt(2.0 / dimensions), np.mean(z**2)
  assert np.abs(z).max() < 5.0, np.abs(z).max()
  np.testing.assert_allclose(
    estimates.mean(axis=0)[~moves], expected[~moves], atol=1e-6
  )
  assert np.median(np.abs(expected[moves] / deviation[moves])) > 2.0


UNBIASED = {
  "leave one out": estimators.score_function(4),
  "no baseline": estimators.score_function(4, "none"),
  "batch": estimators.score_function(4, "batch"),
  "moving average": estimators.score_function(4, "moving_average"),
  "arm": estimators.arm(4),
  "arm, one pair": estimators.arm(2),
  "disarm": estimators.disarm(4),
  "disarm, one pair": estimators.disarm(2),
}


@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased(name):
  problem = _problem()
  batch = 2 if name == "batch" else 1  # Whose baseline is another example.
  estimates = _estimates(problem, UNBIASED[name], 15_000, batch=batch)
  _check_mean(estimates, _exact(problem))


@pytest.mark.parametrize("name", ["leave one out", "disarm"])
def test_unbiased_with_lateral_feedback_and_the_sampled_ratio(name):
  losses = functools.partial(LOSSES, closed_form=False)
  problem = _problem(losses=losses, lateral=True)
  _check_mean(_estimates(problem, UNBIASED[name], 20_000), _exact(problem))


def test_a_warm_moving_average_is_unbiased_too():
  problem = _problem()
  estimator = estimators.score_function(2, "moving_average")
  state = (jnp.float32(1.4), jnp.float32(0.5))  # Average 2.8.
  _check_mean(_estimates(problem, estimator, 15_000, state), _exact(problem))


def test_moving_average_follows_the_mean_loss(batch=3):
  model, params, inputs, target = _problem()
  estimator = estimators.score_function(2, "moving_average")
  estimate = jax.jit(functools.partial(estimator.estimate, model))
  total = jax.jit(
    lambda u: (
      model.objective(
        params, model.encoder.run(params.encoder, inputs, u), target
      ).total
    )
  )
  state, losses = estimator.init(params), []
  value = weight = 0.0
  for i in range(3):
    keys = jax.random.split(jax.random.key(i), batch)
    batch_inputs = jnp.stack([inputs] * batch, 1)
    targets = jnp.stack([target] * batch)
    uniforms = jax.vmap(lambda k: jax.random.uniform(k, (2, 4, 2)))(keys)
    totals = [float(total(u)) for example in uniforms for u in example]
    value = 0.99 * value + 0.01 * float(np.mean(totals))
    weight = 0.99 * weight + 0.01
    losses.append(float(np.mean(totals)))
    state = estimate(params, state, batch_inputs, targets, keys).state
    np.testing.assert_allclose(state, (value, weight), rtol=1e-5)
  assert np.ptp(losses) > 1e-3


def test_published_rule_with_all_repairs_is_unbiased():
  """With exact credit: b is of the past, the sampled ratio is the signal."""
  losses = functools.partial(LOSSES, closed_form=False)
  problem = _problem(losses=losses)
  rule = published.published_rule(problem[0].encoder)
  zeros = rule.init(problem[1])
  state = zeros._replace(
    numerator=jax.tree.map(lambda z: z + 0.6, zeros.numerator),
    denominator=jax.tree.map(lambda z: z + 0.2, zeros.denominator),
  )
  _check_mean(_estimates(problem, rule, 20_000, state), _exact(problem))


def test_z_test_notices_a_bias():
  """The same test rejects straight-through, whose bias is real."""
  problem = _problem()
  estimates = _estimates(problem, estimators.straight_through(1), 5_000)
  deviation = estimates.std(axis=0) / np.sqrt(len(estimates)) + 1e-9
  z = (estimates.mean(axis=0) - _exact(problem)) / deviation
  assert np.abs(z).max() > 10.0


def test_straight_through_matches_its_own_expectation():
  """Its mean is sum_y P(y) grad loss with dy/du = sigma'(u), enumerated."""
  problem = _problem()
  model, params, inputs, target = problem
  weight = lambda u, y: (
    jax.nn.sigmoid(u) + jax.lax.stop_gradient(y - jax.nn.sigmoid(u))
  )

  def one(params, pattern):
    sample = model.encoder.run(params.encoder, inputs, pattern, sampler=weight)
    return model.objective(params, sample, target).total

  patterns = jnp.asarray(references.patterns(NUM_STEPS, NUM_READOUT))
  gradients = jax.jit(jax.vmap(jax.grad(one), (None, 0)))(params, patterns)
  run = functools.partial(model.encoder.run, params.encoder, inputs)
  forced = jax.jit(jax.vmap(lambda y: run(y, sampler=_forced)))(patterns)
  probability = jnp.exp(
    jax.vmap(bottleneck.log_probability)(forced.spikes, forced.logits)
  )
  np.testing.assert_allclose(probability.sum(), 1.0, rtol=1e-5)
  expected = _flat(
    jax.tree.map(lambda g: jnp.tensordot(probability, g, axes=1), gradients)
  )
  estimates = _estimates(problem, estimators.straight_through(2), 8_000)
  _check_mean(estimates, expected)


def test_relaxed_matches_quadrature():
  """One neuron, two steps: the mean over a grid of both uniforms."""
  layer = encoder.dense(5, weight_scale=20.0)
  snn = encoder.make_encoder((NUM_INPUTS,), [layer], 1)
  decode = lambda weights, view: 2.0 * jnp.tanh(view.reshape(-1) @ weights)
  model = training.Model(
    snn, decode, readout.whole_train, LOSSES, priors.independent(0.3)
  )
  decoder_params = jax.random.normal(jax.random.key(8), (2, NUM_OUTPUTS))
  params = training.ModelParams(snn.init(jax.random.key(7)), decoder_params)
  inputs, target = jnp.ones((2, NUM_INPUTS)), jnp.array([1.0, 0.0])
  temperature, num = 0.7, 300

  def relaxed(logits, uniforms):  # The formula, written out.
    logistic = jnp.log(uniforms) - jnp.log1p(-uniforms)
    return 1.0 / (1.0 + jnp.exp(-(logits - logistic) / temperature))

  def mean_loss(params):
    grid = (jnp.arange(num) + 0.5) / num
    uniforms = jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2, 1)
    one = lambda u: (
      model.objective(
        params,
        snn.run(params.encoder, inputs, u, sampler=relaxed),
        target,
      ).total
    )
    return jnp.mean(jax.lax.map(one, uniforms, batch_size=9000))

  expected = _flat(jax.jit(jax.grad(mean_loss))(params))
  problem = (model, params, inputs, target)
  _check_mean(
    _estimates(problem, estimators.relaxed(4, temperature), 8_000), expected
  )


def test_relaxed_follows_its_schedule():
  model, params, inputs, target = _problem()
  rule = estimators.relaxed(1, lambda step: 2.0 * 0.5**step)
  keys = jax.random.split(jax.random.key(0), 1)
  batch = (inputs[:, None], target[None], keys)
  estimate = jax.jit(functools.partial(rule.estimate, model))
  state = rule.init(params)
  for step in range(3):
    fixed = estimators.relaxed(1, 2.0 * 0.5**step)
    found = estimate(params, state, *batch)
    wanted = jax.jit(functools.partial(fixed.estimate, model))(
      params, fixed.init(params), *batch
    )
    np.testing.assert_allclose(
      _flat(found.gradients), _flat(wanted.gradients), rtol=1e-4, atol=1e-6
    )
    assert int(found.state) == step + 1
    state = found.state


def test_disarm_weight_is_the_conditional_mean():
  """Against the mean of 1 - 2 v over uniforms that give the same spikes."""
  v = jnp.asarray(np.random.default_rng(0).random(400_000), jnp.float32)
  for u, mirrored in ((0.8, 0.8), (-1.2, -0.3), (0.5, -0.9), (-0.4, 1.3)):
    logits = jnp.stack([jnp.full_like(v, u), jnp.full_like(v, mirrored)])
    spikes = jnp.stack([
      v < jax.nn.sigmoid(u), 1 - v < jax.nn.sigmoid(mirrored)
    ]).astype(jnp.float32)  # fmt: skip
    weight = np.asarray(estimators.disarm_weight(spikes, logits))
    kinds = np.asarray(spikes[0] * 2 + spikes[1])
    for kind in np.unique(kinds):
      chosen = kinds == kind
      mean = np.mean(1 - 2 * np.asarray(v)[chosen])
      error = 5 / np.sqrt(chosen.sum())
      np.testing.assert_allclose(weight[chosen], mean, atol=error)


def test_disarm_weight_for_independent_spikes_is_the_published_one():
  """(-1)^y' 1[y != y'] sigma(|u|) of Dong et al. 2020, up to its sign."""
  u = jnp.linspace(-3, 3, 13)[None]
  v = jnp.linspace(0.02, 0.98, 13)[:, None]
  spikes = jnp.stack([v < jax.nn.sigmoid(u), 1 - v < jax.nn.sigmoid(u)]) * 1.0
  logits = jnp.broadcast_to(u, spikes.shape)
  found = estimators.disarm_weight(spikes, logits)
  y, other = spikes
  wanted = (-1) ** other * (y != other) * jax.nn.sigmoid(jnp.abs(u))
  np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_variances_are_ordered():
  """At 4 evaluations, with strong feedback from spike to spike."""
  problem = _problem()
  total = {
    name: _estimates(problem, UNBIASED[name], 4_000).var(axis=0).sum()
    for name in ("disarm", "arm", "leave one out", "no baseline")
  }
  assert total["disarm"] < 0.9 * total["arm"]
  assert total["leave one out"] < 0.7 * total["no baseline"]


def test_estimators_work_with_every_credit():
  """The estimator's error at the logits, then the rule's way back."""
  for rule in (credit.local(), credit.feedback(), credit.symmetric()):
    exact = _problem(rule=credit.bptt())
    other = _problem(rule=rule)
    for name in ("disarm",):
      a = _estimates(exact, UNBIASED[name], 1)
      b = _estimates(other, UNBIASED[name], 1)
      assert 0 < np.abs(a - b).max()  # Hidden weights learn otherwise,
      decoder = exact[1].decoder.size + _flat(exact[1].prior).size
      np.testing.assert_allclose(  # the decoder and the prior do not.
        a[0, -decoder:], b[0, -decoder:], rtol=1e-5, atol=1e-6
      )


def test_what_means_nothing_is_refused():
  with pytest.raises(ValueError, match="num_samples.*at least 2.*got 1"):
    estimators.score_function(1)
  with pytest.raises(ValueError, match="num_samples.*at least 1.*got 0"):
    estimators.straight_through(0)
  for rule in (estimators.arm, estimators.disarm):
    for wrong in (0, 1, 3):
      with pytest.raises(ValueError, match=f"even number.*2, got {wrong}"):
        rule(wrong)
  with pytest.raises(ValueError, match="baseline.*moving_average.*got 'mean'"):
    estimators.score_function(2, "mean")
  with pytest.raises(ValueError, match="temperature.*> 0, got 0"):
    estimators.relaxed(1, 0.0)
  model, params, inputs, target = _problem()
  with pytest.raises(ValueError, match="batch_size.*at least 2.*got 1"):
    estimators.score_function(1, "batch").estimate(
      model, params, (), inputs[:, None], target[None],
      jax.random.split(jax.random.key(0), 1),
    )  # fmt: skip
