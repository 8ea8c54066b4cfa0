"""The state of spiking layers: rates, silent neurons, gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from timedecode import collectives

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


def measure(layers, sample, gradients, axis_name=None) -> Diagnostics:
  """The diagnostics of a batch.

  Args:
    layers: the encoder's hidden layers.
    sample: `encoder.Sample` with the batch on axis 1.
    gradients: `training.ModelParams`, of the whole batch.
    axis_name: of the devices that share the batch.
  """
  rates, silent, saturated, active = [], [], [], []
  if not sample.hidden:  # Not kept under `remat_every`.
    rates = silent = saturated = active = [jnp.full((), jnp.nan)] * len(layers)
    layers = ()
  for layer, spikes, potential in zip(
    layers, sample.hidden, sample.potentials, strict=True
  ):
    per_neuron = collectives.mean(jnp.mean(spikes, axis=(0, 1)), axis_name)
    rates.append(jnp.mean(per_neuron))
    silent.append(jnp.mean(per_neuron == 0))
    saturated.append(jnp.mean(per_neuron > SATURATED_RATE))
    if layer.derivative is None:
      active.append(jnp.full((), jnp.nan))
    else:
      peak = layer.derivative(jnp.zeros(()))
      share = jnp.mean(layer.derivative(potential) > 0.01 * peak)
      active.append(collectives.mean(share, axis_name))
  norms = [optax.tree.norm(g) for g in gradients.encoder.hidden]
  norms += [optax.tree.norm(gradients.encoder.readout)]
  norms += [optax.tree.norm(gradients.decoder)]
  stack = lambda values: jnp.stack(values) if values else jnp.zeros((0,))
  return Diagnostics(*map(stack, (rates, silent, saturated, active, norms)))


def none(num_layers: int) -> Diagnostics:
  """NaN in the place of diagnostics that were not asked for."""
  nothing = jnp.full((num_layers,), jnp.nan)
  return Diagnostics(*[nothing] * 4, jnp.full((num_layers + 2,), jnp.nan))


def all_finite(tree: Any) -> jax.Array:
  """Whether no number in a tree of arrays is infinite or none, a boolean."""
  good = jnp.array(True)
  for leaf in jax.tree.leaves(tree):
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
      good &= jnp.isfinite(leaf).all()
  return good
