"""timedecode: hoisted products around the recurrence of leaky neurons.

scan   `jax.lax.scan` of the step, differentiated by JAX
fused  the library's own recurrence over a whole train
"""

import jax
import jax.numpy as jnp

from experiments.bench import reference
from experiments.bench.contestants import jax_programs
from timedecode import neurons, surrogate

_DERIVATIVE = surrogate.get("fast_sigmoid", scale=reference.SCALE)
_SPIKE = surrogate.spike_function(_DERIVATIVE)
_NEURON = neurons.leaky(_DERIVATIVE, reference.DECAY)


def semantics(variant):
  """The reference's own."""
  del variant
  return reference.Semantics()


def _scan(currents):
  """Currents [T, B, N] -> spikes [T, B, N]."""

  def step(carry, current):
    membrane, fired = carry
    membrane = reference.DECAY * membrane - fired + current
    fired = _SPIKE(membrane - 1.0)
    return (membrane, fired), fired

  rest = jnp.zeros(currents.shape[1:], currents.dtype)
  return jax.lax.scan(step, (rest, rest), currents)[1]


def _fused(currents):
  """The same by the library."""
  params = neurons.LIFParams(-jnp.ones(currents.shape[-1]))
  state = _NEURON.initial_state(currents.shape[1:])
  return _NEURON.run(params, state, currents)[1][0]


def build(workload, given, variant, device):
  """The program of a variant."""
  del device
  neuron = {"scan": _scan, "fused": _fused}[variant]

  def run(weights, train):
    if not weights:
      return neuron(train)
    for matrix in weights:
      train = neuron(train @ matrix)
    return train

  weights = [jnp.asarray(matrix) for matrix in given.weights]
  return jax_programs.build(workload, given, run, weights)
