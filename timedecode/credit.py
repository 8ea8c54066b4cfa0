"""Credit for hidden spikes: how an error at the readout reaches each layer.

The forward pass is always the same; a rule says what the backward pass takes
for a constant and by which weights the error goes back. With d_t the error at
the readout's logits (whatever the estimator makes it) and psi the surrogate
derivative, a layer's weights receive sum_t e_t psi(u_t) p_t, where

  bptt       e_t is exact up to psi: back-propagation through all of time
  local      traces p, q, refractory state and the readout's own past are
             constants (e-prop, Bellec et al. 2020). Between the last layer
             and the readout the kernels are exact, as they end after L steps:
             e_t = sum_l sum_k f_k(l) W_k d_{t+l}. Between hidden layers the
             synapse acts at once, with its steady-state gain
  symmetric  as local, with the readout's kernels acting at once too:
             e_t = sum_k (sum_l f_k(l)) W_k d_t
  feedback   as local, but e_t = B d_t for every layer, B fixed and random,
             nothing passes between hidden layers (the paper's choice, direct
             feedback alignment)

All but bptt reach no further back than the readout's kernels, which is what
`online` needs. Source: arXiv:2106.01177, section 3; method section 6.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Credit(NamedTuple):
  """A rule; each part changes the backward pass only.

  Attributes:
    name: for messages.
    carry: applied to every state before the step that uses it.
    trace: ``(run, state, spikes, gain) -> (state, traces)``: the filter
      between layers.
    readout: ``(spikes [T, N]) -> spikes``: on their way into the readout.
    error: ``(drive [T, N_y], hidden spikes of all layers, effective readout
      weights [N, N_y]) -> drive``, with further ways back.
    local: no path through time but the readout's kernels.
  """

  name: str
  carry: Callable[[Any], Any]
  trace: Callable[..., Any]
  readout: Callable[[jax.Array], jax.Array]
  error: Callable[..., jax.Array]
  local: bool

  @property
  def exact_carry(self) -> bool:
    """Whether nothing is taken for a constant between two steps."""
    return self.carry is _same


def _same(value):
  return value


def _only_drive(drive, hidden, weights):
  del hidden, weights
  return drive


@jax.custom_vjp
def send_back(drive: jax.Array, spikes: jax.Array, weights: jax.Array):
  """`drive`; backward, its error times the weights reaches the spikes too.

  Args:
    drive: [T, N_y].
    spikes: [T, N].
    weights: B, [N, N_y]; they receive no gradient.
  """
  del spikes, weights
  return drive


def _send_back_forward(drive, spikes, weights):
  del spikes
  return drive, weights


def _send_back_backward(weights, error):
  return error, error @ weights.T, jnp.zeros_like(weights)


send_back.defvjp(_send_back_forward, _send_back_backward)


def _exact_trace(run, state, spikes, gain):
  del gain
  return run(state, spikes)


def _instant_trace(run, state, spikes, gain):
  fixed = jax.lax.stop_gradient(spikes)
  state, traces = run(state, fixed)
  return state, traces + gain * (spikes - fixed)  # Adds an exact zero.


def _constant_trace(run, state, spikes, gain):
  del gain
  return run(state, jax.lax.stop_gradient(spikes))


def bptt() -> Credit:
  """Back-propagation through time with surrogate derivatives."""
  return Credit("bptt", _same, _exact_trace, _same, _only_drive, False)


def local() -> Credit:
  """Eligibility traces; the readout's kernels are exact."""
  return Credit(
    "local", jax.lax.stop_gradient, _instant_trace, _same, _only_drive, True
  )


def _flat(spikes):
  return spikes.reshape(len(spikes), -1)


def symmetric() -> Credit:
  """Errors of the same step, by the readout's own weights."""

  def error(drive, hidden, weights):
    if not hidden:
      return drive
    return send_back(drive, _flat(hidden[-1]), jax.lax.stop_gradient(weights))

  stop = jax.lax.stop_gradient
  return Credit("symmetric", stop, _instant_trace, stop, error, True)


def unit_bound(num_units: int, num_readout: int) -> float:
  """B's entries have variance 1/N_y, so that e has the size of d."""
  del num_units
  return float(np.sqrt(3.0 / num_readout))


def published_bound(num_units: int, num_readout: int) -> float:
  """sqrt(6 / N_h), as published."""
  del num_readout
  return float(np.sqrt(6.0 / num_units))


def feedback(
  bound: Callable[[int, int], float] = unit_bound, seed: int = 0
) -> Credit:
  """Fixed random matrices B, uniform in +-bound, from the readout to a layer.

  B is drawn anew, the same, wherever it is needed: it is no parameter and
  takes no room in a checkpoint.

  Args:
    bound: ``(N, N_y) -> largest entry`` of a layer of N neurons.
    seed: of B.
  """

  def error(drive, hidden, weights):
    del weights
    for index, spikes in enumerate(map(_flat, hidden)):
      shape = (spikes.shape[1], drive.shape[1])
      key = jax.random.fold_in(jax.random.key(seed), index)
      largest = bound(*shape)
      matrix = jax.random.uniform(key, shape, minval=-largest, maxval=largest)
      drive = send_back(drive, spikes, matrix)
    return drive

  stop = jax.lax.stop_gradient
  return Credit("feedback", stop, _constant_trace, stop, error, True)


CREDITS: dict[str, Callable[..., Credit]] = {
  "bptt": bptt,
  "local": local,
  "symmetric": symmetric,
  "feedback": feedback,
}
