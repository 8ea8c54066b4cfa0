"""Every workload from a contestant's ``run(weights, inputs) -> spikes`` in JAX.

`run` takes a tree whose leaves are the weights in order (none for a layer
alone) and a train [T, B, N]. The whole step is one compiled program, and what
it replaces is donated.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.bench import contestants, reference
from timedecode import collectives, microbatches, parallel, precision

LEARNING_RATE = 1e-3
OPTIMISER = optax.adam(LEARNING_RATE)


def build(
  workload, given, run, weights, gain=1.0, variant=""
) -> contestants.Program:
  """The program of one contestant.

  Args:
    workload: what is computed.
    given: its arrays.
    run: of the contestant.
    weights: its tree, in its own units.
    gain: its currents per ours.
    variant: how steps go through the batch, see `contestants`.
  """
  if workload.kind == "training":
    return _training(given, run, weights, variant)
  if workload.kind == "layer":
    return _layer(given, run, weights, gain, variant)
  makers = {"latency": _latency, "dense": _dense}
  return makers[workload.kind](given, run, weights)


def training_step(run, parts=1, axis_name=None):
  """``step((weights, moments), (inputs, targets)) -> (state, loss)``."""

  def loss(weights, inputs, targets):
    counts = jnp.sum(run(weights, inputs), axis=0)
    losses = optax.softmax_cross_entropy_with_integer_labels(counts, targets)
    return jnp.mean(losses)

  def step(state, batch):
    weights, moments = state
    one = lambda *part: jax.value_and_grad(loss)(weights, *part)
    found = microbatches.mean(one, parts, *batch)
    value, gradients = collectives.mean(found, axis_name)
    updates, moments = OPTIMISER.update(gradients, moments, weights)
    return (optax.apply_updates(weights, updates), moments), value

  return step


def _layout(variant, batch):
  """Of a batch of so many examples."""
  layout = parallel.layout("pmap" if variant.endswith("+pmap") else "none")
  layout.check(batch)
  return layout


def _split(layout, train):
  """[T, B, N] -> [devices x T, B / devices, N], as `Layout.place` takes it."""
  split = train.reshape(len(train), len(layout.devices), -1, train.shape[2])
  return split.swapaxes(0, 1).reshape(-1, *split.shape[2:])


def _join(layout, parts):
  """The reverse."""
  split = parts.reshape(len(layout.devices), -1, *parts.shape[1:])
  joined = split.swapaxes(0, 1)
  return joined.reshape(len(joined), -1, joined.shape[-1])


def _there(layout, arrays):
  """On each device its part, as the compiled step takes it."""
  keep = layout.compile_split(lambda arrays: arrays, (True,))
  return keep(layout.place(arrays))


def _training(given, run, weights, variant):
  layout = _layout(variant, len(given.targets))
  batch = _there(layout, (_split(layout, given.inputs), given.targets))
  # A copy: the step takes its arguments' memory.
  weights = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), weights)
  state = [layout.replicate((weights, OPTIMISER.init(weights))), None]
  step = training_step(run, contestants.parts(variant), layout.axis_name)
  step = precision.in_precision(contestants.PRODUCTS, step)
  compiled = layout.compile(step, 0).lower(state[0], batch).compile()

  def once():
    state[:] = jax.block_until_ready(compiled(state[0], batch))

  def outcome():
    once()
    first_moment = jax.tree.leaves(state[0][1][0].mu)
    gradients = [np.asarray(leaf) / 0.1 for leaf in first_moment]
    return reference.Outcome(float(state[1]), tuple(gradients))

  return contestants.Program(
    once, outcome, _temporary(compiled, len(layout.devices)),
    len(layout.devices),
  )  # fmt: skip


def _layer(given, run, weights, gain, variant):
  layout = _layout(variant, given.inputs.shape[1])
  currents = given.inputs * np.float32(gain)
  trains = [_split(layout, train) for train in (currents, given.cotangents)]
  trains = _there(layout, trains)

  def step(trains):
    spikes, pull = jax.vjp(lambda inputs: run(weights, inputs), trains[0])
    return spikes, pull(trains[1])[0]

  step = precision.in_precision(contestants.PRODUCTS, step)
  compiled = layout.compile_split(step, (True,)).lower(trains).compile()
  once = lambda: jax.block_until_ready(compiled(trains))

  def outcome():
    spikes, gradient = [_join(layout, x) for x in layout.collect(once())]
    return reference.Outcome(None, (gradient,), spikes)

  devices = len(layout.devices)
  return contestants.Program(
    once, outcome, _temporary(compiled, devices), devices
  )


def _dense(given, run, weights):
  def loss(weights, inputs, cotangents):
    return jnp.vdot(run(weights, inputs), cotangents)

  arguments = weights, jnp.asarray(given.inputs), jnp.asarray(given.cotangents)
  step = precision.in_precision(contestants.PRODUCTS, jax.value_and_grad(loss))
  compiled = jax.jit(step).lower(*arguments).compile()
  once = lambda: jax.block_until_ready(compiled(*arguments))

  def outcome():
    value, gradients = once()
    gradients = [np.asarray(leaf) for leaf in jax.tree.leaves(gradients)]
    return reference.Outcome(float(value), tuple(gradients))

  return contestants.Program(once, outcome, _temporary(compiled))


def _latency(given, run, weights):
  sample = given.inputs  # On the host: the way to the device counts.

  def decide(weights, inputs):
    counts = jnp.sum(run(weights, inputs), axis=0)
    return jnp.argmax(counts, axis=-1)[0], counts

  decide = precision.in_precision(contestants.PRODUCTS, decide)
  compiled = jax.jit(decide).lower(weights, sample).compile()

  def outcome():
    return reference.Outcome(outputs=np.asarray(compiled(weights, sample)[1]))

  once = lambda: int(compiled(weights, sample)[0])
  return contestants.Program(once, outcome, _temporary(compiled))


def _temporary(compiled, devices=1):
  """Of all devices together."""
  analysis = compiled.memory_analysis()
  size = None if analysis is None else analysis.temp_size_in_bytes
  return None if size is None else devices * int(size)
