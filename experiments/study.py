"""Runs a whole table of experiments: rows x seeds, each a run of `train`.

  python -m experiments.study --study=readout_neurons --workdir=DIR

A study is a file of `studies/` whose `get_study` returns a `Study`. Every
member is the command that a person would give (of `train`, or of the program
that the study names for a row), in a process of its own on a
core of its own, with the folder DIR/<row>/seed<k>. All rows are run with seed
0 first, then with seed 1 and so on, so that the table fills in evenly. What is
finished is in DIR/records.jsonl and not repeated; a member that was killed
goes on. Records of other settings than the study's are refused.
`experiments.report` makes a page of DIR or of the records.
"""

import concurrent.futures
import importlib
import inspect
import os
import pathlib
import queue
import subprocess
import sys
import time
from typing import NamedTuple

from absl import app, flags

from experiments import checks, locks, study_records
from experiments.studies import Study


class Member(NamedTuple):
  """A run: row, seed, and its command without the folder."""

  row: str
  seed: int
  command: list[str]


def load(name: str, data_dir: str = "") -> Study:
  """The study of a name, on real files where given; ValueError if it can't."""
  folder = pathlib.Path(__file__).parent / "studies"
  known = sorted(path.stem for path in folder.glob("[a-z]*.py"))
  if name not in known:
    raise ValueError(f"study: expected one of {', '.join(known)}, got {name!r}")
  module = importlib.import_module(f"experiments.studies.{name}")
  if not data_dir:
    return module.get_study()
  if "data_dir" not in inspect.signature(module.get_study).parameters:
    raise ValueError(f"data_dir: the study {name} takes no files")
  return module.get_study(data_dir)


def configure(study: Study, row: str, seed: int = 0):
  """The configuration of a member, checked."""
  module = importlib.import_module(f"experiments.configs.{study.config}")
  config = module.get_config()
  for name, value in (study.rows[row] | {"seed": seed}).items():
    place, _, leaf = name.rpartition(".")
    part = checks.field(config, place) if place else config
    if leaf not in part:
      raise ValueError(f"{study.name}, {row}: no field {name}")
    part[leaf] = value
  checks.validate(config)
  return config


def members(study: Study, seeds: int, rows: list[str]) -> list[Member]:
  """All runs, seed by seed; ValueError before any of them for a bad row."""
  unknown = sorted(set(rows) - set(study.rows))
  if unknown:
    raise ValueError(
      f"rows: expected some of {list(study.rows)}, got {unknown}"
    )
  result = []
  counts = {row: seeds or study.seeds_of(row) for row in study.rows}
  for seed in range(study.first_seed, study.first_seed + max(counts.values())):
    for row, fields in study.rows.items():
      if rows and row not in rows or seed >= study.first_seed + counts[row]:
        continue
      configure(study, row, seed)
      settings = fields | {"seed": seed}
      command = [
        "-m", *study.programs.get(row, ("experiments.train",)),
        f"--config=experiments/configs/{study.config}.py",
        *(f"--config.{name}={_text(v)}" for name, v in settings.items()),
      ]  # fmt: skip
      result.append(Member(row, seed, command))
  return result


def _text(value) -> str:
  return str(tuple(value)) if isinstance(value, list | tuple) else str(value)


def run_member(member: Member, run: pathlib.Path, core: int | None) -> None:
  """One run; RuntimeError with the end of its output if it fails."""
  folder = run.parent
  folder.mkdir(parents=True, exist_ok=True)
  command = [sys.executable, *member.command, f"--workdir={run}"]
  limit = None if core is None else lambda: os.sched_setaffinity(0, {core})
  with (folder / "output.txt").open("ab") as output:
    result = subprocess.run(
      command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=limit,
      check=False,
    )  # fmt: skip
  if result.returncode:
    end = (folder / "output.txt").read_text()[-2000:]
    raise RuntimeError(f"{' '.join(member.command)} failed:\n{end}")


def finished(study: Study, path: pathlib.Path) -> set[tuple[str, int]]:
  """(row, seed) of the records; ValueError if one is of other settings."""
  found = study_records.read(path)
  for record in found:
    if record["row"] in study.rows:
      config = configure(study, record["row"], record["seed"])
      study_records.check(record, config, path)
  return {(record["row"], record["seed"]) for record in found}


def run(study: Study, folder: pathlib.Path, seeds=0, rows=(), workers=0):
  """All members that are not finished; failures are reported at the end."""
  folder.mkdir(parents=True, exist_ok=True)
  locks.hold(folder)
  path = folder / "records.jsonl"
  done = finished(study, path)
  todo = [
    member
    for member in members(study, seeds, rows)
    if (member.row, member.seed) not in done
  ]
  print(f"{study.name}: {len(done)} done, {len(todo)} to do", flush=True)
  if failed := _run_all(study, folder, todo, workers):
    raise ValueError(f"{failed} runs failed, the others are kept in {path}")


def _run_all(study, folder, todo, workers) -> int:
  """Runs members side by side and records them; how many failed."""
  cores = sorted(os.sched_getaffinity(0))
  count = workers or len(cores)
  places: queue.Queue = queue.Queue()
  for index in range(count):
    places.put(cores[index] if count <= len(cores) else None)
  start, failed = time.perf_counter(), 0

  def one(member):
    core = places.get()
    place = study_records.place(folder, member.row, member.seed)
    try:
      run_member(member, place, core)
      config = configure(study, member.row, member.seed)
      return study_records.make(study.name, member, config, place)
    finally:
      places.put(core)

  with concurrent.futures.ThreadPoolExecutor(count) as pool:
    waiting = {pool.submit(one, member): member for member in todo}
    ended = concurrent.futures.as_completed(waiting)
    for number, future in enumerate(ended, 1):
      row, seed, _ = waiting[future]
      try:
        found = future.result()
      except (RuntimeError, OSError, ValueError) as error:
        failed += 1
        print(f"{row}, seed {seed}: {error}", flush=True)
        continue
      try:
        study_records.add(folder / "records.jsonl", found)
      except OSError as error:  # Runs that can't be recorded are not begun.
        pool.shutdown(wait=False, cancel_futures=True)
        raise ValueError(
          f"workdir: can't write to {folder}: {error}"
        ) from error
      spent = time.perf_counter() - start
      left = spent / number * (len(todo) - number)
      print(
        f"[{number}/{len(todo)}] {spent:,.0f} s, {left:,.0f} s left:"
        f" {row}, seed {seed}: {study_records.in_words(found)}",
        flush=True,
      )
  return failed


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_string("study", None, "Name of a file of studies/.")
  flags.DEFINE_string("workdir", None, "Folder of results.")
  flags.DEFINE_integer("seeds", 0, "Seeds per row; 0: the study's.", 0)
  flags.DEFINE_integer(
    "workers", 0, "Runs at a time; 0: one per core, each on its own.", 0
  )
  flags.DEFINE_list(
    "rows", [],
    'Names of rows; all by default. One with commas goes in double quotes:'
    """ --rows='"full, N_y 2","rate, N_y 2"'.""",
  )  # fmt: skip
  flags.DEFINE_string(
    "data_dir", "", "Folder of the real files, for studies that can take some."
  )


def main(argv):
  """Parses the flags and turns errors of use into one line."""
  if len(argv) > 1 or not flags.FLAGS.study or not flags.FLAGS.workdir:
    raise app.UsageError("expected --study=NAME and --workdir=DIR")
  try:
    study = load(flags.FLAGS.study, flags.FLAGS.data_dir)
    folder = pathlib.Path(flags.FLAGS.workdir)
    run(study, folder, flags.FLAGS.seeds, flags.FLAGS.rows, flags.FLAGS.workers)
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  define()
  app.run(main)
