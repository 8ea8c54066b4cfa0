"""Leaky neurons over a whole train, written in the place of what they read.

Equations (1) to (4) of `lif_recurrence`: forward, the membrane potential of a
step takes the place of its current; backward, the current's gradient that of
the potential. A scan fills the array that it writes with zeros first, which is
one more array to go through. It pays where a step's value is all that is
carried, else XLA copies the train at every step: neurons whose state has no
current in it stay with the scan.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def _fires(potential):
  return (potential >= 0).astype(potential.dtype)


def _at(train, index):
  return jax.lax.dynamic_index_in_dim(train, index, 0, False)


def _along(order: range, step: Callable, train, value):
  """``value = step(value, index, train_index)`` along `order`, each of them
  written over `train_index`: (train, last value)."""

  def body(number, carry):
    train, value = carry
    index = order.start + order.step * number
    value = step(value, index, _at(train, index))
    return jax.lax.dynamic_update_index_in_dim(train, value, index, 0), value

  return jax.lax.fori_loop(0, len(order), body, (train, value))


def forward(decay: float) -> Callable:
  """``(current [T, ...], bias, state, before [...]) -> (spikes, potential
  [T, ...], state after)``."""

  def run(current, bias, state, before):
    def step(x, _, drive):
      return decay * x - _fires(x + bias) + drive

    # The loop takes the state's own spikes off, whatever they were before.
    given = current.at[0].add(_fires(state + bias) - before)
    train, x = _along(range(len(current)), step, given, state)
    u = train + bias[None]
    return _fires(u), u, x

  return run


def backward(decay: float, derivative: Callable) -> Callable:
  """``(potential [T, ...], d_after [...], d_spikes[, d_potential]) ->
  (d_current, d_bias, d_state, d_before)``."""

  def run(potential, d_after, d_spikes, d_potential=None):
    def by_potential(index, u, reset):
      du = derivative(u) * (_at(d_spikes, index) - reset)
      return du if d_potential is None else _at(d_potential, index) + du

    def step(r, index, u):
      return by_potential(index, u, r) + decay * r

    last = len(potential) - 1
    r = by_potential(last, potential[last], 0.0) + d_after
    first, order = potential.at[last].set(r), range(last - 1, -1, -1)
    d_current, r = _along(order, step, first, r)
    total = jnp.sum(d_current, axis=0)  # Of r, and (3) gives du.
    d_bias = total - decay * (total - r) - d_after
    return d_current, d_bias, decay * r, -r

  return run


def time_first(loop: Callable) -> Callable:
  """`loop`, mapped over examples as one larger population.

  So that time stays the first axis: what a loop writes at a step has to lie
  together to be written in its place.
  """

  @jax.custom_batching.custom_vmap
  def run(*arrays):
    return tuple(loop(*arrays))

  @run.def_vmap
  def _mapped(size, batched, *arrays):
    rank = arrays[0].ndim - 1 - batched[0]  # Of a population of one example.

    def place(array, mapped):
      over_time = array.ndim - mapped > rank
      if not mapped:
        array = jnp.broadcast_to(array, (size, *array.shape))
      return jnp.moveaxis(array, 0, 1) if over_time else array

    back = lambda a: jnp.moveaxis(a, 1, 0) if a.ndim > rank + 1 else a
    found = tuple(map(back, run(*map(place, arrays, batched))))
    return found, (True,) * len(found)

  return run
