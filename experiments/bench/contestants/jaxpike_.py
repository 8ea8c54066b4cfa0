"""jaxpike: `unroll` of a `Sequential`, which hoists the products by itself.

  unroll        its default: 8 steps per turn of the loop
  unroll-1      one step per turn, which is quicker on CPUs
  checkpointed  `unroll_checkpointed`, which recomputes chunks of time

Time constants are parameters there, and they are left out of the gradient.
The membrane takes a tenth of a current, so weights are ten times ours.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxpike
import numpy as np

from experiments.bench import reference
from experiments.bench.contestants import jax_programs

_GAIN = 1.0 / (1.0 - reference.DECAY)


def semantics(variant):
  """Reset before decay; currents in units of the threshold."""
  del variant
  return reference.Semantics(reset_decays=True, gain=_GAIN, outputs_first=True)


def build(workload, given, variant, device):
  """The program of a variant."""
  del device
  name = variant.split("+")[0]
  neuron = jaxpike.LIF(
    tau=-1.0 / np.log(reference.DECAY),
    surrogate=jaxpike.FastSigmoid(reference.SCALE),
  )
  denses = []
  for matrix in given.weights:
    dense = jaxpike.Dense(*matrix.shape, key=jax.random.key(0), use_bias=False)
    denses.append(dense)

  def run(weights, train):
    layers = []
    for dense, matrix in zip(denses, weights, strict=True):
      layers += [eqx.tree_at(lambda d: d.weight, dense, matrix), neuron]
    net = jaxpike.Sequential(*(layers or [neuron]))
    if name == "checkpointed":
      return jaxpike.unroll_checkpointed(net, train)[0]
    turn = 1 if name == "unroll-1" else None
    return jaxpike.unroll(net, train, scan_unroll=turn)[0]

  weights = [jnp.asarray(_GAIN * matrix.T) for matrix in given.weights]
  return jax_programs.build(workload, given, run, weights, _GAIN, variant)
