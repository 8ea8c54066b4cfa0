"""A training step and an evaluation step: pure and free of devices.

The model is four choices: an encoder, a decoder, a view (what the decoder
sees of the spikes) and an objective; `make_train_step` adds an estimator and
an optimiser. Batches are time-major: inputs [T, B, ...], targets [B, ...],
and one key per example, so that a result does not depend on where an example
is computed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from timedecode import bottleneck, estimation, priors
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
  """

  encoder: encoder_lib.Encoder
  decode: Callable[[Any, jax.Array], jax.Array]
  view: Callable[[jax.Array], jax.Array]
  losses: Callable[..., bottleneck.Losses]
  prior: priors.Prior

  def objective(self, params, sample, target):
    """The losses of one sampled train."""
    outputs = self.decode(params.decoder, self.view(sample.spikes))
    return self.judge(params, outputs, sample, target)

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


class Diagnostics(NamedTuple):
  """The state of the spiking layers over a batch; shares are in [0, 1].

  Attributes:
    hidden_rate: spikes per neuron and step, [layers].
    silent_share: hidden neurons without a spike in the batch, [layers].
    saturated_share: hidden neurons that fire in over 45 % of all steps (with
      the default refractory term at most every second step is the rule),
      [layers].
    surrogate_active_share: potentials at which the surrogate derivative is
      over 1 % of its peak at the threshold, [layers].
    gradient_norms: encoder layers, then readout, then decoder.
  """

  hidden_rate: jax.Array
  silent_share: jax.Array
  saturated_share: jax.Array
  surrogate_active_share: jax.Array
  gradient_norms: jax.Array


class Metrics(NamedTuple):
  """Means over a batch.

  Attributes:
    loss, distortion, information, entropy: nats per example.
    readout_spikes: spikes of the readout per example.
    readout_rate: spikes per readout neuron and step.
    diagnostics: `Diagnostics`, NaN when not asked for.
  """

  loss: jax.Array
  distortion: jax.Array
  information: jax.Array
  entropy: jax.Array
  readout_spikes: jax.Array
  readout_rate: jax.Array
  diagnostics: Diagnostics


SATURATED_RATE = 0.45


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


def _diagnose(layers, sample, gradients) -> Diagnostics:
  rates, silent, saturated, active = [], [], [], []
  if not sample.hidden:  # Not kept under `remat_every`.
    rates = silent = saturated = active = [jnp.full((), jnp.nan)] * len(layers)
    layers = ()
  for layer, spikes, potential in zip(
    layers, sample.hidden, sample.potentials, strict=True
  ):
    per_neuron = jnp.mean(spikes, axis=(0, 1))
    rates.append(jnp.mean(per_neuron))
    silent.append(jnp.mean(per_neuron == 0))
    saturated.append(jnp.mean(per_neuron > SATURATED_RATE))
    if layer.derivative is None:
      active.append(jnp.full((), jnp.nan))
    else:
      peak = layer.derivative(jnp.zeros(()))
      active.append(jnp.mean(layer.derivative(potential) > 0.01 * peak))
  norms = [optax.tree.norm(g) for g in gradients.encoder.hidden]
  norms += [optax.tree.norm(gradients.encoder.readout)]
  norms += [optax.tree.norm(gradients.decoder)]
  stack = lambda values: jnp.stack(values) if values else jnp.zeros((0,))
  return Diagnostics(*map(stack, (rates, silent, saturated, active, norms)))


def _no_diagnostics(num_layers: int) -> Diagnostics:
  nothing = jnp.full((num_layers,), jnp.nan)
  return Diagnostics(*[nothing] * 4, jnp.full((num_layers + 2,), jnp.nan))


def make_train_step(
  model: Model,
  estimator: estimation.Estimator,
  optimizer: optax.GradientTransformation,
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Builds ``train_step(state, inputs, targets, keys, diagnose=False)``.

  Args:
    model: what is trained.
    estimator: see `estimators`.
    optimizer: any optax transformation over `ModelParams`.

  Returns:
    A pure function of `TrainState`, inputs [T, B, ...], targets [B, ...],
    keys [B] and a flag (a traced boolean) that asks for `Diagnostics`, which
    cost a few passes over the hidden spikes. It returns the next state and
    `Metrics`.
  """
  num_layers = len(model.encoder.layers)

  def train_step(state, inputs, targets, keys, diagnose=False):
    gradients, remembered, losses, sample = estimator.estimate(
      model, state.params, state.estimator, inputs, targets, keys
    )
    updates, optimizer_state = optimizer.update(
      gradients, state.optimizer, state.params
    )
    diagnostics = jax.lax.cond(
      diagnose,
      lambda: _diagnose(model.encoder.layers, sample, gradients),
      lambda: _no_diagnostics(num_layers),
    )
    losses = jax.tree.map(jnp.mean, losses)
    rate = jnp.mean(sample.spikes)
    num_cells = sample.spikes.shape[0] * sample.spikes.shape[2]
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
      outputs = model.decode(params.decoder, model.view(sample.spikes))
      losses = model.judge(params, outputs, sample, target)
      rates = [jnp.mean(spikes) for spikes in sample.hidden]
      rates = jnp.stack(rates) if rates else jnp.zeros((0,))
      return outputs, losses, sample.spikes, rates

    return jax.vmap(draw, out_axes=(0, 0, 1, 0))(uniforms)

  def eval_step(params, inputs, targets, keys):
    outputs, losses, spikes, rates = jax.vmap(
      one, in_axes=(None, 1, 0, 0), out_axes=(1, 1, 2, 1)
    )(params, inputs, targets, keys)
    return Evaluation(outputs, losses, spikes, jnp.mean(rates, axis=(0, 1)))

  return eval_step
