"""The encoding SNN: hidden spiking layers and a stochastic readout.

  inputs x[1..T] -> hidden layers (deterministic) -> readout y[1..T] (random)

Each hidden layer is a synaptic filter, a connection and a `neurons.Neuron`:

  p   = filter(spikes in)              presynaptic traces, a linear filter
  d   = pool(W p)                      one product over all time steps
  s,u = neuron(d)                      element-wise recurrence over time

Everything is written for one example, ``[T, ...]``; batch with ``jax.vmap``.
State can be carried: a train fed in chunks gives the same result as whole.
Source: arXiv:2106.01177, section 3.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from timedecode import neurons, synapses


class Layer(NamedTuple):
  """A hidden layer.

  Attributes:
    init: ``(key, input_shape) -> (params, output_shape)``.
    initial_state: ``(input_shape, output_shape) -> state``.
    run: ``(params, state, spikes [T, *input_shape]) -> (state,
      (spikes, potential))``, each ``[T, *output_shape]``.
    derivative: surrogate derivative by the potential, or None.
  """

  init: Callable[..., Any]
  initial_state: Callable[..., Any]
  run: Callable[..., Any]
  derivative: Callable[[jax.Array], jax.Array] | None


class LayerParams(NamedTuple):
  """weights: [N_in, N] or [k, k, C_in, C]; neuron: the neuron's own."""

  weights: jax.Array
  neuron: Any


class LayerState(NamedTuple):
  """synapse: traces of the inputs; neuron: the neuron's own state."""

  synapse: Any
  neuron: Any


class EncoderParams(NamedTuple):
  """hidden: one entry per layer; readout: `neurons.GLMParams`."""

  hidden: tuple[Any, ...]
  readout: neurons.GLMParams


class EncoderState(NamedTuple):
  """hidden: one state per layer; readout: `neurons.GLMState`."""

  hidden: tuple[Any, ...]
  readout: neurons.GLMState


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
      sampler=neurons.bernoulli) -> Sample``: randomness is an argument.
    sample: ``(params, inputs, key, state=None) -> Sample``.
    input_shape: shape of one step's input.
    num_readout: N_y.
    layers: the hidden layers.
  """

  init: Callable[[jax.Array], EncoderParams]
  initial_state: Callable[[], EncoderState]
  run: Callable[..., Sample]
  sample: Callable[..., Sample]
  input_shape: tuple[int, ...]
  num_readout: int
  layers: tuple[Layer, ...]


def _check_size(name: str, value: int) -> None:
  if not isinstance(value, int | np.integer) or value < 1:
    raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")


def _layer(weights_shape, connect, pool, neuron, synapse, weight_scale):
  """Joins synaptic filter, connection and neuron into a `Layer`."""

  def init(key, input_shape):
    key_weights, key_neuron = jax.random.split(key)
    shape, bias_shape, fan_in = weights_shape(input_shape)
    bound = weight_scale / np.sqrt(fan_in)
    weights = jax.random.uniform(
      key_weights, shape, minval=-bound, maxval=bound
    )
    params = LayerParams(weights, neuron.init(key_neuron, bias_shape, fan_in))
    drive = jax.eval_shape(
      lambda w, x: pool(connect(w, x)),
      weights,
      jax.ShapeDtypeStruct((1, *input_shape), weights.dtype),
    )
    return params, drive.shape[1:]

  def initial_state(input_shape, output_shape):
    return LayerState(
      synapse.initial_state(input_shape), neuron.initial_state(output_shape)
    )

  def run(params, state, spikes):
    synapse_state, traces = synapse.run(state.synapse, spikes)
    drive = pool(connect(params.weights, traces))
    neuron_state, outputs = jax.lax.scan(
      lambda state, d: neuron.step(params.neuron, state, d),
      state.neuron,
      drive,
    )
    return LayerState(synapse_state, neuron_state), outputs

  return Layer(init, initial_state, run, neuron.derivative)


def dense(
  num_units: int,
  neuron: neurons.Neuron | None = None,
  synapse: synapses.Filter | None = None,
  weight_scale: float = 1.0,
) -> Layer:
  """A fully connected layer; inputs of any shape are flattened.

  Args:
    num_units: N_h.
    neuron: neuron model, default `neurons.lif()`.
    synapse: synaptic filter, default the unit-gain `synapses.lif_filter()`.
    weight_scale: weights start uniform in +-weight_scale / sqrt(N_in).
  """
  _check_size("num_units", num_units)

  def shapes(input_shape):
    fan_in = int(np.prod(input_shape))
    return (fan_in, num_units), (num_units,), fan_in

  def connect(weights, traces):
    return traces.reshape(traces.shape[0], -1) @ weights

  return _layer(
    shapes,
    connect,
    lambda drive: drive,
    neurons.lif() if neuron is None else neuron,
    synapses.lif_filter() if synapse is None else synapse,
    weight_scale,
  )


def _max_pool(drive: jax.Array, size: int) -> jax.Array:
  return jax.lax.reduce_window(
    drive,
    -jnp.inf,
    jax.lax.max,
    (1, size, size, 1),
    (1, size, size, 1),
    "VALID",
  )


def convolutional(
  num_channels: int,
  kernel_size: int = 7,
  pool_size: int = 2,
  neuron: neurons.Neuron | None = None,
  synapse: synapses.Filter | None = None,
  weight_scale: float = 1.0,
) -> Layer:
  """A convolutional layer with max-pooling on u before the threshold.

  The bias is one per channel, so pooling before or after adding it is the
  same. Inputs are [T, height, width] or [T, height, width, channels].

  Args:
    num_channels: output channels.
    kernel_size: side of the kernel in pixels, no padding.
    pool_size: side and stride of the max-pooling window in pixels.
    neuron: neuron model, default `neurons.lif()`.
    synapse: synaptic filter, default the unit-gain `synapses.lif_filter()`.
    weight_scale: weights start uniform in +-weight_scale / sqrt(fan in).
  """
  for name, value in (
    ("num_channels", num_channels),
    ("kernel_size", kernel_size),
    ("pool_size", pool_size),
  ):
    _check_size(name, value)

  def shapes(input_shape):
    smallest = kernel_size + pool_size - 1
    if len(input_shape) not in (2, 3) or min(input_shape[:2]) < smallest:
      raise ValueError(
        "convolutional: expected inputs [height, width(, channels)] of at"
        f" least {smallest} pixels a side, got shape {tuple(input_shape)}"
      )
    channels = input_shape[2] if len(input_shape) == 3 else 1
    shape = (kernel_size, kernel_size, channels, num_channels)
    return shape, (num_channels,), int(np.prod(shape[:3]))

  def connect(weights, traces):
    traces = traces.reshape(*traces.shape[:3], -1)
    return jax.lax.conv_general_dilated(
      traces,
      weights,
      (1, 1),
      "VALID",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  return _layer(
    shapes,
    connect,
    lambda drive: _max_pool(drive, pool_size),
    neurons.lif() if neuron is None else neuron,
    synapses.lif_filter() if synapse is None else synapse,
    weight_scale,
  )


def make_encoder(
  input_shape: Sequence[int],
  layers: Sequence[Layer],
  num_readout: int,
  num_kernels: int = 8,
  kernel_length: int = 10,
  lateral: bool = False,
) -> Encoder:
  """Builds an encoder; the static choices are closed over.

  Args:
    input_shape: shape of one step's input, say (784,) or (28, 28).
    layers: hidden layers, first to last; may be empty.
    num_readout: N_y.
    num_kernels: K, raised cosines between the last layer and the readout.
    kernel_length: tau, their length in steps.
    lateral: feedback from every readout neuron to every other one.

  Raises:
    ValueError: a size below 1, or an input that a layer can't take.
  """
  _check_size("num_readout", num_readout)
  input_shape = tuple(input_shape)
  layers = tuple(layers)
  kernels = synapses.raised_cosine_kernels(num_kernels, kernel_length)
  feedback_kernel = synapses.raised_cosine_kernels(1, kernel_length)[0]

  def init_layers(key):
    shapes, params = [input_shape], []
    for layer, layer_key in zip(
      layers, jax.random.split(key, max(len(layers), 1)), strict=False
    ):
      layer_params, shape = layer.init(layer_key, shapes[-1])
      params.append(layer_params)
      shapes.append(tuple(shape))
    return params, shapes

  shapes = []

  def record(key):
    params, found = init_layers(key)
    shapes.extend(found)
    return params

  jax.eval_shape(record, jax.random.key(0))
  num_features = int(np.prod(shapes[-1]))

  def init(key):
    key_hidden, key_readout = jax.random.split(key)
    params, _ = init_layers(key_hidden)
    readout = neurons.glm_init(
      key_readout, num_kernels, num_features, num_readout, lateral
    )
    return EncoderParams(tuple(params), readout)

  def initial_state():
    hidden = tuple(
      layer.initial_state(before, after)
      for layer, before, after in zip(
        layers, shapes[:-1], shapes[1:], strict=True
      )
    )
    readout = neurons.glm_initial_state(kernel_length, num_readout)
    return EncoderState(hidden, readout)

  def run(params, inputs, uniforms, state=None, sampler=neurons.bernoulli):
    if inputs.shape[1:] != input_shape or inputs.shape[0] < 1:
      raise ValueError(
        f"inputs: expected shape [T, {', '.join(map(str, input_shape))}] with"
        f" T >= 1, got {inputs.shape}; batch with jax.vmap"
      )
    if uniforms.shape != (inputs.shape[0], num_readout):
      raise ValueError(
        f"uniforms: expected shape {(inputs.shape[0], num_readout)}, got"
        f" {uniforms.shape}"
      )
    state = initial_state() if state is None else state
    spikes, hidden, potentials, hidden_states = inputs, [], [], []
    for layer, layer_params, layer_state in zip(
      layers, params.hidden, state.hidden, strict=True
    ):
      layer_state, (spikes, potential) = layer.run(
        layer_params, layer_state, spikes
      )
      hidden_states.append(layer_state)
      hidden.append(spikes)
      potentials.append(potential)
    products = jnp.tensordot(
      spikes.reshape(spikes.shape[0], -1), params.readout.weights, axes=1
    )
    drive, pending = synapses.overlap_add(
      kernels, products, state.readout.pending
    )
    history, (readout, logits) = neurons.glm_readout(
      params.readout,
      feedback_kernel,
      state.readout.history,
      drive,
      uniforms,
      sampler,
    )
    after = EncoderState(
      tuple(hidden_states), neurons.GLMState(pending, history)
    )
    return Sample(readout, logits, tuple(hidden), tuple(potentials), after)

  def sample(params, inputs, key, state=None):
    uniforms = jax.random.uniform(key, (inputs.shape[0], num_readout))
    return run(params, inputs, uniforms, state)

  return Encoder(
    init, initial_state, run, sample, input_shape, num_readout, layers
  )
