"""Run in a process of its own: trainings on fake devices, into files.

  python tests/devices.py COUNT JOBS [--process=I/N@ADDRESS]

JOBS is JSON: name of a file -> {field: value}; the field `sweep`, a list of
texts, asks for a sweep, whose figures are the result; the field `folder` for a
run with checkpoints in it, which is asked to end after the evaluation `until`.
"""

import functools
import json
import os
import pathlib
import signal
import sys
import time

COUNT, JOBS = int(sys.argv[1]), json.loads(sys.argv[2])
os.environ["XLA_FLAGS"] = (
  f"{os.environ.get('XLA_FLAGS', '')}"
  f" --xla_force_host_platform_device_count={COUNT}"
)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import tiny  # noqa: E402

from experiments import (  # noqa: E402
  build,
  checks,
  inputs,
  interruptions,
  loop,
  sweep_run,
)
from timedecode import parallel, precision  # noqa: E402

STEPS = 20
# The products of a tiny model are small.
precision.bfloat16_products = functools.partial(
  precision.bfloat16_products, least=1, per_number=0
)


def configuration(fields):
  """A tiny model, batch of 16."""
  config = tiny.configuration(**{
    "steps": STEPS, "batch_size": 16, "eval_every": STEPS
  } | fields)  # fmt: skip
  checks.validate(config)
  return config


def train(config):
  """Steps with diagnostics; the state and the last metrics."""
  source, layout = inputs.load(config), build.layout(config)
  built = build.build(config, config.view)
  state = layout.replicate(build.init_state(config, built))
  step = loop.make_step(source, built, layout)
  key = layout.replicate(jax.random.key(config.seed + 1))
  with loop.feed.batches(
    source.rows("train"), config.batch_size, config.seed, 0, STEPS,
    config.data.device_bytes, layout,
  ) as batches:  # fmt: skip
    for _, batch in batches:
      state, metrics = step(state, batch, key, True)
  return state, metrics


def sweep(config, texts, folder):
  """Figures of every member on both splits."""
  trained = sweep_run.Sweep(config, texts, halving=2, together="vmap")
  results = sweep_run.run(trained, folder, texts, lambda line: None)
  return [
    {k: v for k, v in (r[split] or {}).items() if k != "train_seconds"}
    for r in results
    for split in ("validation", "test")
  ]


def go_on(config, folder, until):
  """The state and the figures of a run at its end; None if it is asked to end
  before."""
  source = inputs.load(config)
  run = loop.prepare(config, config.view, folder, source)

  def report(line):
    if f"step {until}/" in line:
      signal.raise_signal(signal.SIGTERM)

  interruptions.listen()
  try:
    run = loop.train(config, run, source, None, report)
  except interruptions.InterruptedRunError:
    return None
  names = "step", "train_loss", "distortion", "information_bits"
  return run.state, [[row[name] for name in names] for row in run.rows]


def main():
  """Trains every job; process 0 writes leaves by their names."""
  for argument in sys.argv[3:]:
    place, address = argument.removeprefix("--process=").split("@")
    index, count = map(int, place.split("/"))
    jax.distributed.initialize(address, count, index)
    parallel.meet()
    if not index:  # Longer than those that have not met would wait for it.
      time.sleep(31)
  for path, fields in JOBS.items():
    texts, until = fields.pop("sweep", None), fields.pop("until", None)
    folder = fields.pop("folder", None)
    config = configuration(fields)
    if folder is not None:
      result = go_on(config, pathlib.Path(folder), until)
    elif texts is None:
      result = train(config)
    else:
      result = sweep(config, texts, pathlib.Path(f"{path}.sweep"))
    pairs, _ = jax.tree_util.tree_flatten_with_path(result)
    leaves = {jax.tree_util.keystr(p): np.asarray(leaf) for p, leaf in pairs}
    if jax.process_index() == 0:
      np.savez(path, **leaves)


if __name__ == "__main__":
  main()
