"""A run without a work folder, for comparisons: compiled once for all seeds."""

import json
import pathlib
import time

import jax

from experiments import build, files, loop, workdir
from timedecode import datasets
from timedecode.datasets import feed, sources

_LIMIT = 2**24  # Bytes of a file that is kept.


class Job:
  """A rule at a size and a learning rate, compiled once for all seeds."""

  def __init__(self, config, source):
    self.config, self.source = config, source
    self.built = build.build(config, config.view)
    self.first = self.rows(0)
    arguments = self.fresh(0), self.first, jax.random.key(0)
    step = loop.make_step(source, self.built)
    self.step = step.lower(*arguments, False).compile()
    self.times = []

  def fresh(self, seed):
    """The state at step 0."""
    config = self.config.copy_and_resolve_references()
    config.seed = seed
    return build.init_state(config, self.built)

  def rows(self, seed):
    """What the first step learns from."""
    size, count = self.config.batch_size, self.source.size("train")
    indices = datasets.batch_indices(count, size, seed, 0)
    rows = sources.gather(self.source.rows("train"), indices)
    return sources.place(rows)

  def tick(self, state):
    """One timed step; returns the state after it."""
    start = time.perf_counter()
    state, _ = jax.block_until_ready(
      self.step(state, self.first, jax.random.key(0), False)
    )
    self.times.append(time.perf_counter() - start)
    return state

  def train(self, seed, milestones, visit):
    """Calls ``visit(name, params)`` after its number of steps."""
    state, key = self.fresh(seed), jax.random.key(seed + 1)
    rows, size = self.source.rows("train"), self.config.batch_size
    last = max(milestones.values())
    with feed.batches(rows, size, seed, 0, last) as batches:
      for index, batch in batches:
        state, _ = self.step(state, batch, key, False)
        for name, steps in milestones.items():
          if index + 1 == steps:
            visit(name, state.params)


def claim(folder: pathlib.Path, settings: dict) -> None:
  """Makes the folder and owns it; refuses files of others, and runs of other
  settings."""
  path, ours = folder / "settings.json", json.loads(json.dumps(settings))
  if path.exists():  # A folder that is refused is left as it is.
    _check_same(folder, path, ours)
  workdir.own(folder, path)
  _check_same(folder, path, ours)


def _check_same(folder: pathlib.Path, path: pathlib.Path, ours: dict) -> None:
  if found := workdir.differing(kept(path, lambda: ours), ours):
    raise ValueError(
      f"workdir: {folder} holds runs with other settings (differs in {found});"
      " choose an empty folder, or the same flags"
    )


def kept(path: pathlib.Path, make):
  """The JSON of `path`, made and written if it is not there."""
  if not path.exists():
    value = make()
    files.replace_text(path, json.dumps(value, indent=1) + "\n")
  return files.parse(files.read_text(path, _LIMIT), str(path))
