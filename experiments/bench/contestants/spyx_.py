"""spyx: `spyx.nn.run` of a `Sequential` of Flax NNX modules.

  run      as its documentation shows: the products are inside the time loop
  hoisted  products over all steps at once, `run` of the neurons alone

Decays are parameters there, and they are left out of the gradient. A spike
leaves a step after its threshold was reached.
"""

import jax.numpy as jnp
import spyx.axn
import spyx.nn
from flax import nnx

from experiments.bench import reference
from experiments.bench.contestants import jax_programs


def semantics(variant):
  """Late by a step in every layer."""
  del variant
  return reference.Semantics(delay=1)


def _lif(width):
  spike = spyx.axn.superspike(reference.SCALE)
  return spyx.nn.LIF(
    (width,), beta=reference.DECAY, activation=spike, rngs=nnx.Rngs(0)
  )


def build(workload, given, variant, device):
  """The program of a variant."""
  del device
  layers = []
  for matrix in given.weights:
    dense = nnx.Linear(*matrix.shape, use_bias=False, rngs=nnx.Rngs(0))
    dense.kernel[...] = jnp.asarray(matrix)
    layers += [dense, _lif(matrix.shape[1])]
  layers = layers or [_lif(workload.widths[-1])]
  is_kernel = lambda path, value: path[-1] == "kernel"
  graph, kernels, rest = nnx.split(spyx.nn.Sequential(*layers), is_kernel, ...)

  def run(kernels, train):
    model = nnx.merge(graph, kernels, rest)
    if variant.split("+")[0] == "run":
      return spyx.nn.run(model, train)[0]
    for layer in model.layers:
      if isinstance(layer, spyx.nn.LIF):
        train, _ = spyx.nn.run(layer, train)
      else:
        train = layer(train)
    return train

  return jax_programs.build(workload, given, run, kernels, variant=variant)
