"""timedecode: products of whole trains around recurrences of leaky neurons.

scan   `jax.lax.scan` of the step, differentiated by JAX
fused  the library's own products and recurrence over a whole train
"""

import jax
import jax.numpy as jnp

from experiments.bench import reference
from experiments.bench.contestants import jax_programs
from timedecode import neurons, products, surrogate

_DERIVATIVE = surrogate.get("fast_sigmoid", scale=reference.SCALE)
_SPIKE = surrogate.spike_function(_DERIVATIVE)
_NEURON = neurons.leaky(_DERIVATIVE, reference.DECAY)


def semantics(variant):
  """The reference's own."""
  return reference.Semantics(outputs_first=variant == "fused")


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
  fused = variant == "fused"
  neuron = _fused if fused else _scan
  product = products.over_train if fused else lambda w, train: train @ w

  def run(weights, train):
    if not weights:
      return neuron(train)
    for matrix in weights:
      train = neuron(product(matrix, train))
    return train

  weights = [jnp.asarray(m.T if fused else m) for m in given.weights]
  return jax_programs.build(workload, given, run, weights)
