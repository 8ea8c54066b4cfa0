"""Eligibility: the encoder's spikes step by step, gradients in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import eligibility, encoder

NUM_IN, NUM_Y, STEPS, HORIZON = 4, 3, 25, 6


def _run(lateral):
  snn = encoder.make_encoder((NUM_IN,), (), NUM_Y, lateral=lateral)
  params = jax.tree.map(lambda a: 2.0 * a, snn.init(jax.random.key(0)))
  x = jax.random.bernoulli(jax.random.key(1), 0.4, (STEPS, NUM_IN))
  u = jax.random.uniform(jax.random.key(2), (STEPS, NUM_Y))
  return snn, params, x.astype(jnp.float32), u


def _walk(snn, params, x, u):
  stream = eligibility.silent(params.readout, snn.reach, HORIZON)

  def step(stream, now):
    stream, logits = eligibility.advance(params.readout, stream, *now)
    return stream, (logits, stream.spikes[-1], stream.eligibility)

  return jax.lax.scan(step, stream, (x, u))


@pytest.mark.parametrize("lateral", [False, True])
def test_a_stream_emits_what_the_encoder_does(lateral):
  snn, params, x, u = _run(lateral)
  sample = snn.run(params, x, u)
  stream, (logits, spikes, _) = jax.jit(lambda: _walk(snn, params, x, u))()
  np.testing.assert_allclose(logits, sample.logits, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(spikes, sample.spikes)
  assert 0.1 < np.mean(spikes) < 0.9
  last = sample.logits[-HORIZON:]
  np.testing.assert_allclose(
    stream.probabilities, jax.nn.sigmoid(last), rtol=1e-4
  )
  np.testing.assert_array_equal(stream.spikes, sample.spikes[-HORIZON:])
  np.testing.assert_array_equal(stream.history, sample.spikes[:-11:-1])
  np.testing.assert_array_equal(stream.inputs, x[:-11:-1].T)


@pytest.mark.parametrize("lateral", [False, True])
def test_charge_is_the_derivative_with_own_spikes_given(lateral):
  snn, params, x, u = _run(lateral)
  errors = jax.random.normal(jax.random.key(3), (STEPS, NUM_Y))
  spikes = snn.run(params, x, u).spikes
  given = lambda logits, y: y

  def loss(params):
    return jnp.sum(errors * snn.run(params, x, spikes, sampler=given).logits)

  exact = jax.jit(jax.grad(loss))(params).readout
  _, (_, _, kept) = _walk(snn, params, x, u)
  latest = jax.tree.map(lambda a: a[:, -1], kept)  # a_t, [T, ...].
  found = jax.jit(eligibility.charge)(params.readout, latest, errors)
  for name, a, b in zip(exact._fields, found, exact, strict=True):
    assert a.shape == b.shape and np.abs(b).max() > 0.1, name
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_what_is_kept_is_silent_before_the_train():
  snn, params, x, u = _run(False)
  stream, _ = _walk(snn, params, x[:2], u[:2])
  assert not np.any(stream.eligibility.inputs[: HORIZON - 2])
  assert not np.any(stream.probabilities[: HORIZON - 2])
  assert np.all(stream.probabilities[HORIZON - 2 :] > 0)
