"""The published rule against NumPy, repair by repair."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import (
  bottleneck,
  credit,
  encoder,
  priors,
  published,
  readout,
  training,
)

STEPS, BATCH, NUM_IN, NUM_Y, NUM_OUT = 12, 3, 5, 2, 4


def _model(repairs):
  snn = encoder.make_encoder(
    (NUM_IN,), [encoder.dense(6, weight_scale=12.0)], NUM_Y,
    credit=published.feedback(repairs),
  )  # fmt: skip
  losses = functools.partial(bottleneck.vdib, beta=0.2, closed_form=False)
  decode = lambda weights, view: view.reshape(-1) @ weights
  return training.Model(
    snn, decode, readout.whole_train, losses, priors.independent(0.3)
  )


def _params(model):
  decoder = jax.random.normal(jax.random.key(1), (STEPS * NUM_Y, NUM_OUT))
  return training.ModelParams(model.encoder.init(jax.random.key(0)), decoder)


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  inputs = jnp.asarray(rng.random((STEPS, BATCH, NUM_IN)) < 0.4, jnp.float32)
  targets = jnp.asarray(rng.random((BATCH, NUM_OUT)), jnp.float32)
  return inputs, targets, jax.random.split(jax.random.key(seed), BATCH)


def _by_hand(model, params, batch, states):
  """(g of each example, its loss, the encoder's state after it)."""

  @jax.jit
  def rest(x, key, state):
    return model.encoder.sample(params.encoder, x, key, state).state

  @jax.jit
  @functools.partial(jax.grad, has_aux=True)
  def gradient(encoder_params, x, u, state):
    sample = model.encoder.run(encoder_params, x, u, state)
    return bottleneck.log_probability(sample.spikes, sample.logits), sample

  objective = jax.jit(model.objective)
  found = []
  for i in range(BATCH):
    key_pause, key = jax.random.split(batch[2][i])
    state = states[i]
    if state is not None:
      state = rest(jnp.zeros((11, NUM_IN)), key_pause, state)
    u = jax.random.uniform(key, (STEPS, NUM_Y))
    g, sample = gradient(params.encoder, batch[0][:, i], u, state)
    loss = objective(params, sample, batch[1][i]).total
    found.append((jax.tree.map(np.float64, g), float(loss), sample.state))
  return found


def _averages(keep, n, d, stacked, signals):
  moved = lambda old, new: keep * old + (1 - keep) * new
  weigh = lambda g: np.tensordot(signals, g**2, 1) / BATCH
  return (
    jax.tree.map(lambda a, g: moved(a, weigh(g)), n, stacked),
    jax.tree.map(lambda a, g: moved(a, np.mean(g**2, 0)), d, stacked),
  )


def _step(repairs, stacked, signals, n, d):
  def one(g, n, d):
    baseline = n / (d + 1e-7)
    if "signal" in repairs:
      return np.tensordot(signals, g, 1) / BATCH - baseline * g.mean(0)
    return (signals.mean() - baseline) * g.mean(0)

  return jax.tree.map(one, stacked, n, d)


CASES = {
  "shipped": (),
  "averaging": ("averaging",),
  "scale": ("scale",),
  "reset": ("reset",),
  "feedback": ("feedback",),
  "signal": ("signal",),
  "all": published.REPAIRS,
}


@pytest.mark.parametrize("repairs", CASES.values(), ids=list(CASES))
def test_two_batches_by_hand(repairs):
  model = _model(repairs)
  params = _params(model)
  rule = published.published_rule(model.encoder, repairs, BATCH)
  state = rule.init(params)
  estimate = jax.jit(functools.partial(rule.estimate, model))
  keep = 0.99 if "averaging" in repairs else 0.01
  zero = jax.tree.map(lambda p: np.zeros(p.shape), params.encoder)
  n, d = zero, zero
  rest = None if "reset" in repairs else model.encoder.initial_state()
  states = [rest] * BATCH
  for seed in (0, 1):
    batch = _batch(seed)
    result = estimate(params, state, *batch)
    hand = _by_hand(model, params, batch, states)
    if "reset" not in repairs:
      states = [after for _, _, after in hand]
    signals = np.array([loss for _, loss, _ in hand])
    gradients = [g for g, _, _ in hand]
    if "scale" not in repairs:
      shrink = lambda a: a / (STEPS * NUM_Y)
      gradients = [
        g._replace(readout=jax.tree.map(shrink, g.readout)) for g in gradients
      ]
    stacked = jax.tree.map(lambda *g: np.stack(g), *gradients)
    old = n, d
    n, d = _averages(keep, n, d, stacked, signals)
    used = old if "averaging" in repairs else (n, d)
    expected = _step(repairs, stacked, signals, *used)
    for a, b in zip(
      *map(jax.tree.leaves, (result.gradients.encoder, expected)), strict=True
    ):
      np.testing.assert_allclose(
        a, b, rtol=2e-2, atol=2e-4 * max(np.abs(b).max(), 1e-3)
      )
    np.testing.assert_allclose(result.losses.total, signals, rtol=1e-4)
    decoder = result.gradients.decoder
    assert float(jnp.max(jnp.abs(decoder))) > 1e-3
    state = result.state


def test_as_shipped_signal_and_baseline_nearly_cancel():
  """One example: l - b = l / (1 + g^2 / 1e-7), up to the averages' 0.99."""
  model = _model(())
  params = _params(model)
  batch = _batch()
  one = (batch[0][:, :1], batch[1][:1], batch[2][:1])
  rule = published.published_rule(model.encoder, ("scale", "reset"), 1)
  result = rule.estimate(model, params, rule.init(params), *one)
  plain = published.published_rule(
    model.encoder, ("scale", "reset", "averaging"), 1
  )
  free = plain.estimate(model, params, plain.init(params), *one)
  g_l = np.asarray(free.gradients.encoder.readout.weights, np.float64)
  loss = float(free.losses.total[0])
  g = g_l / loss  # The first baseline of the repaired rule is 0.
  expected = g_l / (1 + 0.99 * g**2 / 1e-7)
  found = np.asarray(result.gradients.encoder.readout.weights)
  np.testing.assert_allclose(found, expected, rtol=0.1, atol=1e-3)
  assert np.linalg.norm(found) < 1e-2 * np.linalg.norm(g_l)


def test_feedback_bounds():
  bounds = {}
  for repairs in ((), published.REPAIRS):
    drive, spikes = jnp.zeros((1, 8)), jnp.zeros((1, 600))
    rule = published.feedback(repairs)
    pull = lambda s, rule=rule, drive=drive: jnp.sum(
      rule.error(drive, (s,), None)
    )
    bounds[repairs] = jax.vjp(
      lambda s, rule=rule, drive=drive: rule.error(drive, (s,), None), spikes
    )[1](jnp.eye(8)[:1])[0]
    assert float(pull(spikes)) == 0.0
  shipped, repaired = (float(jnp.max(jnp.abs(b))) for b in bounds.values())
  assert 0.095 < shipped <= np.sqrt(6 / 600)
  assert 0.58 < repaired <= np.sqrt(3 / 8)
  assert isinstance(published.feedback(), credit.Credit)


def test_unknown_repair():
  with pytest.raises(ValueError, match=r"repairs.*averaging.*\['luck'\]"):
    published.check_repairs(("luck",))
