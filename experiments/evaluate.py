"""Judges a work folder's checkpoints again, on the test set.

  python -m experiments.evaluate --workdir=DIR

Prints the figures and writes them to DIR/evaluation.json.
"""

import json
import pathlib

from absl import app
from ml_collections import ConfigDict

from experiments import (
  checkpoints,
  checks,
  files,
  finish,
  inputs,
  loop,
  options,
  workdir,
)
from experiments.configs import base


def load(folder: pathlib.Path):
  """(configuration, view -> `loop.Run`, source) of the run in `folder`."""
  stored = workdir.complete(workdir.read_config(folder))
  known = workdir.flat(base.get_config().to_dict())
  if names := sorted({*workdir.flat(stored)} - {*known}):
    raise ValueError(
      f"workdir: {folder} has fields of another release: {', '.join(names)}"
    )
  workdir.check_types(stored)
  config = ConfigDict(stored)
  checks.validate(config)
  places = workdir.places(config, folder)
  for place in places.values():  # Without one a model would be made.
    if not checkpoints.exist(place):
      raise ValueError(f"workdir: {place} holds no checkpoint")
  source = inputs.load(config)
  runs = {
    view: loop.prepare(config, view, place, source)
    for view, place in places.items()
  }
  return config, runs, source


def evaluate(folder: pathlib.Path) -> dict:
  """View -> test figures of the run in `folder`."""
  config, runs, source = load(folder)
  judge_params, result = inputs.judge(config, source), {}
  for view, run in runs.items():
    figures, _ = finish.judge_test(config, source, judge_params, run)
    result[view] = figures | {
      "step": int(run.state.step),
      "data_source": source.name,
      "split": "test",
    }
  return result


def main(argv):
  """Parses the flags, judges, and turns errors of use into one line."""
  if len(argv) > 1 or not options.WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and nothing else")
  folder = pathlib.Path(options.WORKDIR.value)
  try:
    text = json.dumps(evaluate(folder), indent=2)
    print(text, flush=True)  # Before the folder refuses it.
    files.replace_text(folder / "evaluation.json", text + "\n")
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main)
