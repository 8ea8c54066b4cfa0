"""Part of `study`: what is kept of finished runs, a line of JSON for each."""

import json
import pathlib

from experiments import files, journal, workdir
from experiments.configs import base


def place(folder: pathlib.Path, row: str, seed: int) -> pathlib.Path:
  """The folder of a run, below that of its study."""
  slug = "".join(c if c.isalnum() or c in ".-" else "_" for c in row)
  return folder / slug / f"seed{seed}" / "run"


def add(path: pathlib.Path, record: dict) -> None:
  """One more line, and the file whole; a last line that was cut off goes."""
  text = path.read_text() if path.exists() else ""
  whole = text[: text.rfind("\n") + 1]
  files.replace_text(path, whole + json.dumps(record) + "\n")


def read(path: pathlib.Path) -> list[dict]:
  """The records of what is finished, without a last line that was cut off.

  Raises:
    ValueError: another line that is none, with its file and number.
  """
  if not path.exists():
    return []
  records = []
  for number, line in enumerate(path.read_text().split("\n")[:-1], 1):
    try:
      record = json.loads(line)
      record["row"], record["seed"], record["summary"]
    except (ValueError, KeyError, TypeError) as error:
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
  metric = "accuracy" if "accuracy" in found["summary"] else "judge_accuracy"
  return (
    f"{metric.replace('_', ' ')} {found['summary'][metric]:.3f} (test),"
    f" {found['validation'][metric]:.3f} (validation),"
    f" {found['summary']['information_bits_per_example']:.1f} bits"
  )
