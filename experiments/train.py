"""Trains the hybrid autoencoder on real images and shows what it does.

  python -m experiments.train --config=experiments/configs/mnist_time.py \
      --workdir=DIR [--config.field=value ...]

Without flags it runs `mnist_time` into a dated folder under runs/. The same
command line continues a run that was interrupted. --config.parallel=pmap (or
mesh) shares every batch among all devices; several processes: see `hosts`.
Asked to end by SIGTERM, it saves its state and exits with 75.
"""

import datetime
import pathlib
import sys
import time

import jax
from absl import app

from experiments import (
  build,
  checks,
  finish,
  hosts,
  inputs,
  interruptions,
  journal,
  loop,
  options,
  origin,
  peers,
  workdir,
)
from timedecode import parallel


def run(config, folder: pathlib.Path) -> dict:
  """The whole job; returns the summary that it writes.

  Of several processes the main one alone reads and writes the folder and has a
  summary; the others return an empty one when it has written.
  """
  start, made_with = time.perf_counter(), origin.record()
  checks.validate(config)
  build.layout(config)
  for view in (config.view, config.baseline_view or config.view):
    build.build(config, view)
  source = inputs.load(config)
  hosts.agree(workdir.facts(config) | {"data": journal.digests(source)})
  parallel.on_main(lambda: workdir.claim(config, folder))
  runs = {
    view: loop.prepare(config, view, place, source)
    for view, place in workdir.places(config, folder).items()
  }
  summary = {}
  judge_params = parallel.on_main(lambda: _begin(config, source, folder))
  for view, prepared in runs.items():
    runs[view] = loop.train(config, prepared, source, judge_params)
  if parallel.is_main():
    summary = finish.finish(
      config, source, judge_params, runs, folder, made_with
    )
    print(f"total {time.perf_counter() - start:.0f} s; results in {folder}")
  parallel.wait_for_all("end")
  return summary


def _begin(config, source, folder):
  """Says what comes; the judge's parameters."""
  announce(config, source, folder)
  return inputs.judge(config, source)


def announce(config, source, folder: pathlib.Path) -> None:
  """Prints what is trained on, and where results come."""
  spread = ""
  if config.parallel != "none":
    devices = build.layout(config).devices
    spread = f"; {config.parallel} over {len(devices)} devices"
  print(
    f"data {inputs.describe(config)}: {source.size('train')} training,"
    f" {source.size('validation')} validation, {source.size('test')} test"
    f" examples; results in {folder}{spread}"
  )
  for remark in source.remarks.splitlines():
    print(f"data {remark}")


def main(argv):
  """Parses the flags, runs, and turns errors of use into one line."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  config = options.CONFIG.value
  stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  folder = options.WORKDIR.value or f"runs/{config.name}-{stamp}"
  interruptions.listen()
  try:
    hosts.start()
    with hosts.together():
      run(config, pathlib.Path(folder))
  except interruptions.InterruptedRunError as stopped:
    print(f"{stopped} (--workdir={folder})", file=sys.stderr)
    sys.exit(interruptions.EXIT_CODE)
  except (ValueError, OSError, journal.NonFiniteLossError) as error:
    raise SystemExit(f"error: {error}") from error
  except (jax.errors.JaxRuntimeError, peers.LostProcessError) as error:
    hosts.end_with(error)


if __name__ == "__main__":
  hosts.define()
  app.run(main)
