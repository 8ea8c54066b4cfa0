"""Judges a work folder's checkpoints again, on the test set.

  python -m experiments.evaluate --workdir=DIR

Prints the figures and writes them to DIR/evaluation.json.
"""

import json
import pathlib

from absl import app, flags
from ml_collections import ConfigDict

from experiments import finish, loop
from timedecode import checkpoint, datasets
from timedecode import judge as judge_lib

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run.")


def evaluate(folder: pathlib.Path) -> dict:
  """View -> test figures of the run in `folder`."""
  path = folder / "config.json"
  if not path.exists():
    raise ValueError(f"workdir: expected a run's folder, {path} is missing")
  config = ConfigDict(json.loads(path.read_text()))
  loop.validate(config)
  places = {config.view: folder}
  if config.baseline_view:
    places[config.baseline_view] = folder / "baseline"
  states = {}
  for view, place in places.items():
    model, ann, optimizer = loop.build(config, view)
    template = loop.init_state(config, model, ann, optimizer)
    state, _ = checkpoint.load(place / "checkpoint", template)
    states[view] = model, state
  splits = datasets.load(config.data.source, config.data.split_seed)
  judge_params = judge_lib.load_or_train(
    splits.train, datasets.cache_folder()
  ).params
  clean = finish.clean_accuracy(judge_params, splits.test)
  result = {}
  for view, (model, state) in states.items():
    figures, _ = finish.judge_test(
      config, splits, judge_params, model, state.params
    )
    result[view] = figures | {
      "step": int(state.step),
      "data_source": splits.source,
      "split": "test",
      "judge_clean_accuracy": clean,
    }
  return result


def main(argv):
  if len(argv) > 1 or not _WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and nothing else")
  folder = pathlib.Path(_WORKDIR.value)
  try:
    result = evaluate(folder)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  text = json.dumps(result, indent=2)
  (folder / "evaluation.json").write_text(text + "\n")
  print(text)


if __name__ == "__main__":
  app.run(main)
