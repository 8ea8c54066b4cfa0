"""What an estimator is, and what estimators share.

A rule of learning through random spikes is a pair of functions, `Estimator`;
`estimators` and `published` have the known ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from timedecode import bottleneck, collectives, encoder


class Estimate(NamedTuple):
  """What an estimator says of a batch.

  Attributes:
    gradients: like the parameters.
    state: of the estimator, for the next batch.
    losses: `bottleneck.Losses` of [B], of one train per example.
    sample: `encoder.Sample`, the same trains, batch on axis 1.
  """

  gradients: Any
  state: Any
  losses: bottleneck.Losses
  sample: Any


class Estimator(NamedTuple):
  """A rule of learning through random spikes.

  Attributes:
    init: ``(params) -> state``; () where nothing is remembered.
    estimate: ``(model, params, state, inputs [T, B, ...], targets [B, ...],
      keys [B]) -> Estimate``; `model` is a `training.Model`.
    divisible: whether gradients and states of equal parts of a batch, from one
      state, have those of the batch as their mean, see `microbatches`.
  """

  init: Callable[[Any], Any]
  estimate: Callable[..., Estimate]
  divisible: bool = True


def draw(model, params, inputs, target, uniforms, sampler):
  """Trains of one example, a row of uniforms each: (losses, samples)."""

  def one(uniforms):
    sample = model.encoder.run(
      params.encoder, inputs, uniforms, sampler=sampler
    )
    return model.objective(params, sample, target), sample

  return jax.vmap(one)(uniforms)


def draw_uniforms(model, inputs, key, num_samples):
  """[K, T, N_y] in [0, 1) for one example."""
  shape = (num_samples, inputs.shape[0], model.encoder.num_readout)
  return jax.random.uniform(key, shape)


def first(tree):
  """The first of the leading axis of every leaf."""
  return jax.tree.map(lambda leaf: leaf[0], tree)


def over_batch(function, inputs, *others):
  """Maps over examples: inputs [T, B, ...], the others [B, ...].

  `function` returns (anything, `encoder.Sample`).
  """
  return jax.vmap(
    function,
    in_axes=(1, *[0] * len(others)),
    out_axes=(0, encoder.Sample(1, 1, 1, 1, 0)),
  )(inputs, *others)


def differentiated(
  batch_surrogate, init=lambda params: (), divisible=True
) -> Estimator:
  """An estimator from ``(model, params, state, inputs, targets, keys) ->
  (surrogate, (state, losses, sample))``, by its gradient."""

  def estimate(model, params, state, *batch):
    gradients, aux = jax.grad(
      lambda params: batch_surrogate(model, params, state, *batch),
      has_aux=True,
    )(params)
    return Estimate(gradients, *aux)

  return Estimator(init, estimate, divisible)


def leave_one_out(
  values: jax.Array, axis: int, axis_name: str | None = None
) -> jax.Array:
  """For every value the mean of the others along an axis and on all devices."""
  count = collectives.total(values.shape[axis], axis_name)
  sums = collectives.total(jnp.sum(values, axis, keepdims=True), axis_name)
  return (sums - values) / (count - 1)


def check_divisible(estimator: Estimator, num_microbatches: int) -> None:
  """Raises ValueError for parts of a batch whose examples need each other."""
  if num_microbatches != 1 and not estimator.divisible:
    raise ValueError(
      "num_microbatches: expected 1 where examples of a batch need each other"
      " (the baseline 'batch', the published rule without all of averaging,"
      f" reset and signal), got {num_microbatches}"
    )


def check_samples(
  name: str, num_samples: int, least: int, even: bool = False
) -> None:
  """Raises ValueError for fewer samples than a rule needs, or an odd number."""
  if num_samples < least or (even and num_samples % 2):
    kind = "an even number, at least" if even else "at least"
    raise ValueError(
      f"num_samples: {name} expects {kind} {least}, got {num_samples}"
    )
