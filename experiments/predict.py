"""Prediction of drifting blobs: VDIB against rate decoding, at every step.

  python -m experiments.predict --workdir=DIR

The paper's first experiment (method section 7.1): 20 input neurons, 10 readout
neurons, a linear decoder that sees 5 steps, the pattern `delta` steps ahead as
the target, parameters that move at every time step. Sequences run side by side
(`--batch_size`); seeds are members of one compiled program. Per delta, view and
rule of learning `tuned`, learning rate and the factor on what the decoder sees
are the best of one grid by accuracy on validation sequences; the rule
`published` has a learning rate of 0.01 and a factor of 1. The grid of beta and
the published rule run at `--full_deltas`, all other deltas with the first
beta. Judged on long sequences with frozen parameters. Finished members are kept
in DIR and not repeated. Beta is in nats per nat: the published 1, which weighs
a mean over 10 neurons, is 0.1. Pictures: what was reached, and accuracy while a
smoother, a filter and a predictor are learnt.
"""

import pathlib
import time

import jax.numpy as jnp
import numpy as np
from absl import app

from experiments import (
  job,
  options,
  predict_report,
  predict_runs,
  predict_sequences,
)
from experiments import predict_plan as plans

PUBLISHED = {"rate": 0.01, "factor": 1.0}
_TUNE_SEED = 1_000  # None of the seeds that are reported.
_PIECES = 10  # Of training, between two lines of progress.


class Progress:
  """Prints lines with the time left, by sequences done and to do."""

  def __init__(self, total):
    self.total, self.done, self.start = total, 0, time.perf_counter()

  def add(self, sequences, text):
    """After `sequences` more; a line."""
    self.done += sequences
    passed = time.perf_counter() - self.start
    left = passed * (self.total - self.done) / max(self.done, 1)
    print(f"{passed:6.0f} s  {text}  {left:.0f} s left", flush=True)


def batches_of(sequences: int) -> int:
  """Batches that hold at least as many sequences, in `_PIECES` equal parts."""
  batches = -(-sequences // plans.BATCH.value)
  pieces = min(_PIECES, batches)
  return -(-batches // pieces) * pieces


def train(condition, members, sequences, progress):
  """Trains dicts of seed, rate, factor side by side: programs, numbers, params,
  accuracy in every batch [M, batches], and seconds."""
  kind = predict_runs.Kind(
    condition.view,
    condition.rule,
    plans.ESTIMATOR.value,
    plans.STEPS.value,
    plans.BATCH.value,
  )
  programs = predict_runs.programs(
    kind, plans.TEST_SEQUENCES.value, plans.TEST_STEPS.value
  )
  column = lambda name: jnp.asarray([m[name] for m in members])
  count = len(members)
  numbers = predict_runs.Numbers(
    column("seed"), jnp.full(count, condition.delta),
    jnp.full(count, condition.beta), column("rate"), column("factor"),
  )  # fmt: skip
  start, learnt = time.perf_counter(), []
  state = programs.init(numbers)
  batches = batches_of(sequences)
  length = batches // min(_PIECES, batches)
  for first in range(0, batches, length):
    state, (distortion, correct) = programs.learn(
      numbers, state, first + jnp.arange(length)
    )
    nats, accuracy = np.mean(distortion), np.mean(correct)
    learnt.append(np.asarray(correct))
    progress.add(
      count * length * plans.BATCH.value,
      f"{condition.rule} {condition.view} delta {condition.delta}"
      f" beta {condition.beta:g}: batch {first + length}/{batches} of"
      f" {count} members, {nats:.3f} nats, accuracy {accuracy:.3f}",
    )
  seconds = time.perf_counter() - start
  return programs, numbers, state.params, np.concatenate(learnt, 1), seconds


def tune(condition, plan, progress) -> dict:
  """The best of the grid by accuracy on validation, and the grid."""
  grid = [
    {"seed": _TUNE_SEED, "rate": rate, "factor": factor}
    for rate in plan.rates
    for factor in plan.factors
  ]
  programs, numbers, params, *_ = train(
    condition, grid, plans.TUNE.value, progress
  )
  accuracy = programs.evaluate(numbers, params).accuracy
  for trial, value in zip(grid, accuracy, strict=True):
    trial["accuracy"] = float(value)
  finite = lambda trial: np.nan_to_num(trial["accuracy"], nan=-1.0)
  best = max(grid, key=finite)
  return {"rate": best["rate"], "factor": best["factor"], "grid": grid}


def member_path(folder, condition, seed) -> pathlib.Path:
  """Where a member is kept."""
  delta, beta, view, rule = condition
  name = f"{rule}_{view}_delta{delta}_beta{beta:g}_seed{seed}.json"
  return folder / "members" / name


def run_condition(folder, condition, chosen, progress) -> None:
  """Trains and tests the seeds of a condition that are not there yet."""
  seeds = [
    seed
    for seed in range(plans.SEEDS.value)
    if not member_path(folder, condition, seed).exists()
  ]
  if not seeds:
    return
  settings = {"rate": chosen["rate"], "factor": chosen["factor"]}
  members = [{"seed": seed} | settings for seed in seeds]
  programs, numbers, params, learnt, seconds = train(
    condition, members, plans.SEQUENCES.value, progress
  )
  figures = programs.test(numbers, params)
  batches = batches_of(plans.SEQUENCES.value)
  published = condition.rule == "published"
  for index, member in enumerate(members):
    row = condition._asdict() | member
    row["estimator"] = "score_function" if published else plans.ESTIMATOR.value
    row["sequences"] = batches * plans.BATCH.value
    row["updates"] = batches * plans.STEPS.value
    row["seconds"] = seconds / len(members)
    row |= {name: float(v[index]) for name, v in figures._asdict().items()}
    row["learning"] = predict_report.curve(learnt[index])
    job.kept(
      member_path(folder, condition, member["seed"]), lambda row=row: row
    )


def _work(folder, plan) -> int:
  """Sequences that are still to be learnt from."""
  members = sum(
    not member_path(folder, condition, seed).exists()
    for condition in plan.conditions()
    for seed in range(plans.SEEDS.value)
  )
  grids = sum(
    not _tune_path(folder, delta, view).exists()
    for delta in plan.deltas
    for view in predict_runs.VIEWS
  )
  trials = grids * len(plan.rates) * len(plan.factors)
  length = lambda sequences: batches_of(sequences) * plans.BATCH.value
  return members * length(plans.SEQUENCES.value) + trials * length(
    plans.TUNE.value
  )


def _tune_path(folder, delta, view):
  return folder / "members" / f"tune_{view}_delta{delta}.json"


def run(folder: pathlib.Path, plan: plans.Plan):
  """All members: rows of results, and delta -> references."""
  job.claim(
    folder,
    {flag.name: flag.value for flag in plans.SETTINGS}
    | {"tuned_at_beta": plan.betas[0]},
  )  # fmt: skip
  (folder / "members").mkdir(exist_ok=True)
  progress, rows = Progress(_work(folder, plan)), []
  for condition in plan.conditions():
    chosen = PUBLISHED
    if condition.rule == "tuned":
      first = condition._replace(beta=plan.betas[0])
      chosen = job.kept(
        _tune_path(folder, condition.delta, condition.view),
        lambda first=first: tune(first, plan, progress),
      )
    run_condition(folder, condition, chosen, progress)
    rows += [
      job.kept(member_path(folder, condition, seed), dict)
      for seed in range(plans.SEEDS.value)
    ]
  references = {}
  for delta in plan.deltas:
    found = predict_sequences.references(
      delta,
      plans.STEPS.value,
      plans.TEST_SEQUENCES.value,
      plans.TEST_STEPS.value,
    )
    references[delta] = {name: float(value) for name, value in found.items()}
  return rows, references


def main(argv):
  """Parses the flags, runs, writes results, table and figure."""
  if len(argv) > 1 or not options.WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and no other arguments")
  folder = pathlib.Path(options.WORKDIR.value)
  try:
    plan = plans.read_flags()
    rows, references = run(folder, plan)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  table = predict_report.write(folder, rows, references, plan.betas[0])
  print(table)


if __name__ == "__main__":
  app.run(main)
