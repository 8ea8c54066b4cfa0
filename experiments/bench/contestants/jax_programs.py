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
    variant: how training goes through the batch, see `contestants`.
  """
  if workload.kind == "training":
    return _training(given, run, weights, variant)
  makers = {"layer": _layer, "latency": _latency, "dense": _dense}
  return makers[workload.kind](given, run, weights, gain)


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


def _batch(layout, inputs, targets):
  """Each device's examples, there, as the compiled step takes them."""
  split = inputs.reshape(len(inputs), len(layout.devices), -1, inputs.shape[2])
  inputs = split.swapaxes(0, 1).reshape(-1, *split.shape[2:])
  keep = layout.compile_split(lambda batch: batch, (True,))
  return keep(layout.place((inputs, targets)))


def _training(given, run, weights, variant):
  layout = parallel.layout("pmap" if variant.endswith("+pmap") else "none")
  layout.check(len(given.targets))
  batch = _batch(layout, given.inputs, given.targets)
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


def _layer(given, run, weights, gain):
  inputs = jnp.asarray(given.inputs * np.float32(gain))

  def step(inputs, cotangents):
    spikes, pull = jax.vjp(lambda inputs: run(weights, inputs), inputs)
    return spikes, pull(cotangents)[0]

  return _stateless(step, (inputs, jnp.asarray(given.cotangents)), True)


def _dense(given, run, weights, gain):
  del gain

  def loss(weights, inputs, cotangents):
    return jnp.vdot(run(weights, inputs), cotangents)

  arguments = weights, jnp.asarray(given.inputs), jnp.asarray(given.cotangents)
  return _stateless(jax.value_and_grad(loss), arguments, False)


def _stateless(function, arguments, has_spikes):
  """A program without a state; its results are (loss or spikes, gradients)."""
  function = precision.in_precision(contestants.PRODUCTS, function)
  compiled = jax.jit(function).lower(*arguments).compile()
  once = lambda: jax.block_until_ready(compiled(*arguments))

  def outcome():
    first, gradients = once()
    gradients = [np.asarray(leaf) for leaf in jax.tree.leaves(gradients)]
    loss, spikes = (None, first) if has_spikes else (float(first), None)
    return reference.Outcome(loss, tuple(gradients), spikes)

  return contestants.Program(once, outcome, _temporary(compiled))


def _latency(given, run, weights, gain):
  del gain
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
