"""The figure of the benchmark."""

import json

from experiments.bench import table


def _result(times, steps=100, batch=128, width=256, kind="training"):
  rows = [
    {"contestant": name, "variant": variant, "ms": [value - 1, value, 90.0]}
    for (name, variant), value in times.items()
  ]
  return {
    "kind": kind, "num_steps": steps, "batch": batch,
    "widths": (700, width, 20), "rows": rows,
  }  # fmt: skip


A = _result({
  ("timedecode", "scan"): 8.0, ("timedecode", "fused"): 4.0,
  ("spyx", "run"): 6.0, ("machine", "products alone"): 2.0,
})  # fmt: skip
LONG = _result({("timedecode", "fused"): 16.0}, steps=400)
SHORT = _result({("timedecode", "fused"): 1.0, ("spyx", "run"): 3.0}, steps=20)
WIDE = _result({("spyx", "run"): 20.0}, width=1024)
SMALL = _result({("timedecode", "scan"): 2.0}, batch=8)
NEITHER = [
  _result({("spyx", "run"): 7.0}, steps=1000, batch=32),
  _result({("spyx", "run"): 7.0}, kind="layer"),
  {"kind": "training", "skipped": "needs more", "label": "s"},
  {"kind": "configuration", "label": "c"},
]


def test_a_panel_varies_one_size_alone():
  found = table.curves([A, LONG, *NEITHER, SHORT, WIDE, SMALL])
  assert found == {
    "steps": {
      "timedecode": [(20, 1.0), (100, 4.0), (400, 16.0)],
      "spyx": [(20, 3.0), (100, 6.0)],
    },
    "batch": {"timedecode": [(8, 2.0), (128, 4.0)], "spyx": [(128, 6.0)]},
    "width": {"timedecode": [(256, 4.0)], "spyx": [(256, 6.0), (1024, 20.0)]},
  }


def test_one_size_is_no_curve():
  assert not table.has_curves([A, *NEITHER])
  assert table.has_curves([A, *NEITHER, SMALL])
  assert not table.has_curves([])


def test_the_figure_draws_each_contestant_alike():
  """Whoever comes first in a panel, or is absent from one."""
  figure = table.figure([WIDE, A, SHORT, LONG, SMALL])
  lines = [
    (axis.get_xlabel(), line.get_label(), line.get_color(), line.get_marker(),
     list(zip(*line.get_data(), strict=True)))
    for axis in figure.axes for line in axis.lines
  ]  # fmt: skip
  found = table.curves([WIDE, A, SHORT, LONG, SMALL])
  drawn = {(name, who): points for name, who, *_, points in lines}
  assert drawn == {
    ({"steps": "steps T"}.get(name, name), who): points
    for name, of_all in found.items() for who, points in of_all.items()
  }  # fmt: skip
  assert len({(who, *style) for _, who, *style, _ in lines}) == 2
  (legend,) = figure.legends
  names = [text.get_text() for text in legend.get_texts()]
  assert sorted(names) == ["spyx", "timedecode"]
  ticks = [text.get_text() for text in figure.axes[2].get_xticklabels()]
  assert ticks == ["256", "1,024"]


def test_the_figure_lies_beside_the_record(tmp_path):
  path = tmp_path / "new" / "found.json"
  table.write({"commit": None, "workloads": [A, *NEITHER]}, path)
  assert not path.with_suffix(".png").exists()
  told = {"commit": "0" * 40, "workloads": [A, LONG]}
  table.write(told, path)
  assert path.with_suffix(".png").stat().st_size > 5_000
  assert json.loads(path.read_text()) == json.loads(json.dumps(told))


def test_a_panel_may_be_all_there_is(tmp_path):
  figure = table.figure([WIDE])
  assert [len(axis.lines) for axis in figure.axes] == [0, 0, 1]
  (legend,) = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == ["spyx"]
  figure.savefig(tmp_path / "one.png")
