"""The readout: Bernoulli GLM neurons, and how their spikes are drawn.

Bernoulli GLM (spike response model with a stochastic threshold), driven by
``d_t = sum_k W_k (f_k * s)_t``:

  u_t = d_t + w_fb (g * y)_{t-1} + bias                                  (1)
  P(y_t = 1 | past) = sigma(u_t)                                         (2)

Source: arXiv:2106.01177, section 3.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from timedecode import glm_recurrence


class GLMParams(NamedTuple):
  """Parameters of the Bernoulli GLM readout.

  Attributes:
    weights: W_k of equation (1), [N_in, K, N_y], laid out for one product.
    feedback: w_fb, [N_y] (each neuron's own past) or, with lateral feedback,
      [N_y, N_y] (from row to column).
    bias: [N_y].
  """

  weights: jax.Array
  feedback: jax.Array
  bias: jax.Array


class GLMState(NamedTuple):
  """State of the readout.

  Attributes:
    pending: [L-1, N_y], what earlier inputs still add to the next steps.
    history: [L, N_y], own spikes, newest first.
  """

  pending: jax.Array
  history: jax.Array


def init(
  key: jax.Array,
  num_kernels: int,
  num_inputs: int,
  num_readout: int,
  lateral: bool = False,
) -> GLMParams:
  """Uniform in +-sqrt(6 / (K N_in + K N_y)), as published, for all of them."""
  bound = np.sqrt(6.0 / (num_kernels * (num_inputs + num_readout)))
  key_weights, key_feedback, key_bias = jax.random.split(key, 3)
  feedback_shape = (num_readout,) * (2 if lateral else 1)

  def uniform(key, shape):
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

  return GLMParams(
    uniform(key_weights, (num_inputs, num_kernels, num_readout)),
    uniform(key_feedback, feedback_shape),
    uniform(key_bias, (num_readout,)),
  )


def initial_state(kernel_length: int, num_readout: int) -> GLMState:
  """A silent past: all zeros."""
  return GLMState(
    jnp.zeros((kernel_length - 1, num_readout)),
    jnp.zeros((kernel_length, num_readout)),
  )


def bernoulli(logits: jax.Array, uniforms: jax.Array) -> jax.Array:
  """Spikes ``uniforms < sigma(logits)`` as 0/1, without a gradient."""
  spikes = uniforms < jax.nn.sigmoid(logits)
  return jax.lax.stop_gradient(spikes.astype(logits.dtype))


def bernoulli_straight_through(
  logits: jax.Array, uniforms: jax.Array
) -> jax.Array:
  """The same spikes; the backward pass sees ``sigma(logits)`` instead."""
  probabilities = jax.nn.sigmoid(logits)
  spikes = (uniforms < probabilities).astype(logits.dtype)
  return probabilities + jax.lax.stop_gradient(spikes - probabilities)


def concrete(
  temperature: float | jax.Array,
) -> Callable[[jax.Array, jax.Array], jax.Array]:
  """A sampler of relaxed spikes in (0, 1), the binary Concrete variable.

  ``sigma((u - logit(uniform)) / temperature)``: towards temperature 0 the
  spikes of `bernoulli` (Maddison et al. 2017).

  Args:
    temperature: > 0, may be traced.
  """

  def sample(logits, uniforms):
    tiny = jnp.finfo(uniforms.dtype).tiny
    uniforms = jnp.maximum(uniforms, tiny)
    noise = jnp.log1p(-uniforms) - jnp.log(uniforms)
    return jax.nn.sigmoid((logits + noise) / temperature)

  return sample


def expected(logits: jax.Array, uniforms: jax.Array) -> jax.Array:
  """``sigma(logits)`` in place of a sample: deterministic inspection."""
  del uniforms
  return jax.nn.sigmoid(logits)


# Those that close over nothing, as `concrete` does over a temperature, which
# may be traced.
_FUSED = (bernoulli, bernoulli_straight_through, expected)


def feedback(
  params: GLMParams, kernel: jax.Array, history: jax.Array
) -> jax.Array:
  """``w_fb (g * y)_{t-1}`` from spikes [L, N_y], newest first -> [N_y]."""
  trace = jnp.tensordot(kernel, history, axes=1, precision="highest")
  if params.feedback.ndim == 2:
    return trace @ params.feedback
  return trace * params.feedback


def readout(
  params: GLMParams,
  kernel: jax.Array,
  history: jax.Array,
  drive: jax.Array,
  uniforms: jax.Array,
  sampler: Callable[[jax.Array, jax.Array], jax.Array] = bernoulli,
  carry: Callable[[jax.Array], jax.Array] | None = None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """The stochastic threshold over a train, equations (1) and (2).

  Args:
    params: readout parameters (`weights` already applied in `drive`).
    kernel: g, [L], on the neuron's own past; entry 0 is one step back.
    history: [L, N_y] own spikes before the train, newest first.
    drive: [T, N_y], ``sum_k W_k (f_k * s)_t``.
    uniforms: [T, N_y] in [0, 1), the randomness of the spikes, or a key,
      which stands for ``jax.random.uniform(key, (T, N_y))``.
    sampler: turns (logits, uniforms) into spikes.
    carry: applied to the history before the step that uses it; a rule of
      credit may take it for a constant. None: nothing is applied.

  Returns:
    history after the train, and (spikes, logits), each [T, N_y].
  """
  own_past = params.feedback.ndim == 1 and not isinstance(kernel, jax.Array)
  if own_past and carry is None and sampler in _FUSED:
    run = glm_recurrence.make_run(kernel, sampler)
    outputs = run(drive, params.bias, params.feedback, history, uniforms)
    return glm_recurrence.history_after(history, outputs[0]), outputs

  if glm_recurrence.is_key(uniforms):
    uniforms = glm_recurrence.draw_uniforms(uniforms, drive.shape)

  def step(history, inputs):
    drive, uniforms = inputs
    history = history if carry is None else carry(history)
    logits = drive + params.bias + feedback(params, kernel, history)
    spikes = sampler(logits, uniforms)
    return jnp.concatenate([spikes[None], history[:-1]]), (spikes, logits)

  return jax.lax.scan(step, history, (drive, uniforms))
