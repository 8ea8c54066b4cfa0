"""timedecode: products of whole trains around recurrences of leaky neurons.

scan   `jax.lax.scan` of the step, differentiated by JAX
fused  the library's own products and recurrence over a whole train
events      as fused, with the first product as sums over the inputs that spike;
  their lists are made of the dense train in each step, as part of its time
recomputed  as fused, by pieces of `PIECE` steps, of which the backward pass
  keeps the first states alone
"""

import jax
import jax.numpy as jnp

from experiments.bench import reference
from experiments.bench.contestants import jax_programs
from timedecode import event_products, neurons, products, surrogate

_DERIVATIVE = surrogate.get("fast_sigmoid", scale=reference.SCALE)
_SPIKE = surrogate.spike_function(_DERIVATIVE)
PIECE = 20  # Steps.
_NEURON = neurons.leaky(_DERIVATIVE, reference.DECAY)


def semantics(variant):
  """The reference's own."""
  return reference.Semantics(outputs_first=variant.split("+")[0] != "scan")


def _scan(currents):
  """Currents [T, B, N] -> spikes [T, B, N]."""

  def step(carry, current):
    membrane, fired = carry
    membrane = reference.DECAY * membrane - fired + current
    fired = _SPIKE(membrane - 1.0)
    return (membrane, fired), fired

  rest = jnp.zeros(currents.shape[1:], currents.dtype)
  return jax.lax.scan(step, (rest, rest), currents)[1]


def _layer(matrix, state, train, events=False):
  """The library's: (state after, spikes) of a train."""
  drives = train
  if events:
    drives = event_products.over_train(matrix.T, train)
  elif matrix is not None:
    drives = products.over_rows(matrix, train)
  params = neurons.LIFParams(-jnp.ones(drives.shape[-1]))
  state, (spikes, _) = _NEURON.run(params, state, drives)
  return state, spikes


def _rest(matrix, train):
  width = train.shape[-1] if matrix is None else len(matrix)
  return _NEURON.initial_state((train.shape[1], width))


def _fused(weights, train):
  for matrix in weights or (None,):
    train = _layer(matrix, _rest(matrix, train), train)[1]
  return train


def _events(weights, train):
  for number, matrix in enumerate(weights):
    rest = _rest(matrix, train)
    train = _layer(matrix, rest, train, events=number == 0)[1]
  return train


def _recomputed(weights, train):
  @jax.checkpoint
  def piece(states, train):
    after = []
    for matrix, state in zip(weights, states, strict=True):
      state, train = _layer(matrix, state, train)
      after.append(state)
    return after, train

  states = [_rest(matrix, train) for matrix in weights]
  pieces = train.reshape(-1, min(PIECE, len(train)), *train.shape[1:])
  spikes = jax.lax.scan(piece, states, pieces)[1]
  return spikes.reshape(-1, *spikes.shape[2:])


def _plain(weights, train):
  for matrix in weights or (None,):
    train = _scan(train if matrix is None else train @ matrix)
  return train


RUNS = {
  "scan": _plain, "fused": _fused, "events": _events,
  "recomputed": _recomputed,
}  # fmt: skip


def build(workload, given, variant, device):
  """The program of a variant."""
  del device
  run = RUNS[variant.split("+")[0]]
  outputs_first = semantics(variant).outputs_first
  weights = [jnp.asarray(m.T if outputs_first else m) for m in given.weights]
  return jax_programs.build(workload, given, run, weights, variant=variant)
