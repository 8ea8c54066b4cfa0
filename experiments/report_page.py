"""The page of `report`: tables, details of rows, pictures."""

from html import escape

from experiments.report_charts import charts, picture
from experiments.report_text import (
  METRICS,
  MISSING,
  NOTE,
  cells,
  columns,
  headings,
  value_text,
  values_of,
)

_MOST_BYTES = 3_000_000  # Of a picture.
_MOST_PICTURES = 8
_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1c2430;
  --soft: #586473; --line: #d9dee5; --card: #f4f6f8; --link: #0b5cad;
  --warn: #9a3412; }
@media (prefers-color-scheme: dark) { :root { --back: #12161c;
  --text: #e4e8ee; --soft: #9aa6b5; --line: #303a47; --card: #1b212a;
  --link: #7db8f5; --warn: #fdba74; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem clamp(1rem, 3vw, 2.5rem) 4rem;
  max-width: 96rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; } a { color: var(--link); }
h2 { margin-top: 3rem; border-top: 1px solid var(--line);
  padding-top: 1.2rem; }
small, figcaption { color: var(--soft); font-size: 0.86rem; }
.warn { color: var(--warn); } code, pre { font-size: 0.84rem; }
.scroll { overflow-x: auto; container-type: inline-size; margin: 1rem 0;
  border: 1px solid var(--line); border-radius: 0.5rem; }
table { border-collapse: separate; border-spacing: 0; width: max-content;
  min-width: 100%; font-size: 0.93rem;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: 0.4rem 0.7rem; text-align: left; white-space: nowrap;
  vertical-align: top; }
th small { display: block; font-weight: normal; }
thead th { background: var(--card); vertical-align: bottom; }
tbody > tr > * { border-top: 1px solid var(--line); }
tbody > tr > th { position: sticky; left: 0; background: var(--back); }
td > div { max-width: 10rem; white-space: normal; }
tbody > tr > th > div { max-width: min(14rem, 42cqw); white-space: normal;
  overflow-wrap: anywhere; }
th.number, td.number { text-align: right; }
tr.more > td { padding: 0; border: 0; }
.more details { position: sticky; left: 0; width: 100cqw;
  padding: 0 0.7rem 0.4rem; font-size: 0.88rem; white-space: normal; }
.more .scroll { margin: 0.6rem 0; } summary { cursor: pointer; }
pre { overflow-x: auto; padding: 0.7rem; line-height: 1.7;
  background: var(--card); border-radius: 0.5rem; margin: 0.6rem 0; }
.grid { display: grid; gap: 1rem; align-items: start; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.wide > img { min-width: 52rem; border: 0; }
figure { margin: 0; } img { width: 100%; display: block; background: #fff;
  border: 1px solid var(--line); border-radius: 0.5rem; }
"""
_TOP = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 img-src data:; style-src 'unsafe-inline'">
"""


def top(title: str) -> str:
  """A page's beginning, up to its heading."""
  title = escape(title)
  return (
    f"{_TOP}<title>{title}</title><style>{_STYLE}</style></head><body>"
    f"<h1>{title}</h1>"
  )


def _table(label: str, head: list, units: list, body: list[str]) -> str:
  """A table that scrolls by itself; headings with units come last."""
  top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
  top += "".join(
    f'<th scope="col" class="number">{escape(name)}'
    f"<small>{escape(unit)}</small></th>"
    for name, unit in units
  )
  return (
    f'<div class="scroll" role="region" tabindex="0" aria-label="'
    f'{escape(label)}"><table><thead><tr>{top}</tr></thead><tbody>'
    f"{''.join(body)}</tbody></table></div>"
  )


def _line(text: list[str], numbers: list[str]) -> str:
  tags = [f'<th scope="row"><div>{escape(text[0])}</div></th>']
  tags += [f"<td><div>{escape(cell)}</div></td>" for cell in text[1:]]
  tags += [f'<td class="number">{escape(cell)}</td>' for cell in numbers]
  return f"<tr>{''.join(tags)}</tr>"


def _made_with(summary: dict) -> str:
  """Versions and commit, where a summary has them."""
  found = summary.get("versions")
  found = found if isinstance(found, dict) else {}
  words = [f"{name} {version}" for name, version in found.items()]
  if isinstance(summary.get("commit"), str):
    words.append(f"commit {summary['commit']}")
  return ", ".join(words)


def _details(row, width: int) -> str:
  """All seeds' figures, the commands, versions and commits, folded."""
  known = dict.fromkeys([*METRICS, *columns([row])])
  names, body = [name for name in known if values_of(row, name)], []
  for run in row.runs:
    found = [values_of(row._replace(runs=[run]), name) for name in names]
    numbers = [f"{value[0]:.6g}" if value else MISSING for value in found]
    body.append(_line([str(run.seed), run.state or "finished"], numbers))
  label = f"seeds and commands of {row.name}"
  table = _table(label, ["seed", "state"], headings(names), body)
  made = {_made_with(run.summary) for run in row.runs} - {""}
  commands = escape("\n".join(run.command for run in row.runs))
  return (
    f'<tr class="more"><td colspan="{width}"><details>'
    f'<summary aria-label="{escape(label)}">seeds and commands</summary>'
    f'{table}<pre role="region" tabindex="0" aria-label="commands of'
    f' {escape(row.name)}">{commands}</pre>'
    f"<small>{escape('; '.join(sorted(made)))}</small></details></td></tr>"
  )


def _pictures(study, problems: list[str]) -> list[str]:
  """Those of the first run that has some, reconstructions first."""
  result, order = [], lambda path: (path.stem != "reconstructions", path.name)
  pairs = [(row, run) for row in study.rows for run in row.runs]
  for row, run in pairs:
    places = (run.folder / "figures").glob("*.png") if run.folder else ()
    for path in sorted(places, key=order):
      if (size := path.stat().st_size) > _MOST_BYTES:
        problems.append(f"{path}: left out, {size:,} bytes")
      elif not (data := path.read_bytes()).startswith(b"\x89PNG"):
        problems.append(f"{path}: not a PNG picture")
      elif len(result) == _MOST_PICTURES:
        problems.append(f"{path}: left out, the study has {len(result)}")
      else:
        name = path.stem.replace("_", " ")
        of = f"{row.name}, seed {run.seed}, {row.data}"
        result.append(picture(data, f"{name}: {of}"))
    if result:
      break
  return result


def _section(study, number: int, problems: list[str]) -> str:
  """A study: what its rows share, their table, charts and pictures."""
  names = columns(study.rows)
  head, body = ["row", *study.differing, "data", "split", "runs"], []
  for row in study.rows:
    body.append(_line(*cells(row, study.differing, names)))
    body.append(_details(row, len(head) + len(names)))
  shared = "".join(
    f"<code>{escape(field)} = {escape(value_text(value))}</code>, "
    for field, value in study.shared.items()
  )
  grids = "".join(
    f'<div class="grid">{"".join(found)}</div>'
    for found in (charts(study), _pictures(study, problems))
  )
  return (
    f'<section><h2 id="study-{number}">{escape(study.name)}</h2>'
    f"<p>All rows: {shared}all else as in experiments/configs/base.py.</p>"
    f"{_table(study.name, head, headings(names), body)}{grids}</section>"
  )


def page(studies, problems: list[str]) -> str:
  """The page; pictures that it leaves out are added to the problems."""
  parts = [_section(s, i, problems) for i, s in enumerate(studies, 1)]
  runs = [run for s in studies for row in s.rows for run in row.runs]
  left = sum(bool(run.state) for run in runs)
  data = sorted({row.data for study in studies for row in study.rows})
  links = [
    f'<li><a href="#study-{i}">{escape(study.name)}</a>'
    f" <small>rows: {len(study.rows)}</small></li>"
    for i, study in enumerate(studies, 1)
  ]
  if problems:
    links.append(
      f'<li><a class="warn" href="#not-read">Not read: {len(problems)}</a></li>'
    )
    told = "".join(f"<li>{escape(text)}</li>" for text in problems)
    parts.append(
      f'<section><h2 class="warn" id="not-read">Not read</h2><ul>{told}</ul>'
      "</section>"
    )
  return (
    f"{top('Report of runs')}"
    f"<p>{len(runs) - left} finished runs, {left} unfinished; data:"
    f" {escape(', '.join(data)) or MISSING}. {NOTE}</p>"
    f'<nav aria-label="Studies"><ul>{"".join(links)}</ul></nav>'
    f"<main>{''.join(parts)}</main></body></html>\n"
  )
