"""What was measured, as numbers, as a Markdown table, and as a figure."""

import itertools
import json
import pathlib

import numpy as np

from experiments.bench import contestants, workloads

OURS, MACHINE = "timedecode", "machine"


def _median(rows, contestant, variant=None):
  """Of the fastest row of a contestant, ms; None where none ran."""
  found = [
    float(np.median(row["ms"])) for row in rows
    if row.get("ms") and row["contestant"] == contestant
    and variant in (None, row["variant"])
  ]  # fmt: skip
  return min(found, default=None)


def limits(workload: workloads.Workload, rows: list[dict], device: str) -> dict:
  """What the work needs, and the least time for it on this machine.

  Products at the rate of a square product, and then traffic at the bandwidth
  of a scaled sum; both were timed in the same rounds. Absent where they were
  not.
  """
  flops = workloads.product_flops(workload)
  size = workloads.least_bytes(workload)
  found = {"product_flops": flops, "least_bytes": size}
  product = _median(rows, MACHINE, "product")
  copy = _median(rows, MACHINE, "copy")
  if product and copy:
    side, length = contestants.MACHINE[device]
    found["flops_per_second"] = 2e3 * side**3 / product
    found["bytes_per_second"] = 12e3 * length / copy
    by_products = flops / found["flops_per_second"]
    by_traffic = size / found["bytes_per_second"]
    found["limit_ms"] = 1e3 * (by_products + by_traffic)
  return found


def summarise(workload, rows: list[dict], device: str) -> dict:
  """A workload's part of the JSON: its sizes, limits and rows.

  A row that ran gains its median and quartiles, the ratio to our fastest, and
  the share of the limit that it reaches.
  """
  found = limits(workload, rows, device)
  ours = _median(rows, OURS)
  alone = _median(rows, MACHINE, "products alone")
  for row in rows:
    if not row.get("ms"):
      continue
    quartiles = np.percentile(row["ms"], (25, 50, 75))
    row["first_ms"], row["median_ms"], row["third_ms"] = map(float, quartiles)
    if row["contestant"] == MACHINE:
      continue
    for name, value, over in (
      ("per_ours", ours, False), ("per_products_alone", alone, False),
      ("share_of_limit", found.get("limit_ms"), True),
    ):  # fmt: skip
      if value:
        ratio = row["median_ms"] / value
        row[name] = 1 / ratio if over else ratio
  return workload._asdict() | found | {"label": workload.label, "rows": rows}


def _number(value, form, unit=""):
  return "-" if value is None else f"{value:{form}}{unit}"


def _line(row):
  peak, compiled = row.get("peak_bytes"), row.get("compiled_bytes")
  cells = [
    f"{row['contestant']} {row['variant']}",
    f"{row['median_ms']:,.3g} ms",
    f"{row['first_ms']:,.3g}-{row['third_ms']:,.3g}",
    _number(row.get("per_ours"), ".2f"),
    _number(row.get("per_products_alone"), ".2f"),
    _number(row.get("share_of_limit"), ".0%"),
    _number(peak and peak / 1e6, ",.0f", " MB"),
    _number(compiled and compiled / 1e6, ",.0f", " MB"),
    f"{row['build_seconds']:.1f} s",
  ]
  return "| " + " | ".join(cells) + " |"


HEAD = (
  "contestant", "step", "quartiles", "to ours", "to products alone",
  "of dense limit", "peak memory", "temporary", "first step",
)  # fmt: skip


def markdown(found: dict) -> str:
  """A workload's table: fastest first, then why others have no time."""
  lines = [f"### {found['label']}", ""]
  text = (
    f"Products {found['product_flops'] / 1e9:,.3g} GFLOP, least traffic"
    f" {found['least_bytes'] / 1e9:,.3g} GB"
  )
  if "limit_ms" in found:
    text += (
      f"; the machine {found['flops_per_second'] / 1e9:,.0f} GFLOP/s and"
      f" {found['bytes_per_second'] / 1e9:,.1f} GB/s: limit"
      f" {found['limit_ms']:,.3g} ms"
    )
  alone = _median(found["rows"], MACHINE, "products alone")
  if alone:
    text += f"; its products alone {alone:,.3g} ms"
  rates = ", ".join(f"{rate:.1%}" for rate in found.get("spike_rates", ()))
  lines += [f"{text}. Spikes per step by layer: {rates or '-'}.", ""]
  if any(row.get("alone") for row in found["rows"]):
    lines += ["Together they do not fit: timed one after the other.", ""]
  rows = [row for row in found["rows"] if row["contestant"] != MACHINE]
  ran = [row for row in rows if "median_ms" in row]
  if ran:
    lines += ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    lines += map(_line, sorted(ran, key=lambda row: row["median_ms"]))
  missing = [row for row in found["rows"] if "reason" in row]
  lines += [""] if ran and missing else []
  for row in missing:
    reason = " ".join(row["reason"].split())
    lines.append(f"- {row['contestant']} {row['variant']}: {reason}")
  return "\n".join(lines) + "\n"


def curves(results: list[dict]) -> dict[str, dict[str, list]]:
  """What the figure shows: steps, batch, width -> contestant -> sorted pairs
  (size, ms) of its fastest variants.

  Of the sizes that differ from (a) in that one alone.
  """
  usual = workloads.USUAL
  found: dict[str, dict[str, list]] = {name: {} for name in usual}
  for result in results:
    if result["kind"] != "training" or not result.get("rows"):
      continue
    sizes = {
      "steps": result["num_steps"], "batch": result["batch"],
      "width": result["widths"][1],
    }  # fmt: skip
    for name, contestant in itertools.product(usual, contestants.CONTESTANTS):
      value = _median(result["rows"], contestant)
      alone = all(sizes[n] == usual[n] for n in usual if n != name)
      if alone and value and contestant != MACHINE:
        found[name].setdefault(contestant, []).append((sizes[name], value))
  return {
    name: {who: sorted(points) for who, points in of_all.items()}
    for name, of_all in found.items()
  }


def has_curves(results: list[dict]) -> bool:
  """Whether there is a size beside (a) to draw."""
  panels = curves(results).values()
  return any(len(points) > 1 for lines in panels for points in lines.values())


def figure(results: list[dict]):
  """Time of the classifier's step against T, batch and width, see `curves`."""
  from matplotlib.figure import Figure

  whole, named = Figure((11, 4), layout="constrained"), {}
  panels = whole.subplots(1, 3, sharey=True)
  for axis, (name, lines) in zip(panels, curves(results).items(), strict=True):
    for contestant, points in lines.items():
      (named[contestant],) = axis.loglog(
        *zip(*points, strict=True), label=contestant, **_style(contestant)
      )
    sizes = sorted({size for points in lines.values() for size, _ in points})
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.set_xticks([], minor=True)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(alpha=0.3, which="both")
    axis.set_xlabel({"steps": "steps T"}.get(name, name))
  panels[0].set_ylabel("training step, ms")
  whole.legend(
    handles=list(named.values()), loc="outside lower center", ncols=len(named)
  )
  usual = ", ".join(f"{name} {size}" for name, size in workloads.USUAL.items())
  whole.suptitle(
    f"classifier of {workloads.NETWORK[0]} inputs and {workloads.NETWORK[-1]}"
    f" classes, {usual}, but for what is varied; the fastest variant of each",
    fontsize="medium",
  )  # fmt: skip
  return whole


def write(told: dict, path: pathlib.Path) -> None:
  """The record as JSON, and beside it the figure of its workloads, if any."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(told, indent=1) + "\n")
  if has_curves(told["workloads"]):
    figure(told["workloads"]).savefig(
      path.with_suffix(".png"), dpi=120, metadata={"Software": None}
    )


def _style(contestant: str) -> dict:
  """The same in all panels."""
  number = list(contestants.CONTESTANTS).index(contestant)
  return {
    "color": f"C{number}", "marker": "os^Dvx"[number],
    "linewidth": 2.5 if contestant == OURS else 1.2,
  }  # fmt: skip
