"""The limits: a square product, a scaled sum, a workload's products alone.

Their times are those of the machine in the same rounds; nothing is checked.
"""

import jax
import jax.numpy as jnp

from experiments.bench import contestants, machine, reference
from timedecode import precision


def semantics(variant):
  """Not used."""
  del variant
  return reference.Semantics()


def build(workload, given, variant, device):
  """The program of a variant."""
  size, length = contestants.MACHINE[device]
  if variant == "product":
    multiply, matrix, _ = machine.square_product(size, contestants.PRODUCTS)
    once = lambda: jax.block_until_ready(multiply(matrix, matrix))
    return contestants.Program(once, None)
  if variant == "copy":
    add, _ = machine.scaled_sum(length)
    state, other = [jnp.ones(length)], jnp.ones(length)

    def once():
      state[0] = jax.block_until_ready(add(state[0], other))

    return contestants.Program(once, None)
  return _products_alone(workload, given)


def _products_alone(workload, given):
  """All products of a step, each of arrays that are there before."""
  trains = [jnp.asarray(given.inputs)]
  shape = given.inputs.shape[:2]
  for number, width in enumerate(workload.widths[1:]):
    key = jax.random.key(number)
    trains.append(jax.random.normal(key, (*shape, width)))
  weights = [jnp.asarray(matrix) for matrix in given.weights]

  def step(trains, weights):
    results = []
    for number, matrix in enumerate(weights):
      before, after = trains[number], trains[number + 1]
      results += [before @ matrix, jnp.einsum("tbi,tbo->io", before, after)]
      if number:
        results.append(after @ matrix.T)
    return results

  step = precision.in_precision(contestants.PRODUCTS, step)
  compiled = jax.jit(step).lower(trains, weights).compile()
  once = lambda: jax.block_until_ready(compiled(trains, weights))
  return contestants.Program(once, None)
