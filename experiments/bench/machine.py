"""What the machine can do, and what a program asks of it."""

import math
import time

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from timedecode import precision, products

REPEATS = 15


def product_flops(jaxpr) -> int:
  """Floating-point operations of all matrix products and convolutions.

  Counts 2 per multiply-add, loops by their length; of branches the dearest.
  Sums over events count as the products that they stand for.
  """
  total = 0
  for equation in jaxpr.eqns:
    name, params = equation.primitive.name, equation.params
    output = sum(math.prod(v.aval.shape) for v in equation.outvars)
    if name == "dot_general":
      (contracted, _), _ = params["dimension_numbers"]
      shape = equation.invars[0].aval.shape
      total += 2 * output * math.prod(shape[axis] for axis in contracted)
    elif name == "conv_general_dilated":
      kernel = equation.invars[1].aval.shape
      channels = kernel[params["dimension_numbers"].rhs_spec[0]]
      total += 2 * output * math.prod(kernel) // channels
    elif unfolded := products.as_dot_general(equation):
      total += product_flops(unfolded.jaxpr)
    elif name in ("event_product", "event_gradient"):
      values, train = (variable.aval.shape for variable in equation.invars)
      total += 2 * math.prod(train) * values[-1]
    elif name == "cond":
      total += max(product_flops(b.jaxpr) for b in params["branches"])
    else:
      times = params["length"] if name == "scan" else 1
      for inner in jax.extend.core.jaxprs_in_params(params):
        total += times * product_flops(inner)
  return total


def seconds_per_call(function, state, *arguments):
  """Times ``state = function(state, *arguments)``.

  Returns the median of calls that are blocked on, without the first two, and
  the last state.
  """
  times = []
  for _ in range(REPEATS + 2):
    start = time.perf_counter()
    state = jax.block_until_ready(function(state, *arguments))
    times.append(time.perf_counter() - start)
  return float(np.median(times[2:])), state


def square_product(size: int, products: str = "float32"):
  """``(step(matrix) -> matrix, matrix, operations of a step)``; random, so
  that no product is quick because of what it multiplies. `products` is their
  precision."""
  values = np.random.default_rng(0).standard_normal((size, size), np.float32)
  fixed = jnp.asarray(values / np.sqrt(size))
  step = precision.in_precision(products, lambda _, b: b @ b)
  return jax.jit(step), fixed, 2 * size**3


def scaled_sum(length: int):
  """``(step(vector, other) -> vector, bytes of a step)``: it writes into the
  donated vector, as the optimiser does."""
  step = jax.jit(lambda a, b: a + 0.5 * b, donate_argnums=0)
  return step, 3 * 4 * length


def machine(products: str = "float32") -> tuple[float, float]:
  """Reached floating-point operations, of products in a precision, and bytes
  per second."""
  multiply, matrix, flops = square_product(2048, products)
  product, _ = seconds_per_call(multiply, matrix, matrix)
  length = 2**25
  add, size = scaled_sum(length)
  transfer, _ = seconds_per_call(add, jnp.ones(length), jnp.ones(length))
  return flops / product, size / transfer
