"""The folder of a run: who owns it, and where its parts lie."""

import importlib.metadata
import json
import pathlib

PACKAGES = ("timedecode", "jax", "jaxlib", "flax", "optax", "numpy")


def claim(config, folder: pathlib.Path) -> None:
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


def places(config, folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """View -> folder of its metrics and checkpoint, the learned one first."""
  result = {config.view: folder}
  if config.baseline_view:
    result[config.baseline_view] = folder / "baseline"
    result[config.baseline_view].mkdir(exist_ok=True)
  return result


def versions() -> dict[str, str]:
  """Versions of what a result depends on."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}
