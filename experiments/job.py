"""A run without a work folder, for comparisons: compiled once for all seeds."""

import json
import pathlib
import time

import jax

from experiments import build, loop
from timedecode import datasets


class Job:
  """A rule at a size and a learning rate, compiled once for all seeds."""

  def __init__(self, config, images):
    self.config, self.images = config, images
    self.built = build.build(config, config.view)
    arguments = self.fresh(0), images, self.indices(0, 0), jax.random.key(0)
    step = loop.make_step(config, self.built)
    self.step = step.lower(*arguments, False).compile()
    self.times = []

  def fresh(self, seed):
    """The state at step 0."""
    config = self.config.copy_and_resolve_references()
    config.seed = seed
    return build.init_state(config, self.built)

  def indices(self, seed, step):
    """Which images a step learns from."""
    size = self.config.batch_size
    return datasets.batch_indices(len(self.images), size, seed, step)

  def tick(self, state):
    """One timed step; returns the state after it."""
    start = time.perf_counter()
    state, _ = jax.block_until_ready(
      self.step(
        state, self.images, self.indices(0, 0), jax.random.key(0), False
      )
    )
    self.times.append(time.perf_counter() - start)
    return state

  def train(self, seed, milestones, visit):
    """Calls ``visit(name, params)`` after its number of steps."""
    state, key = self.fresh(seed), jax.random.key(seed + 1)
    for index in range(max(milestones.values())):
      indices = self.indices(seed, index)
      state, _ = self.step(state, self.images, indices, key, False)
      for name, steps in milestones.items():
        if index + 1 == steps:
          visit(name, state.params)


def claim(folder: pathlib.Path, settings: dict) -> None:
  """Makes the folder; refuses one whose runs had other settings."""
  folder.mkdir(parents=True, exist_ok=True)
  ours = json.loads(json.dumps(settings))
  theirs = kept(folder / "settings.json", lambda: ours)
  names = sorted(
    name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)
  )
  if names:
    raise ValueError(
      f"workdir: {folder} holds runs with other settings (differs in"
      f" {', '.join(names)}); choose an empty folder, or the same flags"
    )


def kept(path: pathlib.Path, make):
  """The JSON of `path`, made and written if it is not there."""
  if not path.exists():
    value = make()
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)
  return json.loads(path.read_text())
