"""Trains many variants of a configuration together, and compares them.

  python -m experiments.sweep --workdir=DIR \
      --config=experiments/configs/mnist_time.py \
      '--sweep=beta=log(1e-4, 1, 5)' --sweep=seed=0,1,2

Every --sweep is a field and its values: a list ``a,b,c``, ``range(first, last,
count)`` or ``log(first, last, count)``; all combinations are members. Members
that differ in learning rates, beta, prior_rate and seed alone are trained as
one compiled program (--together: `vmap`, or `map`, one after the other inside
of it, which is faster on CPUs for all but small models); others are groups of
their own. --config.parallel=pmap (or mesh) spreads the members of a group over
devices and hosts. --dry_run prints the plan. --halving=3 trains all for a part
of the steps, the best third for three times as many, and so on. Every member
is what `train` makes of its configuration, up to rounding.

Leaves in the folder: members.csv with all figures, members.md, the pictures
rate_distortion.png and information_plane.png, and best/, a work folder of the
best on validation. The same command goes on with a sweep that was killed.
"""

import pathlib
import sys
import time

import jax
from absl import app, flags

from experiments import (
  hosts,
  interruptions,
  options,
  peers,
  sweep_plan,
  sweep_program,
  sweep_run,
)
from timedecode import parallel


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_multi_string("sweep", [], "FIELD=VALUES, may be repeated.")
  flags.DEFINE_bool("dry_run", False, "Print the plan and end.")
  flags.DEFINE_integer(
    "halving", 0, "Factor of successive halving; 0: all train to the end.", 0
  )
  flags.DEFINE_integer("most", 0, "Members of one program; 0: no limit.", 0)
  flags.DEFINE_enum(
    "together", "", ["", *sweep_program.TOGETHER],
    "How members share a program; by default map on CPUs, else vmap.",
  )  # fmt: skip


def main(argv):
  """Parses the flags, runs, and turns errors of use into one line."""
  values = flags.FLAGS
  if len(argv) > 1 or not (options.WORKDIR.value or values.dry_run):
    raise app.UsageError("expected --workdir=DIR or --dry_run")
  interruptions.listen()
  try:
    hosts.start()
    with hosts.together():
      _run(values)
  except interruptions.InterruptedRunError as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(interruptions.EXIT_CODE)
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  except (jax.errors.JaxRuntimeError, peers.LostProcessError) as error:
    hosts.end_with(error)


def _run(values) -> None:
  """The plan or all of it, as the flags say."""
  start = time.perf_counter()
  sweep = sweep_run.Sweep(
    options.CONFIG.value, values.sweep, values.halving, values.most,
    values.together,
  )  # fmt: skip
  if values.dry_run:
    plan = sweep_plan.describe(sweep)  # All compile what they share.
    if parallel.is_main():
      print(plan)
    return
  folder = pathlib.Path(options.WORKDIR.value)
  sweep_run.run(sweep, folder, values.sweep)
  print(f"total {time.perf_counter() - start:.0f} s; results in {folder}")


if __name__ == "__main__":
  hosts.define()
  define()
  app.run(main)
