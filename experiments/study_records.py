"""Part of `study`: what is kept of finished runs, a line of JSON for each."""

import json
import pathlib

from experiments import files, journal, workdir
from experiments.configs import base

BITS = "information_bits_per_example"


def place(folder: pathlib.Path, row: str, seed: int) -> pathlib.Path:
  """The folder of a run, below that of its study."""
  slug = "".join(c if c.isalnum() or c in ".-" else "_" for c in row)
  return folder / slug / f"seed{seed}" / "run"


def add(path: pathlib.Path, record: dict) -> None:
  """One more line, and the file whole; a last line that was cut off goes.

  For the owner of the folder alone (`locks`).
  """
  lines = map(json.dumps, [*read(path), record])
  files.replace_text(path, "".join(f"{line}\n" for line in lines))


def read(path: pathlib.Path) -> list[dict]:
  """The records of what is finished, without a last line that was cut off.

  Raises:
    ValueError: another line that is none, with its file and number.
  """
  if not path.exists():
    return []
  records, lines = [], path.read_text().split("\n")
  for number, line in enumerate(lines, 1):
    try:
      record = json.loads(line)
      record["row"], record["seed"], record["summary"]
    except (ValueError, KeyError, TypeError) as error:
      if number == len(lines):  # Cut off, or what follows the last line.
        break
      raise ValueError(f"{path}, line {number}: no record: {error}") from error
    records.append(record)
  return records


def _flat(config) -> dict:
  """Dotted field -> value, as it is read back."""
  return json.loads(json.dumps(workdir.flat(config.to_dict())))


def settings_of(config) -> dict:
  """What differs from base.py; no name, seed or folder."""
  defaults = _flat(base.get_config())
  return {
    name: value
    for name, value in _flat(config).items()
    if name not in ("name", "seed", "data.data_dir") and defaults[name] != value
  }


def check(record: dict, config, path: pathlib.Path) -> None:
  """Raises ValueError unless the record is of a run with these settings."""
  ours, theirs = settings_of(config), record.get("settings")
  if not isinstance(theirs, dict):
    raise ValueError(f"{path}: settings: expected a dict, got {theirs!r:.60}")
  defaults = _flat(base.get_config())
  for name in sorted({*ours, *theirs}):
    want, got = (s.get(name, defaults.get(name)) for s in (ours, theirs))
    if want != got:
      raise ValueError(
        f"{path}: {record['row']}, seed {record['seed']} was run with"
        f" {name} = {got!r}, expected the study's {want!r}; move its record"
        " away or take another --workdir"
      )


def _metric(summary) -> str:
  """What a task is judged by."""
  return "accuracy" if "accuracy" in summary else "judge_accuracy"


def make(study: str, member, config, folder: pathlib.Path) -> dict:
  """What is kept of a finished run of a member, from its folder.

  Raises:
    ValueError, OSError: a file of the folder is damaged or not there.
  """
  path = folder / "summary.json"
  summary = files.parse(files.read_text(path), str(path))
  rows = journal.read_rows(folder / "metrics.jsonl")
  if not rows:
    raise ValueError(f"{folder / 'metrics.jsonl'}: expected evaluations")
  metric = _metric(summary)
  for place, found, names in (
    (path, summary, (metric, BITS)),
    (folder / "metrics.jsonl", rows[-1], (metric,)),
  ):
    if not isinstance(found, dict) or set(names) - set(found):
      raise ValueError(f"{place}: expected {' and '.join(names)}")
  command = [  # The folder of files is of one machine.
    word.replace(f"data_dir={config.data.data_dir}", "data_dir=DIR")
    if config.data.data_dir else word
    for word in member.command
  ]  # fmt: skip
  return {
    "study": study, "row": member.row, "seed": member.seed,
    "settings": settings_of(config),
    "command": " ".join(["python", *map(_quoted, command)]),
    "summary": summary, "validation": rows[-1],
  }  # fmt: skip


def _quoted(word: str) -> str:
  return f"'{word}'" if set(word) & set("() ,'") else word


def in_words(found: dict) -> str:
  """The figures of a record that matter."""
  metric = _metric(found["summary"])
  return (
    f"{metric.replace('_', ' ')} {found['summary'][metric]:.3f} (test),"
    f" {found['validation'][metric]:.3f} (validation),"
    f" {found['summary'][BITS]:.1f} bits"
  )
