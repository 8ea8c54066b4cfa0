"""Part of `report`: runs and records, read from folders and files."""

import json
import pathlib
import re
import shlex
from typing import NamedTuple

from experiments import report_text, study_records, workdir
from experiments.configs import base

BASE = workdir.flat(json.loads(base.get_config().to_json_best_effort()))
LIMIT = 2**26  # Bytes of a file that is read.
_MOST = 100  # Things that could not be read, one by one.
_KINDS = {"study": str, "row": str, "seed": int, "settings": dict,
          "command": str, "summary": dict}  # fmt: skip


class Run(NamedTuple):
  """One run, from its folder or from its record."""

  study: str
  row: str
  seed: int
  settings: dict  # Dotted field -> value that is not base.py's; no seed.
  data: str  # Source of the examples.
  split: str  # Of the figures; "" while there are none.
  command: str
  summary: dict  # Name -> figure; empty while the run is unfinished.
  state: str = ""  # How far it is; "" once it is finished.
  folder: pathlib.Path | None = None  # None for a record.


def _read(path: pathlib.Path) -> str:
  if (size := path.stat().st_size) > LIMIT:
    raise ValueError(f"{path.name}: over {LIMIT:,} bytes, {size:,}")
  return path.read_text(encoding="utf-8")


def _make(summary: dict, settings: dict, **known) -> Run:
  """A run; ValueError where a figure that has a column is not a number."""
  for name in report_text.METRICS:
    value = summary.get(name)
    if value is not None and not report_text.is_number(value):
      raise ValueError(f"{name}: expected a number, got {value!r:.60}")
  data = summary.get("data_source") or settings.get("data.source")
  settings = {name: v for name, v in settings.items() if name != "seed"}
  return Run(
    settings=settings, summary=summary, split=str(summary.get("split") or ""),
    data=str(data or BASE["data.source"]), **known,
  )  # fmt: skip


def read_record(line: str) -> Run:
  """The run of one line; ValueError if it is no record."""
  found = json.loads(line)
  for name, kind in _KINDS.items():
    value = found.get(name) if isinstance(found, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
      raise ValueError(f"{name}: expected {kind.__name__}, got {value!r:.60}")
  if not found["summary"]:
    raise ValueError("summary: expected figures, got none")
  last = found.get("validation")  # What choices are made on.
  for name in ("accuracy", "judge_accuracy"):
    if isinstance(last, dict) and name in last:
      found["summary"][f"validation_{name}"] = last[name]
  return _make(**{name: found[name] for name in _KINDS})


def command(settings: dict, seed: int, folder: pathlib.Path) -> str:
  """The command line that makes a run from base.py.

  Runs of the autoencoder are those that have a weight of its KL term.
  """
  settings = settings | {"seed": seed}
  weight = settings.pop("kl_weight", None)
  binary = "train" if weight is None else "vae"
  words = ["python", "-m", f"experiments.{binary}"]
  words += ["--config=experiments/configs/base.py"]
  words += [] if weight is None else [f"--kl_weight={weight}"]
  for name, value in settings.items():
    value = tuple(value) if isinstance(value, list) else value
    words.append(f"--config.{name}={value}")
  return shlex.join([*words, f"--workdir={folder}"])


def _state(folder: pathlib.Path, steps) -> str:
  """How far an unfinished run is, from the last whole line of its metrics."""
  path, step = folder / "metrics.jsonl", 0
  for line in _read(path).split("\n") if path.exists() else ():
    try:
      step = int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
      continue  # Cut off.
  stopped = (folder / "non_finite.json").exists()
  return f"step {step} of {steps}" + ", not finite" * stopped


def read_run(folder: pathlib.Path, config: dict, study: str, row: str) -> Run:
  """The run in a folder; ValueError if its summary is damaged."""
  fields, summary = workdir.flat(config), {}
  if (path := folder / "summary.json").exists():
    summary = json.loads(_read(path))
    if not isinstance(summary, dict) or not summary:
      raise ValueError(f"expected figures, got {summary!r:.60}")
  seed = int(fields.pop("seed", 0))
  settings = {n: v for n, v in fields.items() if n not in BASE or BASE[n] != v}
  return _make(
    summary, settings, study=study, seed=seed, folder=folder,
    row=row or str(fields.get("name", folder.name)),
    command=command(settings, seed, folder),
    state="" if summary else _state(folder, fields.get("steps")),
  )  # fmt: skip


def _root(path: pathlib.Path) -> pathlib.Path:
  """The folder that rows are named from: above its row for a run alone."""
  path = path.absolute()
  if not (path / "config.json").exists():
    return path
  return path.parents[1 if re.fullmatch(r"seed\d+", path.name) else 0]


def _find(path: pathlib.Path) -> list[pathlib.Path]:
  """Records, configurations and summaries; seed2 before seed10."""
  if path.is_file():
    return [path] if path.suffix == ".jsonl" else []
  digits = lambda found: found[0].zfill(9)
  name = lambda file: re.sub(r"(?<![.\d])\d+", digits, str(file))
  key = lambda file: (file.suffix != ".jsonl", name(file))
  return [
    file
    for file in sorted(path.rglob("*.json*"), key=key)
    if file.name in ("config.json", "summary.json")
    or (file.suffix == ".jsonl" and file.name != "metrics.jsonl")
  ]


def _files(paths: list[pathlib.Path]) -> list[tuple]:
  """(file, path that it lies below), each file once; ValueError if none."""
  found, files = {path: _find(path) for path in paths}, {}
  wrong = [str(path) for path in paths if not found[path]]
  if wrong or not paths:
    raise ValueError(
      "workdirs: expected folders of runs (config.json) or of records"
      f" (*.jsonl), found neither in {', '.join(wrong) or 'an empty list'}"
    )
  for path in paths:
    for file in found[path]:
      files.setdefault(file.resolve(), (file, path))
  return list(files.values())


def _row(folder: pathlib.Path, root: pathlib.Path) -> str:
  """The name of a row that lies as ROW/seed<k>, or as ROW/seed<k>/run."""
  parts = folder.absolute().relative_to(root).parts
  of_study = re.fullmatch(r"seed\d+/run", "/".join(parts[-2:]))
  return "/".join(parts[: -2 if of_study else -1])


def _as_recorded(run: Run, like: Run | None) -> Run:
  """A run of a study with the name and settings of its row's records."""
  if like is None:
    return run
  kept = {
    name: value
    for name, value in run.settings.items()
    if name not in ("name", "data.data_dir")
  }
  return run._replace(study=like.study, row=like.row, settings=kept)


def gather(paths: list[pathlib.Path]) -> tuple[list[Run], list[str]]:
  """The runs below the paths, and what could not be read.

  Of runs in a study's folder that have a record the record is taken.

  Raises:
    ValueError: paths that are missing, or below which there is nothing.
  """
  runs, problems, roots = [], [], {_root(path) for path in paths}
  recorded = {}  # Folder of a run, or of its row -> a record.

  def attempt(place, read, *arguments):
    try:
      return read(*arguments)
    except (ValueError, TypeError, OSError, RecursionError) as error:
      problems.append(f"{place}: {' '.join(str(error).split())}")

  for file, path in _files(paths):
    folder, root = file.parent, _root(path)
    if file.suffix == ".jsonl":
      text = attempt(file, _read, file) or ""
      for number, line in enumerate(text.split("\n"), 1):
        place = f"{file}, line {number}"
        found = attempt(place, read_record, line) if line.strip() else None
        if found:
          runs.append(found)
          own = study_records.place(folder, found.row, found.seed)
          recorded |= {own: found, own.parents[1]: found}
    elif folder in recorded:
      continue
    elif file.name == "config.json":
      alone = [other.name for other in roots].count(root.name) == 1
      study, row = root.name if alone else str(root), _row(folder, root)
      config = attempt(file, workdir.read_config, folder)
      arguments = folder / "summary.json", read_run, folder, config, study, row
      if config and (found := attempt(*arguments)):
        runs.append(_as_recorded(found, recorded.get(folder.parents[1])))
    elif not (folder / "config.json").exists():
      problems.append(f"{file}: no config.json beside it")
  more = len(problems) - _MOST
  problems[_MOST:] = [f"and {more} more"] * (more > 0)
  return runs, problems
