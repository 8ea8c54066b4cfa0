"""Readout: what a decoder sees of the spike trains y, [T, N] -> [D, N].

  full         every step, D = T
  window       the last `length` steps, D = length
  rate         spike counts per neuron, D = 1: rate decoding, a baseline
  first_spike  latencies per neuron, D = 1: first-to-spike, a baseline

Online tasks take a window at every step: `sliding_window`.
Source: arXiv:2106.01177, sections 2 and 5.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _check_spikes(spikes: jax.Array) -> None:
  if spikes.ndim != 2 or spikes.shape[0] < 1:
    raise ValueError(
      f"spikes: expected shape [T, N] with T >= 1, got {spikes.shape};"
      " batch with jax.vmap"
    )


def _check_window(spikes: jax.Array, length: int) -> None:
  _check_spikes(spikes)
  num_steps = spikes.shape[0]
  integer = isinstance(length, int | np.integer)
  if not integer or not 1 <= length <= num_steps:
    raise ValueError(
      f"length: expected an integer in 1..T = {num_steps}, got {length!r}"
    )


def whole_train(spikes: jax.Array) -> jax.Array:
  """Every step: spikes [T, N], unchanged.

  Raises:
    ValueError: spikes not [T, N].
  """
  _check_spikes(spikes)
  return spikes


def last_window(spikes: jax.Array, length: int) -> jax.Array:
  """The last steps of a train, oldest first.

  Args:
    spikes: [T, N].
    length: tau_d in steps, 1..T.

  Returns:
    [length, N].

  Raises:
    ValueError: spikes not [T, N], or length not in 1..T.
  """
  _check_window(spikes, length)
  return spikes[spikes.shape[0] - length :]


def sliding_window(spikes: jax.Array, length: int) -> jax.Array:
  """For every step t the window t-length+1..t, zeros before the train.

  Args:
    spikes: [T, N].
    length: tau_d in steps, 1..T.

  Returns:
    [T, length, N], oldest first; the last window is `last_window`.

  Raises:
    ValueError: spikes not [T, N], or length not in 1..T.
  """
  _check_window(spikes, length)
  steps = np.arange(spikes.shape[0])[:, None] + np.arange(length)[None, :]
  return jnp.pad(spikes, ((length - 1, 0), (0, 0)))[steps]


def counts(spikes: jax.Array, scale: float = 4.0) -> jax.Array:
  """Rate decoding: ``scale`` times each neuron's mean over time.

  Args:
    spikes: [T, N].
    scale: factor; the default brings the usual sparse rates near 1.

  Returns:
    [1, N], in [0, scale].

  Raises:
    ValueError: spikes not [T, N].
  """
  _check_spikes(spikes)
  return scale * jnp.mean(spikes, axis=0, keepdims=True)


def first_spike(spikes: jax.Array, scale: float = 1.0) -> jax.Array:
  """First-to-spike decoding: ``(T - t) / T``, t the step of the first spike.

  1 for a spike at step 0, 1/T for a first spike at the last step, 0 for a
  silent neuron. Computed as the share of steps by which the neuron has fired,
  ``mean_t (1 - prod_{i<=t} (1 - y_i))``: the same value for 0/1 spikes, and
  the expected one for independent firing probabilities, so that gradients of
  straight-through or relaxed spikes pass.

  Args:
    spikes: [T, N].
    scale: factor of the latencies.

  Returns:
    [1, N], in [0, scale].

  Raises:
    ValueError: spikes not [T, N].
  """
  _check_spikes(spikes)
  silent = jnp.cumprod(1.0 - spikes, axis=0)
  return scale * jnp.mean(1.0 - silent, axis=0, keepdims=True)


VIEWS: dict[str, Callable[..., jax.Array]] = {
  "full": whole_train,
  "window": last_window,
  "rate": counts,
  "first_spike": first_spike,
}


def view(name: str, **options: Any) -> Callable[[jax.Array], jax.Array]:
  """A view by name, with its options bound.

  Args:
    name: a key of `VIEWS`.
    **options: `length` for "window" (required), `scale` for "rate" and
      "first_spike".

  Returns:
    A function of spikes [T, N] -> [D, N].

  Raises:
    ValueError: an unknown name, or options that are missing or unknown.
  """
  if name not in VIEWS:
    raise ValueError(f"name: expected one of {', '.join(VIEWS)}, got {name!r}")
  function = VIEWS[name]
  parameters = list(inspect.signature(function).parameters.values())[1:]
  allowed = [p.name for p in parameters]
  required = {p.name for p in parameters if p.default is p.empty}
  if not required <= set(options) <= set(allowed):
    raise ValueError(
      f"options of {name}: expected {', '.join(allowed) or 'none'},"
      f" got {', '.join(options) or 'none'}"
    )
  return functools.partial(function, **options)
