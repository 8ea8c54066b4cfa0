"""A training step and an evaluation step: pure and free of devices.

The model is four choices: an encoder, a decoder, a view (what the decoder
sees of the spikes) and an objective; `make_train_step` adds an estimator and
an optimiser. Batches are time-major: inputs [T, B, ...], targets [B, ...],
and one key per example, so that a result does not depend on where an example
is computed.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from timedecode import bottleneck, collectives, estimation, microbatches, priors
from timedecode import diagnostics as diagnostics_lib
from timedecode import encoder as encoder_lib


class ModelParams(NamedTuple):
  """encoder: `encoder.EncoderParams`; decoder, prior: their own pytrees."""

  encoder: Any
  decoder: Any
  prior: Any = ()


class Model(NamedTuple):
  """The hybrid autoencoder.

  Attributes:
    encoder: see `encoder.make_encoder`.
    decode: ``(decoder params, view [D, N_y]) -> outputs [N_r]``.
    view: ``spikes [T, N_y] -> [D, N_y]``, see `readout.view`.
    losses: ``(outputs, target, spikes, logits, prior_logits) ->
      bottleneck.Losses``.
    prior: `priors.Prior`.
    channel: ``(spikes, key) -> spikes that reach the decoder``, see `channel`;
      None: all do. With one, a target is a pair of target and key.
  """

  encoder: encoder_lib.Encoder
  decode: Callable[[Any, jax.Array], jax.Array]
  view: Callable[[jax.Array], jax.Array]
  losses: Callable[..., bottleneck.Losses]
  prior: priors.Prior
  channel: Callable[[jax.Array, jax.Array], jax.Array] | None = None

  def outputs(self, params, sample, target):
    """(what the decoder says of a sampled train, the target alone)."""
    spikes = sample.spikes
    if self.channel is not None:
      target, key = target
      spikes = self.channel(spikes, key)
    return self.decode(params.decoder, self.view(spikes)), target

  def objective(self, params, sample, target):
    """The losses of one sampled train."""
    outputs, target = self.outputs(params, sample, target)
    return self.judge(params, outputs, sample, target)

  def with_noise(self, targets, keys):
    """(targets as `objective` takes them, keys of the spikes)."""
    if self.channel is None:
      return targets, keys
    halves = jax.vmap(jax.random.split)(keys)
    return (targets, halves[:, 1]), halves[:, 0]

  def judge(self, params, outputs, sample, target):
    """The losses of given outputs."""
    prior_logits = self.prior.logits(params.prior, sample.spikes)
    return self.losses(
      outputs, target, sample.spikes, sample.logits, prior_logits
    )


class TrainState(NamedTuple):
  """What training carries from step to step.

  Attributes:
    step: int32 scalar, steps taken.
    params: `ModelParams`.
    optimizer: optax state.
    estimator: what the estimator remembers, () for most.
  """

  step: jax.Array
  params: ModelParams
  optimizer: Any
  estimator: Any


class Metrics(NamedTuple):
  """Means over a batch.

  Attributes:
    loss, distortion, information, entropy: nats per example.
    readout_spikes: spikes of the readout per example.
    readout_rate: spikes per readout neuron and step.
    diagnostics: `diagnostics.Diagnostics`, NaN when not asked for.
  """

  loss: jax.Array
  distortion: jax.Array
  information: jax.Array
  entropy: jax.Array
  readout_spikes: jax.Array
  readout_rate: jax.Array
  diagnostics: diagnostics_lib.Diagnostics


def init_state(
  params: ModelParams,
  optimizer: optax.GradientTransformation,
  estimator: estimation.Estimator,
) -> TrainState:
  """A fresh `TrainState` at step 0."""
  return TrainState(
    jnp.zeros((), jnp.int32),
    params,
    optimizer.init(params),
    estimator.init(params),
  )


def _learn(model, estimator, state, diagnose, inputs, targets, keys):
  """What a part of a batch says: means over its examples, and what the
  estimator remembers."""
  targets, keys = model.with_noise(targets, keys)
  gradients, remembered, losses, sample = estimator.estimate(
    model, state.params, state.estimator, inputs, targets, keys
  )
  layers = model.encoder.layers
  activity = diagnostics_lib.activity(layers, sample, diagnose)
  losses = jax.tree.map(jnp.mean, losses)
  return (gradients, losses, jnp.mean(sample.spikes), activity), remembered


def make_train_step(
  model: Model,
  estimator: estimation.Estimator,
  optimizer: optax.GradientTransformation,
  axis_name: str | None = None,
  num_microbatches: int = 1,
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Builds ``train_step(state, inputs, targets, keys, diagnose=False)``.

  Args:
    model: what is trained.
    estimator: see `estimators`.
    optimizer: any optax transformation over `ModelParams`.
    axis_name: of the devices that share the batch, inside `jax.pmap` or
      `jax.shard_map`; B is then a device's part. Give it to an estimator that
      takes means over examples as well.
    num_microbatches: parts that the batch is gone through in, see
      `microbatches`; a divisor of B, and 1 for estimators that are not
      `divisible`.

  Returns:
    A pure function of `TrainState`, inputs [T, B, ...], targets [B, ...],
    keys [B] and a flag (a traced boolean) that asks for diagnostics, which
    cost a few passes over the hidden spikes. It returns the next state and
    `Metrics`.

  Raises:
    ValueError: parts of an estimator that is not divisible.
  """
  estimation.check_divisible(estimator, num_microbatches)

  def train_step(state, inputs, targets, keys, diagnose=False):
    learn = functools.partial(_learn, model, estimator, state, diagnose)
    means, remembered = microbatches.mean(
      learn, num_microbatches, inputs, targets, keys
    )
    means = collectives.mean(means, axis_name)
    gradients, losses, rate, activity = means
    updates, optimizer_state = optimizer.update(
      gradients, state.optimizer, state.params
    )
    diagnostics = jax.lax.cond(
      diagnose,
      lambda: diagnostics_lib.measure(activity, gradients),
      lambda: diagnostics_lib.none(len(model.encoder.layers)),
    )
    num_steps = jax.tree.leaves(inputs)[0].shape[0]
    num_cells = num_steps * model.encoder.num_readout
    params = optax.apply_updates(state.params, updates)
    metrics = Metrics(*losses, rate * num_cells, rate, diagnostics)
    after = TrainState(state.step + 1, params, optimizer_state, remembered)
    return after, metrics

  return train_step


class Evaluation(NamedTuple):
  """One evaluation step, per sample of y and per example.

  Attributes:
    outputs: of the decoder, [S, B, N_r].
    losses: `bottleneck.Losses` of [S, B].
    spikes: y, [T, S, B, N_y].
    hidden_rates: spikes per neuron and step, [layers].
  """

  outputs: jax.Array
  losses: bottleneck.Losses
  spikes: jax.Array
  hidden_rates: jax.Array


def make_eval_step(
  model: Model, num_samples: int = 1
) -> Callable[..., Evaluation]:
  """Builds ``eval_step(params, inputs [T, B, ...], targets, keys)``.

  Args:
    model: what is evaluated.
    num_samples: S, independent samples of y per example.
  """

  def one(params, inputs, target, key):
    uniforms = jax.random.uniform(
      key, (num_samples, inputs.shape[0], model.encoder.num_readout)
    )

    def draw(uniforms):
      sample = model.encoder.run(params.encoder, inputs, uniforms)
      outputs, alone = model.outputs(params, sample, target)
      losses = model.judge(params, outputs, sample, alone)
      rates = [jnp.mean(spikes) for spikes in sample.hidden]
      rates = jnp.stack(rates) if rates else jnp.zeros((0,))
      return outputs, losses, sample.spikes, rates

    return jax.vmap(draw, out_axes=(0, 0, 1, 0))(uniforms)

  def eval_step(params, inputs, targets, keys):
    targets, keys = model.with_noise(targets, keys)
    outputs, losses, spikes, rates = jax.vmap(
      one, in_axes=(None, 1, 0, 0), out_axes=(1, 1, 2, 1)
    )(params, inputs, targets, keys)
    return Evaluation(outputs, losses, spikes, jnp.mean(rates, axis=(0, 1)))

  return eval_step
