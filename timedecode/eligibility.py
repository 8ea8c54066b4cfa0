"""Eligibility: what a random spike can be charged with, step after step.

The readout without hidden layers is linear in its parameters theta,

  u_t = W (f * x)_t + w_fb (g * y)_{t-1} + bias = theta . a_t             (1)
  y_t ~ Bernoulli(sigma(u_t))                                             (2)

with the eligibility a_t = du_t / dtheta, own spikes y taken for constants. A
stream keeps a, sigma(u) and y of its last H steps, and of the past no more than
the kernels f and g reach: its size does not depend on how long it has run. For
a fixed theta it emits what `encoder.Encoder.run` does.
Source: arXiv:2106.01177, section 3; method section 3.2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from timedecode import glm, synapses


class Eligibility(NamedTuple):
  """a_s, what u_s is linear in, but for the bias; zeros before the train.

  Attributes:
    inputs: (f_k * x)_s, [N_in K].
    past: (g * y)_{s-1}, [N_y].
  """

  inputs: jax.Array
  past: jax.Array


class Stream(NamedTuple):
  """One stream between two steps, zeros at its start.

  Attributes:
    inputs: x, [N_in, L], newest first.
    history: y, [L, N_y], newest first.
    eligibility: a_s, `Eligibility` of [H, ...], oldest first.
    probabilities: sigma(u_s), [H, N_y], oldest first.
    spikes: y_s, [H, N_y], oldest first.
  """

  inputs: jax.Array
  history: jax.Array
  eligibility: Eligibility
  probabilities: jax.Array
  spikes: jax.Array


def linear_logits(params: glm.GLMParams, eligibility: Eligibility) -> jax.Array:
  """Equation (1) for one step: u, [N_y]."""
  weights = params.weights.reshape(-1, params.weights.shape[-1])
  past = glm.feedback(params, jnp.ones(1), eligibility.past[None])
  return weights.T @ eligibility.inputs + past + params.bias


def silent(params: glm.GLMParams, length: int, horizon: int) -> Stream:
  """A stream at its start.

  Args:
    params: for their shapes.
    length: L, of the kernels f and g, steps.
    horizon: H, steps that are kept.
  """
  num_inputs, num_kernels, size = params.weights.shape
  return Stream(
    jnp.zeros((num_inputs, length)),
    jnp.zeros((length, size)),
    Eligibility(
      jnp.zeros((horizon, num_inputs * num_kernels)),
      jnp.zeros((horizon, size)),
    ),
    jnp.zeros((horizon, size)),
    jnp.zeros((horizon, size)),
  )


def advance(
  params: glm.GLMParams,
  stream: Stream,
  x: jax.Array,
  uniforms: jax.Array,
) -> tuple[Stream, jax.Array]:
  """The next step, equations (1) and (2): (stream, u [N_y]).

  Args:
    params: theta.
    stream: before the step.
    x: [N_in], or of any shape of that size.
    uniforms: [N_y] in [0, 1), the randomness of the spikes.
  """
  newest_first = lambda rows, row: jnp.concatenate([row[None], rows[:-1]])
  oldest_first = lambda rows, row: jnp.concatenate([rows[1:], row[None]])
  x = x.reshape(-1, 1)
  inputs = jnp.concatenate([x, stream.inputs[:, :-1]], axis=1)
  length, num_kernels = inputs.shape[1], params.weights.shape[1]
  filters = synapses.raised_cosine_kernels(num_kernels, length)
  own = synapses.raised_cosine_kernels(1, length)[0]
  traces = (inputs @ filters.T).reshape(-1)
  now = Eligibility(traces, own @ stream.history)
  logits = linear_logits(params, now)
  spikes = glm.bernoulli(logits, uniforms)
  return Stream(
    inputs,
    newest_first(stream.history, spikes),
    jax.tree.map(oldest_first, stream.eligibility, now),
    oldest_first(stream.probabilities, jax.nn.sigmoid(logits)),
    oldest_first(stream.spikes, spikes),
  ), logits


def charge(
  params: glm.GLMParams, eligibility: Eligibility, errors: jax.Array
) -> glm.GLMParams:
  """The sum of errors times eligibility, like the parameters.

  Args:
    params: for their shapes.
    eligibility: a of [M, ...]: steps, or all steps of all streams.
    errors: d at u, [M, N_y].
  """
  # XLA would turn this product into one with the transposed result, for which
  # its CPU code takes three to five times as long.
  weights = jax.lax.optimization_barrier(errors.T @ eligibility.inputs).T
  if params.feedback.ndim == 2:
    feedback = eligibility.past.T @ errors
  else:
    feedback = jnp.sum(eligibility.past * errors, axis=0)
  return glm.GLMParams(
    weights.reshape(params.weights.shape), feedback, jnp.sum(errors, axis=0)
  )
