"""timedecode: products of whole trains around recurrences of leaky neurons.

scan   `jax.lax.scan` of the step, differentiated by JAX
fused  the library's own products and recurrence over a whole train
recomputed  the same by pieces of `PIECE` steps, of which the backward pass
  keeps the first states alone
"""

import jax
import jax.numpy as jnp

from experiments.bench import contestants, reference
from experiments.bench.contestants import jax_programs
from timedecode import neurons, products, surrogate

_DERIVATIVE = surrogate.get("fast_sigmoid", scale=reference.SCALE)
_SPIKE = surrogate.spike_function(_DERIVATIVE)
PIECE = 20  # Steps.
_NEURON = neurons.leaky(_DERIVATIVE, reference.DECAY)


def semantics(variant):
  """The reference's own."""
  return reference.Semantics(outputs_first=variant != "scan")


def _scan(currents):
  """Currents [T, B, N] -> spikes [T, B, N]."""

  def step(carry, current):
    membrane, fired = carry
    membrane = reference.DECAY * membrane - fired + current
    fired = _SPIKE(membrane - 1.0)
    return (membrane, fired), fired

  rest = jnp.zeros(currents.shape[1:], currents.dtype)
  return jax.lax.scan(step, (rest, rest), currents)[1]


def _layer(matrix, state, train):
  """The library's: (state after, spikes) of a train."""
  halves = contestants.PRODUCTS == "float32"
  drives = train
  if matrix is not None:
    drives = products.over_train(matrix, train, halves)
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


RUNS = {"scan": _plain, "fused": _fused, "recomputed": _recomputed}


def build(workload, given, variant, device):
  """The program of a variant."""
  del device
  run = RUNS[variant]
  outputs_first = semantics(variant).outputs_first
  weights = [jnp.asarray(m.T if outputs_first else m) for m in given.weights]
  return jax_programs.build(workload, given, run, weights)
