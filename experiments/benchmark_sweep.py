"""What a member of a sweep costs, against the same run made alone.

  python -m experiments.benchmark_sweep [--config=experiments/configs/smoke.py]
      [--counts=1,4,16]

The step of a single run and the programs of sweeps of so many members, `vmap`
and `map`, all compiled and warmed, take turns in blocks of steps; a member's
time is that of its program by the number of members. Prints a table of
medians, and their ratio to the single run.
"""

import statistics
import time

import jax
from absl import app, flags

from experiments import build, inputs, loop, options, sweep_program, sweep_run
from timedecode.datasets import feed


def single(config, source):
  """``run(steps)`` of the configuration alone."""
  built = build.build(config, config.view)
  step = loop.make_step(source, built)
  state, key = build.init_state(config, built), jax.random.key(config.seed + 1)
  batches = feed.batches(source.rows("train"), config.batch_size, config.seed)

  def run(steps):
    nonlocal state
    for _ in range(steps):
      state, metrics = step(state, next(batches)[1], key, False)
      jax.block_until_ready(metrics)

  return run


def together(config, source, count: int, way: str):
  """``run(steps)`` of members that differ in their seeds."""
  texts = [f"seed={','.join(map(str, range(count)))}"]
  sweep = sweep_run.Sweep(config, texts, together=way)
  program = sweep.program(sweep.members)
  states, given = program.init(), program.given(inputs.training_key)
  batches = feed.batches(source.rows("train"), config.batch_size, program.seeds)

  def run(steps):
    nonlocal states
    for _ in range(steps):
      states, metrics = program.step(states, next(batches)[1], given, False)
      jax.block_until_ready(metrics)

  return run


def measure(config, counts: list[int], blocks: int, steps: int) -> list[tuple]:
  """(name, members, median seconds of a member's step), alone first."""
  source = inputs.load(config)
  runs = {("alone", 1): single(config, source)}
  for count in counts:
    for way in sweep_program.TOGETHER:
      runs[way, count] = together(config, source, count, way)
  seconds = {name: [] for name in runs}
  for index in range(blocks + 1):
    for name, run in runs.items():
      start = time.perf_counter()
      run(steps)
      if index:  # The first compiles.
        spent = time.perf_counter() - start
        seconds[name].append(spent / steps / name[1])
  return [(*name, statistics.median(s)) for name, s in seconds.items()]


def table(found: list[tuple]) -> str:
  """In Markdown."""
  alone = found[0][2]
  lines = ["| program | members | ms per member and step | to alone |"]
  lines.append("| --- | --- | --- | --- |")
  for name, count, value in found:
    lines.append(
      f"| {name} | {count} | {1e3 * value:.2f} | {value / alone:.2f} |"
    )
  return "\n".join(lines)


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_list("counts", ["1", "4", "16"], "Numbers of members.")
  flags.DEFINE_integer("blocks", 7, "Of every program.", 1)
  flags.DEFINE_integer("block", 20, "Steps of a block.", 1)


def main(argv):
  """Parses the flags, measures, prints."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  values, config = flags.FLAGS, options.CONFIG.value
  try:
    counts = [int(text) for text in values.counts]
    if min(counts) < 1:
      raise ValueError(f"counts: expected numbers >= 1, got {values.counts}")
    config.baseline_view = ""
    found = measure(config, counts, values.blocks, values.block)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  print(f"{config.name}, batches of {config.batch_size}")
  print(table(found))


if __name__ == "__main__":
  define()
  app.run(main)
