"""The encoding SNN: hidden spiking layers and a stochastic readout.

  inputs x[1..T] -> hidden layers (deterministic) -> readout y[1..T] (random)

Everything is written for one example, ``[T, ...]``; batch with ``jax.vmap``.
State can be carried: a train fed in chunks gives the same result as whole.
Source: arXiv:2106.01177, section 3.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from timedecode import credit as credit_lib
from timedecode import glm, glm_recurrence, products, synapses
from timedecode.layers import Layer, check_size, convolutional, dense

__all__ = [
  "Encoder",
  "EncoderParams",
  "EncoderState",
  "Layer",
  "Sample",
  "convolutional",
  "dense",
  "make_encoder",
]


class EncoderParams(NamedTuple):
  """hidden: one entry per layer; readout: `glm.GLMParams`."""

  hidden: tuple[Any, ...]
  readout: glm.GLMParams


class EncoderState(NamedTuple):
  """hidden: one state per layer; readout: `glm.GLMState`."""

  hidden: tuple[Any, ...]
  readout: glm.GLMState


class Sample(NamedTuple):
  """What an encoder emits for one example.

  Attributes:
    spikes: y, [T, N_y].
    logits: u of the readout, [T, N_y]; P(y_t = 1 | past) = sigma(u_t).
    hidden: spikes of each hidden layer, [T, ...].
    potentials: u of each hidden layer, [T, ...].
    state: `EncoderState` after the train.
  """

  spikes: jax.Array
  logits: jax.Array
  hidden: tuple[jax.Array, ...]
  potentials: tuple[jax.Array, ...]
  state: EncoderState


class Encoder(NamedTuple):
  """An encoding SNN as pure functions.

  Attributes:
    init: ``(key) -> EncoderParams``.
    initial_state: ``() -> EncoderState`` at rest.
    run: ``(params, inputs [T, *input_shape], uniforms [T, N_y], state=None,
      sampler=glm.bernoulli) -> Sample``: randomness is an argument, a
      key in place of uniforms stands for those it draws.
    sample: ``(params, inputs, key, state=None) -> Sample``.
    input_shape: shape of one step's input.
    num_readout: N_y.
    layers: the hidden layers.
    credit: how errors reach them.
    reach: steps, how long a spike acts on the readout's logits.
  """

  init: Callable[[jax.Array], EncoderParams]
  initial_state: Callable[[], EncoderState]
  run: Callable[..., Sample]
  sample: Callable[..., Sample]
  input_shape: tuple[int, ...]
  num_readout: int
  layers: tuple[Layer, ...]
  credit: credit_lib.Credit
  reach: int


def _check_inputs(inputs, uniforms, input_shape, num_readout):
  if inputs.shape[1:] != input_shape or inputs.shape[0] < 1:
    raise ValueError(
      f"inputs: expected shape [T, {', '.join(map(str, input_shape))}] with"
      f" T >= 1, got {inputs.shape}; batch with jax.vmap"
    )
  key = glm_recurrence.is_key(uniforms)
  expected = () if key else (inputs.shape[0], num_readout)
  if uniforms.shape != expected:
    raise ValueError(
      f"uniforms: expected {'one key' if key else f'shape {expected}'}, got"
      f" {'shape ' * key}{uniforms.shape}"
    )


def _run_layers(layers, params, states, spikes, credit):
  """Spikes through all hidden layers: (states, spikes, potentials) of each."""
  after, hidden, potentials = [], [], []
  for layer, layer_params, state in zip(layers, params, states, strict=True):
    state, (spikes, potential) = layer.run(layer_params, state, spikes, credit)
    after.append(state)
    hidden.append(spikes)
    potentials.append(potential)
  return tuple(after), tuple(hidden), tuple(potentials)


def _readout_products(spikes, weights):
  """``W_k s_t``: [T, N_in], [N_in, K, N_y] -> [T, K, N_y]."""
  flat = products.over_rows(weights.reshape(len(weights), -1), spikes, axis=0)
  return flat.reshape(-1, *weights.shape[1:])


def _run_in_pieces(run, length, params, inputs, uniforms, state, sampler):
  """The same as `run`; the backward pass keeps the pieces' first states."""

  @functools.partial(jax.checkpoint, prevent_cse=False, static_argnums=2)
  def piece(state, start, length):
    cut_out = lambda a: jax.lax.dynamic_slice_in_dim(a, start, length)
    sample = run(params, cut_out(inputs), cut_out(uniforms), state, sampler)
    return sample.state, (sample.spikes, sample.logits)

  count, rest = divmod(len(inputs), length)
  state, outputs = jax.lax.scan(
    lambda state, index: piece(state, index * length, length),
    state,
    jnp.arange(count),
  )
  outputs = [a.reshape(count * length, -1) for a in outputs]
  if rest:
    state, last = piece(state, count * length, rest)
    pairs = zip(outputs, last, strict=True)
    outputs = [jnp.concatenate(pair) for pair in pairs]
  return Sample(*outputs, (), (), state)


def make_encoder(
  input_shape: Sequence[int],
  layers: Sequence[Layer],
  num_readout: int,
  num_kernels: int = 8,
  kernel_length: int = 10,
  lateral: bool = False,
  credit: credit_lib.Credit | None = None,
  remat_every: int = 0,
) -> Encoder:
  """Builds an encoder; the static choices are closed over.

  Args:
    input_shape: shape of one step's input, say (784,) or (28, 28).
    layers: hidden layers, first to last; may be empty.
    num_readout: N_y.
    num_kernels: K, raised cosines between the last layer and the readout.
    kernel_length: tau, their length in steps.
    lateral: feedback from every readout neuron to every other one.
    credit: how errors reach the hidden layers, default `credit.bptt()`.
    remat_every: steps between the states that the backward pass keeps; what
      lies between is computed again, so that memory grows by far less with T.
      `Sample.hidden` and `Sample.potentials` are then empty. 0: keep all.

  Raises:
    ValueError: a size below 1, or an input that a layer can't take.
  """
  check_size("num_readout", num_readout)
  input_shape, layers = tuple(input_shape), tuple(layers)
  if any(layer.event_driven for layer in layers[1:]):
    raise ValueError("layers: expected the first alone to be event-driven")
  credit = credit_lib.bptt() if credit is None else credit
  if remat_every < 0:
    raise ValueError(f"remat_every: expected >= 0 steps, got {remat_every}")
  kernels = synapses.raised_cosine_kernels(num_kernels, kernel_length)
  feedback_kernel = synapses.raised_cosine_kernels(1, kernel_length)[0]
  shapes = [input_shape]
  for layer in layers:
    shapes.append(tuple(layer.output_shape(shapes[-1])))

  def init(key):
    key_hidden, key_readout = jax.random.split(key)
    keys = jax.random.split(key_hidden, max(len(layers), 1))
    hidden = [
      layer.init(key, shape)
      for layer, key, shape in zip(layers, keys, shapes, strict=False)
    ]
    readout = glm.init(
      key_readout, num_kernels, math.prod(shapes[-1]), num_readout, lateral
    )
    return EncoderParams(tuple(hidden), readout)

  def initial_state():
    hidden = [
      layer.initial_state(shape)
      for layer, shape in zip(layers, shapes, strict=False)
    ]
    readout = glm.initial_state(kernel_length, num_readout)
    return EncoderState(tuple(hidden), readout)

  def run_whole(params, inputs, uniforms, state, sampler):
    states, hidden, potentials = _run_layers(
      layers, params.hidden, state.hidden, inputs, credit
    )
    last = hidden[-1] if hidden else inputs
    arrived = _readout_products(
      credit.readout(last.reshape(len(last), -1)), params.readout.weights
    )
    drive, pending = synapses.overlap_add(
      kernels, arrived, state.readout.pending
    )
    areas = kernels.sum(axis=1)
    effective = jnp.einsum("hkn,k->hn", params.readout.weights, areas)
    drive = credit.error(drive, hidden, effective)
    history, (spikes, logits) = glm.readout(
      params.readout, feedback_kernel, state.readout.history, drive, uniforms,
      sampler, None if credit.exact_carry else credit.carry,
    )  # fmt: skip
    after = EncoderState(states, glm.GLMState(pending, history))
    return Sample(spikes, logits, hidden, potentials, after)

  def run(params, inputs, uniforms, state=None, sampler=glm.bernoulli):
    _check_inputs(inputs, uniforms, input_shape, num_readout)
    state = initial_state() if state is None else state
    if not remat_every or len(inputs) <= remat_every:
      return run_whole(params, inputs, uniforms, state, sampler)
    if glm_recurrence.is_key(uniforms):
      shape = len(inputs), num_readout
      uniforms = glm_recurrence.draw_uniforms(uniforms, shape)
    return _run_in_pieces(
      run_whole, remat_every, params, inputs, uniforms, state, sampler
    )

  def sample(params, inputs, key, state=None):
    return run(params, inputs, key, state)

  return Encoder(
    init, initial_state, run, sample, input_shape, num_readout, layers,
    credit, kernel_length,
  )  # fmt: skip
