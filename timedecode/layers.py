"""Hidden spiking layers: a synaptic filter, a connection, a neuron model.

  p   = filter(spikes in)              presynaptic traces, a linear filter
  d   = pool(W p)                      one product over all time steps
  s,u = neuron(d)                      element-wise recurrence over time

Source: arXiv:2106.01177, section 3.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from timedecode import credit as credit_lib
from timedecode import event_products, neurons, products, synapses

_BPTT = credit_lib.bptt()


class Layer(NamedTuple):
  """A hidden layer.

  Attributes:
    init: ``(key, input_shape) -> params``.
    output_shape: ``(input_shape) -> shape`` of one step's output.
    initial_state: ``(input_shape) -> state`` at rest.
    run: ``(params, state, spikes [T, *input_shape], credit) -> (state,
      (spikes, potential))``, each ``[T, *output_shape]``.
    derivative: surrogate derivative by the potential, or None.
    event_driven: whether the filter follows the connection: for data alone.
  """

  init: Callable[..., Any]
  output_shape: Callable[[tuple[int, ...]], tuple[int, ...]]
  initial_state: Callable[..., Any]
  run: Callable[..., Any]
  derivative: Callable[[jax.Array], jax.Array] | None
  event_driven: bool = False


class LayerParams(NamedTuple):
  """weights: [N_in, N] or [k, k, C_in, C]; neuron: the neuron's own."""

  weights: jax.Array
  neuron: Any


class LayerState(NamedTuple):
  """synapse: traces of the inputs, or of drives; neuron: the neuron's own."""

  synapse: Any
  neuron: Any


def check_size(name: str, value: int) -> None:
  """Raises ValueError unless `value` is an integer of at least 1."""
  if not isinstance(value, int | np.integer) or value < 1:
    raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")


def _run_neuron(neuron, params, state, drives, credit):
  """The neurons over all steps, at once where nothing is cut between them."""
  if neuron.run is not None and credit.exact_carry:
    return neuron.run(params, state, drives)
  return jax.lax.scan(
    lambda state, drive: neuron.step(params, credit.carry(state), drive),
    state,
    drives,
  )


def _filter_first(connect, synapse):
  """``(weights, state, spikes, credit) -> (state, drive)``."""

  def reach(weights, state, spikes, credit):
    state, traces = credit.trace(synapse.run, state, spikes, synapse.gain)
    return state, connect(weights, traces)

  return reach


def _connect_first(connect, synapse):
  """The same of data: both are linear, and no error goes back to it."""
  return lambda weights, state, spikes, credit: synapse.run(
    state, connect(weights, spikes)
  )


def _layer(
  weights_shape, connect, pool, neuron, synapse, weight_scale,
  event_driven=False,
):  # fmt: skip
  """Joins synaptic filter, connection and neuron into a `Layer`."""
  reach = (_connect_first if event_driven else _filter_first)(connect, synapse)

  def init(key, input_shape):
    key_weights, key_neuron = jax.random.split(key)
    shape, bias_shape, fan_in = weights_shape(input_shape)
    bound = weight_scale / np.sqrt(fan_in)
    weights = jax.random.uniform(
      key_weights, shape, minval=-bound, maxval=bound
    )
    return LayerParams(weights, neuron.init(key_neuron, bias_shape, fan_in))

  def output_shape(input_shape):
    drive = jax.eval_shape(
      lambda weights, traces: pool(connect(weights, traces)),
      jax.ShapeDtypeStruct(weights_shape(input_shape)[0], jnp.float32),
      jax.ShapeDtypeStruct((1, *input_shape), jnp.float32),
    )
    return drive.shape[1:]

  def initial_state(input_shape):
    shape = output_shape(input_shape)
    filtered = shape if event_driven else input_shape
    return LayerState(
      synapse.initial_state(filtered), neuron.initial_state(shape)
    )

  def run(params, state, spikes, credit=_BPTT):
    synapse_state, drive = reach(params.weights, state.synapse, spikes, credit)
    neuron_state, outputs = _run_neuron(
      neuron, params.neuron, state.neuron, pool(drive), credit
    )
    return LayerState(synapse_state, neuron_state), outputs

  return Layer(
    init, output_shape, initial_state, run, neuron.derivative, event_driven
  )


def dense(
  num_units: int,
  neuron: neurons.Neuron | None = None,
  synapse: synapses.Filter | None = None,
  weight_scale: float = 1.0,
  event_driven: bool = False,
) -> Layer:
  """A fully connected layer; inputs of any shape are flattened.

  Args:
    num_units: N_h.
    neuron: neuron model, default `neurons.lif()`.
    synapse: synaptic filter, default the unit-gain `synapses.lif_filter()`.
    weight_scale: weights start uniform in +-weight_scale / sqrt(N_in).
    event_driven: whether it is the first layer and its inputs are spikes, few
      enough that sums over them beat products, see `event_products`: what is
      not 0 counts as 1. Not for gradients in chunks of the train.
  """
  check_size("num_units", num_units)

  def shapes(input_shape):
    fan_in = int(np.prod(input_shape))
    return (fan_in, num_units), (num_units,), fan_in

  def connect(weights, traces):
    traces = traces.reshape(traces.shape[0], -1)
    return products.over_rows(weights, traces, axis=0)

  def connect_events(weights, spikes):
    spikes = spikes.reshape(spikes.shape[0], -1)
    return event_products.over_train(weights, spikes)

  return _layer(
    shapes,
    connect_events if event_driven else connect,
    lambda drive: drive,
    neurons.lif() if neuron is None else neuron,
    synapses.lif_filter() if synapse is None else synapse,
    weight_scale,
    event_driven,
  )


def _max_pool(drive: jax.Array, size: int) -> jax.Array:
  """The largest of size x size pixels; a rest at the far edges is left out.

  The gradient of a maximum of strided parts is a select for each of them; that
  of `reduce_window` scatters, which XLA's CPU code does one value at a time.
  Equal values share it.
  """
  height, width = (number - number % size for number in drive.shape[1:3])
  parts = (
    drive[:, row:height:size, column:width:size]
    for row in range(size)
    for column in range(size)
  )
  return functools.reduce(jnp.maximum, parts)


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
    check_size(name, value)

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
