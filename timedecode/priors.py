"""Priors q(y_t | y^{t-1}) of the readout's spikes.

The information bound holds for every prior and is tight at the true marginal,
so a richer prior that is fitted to the spikes gives a tighter bound:

  independent   Bernoulli(rate), one number for all, fixed              (1)
  rate          Bernoulli(r_n), learned per neuron                      (2)
  glm           sigma(b_n + sum_m sum_l V_lmn y_{t-l,m}), learned       (3)

Each contains the one before. Their parameters are trained by the objective
itself, which is, in them, the cross-entropy of the spikes.
Source: arXiv:2106.01177, section 2 (independent); (2) and (3) are ours.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Prior(NamedTuple):
  """A prior, causal in the spikes.

  Attributes:
    init: ``(num_readout) -> params``; () where nothing is learned.
    logits: ``(params, spikes [T, N_y]) -> [T, N_y]``, of q(y_t = 1 | past).
    reach: how many steps of the past it sees.
  """

  init: Callable[[int], Any]
  logits: Callable[[Any, jax.Array], jax.Array]
  reach: int = 0


def _logit(rate: float | jax.Array) -> float | jax.Array:
  if isinstance(rate, jax.Array):  # Of a compiled program, checked before.
    return jnp.log(rate) - jnp.log1p(-rate)
  if not 0.0 < rate < 1.0:
    raise ValueError(f"prior_rate: expected a number in (0, 1), got {rate}")
  return math.log(rate) - math.log1p(-rate)


def independent(rate: float) -> Prior:
  """Equation (1).

  Args:
    rate: spike probability per step, in (0, 1); ValueError outside.
  """
  logit = _logit(rate)
  return Prior(
    lambda num_readout: (),
    lambda params, spikes: jnp.full_like(spikes, logit),
  )


def learned_rate(rate: float) -> Prior:
  """Equation (2); the parameters are logits [N_y].

  Args:
    rate: where every neuron starts, in (0, 1); ValueError outside.
  """
  logit = _logit(rate)
  return Prior(
    lambda num_readout: jnp.full((num_readout,), logit),
    lambda params, spikes: jnp.broadcast_to(params, spikes.shape),
  )


class GLMPriorParams(NamedTuple):
  """bias: [N_y]; weights: V, [L, N_y (from), N_y (to)], lag 1 first."""

  bias: jax.Array
  weights: jax.Array


def glm(rate: float, length: int = 10) -> Prior:
  """Equation (3), on the last `length` steps of all readout neurons.

  Before the train the past is silent. The weights start at 0, so that it
  starts as `independent`.

  Args:
    rate: where every neuron starts, in (0, 1); ValueError outside.
    length: L in steps, >= 1; ValueError below.
  """
  logit = _logit(rate)
  if length < 1:
    raise ValueError(f"length: expected at least 1 step, got {length}")

  def init(num_readout):
    return GLMPriorParams(
      jnp.full((num_readout,), logit),
      jnp.zeros((length, num_readout, num_readout)),
    )

  def logits(params, spikes):
    num_steps = len(spikes)
    past = jnp.pad(spikes, ((length, 0), (0, 0)))
    lags = [
      jax.lax.dynamic_slice_in_dim(past, length - lag, num_steps)
      for lag in range(1, length + 1)
    ]
    drive = jnp.einsum("ltm,lmn->tn", jnp.stack(lags), params.weights)
    return drive + params.bias[None]

  return Prior(init, logits, length)


def glm_in_time(rates: jax.Array, length: int = 10) -> Prior:
  """`glm` with a bias b_{t,n} for every step: for trains of one length.

  What a neuron does at a step whatever the input is told by it, and is no
  information about the input; a prior that is the same at all steps takes it
  for some.

  Args:
    rates: where neurons start, say measured, [T, N_y], in (0, 1).
    length: L in steps, >= 1; ValueError below.
  """
  inner = glm(0.5, length)

  def init(num_readout):
    return inner.init(num_readout), _logit(jnp.asarray(rates))

  def logits(params, spikes):
    return inner.logits(params[0], spikes) + params[1]

  return Prior(init, logits, length)


PRIORS: dict[str, Callable[..., Prior]] = {
  "independent": independent,
  "rate": learned_rate,
  "glm": glm,
}
