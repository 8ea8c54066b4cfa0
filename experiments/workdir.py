"""The folder of a run: who owns it, and where its parts lie."""

import importlib.metadata
import json
import pathlib
import tempfile

from experiments.configs import base
from timedecode import parallel

# Where data lie and what computes is no part of a run: a checkpoint knows what
# the data were, and goes on on other devices.
ELSEWHERE = (
  "data.data_dir", "data.download", "data.tfds_dir", "data.device_bytes",
  "parallel", "num_devices", "checkpoint_seconds",
)  # fmt: skip
PACKAGES = ("timedecode", "jax", "jaxlib", "flax", "optax", "numpy")


def make_writable(folder: pathlib.Path) -> None:
  """Makes the folder; ValueError if nothing can be written there."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(b"0")
  except OSError as error:
    raise ValueError(
      f"workdir: can't write to {folder}: {error.strerror}"
    ) from error


def claim(config, folder: pathlib.Path) -> None:
  """Makes the folder; refuses one that holds another configuration's run."""
  path = folder / "config.json"
  ours = json.loads(config.to_json_best_effort())
  if path.exists():
    theirs = complete(read_config(folder))
    names = sorted(
      name
      for name in {*flat(ours), *flat(theirs)}
      if name not in ELSEWHERE
      and flat(ours).get(name) != flat(theirs).get(name)
    )
    if names:
      raise ValueError(
        f"workdir: {folder} holds a run of another configuration (differs in"
        f" {', '.join(names)}); choose an empty folder, or the same flags to"
        " continue"
      )
    make_writable(folder)
    return
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(
      f"workdir: expected an empty folder or an earlier run, got {folder} with"
      " other files and no config.json"
    )
  make_writable(folder)
  partial = path.with_suffix(".partial")
  partial.write_text(json.dumps(ours, indent=2) + "\n")
  partial.replace(path)


def read_config(folder: pathlib.Path) -> dict:
  """The configuration of the run in `folder`; ValueError if there is none."""
  path = folder / "config.json"
  if not path.exists():
    raise ValueError(f"workdir: expected a run's folder, {path} is missing")
  try:
    config = json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(f"workdir: {path} is not JSON: {error}") from error
  if not isinstance(config, dict):
    raise ValueError(f"workdir: {path} holds no configuration")
  return config


def complete(config: dict) -> dict:
  """A stored configuration, with defaults for fields that came later."""
  return _filled(config, json.loads(base.get_config().to_json_best_effort()))


def _filled(tree: dict, defaults: dict) -> dict:
  missing = {k: v for k, v in defaults.items() if k not in tree}
  return missing | {
    name: _filled(value, defaults[name])
    if isinstance(value, dict) and isinstance(defaults.get(name), dict)
    else value
    for name, value in tree.items()
  }


def flat(tree, prefix: str = "") -> dict:
  """Dotted name -> value of every leaf of nested dicts."""
  if not isinstance(tree, dict):
    return {prefix: tree}
  parts = [
    flat(value, f"{prefix}.{name}".strip(".")) for name, value in tree.items()
  ]
  return {name: value for part in parts for name, value in part.items()}


def places(config, folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """View -> folder of its metrics and checkpoint, the learned one first."""
  result = {config.view: folder}
  if config.baseline_view:
    result[config.baseline_view] = folder / "baseline"
    if parallel.is_main():
      result[config.baseline_view].mkdir(exist_ok=True)
  return result


def versions() -> dict[str, str]:
  """Versions of what a result depends on."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}
