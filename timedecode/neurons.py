"""Models of hidden neurons: deterministic, with surrogate gradients.

Potentials are measured from the threshold (a neuron fires when ``u >= 0``),
so the bias carries the threshold. Source: arXiv:2106.01177, section 3.

LIF with a refractory term, per neuron, driven by ``d_t = W p_t``:

  rho_t = c rho_{t-1} - s_{t-1}                                          (1)
  u_t   = d_t + bias + rho_t                                             (2)
  s_t   = H(u_t), H(0) = 1                                               (3)

Leaky integrate-and-fire with a reset by subtraction, the form of most
libraries; it integrates d_t itself and needs no filter before it:

  v_t   = a v_{t-1} + d_t - s_{t-1}       u_t = v_t + bias               (4)

A model of hidden neurons is a `Neuron`: three functions. Write your own with
the same signatures and pass it to `encoder.dense`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from timedecode import lif_recurrence, surrogate, synapses


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


def lif(
  derivative: Callable[[jax.Array], jax.Array] | None = None,
  refractory_decay: float = 0.65,
) -> Neuron:
  """LIF neurons with a refractory term, equations (1)-(3).

  Args:
    derivative: surrogate derivative; default the triangular one.
    refractory_decay: c of equation (1), in [0, 1).
  """
  synapses.check_decay("refractory_decay", refractory_decay)
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
  """Leaky integrate-and-fire neurons, equation (4).

  Use them with `synapses.direct()`: the membrane is the only filter.

  Args:
    derivative: surrogate derivative; default the triangular one.
    decay: a of equation (4), in [0, 1).
    threshold: > 0; the bias starts at minus the threshold, and is learned.
  """
  synapses.check_decay("decay", decay)
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
