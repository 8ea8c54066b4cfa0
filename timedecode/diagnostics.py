"""The state of spiking layers: rates, silent neurons, gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

SATURATED_RATE = 0.45


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


class Activity(NamedTuple):
  """What hidden layers do, per layer: means over examples, steps.

  Attributes:
    rates: spikes per step of every neuron.
    active_share: of potentials, as in `Diagnostics`; NaN where a layer has no
      surrogate derivative.
  """

  rates: tuple[jax.Array, ...]
  active_share: tuple[jax.Array, ...]


def activity(layers, sample, asked: jax.Array | bool = True) -> Activity:
  """The activity in a batch.

  Args:
    layers: the encoder's hidden layers.
    sample: `encoder.Sample` with the batch on axis 1; where it has no hidden
      spikes, as under `remat_every`, all is NaN.
    asked: whether it is wanted; zeros if not.
  """

  def share(layer, potential):
    if layer.derivative is None:
      return jnp.full((), jnp.nan)
    peak = layer.derivative(jnp.zeros(()))
    return jnp.mean(layer.derivative(potential) > 0.01 * peak)

  def found():
    rates = tuple(jnp.mean(spikes, axis=(0, 1)) for spikes in sample.hidden)
    return Activity(rates, tuple(map(share, layers, sample.potentials)))

  if not sample.hidden:
    unknown = (jnp.full((), jnp.nan),) * len(layers)
    return Activity(unknown, unknown)
  zeros = lambda: jax.tree.map(
    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(found)
  )
  return jax.lax.cond(asked, found, zeros)


def measure(activity: Activity, gradients) -> Diagnostics:
  """The diagnostics of a batch.

  Args:
    activity: of the whole batch.
    gradients: `training.ModelParams`, of the whole batch.
  """
  share = lambda chosen, rates: jnp.mean(
    jnp.where(jnp.isnan(rates), jnp.nan, chosen)
  )
  rates = [jnp.mean(rates) for rates in activity.rates]
  silent = [share(rates == 0, rates) for rates in activity.rates]
  saturated = [share(rates > SATURATED_RATE, rates) for rates in activity.rates]
  norms = [optax.tree.norm(g) for g in gradients.encoder.hidden]
  norms += [optax.tree.norm(gradients.encoder.readout)]
  norms += [optax.tree.norm(gradients.decoder)]
  stack = lambda values: jnp.stack(values) if values else jnp.zeros((0,))
  return Diagnostics(
    *map(stack, (rates, silent, saturated, activity.active_share, norms))
  )


def none(num_layers: int) -> Diagnostics:
  """NaN in the place of diagnostics that were not asked for."""
  nothing = jnp.full((num_layers,), jnp.nan)
  return Diagnostics(*[nothing] * 4, jnp.full((num_layers + 2,), jnp.nan))
