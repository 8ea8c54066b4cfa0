"""Information maps against closed forms; operations and averages by loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from experiments import priors as fitting
from timedecode import (
  bottleneck,
  encoder,
  information,
  operations,
  priors,
  receptive_fields,
)


def _h(p):
  return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def _logit(p):
  return np.log(p) - np.log1p(-p)


def _draw(probabilities, seed):
  return (np.random.default_rng(seed).random(probabilities.shape)
          < probabilities).astype(float)  # fmt: skip


@pytest.mark.parametrize("delay", [0, 1, 4])
def test_a_copy_tells_nothing_before_its_delay(delay):
  """y_t = x_{t-d} but for errors of 0.1: 1 - h(0.1) bits from step d on."""
  x = _draw(np.full((3000, 10, 2), 0.5), 0)
  chance = np.full_like(x, 0.5)
  chance[:, delay:] = np.where(x[:, : 10 - delay] > 0, 0.9, 0.1)
  y, prior = _draw(chance, 1), np.zeros_like(x)  # The marginal is 1/2.
  found = information.information_map(y, _logit(chance), prior)
  np.testing.assert_allclose(found.bits[:delay], 0.0, atol=1e-6)
  np.testing.assert_allclose(found.bits[delay:], 1 - _h(0.1), rtol=1e-5)
  total = 2 * (10 - delay) * (1 - _h(0.1))
  assert found.total == pytest.approx(total, rel=1e-5)
  assert found.per_step.sum() == pytest.approx(found.per_neuron.sum())
  assert found.per_spike == pytest.approx(total / (y.sum() / 3000), rel=1e-5)


def test_a_symmetric_channel_with_memory():
  """Errors follow a chain: p(1 | before 0) = 0.05, p(1 | before 1) = 0.6.

  Inputs are fair coins, so outputs are, and I(x -> y) is T minus the entropy
  of the chain: h(pi_1) of the first step, then sum_i pi_i h(p_i).
  """
  rise, stay, count, steps = 0.05, 0.6, 40_000, 12
  share = rise / (1 - stay + rise)
  generator = np.random.default_rng(0)
  x = generator.integers(0, 2, (count, steps, 1))
  chance, y = np.zeros(x.shape), np.zeros(x.shape)
  wrong = None
  for t in range(steps):
    p = share if wrong is None else np.where(wrong, stay, rise)
    p = np.broadcast_to(p, (count,))
    chance[:, t, 0] = np.where(x[:, t, 0] > 0, 1 - p, p)
    wrong = generator.random(count) < p
    y[:, t, 0] = x[:, t, 0] ^ wrong
  found = information.information_map(y, _logit(chance), np.zeros(x.shape))
  later = 1 - share * _h(stay) - (1 - share) * _h(rise)
  exact = 1 - _h(share) + (steps - 1) * later
  assert found.bits[0, 0] == pytest.approx(1 - _h(share), rel=1e-5)
  assert abs(found.total - exact) < 4 * found.standard_error
  assert found.standard_error < 0.01 * exact


def _chain(count, seed):
  """Trains that follow their own past alone, and their logits."""
  generator = np.random.default_rng(seed)
  y, logits = np.zeros((count, 8, 3)), np.zeros((count, 8, 3))
  for t in range(8):
    logits[:, t] = 1.5 * y[:, t - 1] - 1.0 if t else -1.0
    y[:, t] = generator.random((count, 3)) < 1 / (1 + np.exp(-logits[:, t]))
  return y, logits


def test_independent_input_tells_nothing_on_held_out_trains():
  """By a fitted prior less than 0.02 bits of a train's 21; 0 is never reached.

  30 parameters that are fitted to 3,000 trains leave 30 / 6,000 nats, 0.007
  bits, in the mean. A prior without a past adds its distance.
  """
  (y, logits), (held, theirs) = _chain(3000, 0), _chain(3000, 1)
  found = {}
  for name, prior in (
    ("glm", priors.glm(0.3, 3)), ("rate", priors.learned_rate(0.3))
  ):  # fmt: skip
    spikes = jnp.asarray(y, jnp.float32)
    params = fitting.fit(prior, spikes, jnp.asarray(logits), 800, 100)
    fitted = jax.vmap(prior.logits, (None, 0))(params, held)
    found[name] = information.information_map(held, theirs, np.asarray(fitted))
  assert 0.0 < found["glm"].total < 0.02 < 1.0 < found["rate"].total


def test_no_spikes_have_no_bits_each():
  nothing = np.zeros((5, 8, 3))
  found = information.information_map(nothing, nothing, nothing)
  assert found.per_spike is None


def _rates(spikes):
  return (spikes.sum(0) + 0.5) / (len(spikes) + 1)


def test_a_prior_that_knows_the_step_finds_nothing_where_nothing_is():
  """An encoder that opens alike for every input and then fires by chance."""
  chance = np.full((2000, 6, 4), 0.2)
  chance[:, 0, :2], chance[:, 1, 2:] = 0.995, 0.9
  y = _draw(chance, 0)
  found = {}
  for name, prior in (
    ("glm", priors.glm(0.3, 3)),
    ("in time", priors.glm_in_time(_rates(y), 3)),
  ):
    spikes, logits = jnp.asarray(y, jnp.float32), jnp.asarray(_logit(chance))
    params = fitting.fit(prior, spikes, logits, 400, 100)
    fitted = jax.vmap(prior.logits, (None, 0))(params, spikes)
    found[name] = information.information_map(y, logits, np.asarray(fitted))
  assert found["in time"].total < 0.1 < 1.0 < found["glm"].total


def test_a_fitted_prior_finds_the_closed_form():
  """A delayed copy with errors of 0.1: nothing, then 1 - h(0.1) a step."""
  x = _draw(np.full((3000, 8, 2), 0.5), 0)
  chance = np.full_like(x, 0.5)
  chance[:, 3:] = np.where(x[:, :-3] > 0, 0.9, 0.1)
  y = jnp.asarray(_draw(chance, 1), jnp.float32)
  prior = priors.glm_in_time(_rates(y), 2)
  params = fitting.fit(prior, y, jnp.asarray(_logit(chance)), 400, 100)
  fitted = np.asarray(jax.vmap(prior.logits, (None, 0))(params, y))
  found = information.information_map(np.asarray(y), _logit(chance), fitted)
  exact = 2 * 5 * (1 - _h(0.1))
  assert found.total == pytest.approx(exact, abs=0.1)
  assert found.per_step[:3].sum() < 0.05


def _every(count, steps):
  """All inputs of a train of `count` bits a step, [X, T, count]."""
  return references.patterns(steps, count)


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_exact_information_of_a_delayed_copy(delay):
  """Fair coins, errors of 0.1: 1 - h(0.1) a step once the delay has passed."""

  def logits(x, y):
    seen = jnp.pad(x, ((delay, 0), (0, 0)))[: len(x)]
    sure = math.log(9) * (2.0 * seen - 1.0)
    return jnp.where(jnp.arange(len(x))[:, None] < delay, 0.0, sure)

  found = information.exact_information(logits, _every(1, 4), 1)
  expected = np.where(np.arange(4) < delay, 0.0, 1 - _h(0.1))
  np.testing.assert_allclose(found.per_step, expected, atol=1e-6)
  assert found.total == pytest.approx(expected.sum(), rel=1e-6)


def test_exact_information_of_a_channel_with_memory():
  """An error makes the next one likelier: T less the entropy of the chain."""
  rise, stay, steps = 0.05, 0.6, 6
  share = rise / (1 - stay + rise)

  def logits(x, y):
    wrong = jnp.abs(x - y)[:-1]
    p = jnp.concatenate([jnp.full((1, 1), share), rise + (stay - rise) * wrong])
    return (2.0 * x - 1.0) * (jnp.log1p(-p) - jnp.log(p))

  found = information.exact_information(logits, _every(1, steps), 1)
  later = 1 - share * _h(stay) - (1 - share) * _h(rise)
  exact = [1 - _h(share)] + [later] * (steps - 1)
  np.testing.assert_allclose(found.per_step, exact, rtol=1e-5)


def test_exact_information_of_certain_and_of_unequal_inputs():
  """Infinite logits tell all of x; of one that doesn't matter nothing."""
  sure = lambda x, y: jnp.where(x > 0, jnp.inf, -jnp.inf)
  inputs, shares = _every(1, 2), np.array([6.0, 1.0, 1.0, 0.0])
  found = information.exact_information(sure, inputs, 1, shares)
  p = shares[:3] / 8
  assert found.total == pytest.approx(-(p * np.log2(p)).sum())
  past = lambda x, y: jnp.pad(2.0 * y[:-1] - 1.0, ((1, 0), (0, 0)))
  found = information.exact_information(past, inputs, 1)
  np.testing.assert_allclose(found.per_step, 0.0, atol=1e-12)
  np.testing.assert_allclose(found.likelihoods.sum(1), 1.0)


def _network(num_readout):
  """A random encoder, and 4 inputs of 4 steps."""
  snn = encoder.make_encoder((3,), [encoder.dense(5, weight_scale=25.0)],
                             num_readout)  # fmt: skip
  params = snn.init(jax.random.key(3))
  readout = jax.tree.map(lambda w: 4.0 * w, params.readout)
  inputs = np.random.default_rng(0).random((4, 4, 3)) < 0.5
  return snn, params._replace(readout=readout), inputs.astype(np.float32)


def _marginal(found):
  """P(y_t,n = 1 | y^{t-1}) by going through all trains, [S, T, N]."""
  total, result = found.joint.sum(0), np.zeros(found.trains.shape)
  for s, train in enumerate(found.trains):
    for t in range(train.shape[0]):
      alike = (found.trains[:, :t] == train[:t]).all((1, 2))
      for n in range(train.shape[1]):
        fires = alike & (found.trains[:, t, n] > 0)
        result[s, t, n] = total[fires].sum() / total[alike].sum()
  return result


def _bound(found, prior_logits):
  """The exact mean of the bound, [T], bits."""
  nats = bottleneck.divergence(found.logits, np.broadcast_to(
    prior_logits, found.logits.shape
  ))  # fmt: skip
  weighted = found.joint[..., None, None] * np.asarray(nats, np.float64)
  return weighted.sum((0, 1, 3)) / math.log(2)


@pytest.mark.parametrize("num_readout", [1, 2])
def test_the_bound_is_not_below_what_it_bounds(num_readout):
  """Of one neuron it is tight at the true prior, step by step."""
  snn, params, inputs = _network(num_readout)
  logits = information.given(snn, params)
  found = information.exact_information(logits, inputs, num_readout)
  assert found.total > 0.05
  true = _logit(_marginal(found))
  by_step = _bound(found, true)
  if num_readout == 1:
    np.testing.assert_allclose(by_step, found.per_step, atol=1e-5)
  assert (by_step > found.per_step - 1e-6).all()
  for rate in (0.1, 0.5):
    assert _bound(found, _logit(rate)).sum() > by_step.sum() + 1e-3


def test_the_estimate_of_sampled_trains_is_the_exact_bound():
  """Trains that the encoder draws itself, with the true prior."""
  snn, params, inputs = _network(1)
  found = information.exact_information(
    information.given(snn, params), inputs, 1
  )
  true, powers = _logit(_marginal(found)), 2 ** np.arange(3, -1, -1)
  draw = jax.jit(jax.vmap(snn.sample, (None, 0, 0)))
  x = np.random.default_rng(1).integers(0, 4, 20_000)
  drawn = draw(params, inputs[x], jax.random.split(jax.random.key(0), len(x)))
  at = (np.asarray(drawn.spikes)[:, :, 0] @ powers).astype(int)
  one = information.information_map(drawn.spikes, drawn.logits, true[at])
  assert abs(one.total - found.total) < 4 * one.standard_error
  assert one.standard_error < 0.02 * found.total
  np.testing.assert_allclose(
    drawn.logits, found.logits[x, at], rtol=1e-4, atol=1e-5
  )


def test_operations_by_loops():
  generator = np.random.default_rng(0)
  trains = [generator.random((5, 7, n)) < 0.3 for n in (4, 3)]
  widths, inputs, kernels, times = [3, 2], [4, 3], [1, 8], [3, 90]
  by_hand = [0, 0]
  for layer, train in enumerate(trains):
    for example in train:
      for step in example:
        for spike in step:
          by_hand[layer] += widths[layer] * kernels[layer] if spike else 0
  spikes = [train.sum() / 5 for train in trains]
  found = operations.count(spikes, inputs, widths, 7, kernels, times)
  np.testing.assert_allclose(found.accumulations, np.array(by_hand) / 5)
  assert found.dense.tolist() == [12, 6] and found.updates.tolist() == [
    3 * 21,
    90 * 14,
  ]
  snn, ann = found.energy_pj()
  assert snn == pytest.approx(0.9 * sum(by_hand) / 5 + 3.7 * 1323)
  assert ann == pytest.approx(4.6 * 18)
  with pytest.raises(ValueError, match="per layer, got 2, 1, 2, 2, 2"):
    operations.count(spikes, [4], widths, 7, kernels, times)
  with pytest.raises(ValueError, match="expected finite numbers >= 0, got"):
    operations.count([np.nan, 1.0], inputs, widths, 7, kernels, times)


def test_averages_before_spikes_by_loops():
  generator = np.random.default_rng(0)
  x = generator.random((6, 9, 5))
  y = (generator.random((6, 9, 3)) < [0.5, 0.2, 0.0]).astype(float)
  found = receptive_fields.spike_triggered_average(x, y, [0, 2])
  for n in range(2):
    for place, lag in enumerate((0, 2)):
      some = []
      for m, t in np.argwhere(y[:, :, n] > 0):
        if t >= lag:
          others = [x[k, t - lag] for k in range(6)]
          some.append(x[m, t - lag] - np.mean(others, 0))
      expected = np.mean(some, 0)
      np.testing.assert_allclose(found[n, place], expected, atol=1e-12)
  assert np.isnan(found[2]).all()


def test_neurons_that_do_not_see_the_input_have_no_field():
  """Both are busy early in the train, which is no field of either."""
  busy = np.linspace(0.9, 0.1, 15)[:, None]
  x = _draw(np.broadcast_to(busy, (4000, 15, 3)), 0)
  y = _draw(np.broadcast_to(busy, (4000, 15, 2)), 1)
  found = receptive_fields.spike_triggered_average(x, y, [0, 5, 10])
  assert np.abs(found).max() < 0.02


def test_a_neuron_that_copies_has_a_field_at_its_delay():
  x = (np.random.default_rng(1).random((400, 20, 4)) < 0.2).astype(float)
  y = np.zeros((400, 20, 1))
  y[:, 3:, 0] = x[:, :-3, 2]
  found = receptive_fields.spike_triggered_average(x, y, [0, 3])[0]
  assert found[1, 2] == pytest.approx(0.8, abs=0.02)
  found[1, 2] = 0.0
  assert np.abs(found).max() < 0.03


def test_bad_input():
  a = np.zeros((2, 3, 4))
  with pytest.raises(ValueError, match=r"expected \[M, T, N\] all three"):
    information.information_map(a, a, a[:1])
  with pytest.raises(
    ValueError, match="spikes: expected 0 and 1 only, got 1 of"
  ):
    information.information_map(np.where(np.arange(4) < 1, 2, a)[:1, :1],
                                a[:1, :1], a[:1, :1])  # fmt: skip
  for place, name in enumerate(("spikes", "logits", "prior_logits")):
    given = [a, a, a]
    given[place] = np.where(np.arange(4) < 1, np.nan, a)
    with pytest.raises(ValueError, match=f"^{name}: expected finite numbers"):
      information.information_map(*given)
  with pytest.raises(ValueError, match=r"expected \[M, T, D\] and \[M, T, N\]"):
    receptive_fields.spike_triggered_average(a, a[:1], [0])
  with pytest.raises(ValueError, match="inputs: expected finite numbers, got"):
    receptive_fields.spike_triggered_average(a * np.nan, a, [0])
  with pytest.raises(ValueError, match="lags: expected steps in 0 .. 2, got"):
    receptive_fields.spike_triggered_average(a, a, [-1])
  with pytest.raises(ValueError, match=r"got \[3\]"):
    receptive_fields.spike_triggered_average(a, a, [3])


@pytest.mark.parametrize("change, message", [
  ({"inputs": np.zeros(3)}, r"inputs: expected \[X, T, ...\], got .*\(3,\)"),
  ({"inputs": np.zeros((9, 30, 1))}, "got X 9, T 30, N 1"),
  ({"num_readout": 0}, "got X 2, T 3, N 0"),
  ({"shares": np.array([1.0, -1.0])}, "shares: expected 2 numbers >= 0"),
  ({"logits": lambda x, y: x * np.nan}, "logits: expected .* 48 NaN"),
  ({"logits": lambda x, y: x[:2]}, r"logits: .* got shape \(2, 1\)"),
  ({"logits": lambda x, y: y}, "logits: .* follow from the spikes before it"),
])  # fmt: skip
def test_what_cannot_be_enumerated(change, message):
  good = {"logits": lambda x, y: x, "inputs": np.zeros((2, 3, 1)),
          "num_readout": 1}  # fmt: skip
  assert information.exact_information(**good).total == 0.0
  with pytest.raises(ValueError, match=message):
    information.exact_information(**good | change)
