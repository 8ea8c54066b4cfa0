"""Part of `report`: a figure against the one setting that differs."""

import base64
import io
import math
from html import escape

import numpy as np
from matplotlib.figure import Figure

from experiments.report_text import (
  METRICS,
  columns,
  is_number,
  value_text,
  values_of,
)
from timedecode.plots import COLOURS, STYLES

_CHARTED = [*METRICS][:5]
_MOST_LINES = 8


def _axis(rows, differing: list[str]) -> str:
  """The one numeric setting that sets rows apart, others follow; or ""."""
  count = lambda *fields: len(
    {str([row.settings[field] for field in fields]) for row in rows}
  )
  numeric = [
    field
    for field in differing
    if all(is_number(row.settings[field]) for row in rows)
  ]
  whole = lambda field: isinstance(rows[0].settings[field], int)
  best = max(numeric, key=lambda f: (count(f), whole(f)), default="")
  follow = all(count(best, field) == count(best) for field in numeric)
  return best if follow else ""


def _lines(study, x: str, name: str) -> dict[str, list]:
  """Label, with the view -> (x, figures of the seeds), ordered by x."""
  rows, lines = study.rows, {}
  others = [f for f in study.differing if f not in (x, "name", "view")]
  others = [f for f in others if len({
    (row.settings[x], str(row.settings[f])) for row in rows
  }) > len({row.settings[x] for row in rows})]  # fmt: skip
  for row in rows:
    known = [f"{f} {value_text(row.settings[f])}" for f in others]
    known += [row.data] * (len({row.data for row in rows}) > 1)
    known += [row.split] * (len({row.split for row in rows}) > 1)
    own = row.settings.get("view", "full")
    views = {name: f"view {own}"}
    for run in row.runs:
      if view := run.summary.get("baseline_view"):
        views[f"baseline_{name}"] = f"view {view}, baseline of {own}"
    for figure, view in views.items():
      values = [v for v in values_of(row, figure) if math.isfinite(v)]
      if values and math.isfinite(row.settings[x]):
        line = lines.setdefault(", ".join([view, *known]), [])
        line.append((row.settings[x], values))
  return {label: sorted(line) for label, line in lines.items()}


def _scale(values: list[float]) -> dict:
  """Of an axis: logarithmic where values span more than 20 times."""
  positive = [value for value in values if value > 0]
  if min(values) < 0 or max(positive, default=0) <= 20 * min(positive or [1]):
    return {"value": "linear"}
  if min(values) == 0:
    return {"value": "symlog", "linthresh": min(positive)}
  return {"value": "log"}


def _chart(lines: dict, x: str, y: str, title: str) -> bytes:
  """A PNG: means and standard deviations against a setting."""
  known = lambda text: text[:80].encode(errors="replace").decode()
  plain = lambda text: known(text).replace("$", r"\$")  # No mathematics.
  figure = Figure((5.2, 3.9), layout="constrained")
  axis = figure.subplots()
  for index, (label, points) in enumerate(lines.items()):
    means = [np.mean(values) for _, values in points]
    spreads = [np.std(v, ddof=1) if len(v) > 1 else 0.0 for _, v in points]
    axis.errorbar(
      [value for value, _ in points], means, spreads, label=plain(label),
      color=COLOURS[index % len(COLOURS)], ls=STYLES[index % len(STYLES)],
      marker="os^v"[index % 4], ms=5, capsize=3,
    )  # fmt: skip
  axis.set_xscale(**_scale([p[0] for line in lines.values() for p in line]))
  axis.set_yscale(
    **_scale([v for l in lines.values() for p in l for v in p[1]])
  )
  axis.set(xlabel=plain(x), ylabel=plain(y))
  axis.set_title(plain(title), fontsize="medium")
  axis.grid(color="0.9")
  figure.legend(loc="outside lower center", ncols=2, fontsize="small")
  file = io.BytesIO()
  figure.savefig(file, dpi=150, metadata={"Software": None})
  return file.getvalue()


def image(data: bytes, words: str) -> str:
  """A PNG inside the page; words: in its place."""
  source = "data:image/png;base64," + base64.b64encode(data).decode()
  return f'<img src="{source}" alt="{escape(words)}">'


def picture(data: bytes, caption: str) -> str:
  """A PNG inside the page, with a caption."""
  return (
    f"<figure>{image(data, caption)}<figcaption>{escape(caption)}</figcaption>"
    "</figure>"
  )


def charts(study) -> list[str]:
  """Figures against the setting that sets rows apart, where there is one."""
  result, x = [], _axis(study.rows, study.differing)
  data = ", ".join(dict.fromkeys(row.data for row in study.rows))
  for name in columns(study.rows) if x else ():
    if name not in _CHARTED:
      continue
    lines = _lines(study, x, name)
    places = {value for line in lines.values() for value, _ in line}
    if len(places) > 1 and len(lines) <= _MOST_LINES:
      what, unit = METRICS[name][:2]
      png = _chart(lines, x, f"{what}, {unit}", f"{study.name}: {data}")
      result.append(picture(png, f"{what} ({unit}) against {x}, {data}"))
  return result
