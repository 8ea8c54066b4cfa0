"""The folder of a run: who owns it, and where its parts lie."""

import json
import pathlib
import reprlib
import tempfile

from experiments import files, locks, origin
from experiments.configs import base
from timedecode import parallel

# Where data lie and what computes is no part of a run: a checkpoint knows what
# the data were, and goes on on other devices.
OF_A_MACHINE = (
  "data.data_dir", "data.download", "data.tfds_dir", "data.device_bytes",
  "checkpoint_seconds",
)  # fmt: skip
ELSEWHERE = (*OF_A_MACHINE, "parallel", "num_devices", "num_microbatches")


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
  """Makes the folder and owns it; refuses another configuration's run."""
  path = folder / "config.json"
  ours = json.loads(config.to_json_best_effort())
  if path.exists():  # A folder that is refused is left as it is.
    _check_same(folder, ours)
  own(folder, path)
  if path.exists():
    _check_same(folder, ours)
    return
  files.replace_text(path, json.dumps(ours, indent=2) + "\n")


def differences(folder: pathlib.Path, ours: dict) -> str:
  """Fields in which the run in `folder` is of another configuration, in words;
  none where it would only lie elsewhere."""
  trees = flat(complete(read_config(folder))), flat(ours)
  return differing(
    *({k: v for k, v in tree.items() if k not in ELSEWHERE} for tree in trees)
  )


def _check_same(folder: pathlib.Path, ours: dict) -> None:
  if found := differences(folder, ours):
    raise ValueError(
      f"workdir: {folder} holds a run of another configuration (differs in"
      f" {found}); choose an empty folder, or the same flags to continue"
    )


def own(folder: pathlib.Path, path: pathlib.Path) -> None:
  """Makes the folder, and this process its owner until it ends.

  Args:
    folder: there or not.
    path: as of `check_empty`.

  Raises:
    ValueError: files of others, another process that owns it, or a folder that
      can't be written to.
  """
  if not path.exists():
    check_empty(folder, path)
  make_writable(folder)
  locks.hold(folder)


def check_empty(folder: pathlib.Path, path: pathlib.Path) -> None:
  """Refuses a folder with files of others.

  Args:
    folder: there or not.
    path: that is missing, by which the folder of an earlier run is known; what
      a killed process left of it is nobody's.
  """
  nobodys = path.with_suffix(".partial"), folder / locks.NAME
  if folder.exists() and any(p not in nobodys for p in folder.iterdir()):
    raise ValueError(
      f"workdir: expected an empty folder or an earlier run, got {folder} with"
      f" other files and no {path.name}"
    )


def read_config(folder: pathlib.Path) -> dict:
  """The configuration of the run in `folder`; ValueError if there is none."""
  path = folder / "config.json"
  if not path.exists():
    raise ValueError(f"workdir: expected a run's folder, {path} is missing")
  config = files.parse(files.read_text(path), f"workdir: {path}")
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


def check_types(config: dict) -> None:
  """Raises ValueError that names a field of another type than base.py's.

  Args:
    config: complete, of known fields, as JSON has it.
  """
  _check_type("", config, json.loads(base.get_config().to_json_best_effort()))


def _check_type(name: str, value, default) -> None:
  kind = type(default)
  kinds = (int, float) if kind is float else (kind,)
  if not isinstance(value, kinds) or isinstance(value, bool) != (kind is bool):
    raise ValueError(
      f"config.{name}: expected a value of type {kind.__name__}, got"
      f" {reprlib.repr(value)}"
    )
  if kind is dict:
    for part, one in value.items():
      _check_type(f"{name}.{part}".strip("."), one, default[part])
  if kind is list:
    for one in value:
      _check_type(name, one, default[0])


def flat(tree, prefix: str = "") -> dict:
  """Dotted name -> value of every leaf of nested dicts."""
  if not isinstance(tree, dict):
    return {prefix: tree}
  parts = [
    flat(value, f"{prefix}.{name}".strip(".")) for name, value in tree.items()
  ]
  return {name: value for part in parts for name, value in part.items()}


def differing(theirs: dict, ours: dict) -> str:
  """Names of leaves of nested dicts that differ, with both values; or ""."""
  theirs, ours = flat(theirs), flat(ours)
  value = lambda tree, name: (
    reprlib.repr(tree[name]) if name in tree else "none"
  )
  return ", ".join(
    f"{name} ({value(theirs, name)} there, {value(ours, name)} here)"
    for name in sorted({*theirs, *ours})
    if (name in theirs) != (name in ours) or theirs[name] != ours[name]
  )


def facts(config) -> dict:
  """What processes of one run have in common: configuration and packages."""
  shared = flat(json.loads(config.to_json_best_effort()))
  for name in OF_A_MACHINE:
    del shared[name]
  return {"config": shared, "packages": origin.versions()}


def places(config, folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """View -> folder of its metrics and checkpoint, the learned one first."""
  result = {config.view: folder}
  if config.baseline_view:
    result[config.baseline_view] = folder / "baseline"
    if parallel.is_main():
      result[config.baseline_view].mkdir(exist_ok=True)
  return result
