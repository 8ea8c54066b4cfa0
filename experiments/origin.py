"""What a result is made with: versions of packages, the commit of the code."""

import importlib.metadata
import pathlib
import subprocess

PACKAGES = ("timedecode", "jax", "jaxlib", "flax", "optax", "numpy")
ROOT = pathlib.Path(__file__).parents[1]


def versions() -> dict[str, str]:
  """Versions of what a result depends on."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}


def commit(root: pathlib.Path = ROOT) -> str | None:
  """The commit of a clone, 40 digits, with ``+changes`` where files differ
  from it; None where `root` isn't one, or without git."""

  def git(*words):
    return subprocess.run(
      ["git", "-C", str(root), *words], capture_output=True, text=True,
      check=True,
    ).stdout.strip()  # fmt: skip

  try:
    if pathlib.Path(git("rev-parse", "--show-toplevel")) != root.resolve():
      return None  # Installed somewhere in another project's.
    return git(
      "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"
    )
  except (OSError, subprocess.CalledProcessError):
    return None


def record() -> dict:
  """Both, as summaries have them."""
  return {"versions": versions(), "commit": commit()}
