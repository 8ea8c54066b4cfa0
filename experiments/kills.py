"""Kills a training again and again, and compares its end with an unbroken one.

  python -m experiments.kills --workdir=DIR [--kills=200 --in_saves=40]

Trains the smoke configuration with a checkpoint after nearly every step, once
without a disturbance and then with SIGKILL at random moments, --in_saves of
them while a checkpoint is being written, until a run ends; and again in a new
folder until there were enough. Parameters, optimiser and metrics of every
ended run have to equal the unbroken one's to the last bit, and so have the
examples: the metrics tell how many were seen, and parameters depend on each.
Prints the counts and writes them to kills.json; SystemExit if anything differs.
"""

import json
import pathlib
import random
import subprocess
import sys
import time

import jax
import numpy as np
from absl import app, flags

from experiments import build, checkpoints, journal
from experiments.configs import smoke

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 60
FIELDS = {
  "steps": STEPS, "eval_every": 20, "eval_samples": 1, "baseline_view": "",
  "checkpoint_seconds": 1e-3, "num_steps": 10, "batch_size": 16,
}  # fmt: skip
TIMES = ("train_seconds", "examples_per_second", "waiting_share")


def start(folder: pathlib.Path) -> subprocess.Popen:
  """The command of a run."""
  words = [f"--config.{name}={value}" for name, value in FIELDS.items()]
  return subprocess.Popen(
    [sys.executable, "-m", "experiments.train",
     "--config=experiments/configs/smoke.py", f"--workdir={folder.absolute()}",
     *words],
    cwd=ROOT, stdout=folder.with_suffix(".txt").open("ab"),
    stderr=subprocess.STDOUT,
  )  # fmt: skip


def partials(folder: pathlib.Path) -> set[str]:
  """Names of checkpoints that are being written, or were when it was killed."""
  place = folder / "checkpoints"
  if not place.is_dir():
    return set()
  return {path.name for path in place.iterdir() if "tmp" in path.name}


def end(folder: pathlib.Path) -> tuple[list[np.ndarray], list[dict]]:
  """Leaves of the last state, and the metrics but times."""
  config = smoke.get_config()
  config.update(FIELDS)
  template = build.init_state(config, build.build(config, config.view))
  state, _ = checkpoints.restore(folder, template)
  rows = journal.read_rows(folder / "metrics.jsonl")
  plain = [{k: v for k, v in r.items() if k not in TIMES} for r in rows]
  return [np.asarray(leaf) for leaf in jax.tree.leaves(state)], plain


def same(ours, theirs) -> bool:
  """Whether two ends agree in every bit."""
  pairs = zip(ours[0], theirs[0], strict=True)
  leaves = all(a.tobytes() == b.tobytes() for a, b in pairs)
  return leaves and ours[1] == theirs[1]


def disturb(folder, generator, in_save: bool, longest: float) -> str | None:
  """One start and its kill; what was hit, None if the run came to its end.

  A kill in a save is one while a checkpoint is written that this process began,
  after a random part of 20 ms, and counts as one only if that checkpoint never
  appeared.
  """
  before = partials(folder)
  process, begin = start(folder), time.monotonic()
  moment = begin + generator.uniform(0.1, 1.1) * longest
  while process.poll() is None:
    fresh = partials(folder) - before
    if in_save and fresh:
      time.sleep(generator.uniform(0.0, 0.02))
    if in_save and fresh or not in_save and time.monotonic() > moment:
      process.kill()
      process.wait()
      left = {name.split(".")[0] for name in partials(folder) - before}
      whole = set(map(str, checkpoints.steps(folder)))
      return "save" if left - whole else "elsewhere"
    time.sleep(1e-3)
  if process.returncode:
    output = folder.with_suffix(".txt").read_text()[-3000:]
    raise ValueError(f"a run failed after a kill:\n{output}")
  return None


def run(folder: pathlib.Path, kills: int, in_saves: int, seed: int) -> dict:
  """All of it; ValueError if an end differs."""
  generator, counts = random.Random(seed), {"save": 0, "elsewhere": 0}
  begin, whole = time.monotonic(), folder / "whole"
  if disturb(whole, generator, False, 1e9) is not None:
    raise ValueError("the unbroken run was broken")
  longest, reference, ended = time.monotonic() - begin, end(whole), 0
  while sum(counts.values()) < kills:
    place = folder / f"cut{ended}"
    while True:
      enough = sum(counts.values()) >= kills
      in_save = counts["save"] < in_saves
      wait = 1e9 if enough else longest
      hit = disturb(place, generator, in_save and not enough, wait)
      if hit is None:
        break
      counts[hit] += 1
      print(
        f"killed {sum(counts.values())} times, in a save {counts['save']}",
        flush=True,
      )
    if not same(end(place), reference):
      raise ValueError(f"{place}: ended otherwise than {whole}")
    ended += 1
  return counts | {
    "kills": sum(counts.values()), "ended_equal": ended, "steps": STEPS
  }  # fmt: skip


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_string("workdir", None, "Folder, new or empty.")
  flags.DEFINE_integer("kills", 200, "How many.", 1)
  flags.DEFINE_integer("in_saves", 40, "Of them while saving, at least.", 0)
  flags.DEFINE_integer("seed", 0, "Of the moments.", 0)


def main(argv):
  """Runs, prints, writes."""
  if len(argv) > 1 or not flags.FLAGS.workdir:
    raise app.UsageError("expected --workdir=DIR and no other arguments")
  folder = pathlib.Path(flags.FLAGS.workdir)
  values = flags.FLAGS
  try:
    if folder.exists() and any(folder.iterdir()):
      raise ValueError(f"workdir: expected an empty folder, got {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    found = run(folder, values.kills, values.in_saves, values.seed)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  (folder / "kills.json").write_text(json.dumps(found) + "\n")
  print(found)


if __name__ == "__main__":
  define()
  app.run(main)
