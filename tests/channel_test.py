"""Noise between spikes and decoder against its probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from timedecode import (
  bottleneck,
  channel,
  encoder,
  estimators,
  priors,
  readout,
  training,
)

SPIKES = jnp.asarray(
  np.random.default_rng(0).random((40, 50)) < 0.3, jnp.float32
)


@pytest.mark.parametrize("flip", [0.0, 0.1, 0.5, 1.0])
def test_flips_come_as_often_as_they_should(flip):
  received = channel.binary_symmetric(SPIKES, jax.random.key(1), flip)
  assert set(np.unique(received)) <= {0.0, 1.0}
  for kind in (0.0, 1.0):
    flipped = np.asarray(received != SPIKES)[np.asarray(SPIKES) == kind]
    error = np.sqrt(flip * (1 - flip) / flipped.size)
    assert abs(flipped.mean() - flip) <= 4 * error


def test_the_derivative_is_that_of_the_flip():
  key = jax.random.key(2)
  send = lambda y: jnp.sum(channel.binary_symmetric(y, key, 0.3))
  received = channel.binary_symmetric(SPIKES, key, 0.3)
  want = np.where(np.asarray(received == SPIKES), 1.0, -1.0)
  np.testing.assert_array_equal(jax.grad(send)(SPIKES), want)


def test_a_prefix_is_what_came_first():
  for num_steps in (0, 7, 40):
    got = channel.prefix(SPIKES, jax.random.key(0), num_steps)
    np.testing.assert_array_equal(got[:num_steps], SPIKES[:num_steps])
    assert not np.asarray(got[num_steps:]).any()


@pytest.mark.parametrize("flip", [-0.1, 1.1, float("nan")])
def test_rejects(flip):
  with pytest.raises(ValueError, match=r"flip: expected a probability in \[0"):
    channel.check_flip(flip)


def _model(flip):
  """A readout whose spikes are certain and a decoder that adds them up."""
  snn = encoder.make_encoder((2,), [], num_readout=3)
  params = training.ModelParams(snn.init(jax.random.key(0)), jnp.ones(()))
  readout_params = params.encoder.readout
  certain = readout_params._replace(
    weights=0.0 * readout_params.weights,
    bias=jnp.array([50.0, -50.0, 50.0]),
  )
  params = params._replace(encoder=params.encoder._replace(readout=certain))
  model = training.Model(
    snn,
    lambda scale, view: scale * jnp.mean(view, axis=0),
    readout.view("full"),
    lambda *args: bottleneck.vdib(
      *args, beta=0.0, distortion=bottleneck.gaussian_distortion
    ),
    priors.independent(0.3),
    None
    if flip is None
    else lambda y, key: channel.binary_symmetric(y, key, flip),
  )
  return model, params


@pytest.mark.parametrize("flip, arrives", [
  (None, [1.0, 0.0, 1.0]), (1.0, [0.0, 1.0, 0.0])
])  # fmt: skip
def test_the_decoder_hears_the_channel_and_the_readout_does_not(flip, arrives):
  model, params = _model(flip)
  inputs, targets = jnp.zeros((12, 4, 2)), jnp.zeros((4, 3))
  keys = jax.random.split(jax.random.key(3), 4)
  found = training.make_eval_step(model, 2)(params, inputs, targets, keys)
  np.testing.assert_allclose(found.outputs, np.tile(arrives, (2, 4, 1)))
  np.testing.assert_array_equal(found.spikes[..., 0], 1.0)  # Sent.
  half = 0.5 * np.sum(np.square(arrives)) + 1.5 * np.log(2 * np.pi)
  np.testing.assert_allclose(found.losses.distortion, half, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(estimators.ESTIMATORS))
def test_every_estimator_is_trained_through_it(name):
  """The decoder's gradient is that of what arrives: all flipped."""
  model, params = _model(1.0)
  optimizer = optax.sgd(1.0)
  rule = estimators.ESTIMATORS[name](2)
  step = training.make_train_step(model, rule, optimizer)
  state = training.init_state(params, optimizer, rule)
  inputs, targets = jnp.zeros((12, 4, 2)), jnp.full((4, 3), 0.25)
  keys = jax.random.split(jax.random.key(3), 4)
  after, metrics = step(state, inputs, targets, keys)
  # d/ds of (s - 0.25)^2 / 2 at s = 1, of the one neuron that is heard.
  np.testing.assert_allclose(after.params.decoder, 1.0 - 0.75, rtol=1e-4)
  assert metrics.readout_spikes == pytest.approx(24.0)
