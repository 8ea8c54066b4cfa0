"""The objective against closed forms and an enumerated tiny network."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from timedecode import bottleneck, encoder, priors


def test_bernoulli_distortion():
  logits = np.array([-2.0, 0.3, 40.0], np.float32)
  target = np.array([0.0, 0.4, 1.0], np.float32)
  p = references.sigmoid(logits[:2].astype(np.float64))
  expected = -np.sum(target[:2] * np.log(p) + (1 - target[:2]) * np.log(1 - p))
  value = bottleneck.bernoulli_distortion(jnp.array(logits), jnp.array(target))
  np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_categorical_distortion():
  logits = jnp.array([1.0, -1.0, 0.5])
  expected = math.log(np.exp(np.array(logits)).sum()) - 0.5
  value = bottleneck.categorical_distortion(logits, jnp.array(2))
  np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_gaussian_distortion():
  mean, target = np.array([0.0, 2.0]), np.array([1.0, 0.5])
  density = np.exp(-((mean - target) ** 2) / 2) / np.sqrt(2 * np.pi)
  value = bottleneck.gaussian_distortion(jnp.array(mean), jnp.array(target))
  np.testing.assert_allclose(value, -np.log(density).sum(), rtol=1e-6)


def test_targets_of_another_shape_are_refused():
  for distortion in (
    bottleneck.bernoulli_distortion,
    bottleneck.gaussian_distortion,
  ):
    with pytest.raises(ValueError, match=r"target.*\(3,\).*\(4,\)"):
      distortion(jnp.zeros(3), jnp.zeros(4))
  with pytest.raises(ValueError, match="integer scalar"):
    bottleneck.categorical_distortion(jnp.zeros(3), jnp.zeros(3))


def test_divergence_and_entropy_are_the_textbook_ones():
  p, r = 0.7, 0.3
  logit = lambda x: jnp.log(x / (1 - x))
  expected = p * math.log(p / r) + (1 - p) * math.log((1 - p) / (1 - r))
  value = bottleneck.divergence(logit(jnp.array(p)), logit(jnp.array(r)))
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  expected = -p * math.log(p) - (1 - p) * math.log(1 - p)
  np.testing.assert_allclose(
    bottleneck.entropy(logit(jnp.array(p))), expected, rtol=1e-5
  )


def test_divergence_vanishes_at_the_prior_and_is_finite_far_away():
  same = bottleneck.divergence(jnp.array(-0.8), jnp.array(-0.8))
  np.testing.assert_allclose(same, 0.0, atol=1e-7)
  far = bottleneck.divergence(jnp.array([-80.0, 80.0]), jnp.zeros(2))
  np.testing.assert_allclose(far, math.log(2), rtol=1e-5)


def _tiny(num_steps=4, num_inputs=4):
  """A random encoder with 2 readout neurons and equiprobable input trains."""
  layer = encoder.dense(5, weight_scale=25.0)
  snn = encoder.make_encoder((3,), [layer], 2)
  params = snn.init(jax.random.key(3))
  params = params._replace(
    readout=jax.tree.map(lambda w: 4.0 * w, params.readout)
  )
  rng = np.random.default_rng(0)
  inputs = (rng.random((num_inputs, num_steps, 3)) < 0.5).astype(np.float32)
  return snn, params, jnp.asarray(inputs)


def _given(snn, params, inputs, spikes):
  """Logits of `spikes` [T, N_y] under `inputs`: uniforms force the spikes."""
  return snn.run(params, inputs, 1.0 - spikes, sampler=_forced).logits


def _forced(logits, one_minus_spike):
  return 1.0 - one_minus_spike + 0.0 * logits


def _enumerate(snn, params, inputs, patterns):
  """log P(y_t | x, y^{t-1}) for all patterns: [X, Y, T], in float64."""
  over_patterns = jax.vmap(
    lambda x, y: _given(snn, params, x, y), in_axes=(None, 0)
  )
  logits = jax.vmap(over_patterns, in_axes=(0, None))(inputs, patterns)
  logits = np.asarray(logits, np.float64)
  p = references.sigmoid(logits)
  each = np.where(patterns[None] > 0.5, np.log(p), np.log1p(-p))
  return each.sum(axis=3), logits


def _marginals(step_logs, patterns):
  """log P(y_t | y^{t-1}) for all patterns: [Y, T], summed over inputs."""
  num_steps = step_logs.shape[2]
  joint = np.exp(step_logs.sum(axis=2)) / len(step_logs)
  total = joint.sum(axis=0)
  result = np.zeros((len(patterns), num_steps))
  for i, pattern in enumerate(patterns):
    for t in range(num_steps):
      same = lambda n, p=pattern: (patterns[:, :n] == p[:n]).all(axis=(1, 2))
      result[i, t] = np.log(total[same(t + 1)].sum() / total[same(t)].sum())
  return result


def _directed_information(step_logs, patterns):
  """sum_t E log P(y_t | x^t, y^{t-1}) / P(y_t | y^{t-1}), exactly."""
  joint = np.exp(step_logs.sum(axis=2)) / len(step_logs)
  marginals = _marginals(step_logs, patterns)
  ratio = (step_logs - marginals[None]).sum(axis=2)
  return np.sum(joint * ratio)


def test_bound_is_tight_at_the_true_marginal_and_loose_elsewhere():
  snn, params, inputs = _tiny()
  patterns = references.patterns(4, 2)
  step_logs, logits = _enumerate(snn, params, inputs, patterns)
  joint = np.exp(step_logs.sum(axis=2)) / len(inputs)
  np.testing.assert_allclose(joint.sum(), 1.0, rtol=1e-6)
  exact = _directed_information(step_logs, patterns)
  assert exact > 0.05

  def bound(prior_logs, prior_ratio=None):
    """Expected sampled ratio under a prior's log q(y_t | y^{t-1}) [Y, T]."""
    return np.sum(joint * (step_logs - prior_logs[None]).sum(axis=2))

  tight = bound(_marginals(step_logs, patterns))
  np.testing.assert_allclose(tight, exact, rtol=1e-9)
  for rate in (0.1, 0.3, 0.5):
    prior = functools.partial(priors.independent(rate).logits, ())
    ours = np.array(
      [
        [
          float(
            bottleneck.sampled_ratio(
              jnp.array(y), jnp.array(u, jnp.float32), prior(jnp.array(y))
            )
          )
          for y, u in zip(patterns, logits[x], strict=True)
        ]
        for x in range(len(inputs))
      ]
    )
    sampled = np.sum(joint * ours)
    closed = np.sum(
      joint
      * np.asarray(
        bottleneck.divergence(
          jnp.array(logits, jnp.float32),
          jnp.full(logits.shape, math.log(rate / (1 - rate)), jnp.float32),
        )
      ).sum(axis=(2, 3))
    )
    np.testing.assert_allclose(sampled, closed, rtol=1e-4)
    assert sampled > exact + 1e-3


def test_true_marginal_prior_through_the_library():
  """With one neuron the marginal is a prior function: `vdib` is tight."""
  layer = encoder.dense(5, weight_scale=25.0)
  snn = encoder.make_encoder((3,), [layer], 1)
  params = snn.init(jax.random.key(4))
  params = params._replace(
    readout=jax.tree.map(lambda w: 4.0 * w, params.readout)
  )
  _, _, inputs = _tiny()
  patterns = references.patterns(4, 1)
  step_logs, logits = _enumerate(snn, params, inputs, patterns)
  marginals = np.exp(_marginals(step_logs, patterns))
  p_one = np.where(patterns[:, :, 0] > 0.5, marginals, 1 - marginals)
  table = jnp.asarray(np.log(p_one / (1 - p_one)), jnp.float32)[:, :, None]

  def prior(spikes):
    match = jnp.all(jnp.asarray(patterns) == spikes[None], axis=(1, 2))
    return jnp.sum(jnp.where(match[:, None, None], table, 0.0), axis=0)

  joint = np.exp(step_logs.sum(axis=2)) / len(inputs)
  for closed_form in (True, False):
    total = 0.0
    for x in range(len(inputs)):
      for y in range(len(patterns)):
        losses = bottleneck.vdib(
          jnp.zeros(1), jnp.zeros(1), jnp.asarray(patterns[y]),
          jnp.asarray(logits[x, y], jnp.float32),
          prior(jnp.asarray(patterns[y])), 1.0,
          closed_form=closed_form,
        )  # fmt: skip
        total += joint[x, y] * float(losses.information)
    exact = _directed_information(step_logs, patterns)
    assert exact > 0.02
    np.testing.assert_allclose(total, exact, rtol=1e-3)


def test_vdib_adds_its_terms():
  spikes = jnp.array([[1.0, 0.0], [0.0, 0.0]])
  logits = jnp.array([[0.2, -1.0], [0.7, 0.0]])
  outputs, target = jnp.array([0.5, -0.5]), jnp.array([1.0, 0.0])
  prior_logits = priors.independent(0.3).logits((), spikes)
  losses = bottleneck.vdib(outputs, target, spikes, logits, prior_logits, 0.25)
  assert losses.information > 0 and losses.distortion > 0
  np.testing.assert_allclose(
    losses.total, losses.distortion + 0.25 * losses.information, rtol=1e-6
  )


def test_published_betas_convert():
  convert = bottleneck.beta_from_means
  assert round(convert(1e-3, 784, 30, 256), 6) == 1.02e-4
  assert round(convert(1e-3, 784, 80, 256), 7) == 3.83e-5
  assert round(convert(1e-3, 784, 200, 256), 7) == 1.53e-5


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_prior_outside_the_open_interval(rate):
  with pytest.raises(ValueError, match=r"prior_rate.*\(0, 1\)"):
    priors.independent(rate)


@pytest.mark.parametrize("beta", [-1e-3, float("nan"), float("inf")])
def test_negative_beta(beta):
  with pytest.raises(ValueError, match="beta.*>= 0"):
    bottleneck.check_beta(beta)
