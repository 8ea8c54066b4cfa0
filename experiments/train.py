"""Trains the hybrid autoencoder on real images and shows what it does.

  python -m experiments.train --config=experiments/configs/mnist_time.py \
      --workdir=DIR [--config.field=value ...]

Without flags it runs `mnist_time` into a dated folder under runs/. The same
command line continues a run that was interrupted.
"""

import datetime
import importlib.metadata
import json
import pathlib
import time

from absl import app, flags
from ml_collections import config_flags

from experiments import finish, loop
from timedecode import datasets
from timedecode import judge as judge_lib

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  str(pathlib.Path(__file__).parent / "configs" / "mnist_time.py"),
  "Configuration file; --config.field=value overrides a field.",
  lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of results; default runs/<config>-<date>."
)
PACKAGES = ("timedecode", "jax", "jaxlib", "flax", "optax", "numpy")


def open_workdir(config, folder: pathlib.Path) -> None:
  """Makes the folder; refuses one that holds another configuration's run."""
  path = folder / "config.json"
  ours = json.loads(config.to_json_best_effort())
  if path.exists():
    theirs = json.loads(path.read_text())
    names = sorted(
      name
      for name in {*_flat(ours), *_flat(theirs)}
      if _flat(ours).get(name) != _flat(theirs).get(name)
    )
    if names:
      raise ValueError(
        f"workdir: {folder} holds a run of another configuration (differs in"
        f" {', '.join(names)}); choose an empty folder, or the same flags to"
        " continue"
      )
    return
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(
      f"workdir: expected an empty folder or an earlier run, got {folder} with"
      " other files and no config.json"
    )
  folder.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(ours, indent=2) + "\n")


def _flat(tree, prefix=""):
  if not isinstance(tree, dict):
    return {prefix: tree}
  parts = [
    _flat(value, f"{prefix}.{name}".strip(".")) for name, value in tree.items()
  ]
  return {name: value for part in parts for name, value in part.items()}


def versions() -> dict[str, str]:
  """Versions of what a result depends on."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}


def run(config, folder: pathlib.Path) -> dict:
  """The whole job; returns the summary that it writes."""
  start = time.perf_counter()
  loop.validate(config)
  open_workdir(config, folder)
  splits = datasets.load(config.data.source, config.data.split_seed)
  print(
    f"data {splits.source}: {len(splits.train.images)} training,"
    f" {len(splits.validation.images)} validation,"
    f" {len(splits.test.images)} test images; results in {folder}"
  )
  judge_params = judge_lib.load_or_train(
    splits.train, datasets.cache_folder()
  ).params
  runs = {config.view: folder}
  if config.baseline_view:
    runs[config.baseline_view] = folder / "baseline"
  trained = {}
  for view, place in runs.items():
    place.mkdir(exist_ok=True)
    trained[view] = loop.train(config, view, splits, judge_params, place)
  summary = finish.finish(
    config, splits, judge_params, trained, folder, versions()
  )
  print(f"total {time.perf_counter() - start:.0f} s; results in {folder}")
  return summary


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  config = _CONFIG.value
  stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  folder = _WORKDIR.value or f"runs/{config.name}-{stamp}"
  try:
    run(config, pathlib.Path(folder))
  except (ValueError, loop.NonFiniteLossError) as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main)
