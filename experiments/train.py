"""Trains the hybrid autoencoder on real images and shows what it does.

  python -m experiments.train --config=experiments/configs/mnist_time.py \
      --workdir=DIR [--config.field=value ...]

Without flags it runs `mnist_time` into a dated folder under runs/. The same
command line continues a run that was interrupted.
"""

import datetime
import pathlib
import time

from absl import app

from experiments import build, checks, finish, inputs, loop, options, workdir


def run(config, folder: pathlib.Path) -> dict:
  """The whole job; returns the summary that it writes."""
  start = time.perf_counter()
  checks.validate(config)
  for view in (config.view, config.baseline_view or config.view):
    build.build(config, view)
  source = inputs.load(config)
  workdir.claim(config, folder)
  runs = {
    view: loop.prepare(config, view, place, source)
    for view, place in workdir.places(config, folder).items()
  }
  print(
    f"data {inputs.describe(config)}: {source.size('train')} training,"
    f" {source.size('validation')} validation, {source.size('test')} test"
    f" examples; results in {folder}"
  )
  for remark in source.remarks.splitlines():
    print(f"data {remark}")
  judge_params = inputs.judge(config, source)
  for view, prepared in runs.items():
    runs[view] = loop.train(config, prepared, source, judge_params)
  summary = finish.finish(
    config, source, judge_params, runs, folder, workdir.versions()
  )
  print(f"total {time.perf_counter() - start:.0f} s; results in {folder}")
  return summary


def main(argv):
  """Parses the flags, runs, and turns errors of use into one line."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  config = options.CONFIG.value
  stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  folder = options.WORKDIR.value or f"runs/{config.name}-{stamp}"
  try:
    run(config, pathlib.Path(folder))
  except (ValueError, loop.NonFiniteLossError) as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main)
