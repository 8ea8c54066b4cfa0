"""Judges trained runs when only a part of y, or a noisy y, reaches the decoder.

  python -m experiments.distort --runs=A,B --kind=flips --output=FOLDER

A and B are folders of `experiments.train`; a run's baseline is judged too. With
`flips` every spike and silence is flipped with the probabilities of
--strengths, whatever the run was trained for; with `prefix` the first steps
arrive and silence follows. Test examples, `eval_samples` samples of y each;
runs that differ in their seed alone are one line, mean ± standard deviation.
Writes distort_<kind>.json, .md and .png.
"""

import json
import pathlib
from collections import defaultdict

import jax
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

from experiments import evaluate, finish, inputs, scoring, workdir
from timedecode import channel, plots

CHANNELS = {"flips": channel.binary_symmetric, "prefix": channel.prefix}
FLIPS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
NUM_PREFIXES = 10
# What the name of a line tells of a run.
_OF_A_LINE = ("view", "encoder.num_readout", "channel_flip", "data.source")
VIEWS = ("full", "rate", "first_spike", "window")  # In the order of colours.
LABELS = {
  "flips": "probability that a spike or a silence is flipped",
  "prefix": "steps of y that have arrived",
}


def strengths(kind: str, given: list[str], num_steps: int) -> list[float]:
  """The numbers that are asked for; ValueError if they are out of range."""
  most = 1.0 if kind == "flips" else num_steps
  if not given and kind == "flips":
    return list(FLIPS)
  if not given:
    parts = range(NUM_PREFIXES + 1)
    return sorted({round(num_steps * part / NUM_PREFIXES) for part in parts})
  try:
    found = sorted(map(float, given))
  except ValueError:
    found = [-1.0]
  whole = kind == "flips" or all(value % 1 == 0 for value in found)
  if not whole or not all(0 <= value <= most for value in found):
    what = "numbers" if kind == "flips" else "whole numbers"
    raise ValueError(f"strengths: expected {what} in [0, {most}], got {given}")
  return found


def describe(config) -> str:
  """A run in a legend."""
  text = f"{config.encoder.num_readout} neurons"
  if config.channel_flip:
    text += f", trained for flips of {config.channel_flip:g}"
  return text


def judge(folder: pathlib.Path, kind: str, given: list[str]) -> list[dict]:
  """Test figures of a run and of its baseline at every strength."""
  config, runs, source = evaluate.load(folder)
  judge_params, key = inputs.judge(config, source), jax.random.key(config.seed)
  metric, curves = inputs.task(config).metric, []
  for view, run in runs.items():
    evaluator = scoring.make_evaluator(config, view, source, CHANNELS[kind])
    points = []
    for strength in strengths(kind, given, config.num_steps):
      figures, _ = evaluator(
        judge_params, run.state.params, source.rows("test"), key,
        config.eval_samples, strength,
      )  # fmt: skip
      points.append({"strength": strength} | figures)
      print(f"{folder}, {view}, {kind} {strength:g}: {figures[metric]:.3f}")
    curves.append({
      "label": describe(config), "view": view, "metric": metric,
      "trained_for": config.channel_flip, "seed": config.seed,
      "data": inputs.describe(config), "points": points,
    })  # fmt: skip
  return curves


def _name(curve: dict) -> str:
  """Of a line, which runs that differ in their seed share."""
  return f"{finish.LABELS[curve['view']]}, {curve['label']}, {curve['data']}"


def gather(curves: list[dict]) -> dict[str, dict[float, np.ndarray]]:
  """Name -> strength -> the metric, a number per seed."""
  seeds, found = defaultdict(list), defaultdict(lambda: defaultdict(list))
  for curve in curves:
    name = _name(curve)
    seeds[name].append(curve["seed"])
    for point in curve["points"]:
      found[name][point["strength"]].append(point[curve["metric"]])
  return {
    f"{name} (seeds {', '.join(map(str, sorted(seeds[name])))})": {
      strength: np.array(values) for strength, values in sorted(points.items())
    }
    for name, points in found.items()
  }


def _spread(values: np.ndarray) -> float:
  return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def table(curves: list[dict], kind: str) -> str:
  """A line per strength, a column per model: mean ± deviation over seeds."""
  metric, columns = curves[0]["metric"].replace("_", " "), gather(curves)
  rows = [[f"{metric}; {LABELS[kind]}", *columns]]
  rows.append(["---"] * len(rows[0]))
  for strength in sorted({s for points in columns.values() for s in points}):
    row = [f"{strength:g}"]
    for points in columns.values():
      values = points.get(strength, np.array([]))
      text = f"{values.mean():.3f}" if len(values) else "-"
      row.append(
        text + (f" ± {_spread(values):.3f}" if values[1:].size else "")
      )
    rows.append(row)
  return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def ordered(curves: list[dict]) -> list[dict]:
  """By view, what it was trained for, and seed."""
  key = lambda c: (VIEWS.index(c["view"]), c["trained_for"], c["seed"])
  return sorted(curves, key=key)


def check(curves: list[dict]) -> None:
  """Raises ValueError for runs of different tasks: one axis holds one."""
  found = sorted({curve["metric"] for curve in curves})
  if len(found) > 1:
    raise ValueError(
      f"runs: expected runs of one task, got {' and '.join(found)}"
    )


def check_runs(folders: list[str]) -> None:
  """Raises ValueError unless runs of a line differ in their seed alone."""
  first, seeds = {}, set()
  for folder in folders:
    stored = workdir.read_config(pathlib.Path(folder))
    theirs = workdir.flat(workdir.complete(stored))
    seed = theirs["seed"]
    ignored = ("seed", "name", "baseline_view", *workdir.ELSEWHERE)
    theirs |= dict.fromkeys(ignored)
    line = tuple(theirs[name] for name in _OF_A_LINE)
    known, there = first.setdefault(line, (folder, theirs))
    if fields := workdir.differing(there, theirs):
      raise ValueError(
        f"runs: expected {known} and {folder}, which are one line, to differ in"
        f" their seed alone, got {fields}"
      )
    if (line, seed) in seeds:
      raise ValueError(f"runs: expected a seed once, got {seed} in {folder}")
    seeds.add((line, seed))


def draw(curves: list[dict], kind: str) -> Figure:
  """The metric against the strength: mean and deviation over seeds.

  A panel for each way of training, a line for each view.
  """
  data = sorted({curve["data"] for curve in curves})
  groups = defaultdict(list)
  for curve in sorted(curves, key=lambda c: c["trained_for"]):
    more = f", {curve['data']}" if len(data) > 1 else ""
    groups[curve["label"] + more].append(curve)
  width = max(3.4 * len(groups), 5.0)
  figure = Figure((width, 4.4), layout="constrained")
  panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
  for axis, (label, same) in zip(panels, groups.items(), strict=True):
    for view in sorted({c["view"] for c in same}, key=VIEWS.index):
      _draw_line(axis, [c for c in same if c["view"] == view])
    axis.set(title=label.replace(", ", "\n", 1), ylim=(0, 1))
    axis.grid(alpha=0.3)
    axis.legend(loc="best", fontsize="small")
  name = curves[0]["metric"].replace("_", " ")
  panels[0].set_ylabel(f"{name} (share of test examples)")
  figure.supxlabel(LABELS[kind], fontsize="medium")
  text = f"test examples of {', '.join(data)}"
  if len({curve["seed"] for curve in curves}) > 1:
    text += "; mean ± deviation over seeds"
  figure.suptitle(text, fontsize="medium")
  return figure


def _draw_line(axis, curves: list[dict]) -> None:
  """Of one view."""
  (points,) = gather(curves).values()
  style = VIEWS.index(curves[0]["view"])
  seeds = ", ".join(str(seed) for seed in sorted(c["seed"] for c in curves))
  axis.errorbar(
    list(points), [values.mean() for values in points.values()],
    [_spread(values) for values in points.values()], capsize=3,
    color=plots.COLOURS[style], linestyle=plots.STYLES[style],
    marker="os^D"[style], markersize=4,
    label=f"{finish.LABELS[curves[0]['view']]}\n(seeds {seeds})",
  )  # fmt: skip


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_list("runs", [], "Folders of trained runs.")
  flags.DEFINE_enum("kind", "flips", ["flips", "prefix"], "What happens.")
  flags.DEFINE_list(
    "strengths", [], "Probabilities, or numbers of steps; a grid by default."
  )
  flags.DEFINE_string("output", ".", "Folder of the results.")


def main(argv):
  """Parses the flags and turns errors of use into one line."""
  if len(argv) > 1 or not flags.FLAGS.runs:
    raise app.UsageError("expected --runs=A,B and no other arguments")
  folder = pathlib.Path(flags.FLAGS.output)
  try:
    workdir.make_writable(folder)
    check_runs(flags.FLAGS.runs)
    curves = [
      curve
      for place in flags.FLAGS.runs
      for curve in judge(
        pathlib.Path(place), flags.FLAGS.kind, flags.FLAGS.strengths
      )
    ]
    check(curves)
    curves = ordered(curves)
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  path = folder / f"distort_{flags.FLAGS.kind}"
  path.with_suffix(".json").write_text(json.dumps(curves, indent=1) + "\n")
  path.with_suffix(".md").write_text(table(curves, flags.FLAGS.kind))
  picture = path.with_suffix(".png")
  draw(curves, flags.FLAGS.kind).savefig(
    picture, dpi=150, metadata={"Software": None}
  )
  print(picture)


if __name__ == "__main__":
  define()
  app.run(main)
