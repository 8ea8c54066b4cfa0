"""Measures a configuration's training step against what the machine can do.

  python -m experiments.benchmark --workloads=c \
      --config=experiments/configs/mnist_time_published.py

Two bounds, measured in the same run, before the steps and after: the step's
matrix products at the rate of a square product of 2,048, and its least traffic
for weights, gradients and Adam's moments at the bandwidth of a scaled sum over
long vectors. Then the way of one example, from the host's row through coding,
sampling and decoding to the output on the host. Prints JSON.
"""

import json
import time

import jax
import numpy as np
from absl import app

from experiments import build, checks, inputs, loop, options
from experiments.bench import machine
from timedecode.datasets import sources

# Least passes over the parameters: weights read forward and backward,
# gradients written and read, and Adam reads and writes weights and moments.
PASSES = 2 + 2 + 6
REPEATS = 51


def decode_one(built, source, params):
  """Compiles ``(row on the host, key) -> decoder's output`` of one example."""

  def decode(params, rows, key):
    coding, sampling = jax.random.split(key)
    inputs = source.decode(rows, coding[None]).inputs[:, 0]
    sample = built.model.encoder.sample(params.encoder, inputs, sampling)
    return built.model.decode(params.decoder, built.model.view(sample.spikes))

  compiled = jax.jit(decode)
  return lambda rows, key: np.asarray(compiled(params, rows, key))


def milliseconds_of_one(built, source, params) -> float:
  """Median time of `decode_one`."""
  decode, times = decode_one(built, source, params), []
  one = sources.gather(source.rows("train"), slice(1))
  for number in range(REPEATS):
    key = jax.block_until_ready(jax.random.key(number))
    start = time.perf_counter()
    decode(one, key)
    times.append(time.perf_counter() - start)
  return 1e3 * float(np.median(times[1:]))


def measure(config) -> dict:
  """Times and bounds of the training step of a configuration."""
  checks.validate(config)
  built = build.build(config, config.view)
  state = build.init_state(config, built)
  source = inputs.load(config)
  taken = sources.gather(source.rows("train"), slice(config.batch_size))
  step = loop.make_step(source, built)
  arguments = sources.place(taken), jax.random.key(0)
  traced = step.trace(state, *arguments, False).jaxpr
  flops = machine.product_flops(traced.jaxpr)
  sizes = [leaf.nbytes for leaf in jax.tree.leaves(state.params)]
  traffic = PASSES * sum(sizes)
  rates = [machine.machine(config.precision)]
  plain = lambda state, *args: step(state, *args, False)[0]
  diagnosed = lambda state, *args: step(state, *args, True)[0]
  seconds, state = machine.seconds_per_call(plain, state, *arguments)
  seconds_diagnosed, state = machine.seconds_per_call(
    diagnosed, state, *arguments
  )
  rates.append(machine.machine(config.precision))
  flops_rate, bandwidth = np.mean(rates, axis=0).tolist()
  bound = flops / flops_rate
  return {
    "config": config.name,
    "precision": config.precision,
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
    "one_example_ms": milliseconds_of_one(built, source, state.params),
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
