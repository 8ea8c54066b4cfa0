"""Kills a training again and again, and compares its end with an unbroken one.

  python -m experiments.kills --workdir=DIR [--kills=200 --in_saves=40]

Trains the smoke configuration with a checkpoint after nearly every step, once
without a disturbance and then with SIGKILL at random moments, --in_saves of
them while a checkpoint is being written, the first to the eighth of a process
alike, until a run ends; and again in a new folder until there were enough.
Parameters, optimiser and metrics of every ended run have to equal the unbroken
one's to the last bit, and so have the examples: the metrics tell how many were
seen, and parameters depend on each. Prints the counts and writes them to
kills.json; SystemExit if anything differs.
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
ELSEWHERE = "elsewhere"
SAVES = 8  # Of a process, one of which is hit.
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
  any of its first `SAVES`, after a random part of 20 ms; it counts as one, and
  the name of its step is returned, only if that checkpoint never appeared.
  """
  stale, seen = partials(folder), set()
  process, begin = start(folder), time.monotonic()
  moment = begin + generator.uniform(0.1, 1.1) * longest
  number = generator.randint(1, SAVES)
  while process.poll() is None:
    now = partials(folder)
    stale &= now  # Names are used again once the left-over is removed.
    seen |= now - stale
    hit = in_save and len(seen) >= number
    if hit:
      time.sleep(generator.uniform(0.0, 0.02))
    if hit or not in_save and time.monotonic() > moment:
      process.kill()
      process.wait()
      left = {name.split(".")[0] for name in partials(folder) - stale}
      cut = left - set(map(str, checkpoints.steps(folder)))
      return max(cut, key=int) if cut else ELSEWHERE
    time.sleep(1e-3)
  if process.returncode:
    output = folder.with_suffix(".txt").read_text()[-3000:]
    raise ValueError(f"a run failed after a kill:\n{output}")
  return None


def run(folder: pathlib.Path, kills: int, in_saves: int, seed: int) -> dict:
  """All of it; ValueError if an end differs."""
  generator, hits = random.Random(seed), []
  begin, whole = time.monotonic(), folder / "whole"
  if disturb(whole, generator, False, 1e9) is not None:
    raise ValueError("the unbroken run was broken")
  longest, reference, ended = time.monotonic() - begin, end(whole), 0
  saves = lambda: [int(hit) for hit in hits if hit != ELSEWHERE]
  while len(hits) < kills:
    place = folder / f"cut{ended}"
    while True:
      enough = len(hits) >= kills
      in_save = len(saves()) < in_saves and not enough
      hit = disturb(place, generator, in_save, 1e9 if enough else longest)
      if hit is None:
        break
      hits.append(hit)
      told = f"killed {len(hits)} times, in a save {len(saves())}"
      print(told, flush=True)
    if not same(end(place), reference):
      raise ValueError(f"{place}: ended otherwise than {whole}")
    ended += 1
  return {
    "save": len(saves()), "elsewhere": len(hits) - len(saves()),
    "kills": len(hits), "ended_equal": ended, "steps": STEPS,
    "saves_hit": sorted(saves()),
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
