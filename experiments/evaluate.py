"""Judges a work folder's checkpoints again, on the test set.

  python -m experiments.evaluate --workdir=DIR

Prints the figures and writes them to DIR/evaluation.json.
"""

import json
import pathlib

from absl import app
from ml_collections import ConfigDict

from experiments import checks, finish, inputs, loop, options, workdir
from experiments.configs import base


def load(folder: pathlib.Path):
  """(configuration, view -> `loop.Run`, source) of the run in `folder`."""
  stored = workdir.complete(workdir.read_config(folder))
  known = workdir.flat(base.get_config().to_dict())
  if names := sorted({*workdir.flat(stored)} - {*known}):
    raise ValueError(
      f"workdir: {folder} has fields of another release: {', '.join(names)}"
    )
  config = ConfigDict(stored)
  checks.validate(config)
  source = inputs.load(config)
  runs = {
    view: loop.prepare(config, view, place, source)
    for view, place in workdir.places(config, folder).items()
  }
  for run in runs.values():
    if not int(run.state.step):
      raise ValueError(f"workdir: {run.folder} holds no checkpoint")
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
    result = evaluate(folder)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  text = json.dumps(result, indent=2)
  (folder / "evaluation.json").write_text(text + "\n")
  print(text)


if __name__ == "__main__":
  app.run(main)
