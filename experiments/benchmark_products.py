"""Times the ways in which `products.over_rows` computes, against plain ones.

  python -m experiments.benchmark_products

The product and both gradients of few rows with large weights, as of the
published decoder, and of many rows, as of a spiking layer over a batch; each
beside one `dot_general`, in turns, on CPUs. Prints Markdown.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments import memory
from timedecode import products

TURNS = flags.DEFINE_integer("product_turns", 15, "Of each way.", 3)
# Rows, inputs, outputs.
SIZES = (64, 7680, 3840), (64, 3840, 784), (12800, 700, 256)


def _plain(weights, rows):
  return rows @ weights.T


def _asked(run):
  """A product, and the gradients by weights and by rows alone."""
  back = lambda w, x, errors: jax.vjp(run, w, x)[1](errors)
  return {
    "product": lambda w, x, errors: run(w, x),
    "gradient by weights": lambda *given: back(*given)[0],
    "gradient by rows": lambda *given: back(*given)[1],
  }


def _milliseconds(ways, arguments):
  """Median times of compiled functions, in turns."""
  times = {name: [] for name in ways}
  for _ in range(TURNS.value + 2):
    for name, way in ways.items():
      start = time.perf_counter()
      jax.block_until_ready(way(*arguments))
      times[name].append(time.perf_counter() - start)
  return {name: 1e3 * float(np.median(t[2:])) for name, t in times.items()}


def measure(count, num_inputs, num_outputs):
  """{what: {way: milliseconds}} of a size."""
  draw = functools.partial(jax.random.normal, dtype=jnp.float32)
  keys = jax.random.split(jax.random.key(0), 3)
  shapes = (num_outputs, num_inputs), (count, num_inputs), (count, num_outputs)
  given = [draw(key, shape) for key, shape in zip(keys, shapes, strict=True)]
  ours, plain = _asked(products.over_rows), _asked(_plain)
  return {
    name: _milliseconds(
      {"ours": jax.jit(ours[name]), "plain": jax.jit(plain[name])}, given
    )
    for name in ours
  }


def main(argv):
  """Prints a table."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  memory.keep_freed()
  print(
    "| rows, inputs, outputs | | ours | one `dot_general` |\n|---|---|---|---|"
  )
  for sizes in SIZES:
    label = " x ".join(f"{size:,}" for size in sizes)
    for name, took in measure(*sizes).items():
      print(f"| {label} | {name} | {took['ours']:.1f} ms |"
            f" {took['plain']:.1f} ms |", flush=True)  # fmt: skip


if __name__ == "__main__":
  app.run(main)
