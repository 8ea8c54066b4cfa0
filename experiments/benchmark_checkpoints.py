"""What checkpoints cost: throughput while they are written, time to go on.

  python -m experiments.benchmark_checkpoints --workdir=DIR \
      [--config=experiments/configs/mnist_time.py]

Blocks of steps with a checkpoint at their beginning and without one take
turns. The difference of their medians is the cost of a checkpoint, which the
default (one in `checkpoint_seconds`) is divided by. Then the command `train` is
ended by SIGTERM and started again: the seconds from its start to its first new
step, with programs from the persistent cache. Prints a table and writes
checkpoints.json.
"""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import jax
from absl import app, flags
from ml_collections import config_flags

from experiments import build, checkpoints, inputs, journal, loop, options
from timedecode.datasets import feed

ROOT = pathlib.Path(__file__).parents[1]


def blocks(config, folder: pathlib.Path, pairs: int, steps: int) -> dict:
  """Seconds of blocks with and without a checkpoint, taking turns."""
  source = inputs.load(config)
  built = build.build(config, config.view)
  state, step = build.init_state(config, built), loop.make_step(source, built)
  key, meta = jax.random.key(config.seed + 1), {"data": journal.digests(source)}
  seconds = {"with": [], "without": []}
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  with (
    checkpoints.Checkpoints(folder, 0) as kept,
    feed.batches(
      source.rows("train"), config.batch_size, config.seed
    ) as feeder,
  ):
    for index in range(-2, 2 * pairs):
      start, saves = time.perf_counter(), index % 2 == 1
      if saves:
        kept.save(int(state.step), state, meta)
      for _ in range(steps):
        state, metrics = step(state, next(feeder)[1], key, False)
        jax.block_until_ready(metrics)
      if index >= 0:
        name = "with" if saves else "without"
        seconds[name].append(time.perf_counter() - start)
      kept.wait()  # What is not done by now would count for the next block.
  return seconds | {"bytes": size, "steps_of_a_block": steps}


def restart(path: str, folder: pathlib.Path) -> dict:
  """Seconds from the start of a stopped run's command to its next step."""
  command = [
    sys.executable, "-m", "experiments.train", f"--config={path}",
    f"--workdir={folder.absolute()}", "--config.baseline_view=",
    "--config.checkpoint_seconds=0.001",
  ]  # fmt: skip
  cache = os.environ | {
    "JAX_COMPILATION_CACHE_DIR": str(folder.absolute() / "programs"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  found = []
  for _ in range(3):
    before = checkpoints.steps(folder)
    start = time.perf_counter()
    process = subprocess.Popen(
      command, cwd=ROOT, env=cache, stdout=subprocess.DEVNULL
    )
    while checkpoints.steps(folder)[-1:] <= before[-1:]:
      if process.poll() is not None:
        raise ValueError(f"the run ended: {' '.join(command)}")
      time.sleep(0.01)
    found.append(time.perf_counter() - start)
    process.send_signal(signal.SIGTERM)
    process.wait()
  return {"first_start": found[0], "restarts": found[1:]}


def report(found: dict, every: float) -> str:
  """The figures in words."""
  medians = {k: statistics.median(found[k]) for k in ("with", "without")}
  cost = medians["with"] - medians["without"]
  return (
    f"state {found['bytes'] / 1e6:.1f} MB; blocks of"
    f" {found['steps_of_a_block']} steps, median of {len(found['with'])}:"
    f" {medians['with']:.3f} s with a checkpoint, {medians['without']:.3f} s"
    f" without\na checkpoint costs {cost:.3f} s, one in {every:g} s"
    f" {100 * cost / every:.2f} % of the time\nfirst new step after a restart:"
    f" {max(found['restarts']):.1f} s, compiled programs from the cache"
    f" ({found['first_start']:.1f} s with their compilation)"
  )


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_integer("pairs", 10, "Blocks of either kind.", 1)
  flags.DEFINE_integer("block", 40, "Steps of a block.", 1)


def main(argv):
  """Parses the flags, measures, prints, writes."""
  if len(argv) > 1 or not options.WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and no other arguments")
  folder, values = pathlib.Path(options.WORKDIR.value), flags.FLAGS
  config = options.CONFIG.value
  try:
    found = blocks(config, folder / "blocks", values.pairs, values.block)
    path = config_flags.get_config_filename(values["config"])
    found |= restart(path, folder / "restart")
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  (folder / "checkpoints.json").write_text(json.dumps(found, indent=1) + "\n")
  print(report(found, config.checkpoint_seconds))


if __name__ == "__main__":
  define()
  app.run(main)
