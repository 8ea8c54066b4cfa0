"""Neuron models: deterministic LIF hidden neurons, stochastic GLM readout.

Potentials are measured from the threshold (a neuron fires when ``u >= 0``),
so the bias carries the threshold. Source: arXiv:2106.01177, section 3.

LIF with a refractory term, per neuron, driven by ``d_t = W p_t``:

  rho_t = c rho_{t-1} - s_{t-1}                                          (1)
  u_t   = d_t + bias + rho_t                                             (2)
  s_t   = H(u_t), H(0) = 1                                               (3)

Leaky integrate-and-fire with a reset by subtraction, the form of most
libraries; it integrates d_t itself and needs no filter before it:

  v_t   = a v_{t-1} + d_t - s_{t-1}       u_t = v_t + bias               (6)

Bernoulli GLM (spike response model with a stochastic threshold), driven by
``d_t = sum_k W_k (f_k * s)_t``:

  u_t = d_t + w_fb (g * y)_{t-1} + bias                                  (4)
  P(y_t = 1 | past) = sigma(u_t)                                         (5)

A model of hidden neurons is a `Neuron`: three functions. Write your own with
the same signatures and pass it to `encoder.dense`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from timedecode import glm_recurrence, lif_recurrence, surrogate


class Neuron(NamedTuple):
  """A hidden neuron model, element-wise over a population of any shape.

  Attributes:
    init: ``(key, bias_shape, fan_in) -> params``.
    initial_state: ``(shape) -> state`` at rest.
    step: ``(params, state, drive) -> (state, (spikes, potential))``.
    derivative: the surrogate derivative of a spike by its potential, used
      for diagnostics only; None where the model has none.
    run: ``(params, state, drives [T, ...]) -> (state, (spikes, potentials))``,
      the same as a scan of `step` and faster; None where there is none.
  """

  init: Callable[..., Any]
  initial_state: Callable[[tuple[int, ...]], Any]
  step: Callable[..., Any]
  derivative: Callable[[jax.Array], jax.Array] | None = None
  run: Callable[..., Any] | None = None


class LIFParams(NamedTuple):
  """Parameters of a LIF population.

  Attributes:
    bias: minus the threshold, broadcastable to the population's shape.
  """

  bias: jax.Array


class LIFState(NamedTuple):
  """State of a LIF population.

  Attributes:
    refractory: rho, the decaying after-effect of earlier spikes (<= 0).
    spikes: the spikes of the step before, 0 or 1.
  """

  refractory: jax.Array
  spikes: jax.Array


def _uniform_bias(key, bias_shape, fan_in):
  bound = 1.0 / np.sqrt(fan_in)
  return LIFParams(
    jax.random.uniform(key, bias_shape, minval=-bound, maxval=bound)
  )


def _make_run(derivative, decay, leaky, state_type):
  """`Neuron.run` of both models: `lif.make_run` on their states."""
  run = lif_recurrence.make_run(derivative, decay, leaky)

  def wrapped(params, state, drives):
    bias = jnp.broadcast_to(params.bias, drives.shape[1:])
    spikes, potential, after = run(drives, bias, *state)
    return state_type(after, spikes[-1]), (spikes, potential)

  return wrapped


def _check_decay(name, decay):
  if not 0.0 <= decay < 1.0:
    raise ValueError(f"{name}: expected a number in [0, 1), got {decay}")


def lif(
  derivative: Callable[[jax.Array], jax.Array] | None = None,
  refractory_decay: float = 0.65,
) -> Neuron:
  """LIF neurons with a refractory term, equations (1)-(3).

  Args:
    derivative: surrogate derivative; default the triangular one.
    refractory_decay: c of equation (1), in [0, 1).
  """
  _check_decay("refractory_decay", refractory_decay)
  derivative = surrogate.get("triangular") if derivative is None else derivative
  spike = surrogate.spike_function(derivative)

  def initial_state(shape):
    return LIFState(jnp.zeros(shape), jnp.zeros(shape))

  def step(params, state, drive):
    bias = jnp.broadcast_to(params.bias, drive.shape)
    refractory = refractory_decay * state.refractory - state.spikes
    potential = refractory + (drive + bias)
    spikes = spike(potential)
    return LIFState(refractory, spikes), (spikes, potential)

  run = _make_run(derivative, refractory_decay, False, LIFState)
  return Neuron(_uniform_bias, initial_state, step, derivative, run)


class LeakyState(NamedTuple):
  """State of a leaky population.

  Attributes:
    membrane: v, from rest.
    spikes: the spikes of the step before, 0 or 1.
  """

  membrane: jax.Array
  spikes: jax.Array


def leaky(
  derivative: Callable[[jax.Array], jax.Array] | None = None,
  decay: float = 0.9,
  threshold: float = 1.0,
) -> Neuron:
  """Leaky integrate-and-fire neurons, equation (6).

  Use them with `synapses.direct()`: the membrane is the only filter.

  Args:
    derivative: surrogate derivative; default the triangular one.
    decay: a of equation (6), in [0, 1).
    threshold: > 0; the bias starts at minus the threshold, and is learned.
  """
  _check_decay("decay", decay)
  if not threshold > 0:
    raise ValueError(f"threshold: expected a number > 0, got {threshold}")
  derivative = surrogate.get("triangular") if derivative is None else derivative
  spike = surrogate.spike_function(derivative)

  def init(key, bias_shape, fan_in):
    del key, fan_in
    return LIFParams(jnp.full(bias_shape, -threshold, jnp.float32))

  def initial_state(shape):
    return LeakyState(jnp.zeros(shape), jnp.zeros(shape))

  def step(params, state, drive):
    membrane = decay * state.membrane - state.spikes + drive
    potential = membrane + jnp.broadcast_to(params.bias, drive.shape)
    spikes = spike(potential)
    return LeakyState(membrane, spikes), (spikes, potential)

  run = _make_run(derivative, decay, True, LeakyState)
  return Neuron(init, initial_state, step, derivative, run)


class GLMParams(NamedTuple):
  """Parameters of the Bernoulli GLM readout.

  Attributes:
    weights: W_k of equation (4), [N_in, K, N_y], laid out for one product.
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


def glm_init(
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


def glm_initial_state(kernel_length: int, num_readout: int) -> GLMState:
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


_FUSED = (bernoulli, bernoulli_straight_through, expected)


def glm_feedback(
  params: GLMParams, kernel: jax.Array, history: jax.Array
) -> jax.Array:
  """``w_fb (g * y)_{t-1}`` from spikes [L, N_y], newest first -> [N_y]."""
  trace = jnp.tensordot(kernel, history, axes=1, precision="highest")
  if params.feedback.ndim == 2:
    return trace @ params.feedback
  return trace * params.feedback


def glm_readout(
  params: GLMParams,
  kernel: jax.Array,
  history: jax.Array,
  drive: jax.Array,
  uniforms: jax.Array,
  sampler: Callable[[jax.Array, jax.Array], jax.Array] = bernoulli,
  carry: Callable[[jax.Array], jax.Array] | None = None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """The stochastic threshold over a train, equations (4)-(5).

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
    uniforms = jax.random.uniform(uniforms, drive.shape)

  def step(history, inputs):
    drive, uniforms = inputs
    history = history if carry is None else carry(history)
    logits = drive + params.bias + glm_feedback(params, kernel, history)
    spikes = sampler(logits, uniforms)
    return jnp.concatenate([spikes[None], history[:-1]]), (spikes, logits)

  return jax.lax.scan(step, history, (drive, uniforms))
