"""What a result is made with: versions of packages, the commit of the code."""

import importlib.metadata
import os
import pathlib
import subprocess

PACKAGES = ("timedecode", "jax", "jaxlib", "flax", "optax", "numpy")
ROOT = pathlib.Path(__file__).parents[1]


def versions() -> dict[str, str]:
  """Versions of what a result depends on."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}


def commit(root: pathlib.Path = ROOT) -> str | None:
  """The commit of a clone, 40 digits, with ``+changes`` where its Python files
  differ from it; None where `root` is no clone of its own, or without git."""
  # Where git runs us, its variables speak of another repository.
  env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

  def git(*words):  # It only looks: processes may share the clone.
    return subprocess.run(
      ["git", "--no-optional-locks", "-C", str(root), *words],
      capture_output=True, text=True, check=True, env=env,
    ).stdout.strip()  # fmt: skip

  try:
    if pathlib.Path(git("rev-parse", "--show-toplevel")) != root.resolve():
      return None  # Installed somewhere in another project's.
    changed = git("status", "--porcelain", "--", "*.py")
    return git("rev-parse", "HEAD") + ("+changes" if changed else "")
  except (OSError, subprocess.CalledProcessError):
    return None


def record() -> dict:
  """Both, as summaries have them: of the process that ended a run."""
  return {"versions": versions(), "commit": commit()}
