"""timedecode: hoisted products around the recurrence of leaky neurons.

scan   `jax.lax.scan` of the step, differentiated by JAX
fused  the library's own recurrence over a whole train
"""

import jax
import jax.numpy as jnp

from experiments.bench import reference
from experiments.bench.contestants import jax_programs
from timedecode import surrogate

_SPIKE = surrogate.spike_function(
  surrogate.get("fast_sigmoid", scale=reference.SCALE)
)


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


def neuron_run(currents):
  """Currents [T, B, N] -> spikes [T, B, N], at rest before.

  TO BE REPLACED by the run of `timedecode.neurons.leaky(derivative,
  decay=0.9)`; until then it is the scan.
  """
  return _scan(currents)


def build(workload, given, variant, device):
  """The program of a variant."""
  del device
  neuron = {"scan": _scan, "fused": neuron_run}[variant]

  def run(weights, train):
    if not weights:
      return neuron(train)
    for matrix in weights:
      train = neuron(train @ matrix)
    return train

  weights = [jnp.asarray(matrix) for matrix in given.weights]
  return jax_programs.build(workload, given, run, weights)
