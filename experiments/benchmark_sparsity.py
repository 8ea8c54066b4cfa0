"""From what rate of inputs on a product is faster than sums over events.

  python -m experiments.benchmark_sparsity [--input_rates=0.01,0.05,0.2]

Forward and the weights' gradient of `event_products.over_train`, lists and
all, and of a product of the same dense train (`products.over_rows`), in turns,
checked against each other first. The train has independent spikes of the rate;
where more than one row in eight spikes more, sums take what these need.
Prints a table and JSON.
"""

import json
import time

import jax
import numpy as np
from absl import app, flags

from timedecode import event_products, products

RATES = flags.DEFINE_list(
  "input_rates",
  ["0.01", "0.02", "0.05", "0.1", "0.2"],
  "Spikes per input and step.",
)
SHAPE = flags.DEFINE_list(
  "shape", ["100", "128", "700"], "Steps, examples, inputs."
)
OUTPUTS = flags.DEFINE_integer("outputs", 256, "Outputs.", 1)
CALLS = flags.DEFINE_integer("calls", 15, "Calls that are timed.", 3)


def _programs(weights, train, errors):
  """Name -> ``() -> (outputs, gradient)``, compiled; weights as each likes."""

  def both(run, weights):
    def compute(weights, train, errors):
      found, back = jax.vjp(lambda w: run(w, train), weights)
      return found, back(errors)[0]

    compiled = jax.jit(compute).lower(weights, train, errors).compile()
    return lambda: jax.block_until_ready(compiled(weights, train, errors))

  return {
    "product": both(products.over_rows, weights.T),
    "events": both(event_products.over_train, weights),
  }


def measure(rate: float) -> dict:
  """Medians of both, in milliseconds, at one rate.

  Raises:
    RuntimeError: their results differ.
  """
  draw, shape = np.random.default_rng(0), tuple(map(int, SHAPE.value))
  train = (draw.random(shape) < rate).astype(np.float32)
  normal = lambda *shape: draw.normal(size=shape).astype(np.float32)
  weights, outputs = normal(shape[-1], OUTPUTS.value), OUTPUTS.value
  errors = normal(*shape[:-1], outputs)
  programs = _programs(*map(jax.device_put, (weights, train, errors)))
  (one, slope), (two, other) = (run() for run in programs.values())
  if not (
    np.allclose(one, two, atol=1e-3) and np.allclose(slope.T, other, atol=1e-2)
  ):
    raise RuntimeError(f"rate {rate}: products and sums differ")
  times = {name: [] for name in programs}
  for _ in range(CALLS.value):
    for name, run in programs.items():
      start = time.perf_counter()
      run()
      times[name].append(1e3 * (time.perf_counter() - start))
  medians = {f"{name}_ms": float(np.median(t)) for name, t in times.items()}
  return {"rate": rate, **medians}


def main(argv):
  """Prints a line for each rate."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  print("| rate | product | events | ratio |\n|---|---|---|---|")
  rows = []
  for rate in map(float, RATES.value):
    rows.append(row := measure(rate))
    product, events = row["product_ms"], row["events_ms"]
    print(
      f"| {rate:.0%} | {product:.1f} ms | {events:.1f} ms |"
      f" {product / events:.2f} |",
      flush=True,
    )
  print(json.dumps(rows))


if __name__ == "__main__":
  app.run(main)
