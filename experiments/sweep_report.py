"""What a sweep leaves: tables of its members, a picture, the best one's run."""

import csv
import json
import pathlib
import shutil
from collections import defaultdict
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import (
  checkpoints,
  constant,
  inputs,
  journal,
  sweep_figures,
  workdir,
)

_PLAIN = (  # Figures in the Markdown table, where the task has them.
  "judge_accuracy", "accuracy", "distortion", "information_bits",
  "readout_spikes_per_example",
)  # fmt: skip


_NO_FIGURES = (
  "member", "step", "alive", "steps_taken", "skipped_steps", "data_source",
  "split",
)  # fmt: skip

_STATUS = ("group", "status", "step", "skipped_steps")


def result(number: int, member, row: dict, final: bool) -> dict:
  """What `rows_of` takes of a member that goes no further.

  Args:
    number: of its group.
    member: `sweep_plan.Member`.
    row: of its last evaluation on validation.
    final: whether it came to the end.
  """
  status = "finished" if final else f"dropped after step {row.get('step')}"
  if not row.get("alive", True):
    status = f"diverged after step {row['steps_taken']}"
  return {
    "member": member.name, "values": member.values, "group": number,
    "status": status, "step": row.get("steps_taken"),
    "skipped_steps": row.get("skipped_steps"), "test": None,
    "validation": {k: v for k, v in row.items() if k not in _NO_FIGURES},
  }  # fmt: skip


def rows_of(results: list[dict]) -> list[dict]:
  """A flat line per member.

  Args:
    results: with member, values, group, status, step, skipped_steps,
      validation and test, the last two figures by name, test None where it was
      not made.
  """
  lines = []
  for result in results:
    line = {"member": result["member"], **result["values"]}
    line |= {k: result[k] for k in _STATUS}
    for split in ("validation", "test"):
      for name, value in (result[split] or {}).items():
        line[f"{split} {name}"] = value
    lines.append(line)
  return lines


def write_csv(path: pathlib.Path, results: list[dict]) -> None:
  """All figures of all members."""
  lines = rows_of(results)
  names = list(dict.fromkeys(name for line in lines for name in line))
  with path.open("w", newline="") as file:
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)


def _lines(table: list[list]) -> str:
  head = [table[0], ["---"] * len(table[0])]
  lines = [
    f"| {' | '.join(map(sweep_figures.cell, row))} |"
    for row in [*head, *table[1:]]
  ]
  return "\n".join(lines) + "\n"


def _figures(results) -> list[str]:
  found = next((r["test"] for r in results if r["test"]), {})
  return [name for name in _PLAIN if name in found]


def markdown(results: list[dict], metric: str) -> str:
  """A table of members, the best on validation first; with several seeds also
  one of means ± standard deviations over them."""
  names, fields = _figures(results), list(results[0]["values"])
  ordered = sorted(
    results,
    key=lambda r: (r["status"] == "finished", (r["validation"] or {})[metric]),
    reverse=True,
  )
  skips = any(result["skipped_steps"] for result in results)
  table = [[*fields, "status", *["skipped steps"] * skips,
            f"{metric} (validation)",
            *(f"{name} (test)" for name in names)]]  # fmt: skip
  for result in ordered:
    test = result["test"] or {}
    table.append([
      *result["values"].values(), result["status"],
      *[result["skipped_steps"]] * skips,
      (result["validation"] or {}).get(metric), *map(test.get, names),
    ])  # fmt: skip
  text = _lines(table)
  groups = defaultdict(list)
  for result in results:
    if result["test"] and result["status"] == "finished":
      groups[sweep_figures.seedless(result)].append(result["test"])
  if max(map(len, groups.values()), default=0) < 2:
    return text
  table = [[*(f for f in fields if f != "seed"), "seeds",
            *(f"{name} (test)" for name in names)]]  # fmt: skip
  for values, tests in groups.items():
    cells = []
    for name in names:
      column = np.array([test[name] for test in tests])
      spread = f" ± {column.std(ddof=1):.2g}" if len(tests) > 1 else ""
      cells.append(f"{column.mean():.4g}{spread}")
    table.append([*(v for _, v in values), len(tests), *cells])
  return f"{text}\n{_lines(table)}"


def best_of(results: list[dict], metric: str) -> dict | None:
  """The finished member that is best on validation; None if all diverged."""
  finished = [r for r in results if r["status"] == "finished"]
  return max(finished, key=lambda r: r["validation"][metric], default=None)


class End(NamedTuple):
  """A member that came to the end of a sweep.

  Attributes:
    member: `sweep_plan.Member`.
    state: `training.TrainState` of NumPy.
    rows: of its evaluations on validation.
    source: `sources.Source`.
  """

  member: Any
  state: Any
  rows: list[dict]
  source: Any


def _is_of(folder: pathlib.Path, config, step: int) -> bool:
  """Whether a work folder is of that configuration, at that step."""
  if not (folder / "config.json").exists():
    return False
  ours = json.loads(config.to_json_best_effort())
  same = not workdir.differences(folder, ours)
  return same and checkpoints.steps(folder)[-1:] == [step]


def write_best(folder: pathlib.Path, end: End) -> None:
  """A work folder as `train` leaves it before its test; one of the same member
  at the same step, and what others have put there, is left as it is."""
  config = end.member.config
  if _is_of(folder, config, int(end.state.step)):
    return
  partial = folder.with_name(f"{folder.name}.partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  stored = json.loads(config.to_json_best_effort())
  (partial / "config.json").write_text(json.dumps(stored, indent=2) + "\n")
  seen = lambda row: {"examples_seen": row["step"] * config.batch_size}
  text = "".join(json.dumps(seen(row) | row) + "\n" for row in end.rows)
  (partial / "metrics.jsonl").write_text(text)
  step, last = int(end.state.step), end.rows[-1]
  meta = {
    "view": config.view, "step": step, "seed": config.seed,
    "train_seconds": last["train_seconds"],
    "data": journal.digests(end.source), "skipped": last["skipped_steps"],
  }  # fmt: skip
  metric = last[inputs.task(config).metric]
  with checkpoints.Checkpoints(partial, 0) as kept:
    kept.save(step, jax.tree.map(np.asarray, end.state), meta, metric)
  shutil.rmtree(folder, ignore_errors=True)
  partial.replace(folder)


def _without_spikes(config, ends: list[End]) -> list[float]:
  """Of the best constant answers on validation, nats; once for each source."""
  sources = {id(end.source): end.source for end in ends}
  nats = {
    name: constant.of_source(config, source, "validation")
    for name, source in sources.items()
  }
  return [nats[id(end.source)] for end in ends]


def write(folder, config, results, ends, report) -> None:
  """Tables, the picture, and the best member's run.

  Args:
    folder: of the sweep.
    config: of any member.
    results: as in `rows_of`.
    ends: `End`s.
    report: told of them.
  """
  metric = inputs.task(config).metric
  write_csv(folder / "members.csv", results)
  text = markdown(results, metric)
  (folder / "members.md").write_text(text)
  report(text)
  title = (
    f"{config.name}: test examples of {inputs.describe(config)},"
    f" {len(results)} members"
  )
  validation = (
    f"{config.name}: validation examples of {inputs.describe(config)}, from the"
    " first evaluation to the last (large)"
  )
  without = _without_spikes(config, ends)
  figures = {
    "rate_distortion": sweep_figures.rate_distortion(results, title),
    "information_plane": sweep_figures.information_plane(
      ends, without, validation
    ),
  }
  for name, figure in figures.items():
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=150, metadata={"Software": None})
  best = best_of(results, metric)
  if best is None:
    report("all members diverged")
    return
  (end,) = (end for end in ends if end.member.name == best["member"])
  write_best(folder / "best", end)
  report(f"best on validation, in {folder / 'best'}: {best['member']}")
