"""Spike trains with something taken away: times, identities, spikes.

A perturbation is ``(spikes [T, N], key, strength) -> spikes [T, N]``, of one
train, as a channel is; what a decoder loses by it is what it made use of:

  shuffle  a neuron's steps are permuted within windows: the counts of every
           window stay, with windows of T steps the counts alone
  jitter   steps are permuted locally, none moves by more than `reach`: the
           counts of a neuron stay
  merge    neurons are permuted at every step: the activity of all neurons
           together stays, at every step, and who fired is lost
  drop     every spike is lost with a probability
  add      every silence becomes a spike with a probability
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def _check(spikes: jax.Array) -> None:
  if spikes.ndim != 2:
    raise ValueError(
      f"spikes: expected [T, N] of one train, got shape {spikes.shape}; batch"
      " with jax.vmap"
    )


def _check_number(name, value, least, most=None) -> None:
  """Refuses what is out of range, unless it is traced: then it can't know."""
  if isinstance(value, jax.core.Tracer):
    return
  if not (least <= value and (most is None or value <= most)):
    told = (
      f"at least {least}" if most is None else f"a number in [{least}, {most}]"
    )
    raise ValueError(f"{name}: expected {told}, got {value}")


def _by_rank(spikes: jax.Array, ranks: jax.Array, axis: int) -> jax.Array:
  order = jnp.argsort(ranks, axis=axis)
  return jnp.take_along_axis(spikes, order, axis=axis)


def shuffle(
  spikes: jax.Array, key: jax.Array, window: int | jax.Array
) -> jax.Array:
  """Permutes every neuron's steps within windows, each on its own.

  Args:
    spikes: [T, N].
    key: of the permutations.
    window: steps, >= 1, counted from the first step; 1 changes nothing.
  """
  _check(spikes)
  _check_number("window", window, 1)
  uniform = jax.random.uniform(key, spikes.shape)
  place = jnp.arange(len(spikes)) // window
  return _by_rank(spikes, place[:, None] + uniform, axis=0)


def jitter(
  spikes: jax.Array, key: jax.Array, reach: int | jax.Array
) -> jax.Array:
  """Permutes every neuron's steps so that none moves by more than `reach`.

  Steps are ordered by ``t + (reach + 1) u_t`` with uniform u_t: one that is
  more than `reach` later can't come first. The standard deviation of a move is
  about (reach + 1) / sqrt(12).

  Args:
    spikes: [T, N].
    key: of the permutations.
    reach: steps, >= 0; 0 changes nothing.
  """
  _check(spikes)
  _check_number("reach", reach, 0)
  uniform = jax.random.uniform(key, spikes.shape)
  steps = jnp.arange(len(spikes), dtype=jnp.float32)
  return _by_rank(spikes, steps[:, None] + (reach + 1) * uniform, axis=0)


def merge(
  spikes: jax.Array, key: jax.Array, share: float | jax.Array = 1.0
) -> jax.Array:
  """Permutes the neurons at a share of the steps.

  Args:
    spikes: [T, N].
    key: of the permutations, and of which steps.
    share: probability of a step, in [0, 1].
  """
  _check(spikes)
  _check_number("share", share, 0, 1)
  key_who, key_when = jax.random.split(key)
  merged = _by_rank(spikes, jax.random.uniform(key_who, spikes.shape), axis=1)
  chosen = jax.random.bernoulli(key_when, share, (len(spikes), 1))
  return jnp.where(chosen, merged, spikes)


def drop(
  spikes: jax.Array, key: jax.Array, share: float | jax.Array
) -> jax.Array:
  """Every spike is lost with the probability `share`."""
  _check(spikes)
  _check_number("share", share, 0, 1)
  return jnp.where(jax.random.bernoulli(key, share, spikes.shape), 0.0, spikes)


def add(
  spikes: jax.Array, key: jax.Array, share: float | jax.Array
) -> jax.Array:
  """Every silence becomes a spike with the probability `share`."""
  _check(spikes)
  _check_number("share", share, 0, 1)
  return jnp.where(jax.random.bernoulli(key, share, spikes.shape), 1.0, spikes)


PERTURBATIONS: dict[str, Callable[..., jax.Array]] = {
  "shuffle": shuffle,
  "jitter": jitter,
  "merge": merge,
  "drop": drop,
  "add": add,
}
