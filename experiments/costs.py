"""What compiled training steps cost: operations and bytes, and no time.

  python -m experiments.costs [--write]

Of each configuration in `NAMES`, and of the benchmark's classifier as the
library trains it (`CLASSIFIERS`): operations and bytes that XLA's cost analysis
of the compiled step counts (of a loop whose length it does not know one turn),
operations of the matrix products in the step as it was traced, and temporary
memory. A test compares them with those in results/costs.json, which --write
makes anew: a step that grew is seen in a change of that file, on any machine.
"""

import json
import pathlib

import jax
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

from experiments import build, inputs, loop
from experiments.bench import machine, workloads
from experiments.bench.contestants import jax_programs, timedecode_
from experiments.configs import base, mnist_time, mnist_time_published
from timedecode.datasets import sources

STORED = pathlib.Path(__file__).parent / "results" / "costs.json"
_WRITE = flags.DEFINE_bool("write", False, f"Write {STORED.name} anew.")


def _online() -> ConfigDict:
  """Gradients that are added up along the train."""
  config = base.get_config()
  config.update({"credit": "local", "online_chunk": 10})
  return config


NAMES = {
  "mnist_time": mnist_time.get_config,
  "mnist_time_published": mnist_time_published.get_config,
  "online": _online,
}


CLASSIFIERS = {
  f"classifier_{letter}_{variant}": (letter, variant)
  for letter in "ab"
  for variant in ("fused", "recomputed")
}


def measure(name: str) -> dict[str, float]:
  """Counts of one step, compiled for this machine and not run."""
  if name in NAMES:
    return _count(*_configured(NAMES[name]()))
  return _count(*_classifier(*CLASSIFIERS[name]))


def _classifier(letter, variant):
  """The compiled step's function and arguments, of shapes alone."""
  (workload,) = workloads.named(letter, False)
  steps, batch = workload.num_steps, workload.batch
  shape = jax.ShapeDtypeStruct
  weights = [shape(pair[::-1], np.float32) for pair in workload.layers]
  step = jax_programs.training_step(timedecode_.RUNS[variant])
  state = weights, jax.eval_shape(jax_programs.OPTIMISER.init, weights)
  inputs = shape((steps, batch, workload.widths[0]), np.float32)
  targets = shape((batch,), np.int32)
  return jax.jit(step, donate_argnums=0), (state, (inputs, targets))


def _configured(config):
  built = build.build(config, config.view)
  state = build.init_state(config, built)
  source = inputs.load(config)
  rows = sources.gather(source.rows("train"), slice(config.batch_size))
  step = loop.make_step(source, built)
  return step, (state, rows, jax.random.key(0), False)


def _count(step, arguments):
  traced = step.trace(*arguments)
  compiled = traced.lower().compile()
  counted = compiled.cost_analysis()
  return {
    "product_flops": machine.product_flops(traced.jaxpr.jaxpr),
    "flops": counted["flops"],
    "bytes": counted["bytes accessed"],
    "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
  }


def main(argv):
  """Prints counts, and stores them where asked."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  found = {name: measure(name) for name in (*NAMES, *CLASSIFIERS)}
  text = json.dumps(found, indent=2) + "\n"
  print(text, end="")
  if _WRITE.value:
    STORED.write_text(text)


if __name__ == "__main__":
  app.run(main)
