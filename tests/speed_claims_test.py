"""The README's tables of speed against the records."""

import collections
import json
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"


def _time(milliseconds) -> str:
  if milliseconds < 1000:
    return f"{milliseconds:.3g} ms"
  return f"{milliseconds / 1e3:.3g} s"


def test_speed_against_other_libraries():
  """Every row of the table, and no other, against its run."""
  run = json.loads((RESULTS / "speed" / "cpu.json").read_text())
  columns = [
    next(w for w in run["workloads"] if w["label"].startswith(label))
    for label in ("a:", "b:", "d: T 100, B 16,", "d: T 100, B 128,", "e:", "f:")
  ]
  cells = collections.defaultdict(lambda: ["-"] * len(columns))
  for number, column in enumerate(columns):
    rows = [row for row in column["rows"] if "median_ms" in row]
    ours = min(
      row["median_ms"] for row in rows if row["contestant"] == "timedecode"
    )
    for row in rows:
      name, value = f"{row['contestant']} {row['variant']}", row["median_ms"]
      cells[name][number] = f"{_time(value)} ({value / ours:.2f})"
      if name == "machine products alone":
        cells[name][number] = _time(value)
    cells["bound"][number] = _time(column["limit_ms"])
  titles = {
    "XLA's square product and least traffic": "bound",
    "XLA's products alone": "machine products alone",
  }
  text = (ROOT / "README.md").read_text()
  table = text.split("| contestant | (a) | (b) | (d)")[1].split("\n\n")[0]
  shown = {}
  for line in table.splitlines()[2:]:
    name, *values = (part.strip(" *") for part in line.strip("|").split("|"))
    shown[titles.get(name, name)] = values
  others = ("machine product", "machine copy")
  assert shown == {k: v for k, v in cells.items() if k not in others}


def test_steps_of_configurations():
  """Rows of the table against their records, the goal against all runs."""
  text = (ROOT / "README.md").read_text()
  names = ("mnist_time", "mnist_time_bfloat16", "mnist_time_published",
           "mnist_time_published_bfloat16")  # fmt: skip
  for name in names:
    found = json.loads((RESULTS / "speed" / f"{name}.json").read_text())
    title = "the same in bfloat16" if "bfloat16" in name else f"`{name}`"
    assert (
      f"| {title} | {found['step_ms']:.0f} ms |"
      f" {found['examples_per_second']:,.0f} |"
      f" {found['product_gflop']:.1f} GFLOP |"
      f" {found['product_gflop_per_second_of_machine']:,.0f} GFLOP/s |"
      f" {found['product_bound_ms']:.0f} ms |"
      f" {found['parameter_traffic_gb']:.2f} GB |"
      f" {found['traffic_bound_ms']:.0f} ms |"
      f" {found['share_of_product_bound']:.2f} |"
      f" {found['share_of_both_bounds']:.2f} |"
    ) in text
  path = RESULTS / "speed" / "mnist_time_published_runs.json"
  runs = json.loads(path.read_text())
  steps = sorted(run["step_ms"] for run in runs)
  shares = sorted(run["share_of_both_bounds"] for run in runs)
  assert len(runs) == 11
  assert (
    f"In eleven runs the published step took {steps[0]:.0f} to"
    f" {steps[-1]:.0f} ms, {steps[5]:.0f} in the median, whose row"
    " this is, and reached"
    f" {shares[0]:.2f} to {shares[-2]:.2f} of both bounds,"
    f" {shares[-1]:.2f} in one"
  ) in " ".join(text.split())
  assert f"the median share is {shares[5]:.2f}" in " ".join(text.split())
