"""Measures a configuration's training step against what the machine can do.

  python -m experiments.benchmark \
      --config=experiments/configs/mnist_time_published.py

Two bounds, measured in the same run: the step's matrix products at the rate of
a square product of 2,048, and its least traffic for weights, gradients and
Adam's moments at the bandwidth of a scaled sum over long vectors. Prints JSON.
"""

import json
import math
import time

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from absl import app

from experiments import build, checks, inputs, loop, options
from timedecode.datasets import sources

REPEATS = 15
# Least passes over the parameters: weights read forward and backward,
# gradients written and read, and Adam reads and writes weights and moments.
PASSES = 2 + 2 + 6


def product_flops(jaxpr) -> int:
  """Floating-point operations of all matrix products and convolutions.

  Counts 2 per multiply-add, loops by their length; of branches the dearest.
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


def machine() -> tuple[float, float]:
  """Reached floating-point operations and bytes per second.

  The sum writes into a donated vector, as the optimiser does.
  """
  square = jnp.ones((2048, 2048)) / 2048
  product, _ = seconds_per_call(jax.jit(jnp.matmul), square, square)
  scaled_sum = jax.jit(lambda a, b: a + 0.5 * b, donate_argnums=0)
  length = 2**25
  transfer, _ = seconds_per_call(scaled_sum, jnp.ones(length), jnp.ones(length))
  return 2 * 2048**3 / product, 3 * 4 * length / transfer


def measure(config) -> dict:
  """Times and bounds of the training step of a configuration."""
  checks.validate(config)
  built = build.build(config, config.view)
  state = build.init_state(config, built)
  source = inputs.load(config)
  taken = sources.gather(source.rows("train"), slice(config.batch_size))
  step = loop.make_step(source, built)
  arguments = sources.place(taken), jax.random.key(0)
  flops = product_flops(jax.make_jaxpr(step)(state, *arguments, False).jaxpr)
  sizes = [leaf.nbytes for leaf in jax.tree.leaves(state.params)]
  traffic = PASSES * sum(sizes)
  flops_rate, bandwidth = machine()
  plain = lambda state, *args: step(state, *args, False)[0]
  diagnosed = lambda state, *args: step(state, *args, True)[0]
  seconds, state = seconds_per_call(plain, state, *arguments)
  seconds_diagnosed, _ = seconds_per_call(diagnosed, state, *arguments)
  bound = flops / flops_rate
  return {
    "config": config.name,
    "step_ms": 1e3 * seconds,
    "step_with_diagnostics_ms": 1e3 * seconds_diagnosed,
    "examples_per_second": config.batch_size / seconds,
    "product_gflop": flops / 1e9,
    "product_gflop_per_second_of_machine": flops_rate / 1e9,
    "product_bound_ms": 1e3 * bound,
    "share_of_product_bound": bound / seconds,
    "parameter_traffic_gb": traffic / 1e9,
    "gb_per_second_of_machine": bandwidth / 1e9,
    "traffic_bound_ms": 1e3 * traffic / bandwidth,
    "share_of_both_bounds": (bound + traffic / bandwidth) / seconds,
  }


def main(argv):
  """Parses the flags and prints what was measured."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  try:
    result = measure(options.CONFIG.value)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  print(json.dumps(result, indent=2))


if __name__ == "__main__":
  app.run(main)
