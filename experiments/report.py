"""Gathers runs into one page and one table.

  python -m experiments.report --workdirs=A,B,... --output=FOLDER

Below each path are runs' folders, WORKDIR/<row>/seed<k>/ or others, and files
*.jsonl of records, one JSON object a line: study, row, seed, settings (dotted
field -> value that differs from configs/base.py), command, summary. Runs that
agree in all but the seed are one row. Writes report.html, which needs no other
file, report.md with all settings, and brief.md with few columns. What can't be
read is named in the first two and on stderr.
"""

import json
import pathlib
import sys
from typing import NamedTuple

from absl import app, flags

from experiments import report_page, report_text
from experiments.report_runs import BASE, Run, gather


class Row(NamedTuple):
  """Runs that differ in their seed alone, one for each seed."""

  name: str
  settings: dict  # Dotted field -> value, for all fields of the study.
  data: str
  split: str
  runs: list[Run]


class Study(NamedTuple):
  """Rows to compare."""

  name: str
  rows: list[Row]
  shared: dict  # Field -> value, the same in all rows but not base.py's.
  differing: list[str]  # Fields whose values differ.


def arrange(runs: list[Run], problems: list[str]) -> list[Study]:
  """Groups runs into rows and studies; a seed counts once, others are told."""
  same = lambda run: json.dumps([run[:2], run.settings], sort_keys=True)
  ends = {same(r): (r.data, r.split) for r in reversed(runs) if not r.state}
  studies = {}
  for run in runs:
    ours = run.data, run.split
    key = same(run), *(ends.get(same(run), ours) if run.state else ours)
    row = studies.setdefault(run.study, {}).setdefault(key, {})
    other = row.get(run.seed)
    if other is None or other.state:
      row[run.seed] = run
    elif not run.state and run.summary != other.summary:
      problems.append(
        f"study {run.study}, row {run.row}: seed {run.seed} again, with other"
        f" figures, left out ({run.folder or 'a record'})"
      )
  return [_study(name, rows) for name, rows in studies.items()]


def _study(name: str, groups: dict) -> Study:
  runs = [sorted(g.values(), key=lambda r: r.seed) for g in groups.values()]
  found = {field for row in runs for run in row for field in run.settings}
  found -= {"data.source"}  # Every row names its data.
  fields = [*filter(found.__contains__, BASE), *sorted(found - {*BASE})]
  rows = []
  for (_, data, split), row in zip(groups, runs, strict=True):
    settings = {f: row[0].settings.get(f, BASE.get(f)) for f in fields}
    rows.append(Row(row[0].row, settings, data, split, row))
  first = rows[0].settings
  same = [f for f in fields if all(r.settings[f] == first[f] for r in rows)]
  differing = [field for field in fields if field not in same]
  return Study(name, rows, {f: first[f] for f in same}, differing)


def write(paths: list[pathlib.Path], output: pathlib.Path) -> list[str]:
  """Writes report.html and report.md; returns what could not be read."""
  runs, problems = gather(paths)
  studies = arrange(runs, problems)
  page = report_page.page(studies, problems)  # May add problems.
  output.mkdir(parents=True, exist_ok=True)
  (output / "report.html").write_text(page, "utf-8", "replace")
  table = report_text.markdown(studies, problems)
  (output / "report.md").write_text(table, "utf-8", "replace")
  brief = [f"## {s.name}\n\n{report_text.brief(s)}" for s in studies]
  (output / "brief.md").write_text("\n".join(brief), "utf-8", "replace")
  return problems


def fill(page: pathlib.Path, output: pathlib.Path) -> None:
  """Puts the tables of brief.md between the marks of a page.

  A table lies between ``<!-- results: STUDY -->`` and ``<!-- end -->``.
  """
  found = (output / "brief.md").read_text().split("## ")[1:]
  tables = dict(part.split("\n\n", 1) for part in found)
  text = page.read_text()
  for name, table in tables.items():
    mark = f"<!-- results: {name} -->\n"
    if text.count(mark) != 1 or "<!-- end -->" not in text.split(mark)[1]:
      raise ValueError(f"fill: expected one {mark!r} and an end in {page}")
    head, rest = text.split(mark)
    text = head + mark + table + rest[rest.index("<!-- end -->") :]
  page.write_text(text)


def define(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the flags."""
  help_text = "Folders of runs or records, or files of records."
  flags.DEFINE_list("workdirs", [], help_text, flag_values=values)
  flags.DEFINE_string("output", "", "Folder of the report.", flag_values=values)
  flags.DEFINE_string(
    "fill", "", "A Markdown page: its tables are written anew.",
    flag_values=values,
  )  # fmt: skip


def main(argv, values: flags.FlagValues = flags.FLAGS):
  """Reports; names on stderr what it could not read."""
  if len(argv) > 1 or not values.output:
    raise SystemExit("error: expected --workdirs=A,B,... --output=FOLDER")
  output = pathlib.Path(values.output)
  try:
    problems = write([pathlib.Path(p) for p in values.workdirs if p], output)
    if values.fill:
      fill(pathlib.Path(values.fill), output)
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  for problem in problems:
    print(f"not read: {problem}", file=sys.stderr)
  print(f"report in {output / 'report.html'} and {output / 'report.md'}")


if __name__ == "__main__":
  define()
  app.run(main)
