"""Trains the members of a group up to a number of steps, and goes on if killed.

A segment has a folder of its own: `checkpoints` of the states of all members,
and metrics.jsonl with a line per member and evaluation on validation.
"""

import pathlib
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import (
  checkpoints,
  clocks,
  inputs,
  interruptions,
  journal,
  progress,
)
from timedecode import metrics as metrics_lib
from timedecode import parallel
from timedecode.datasets import feed

KEEP = 2  # Checkpoints of all members: the newest, and one to fall back on.


class End(NamedTuple):
  """Where members are after a segment.

  Attributes:
    states: `sweep_program.MemberState` of NumPy, [M, ...].
    rows: of all evaluations in the segment, those of one after the other.
  """

  states: Any
  rows: list[dict]


def _numbers(metrics) -> np.ndarray:
  """What a line has of a step, [3, M]: 1, then loss and information, nats."""
  ones = np.ones(len(metrics.loss))
  return np.stack([ones, metrics.loss, metrics.information]).astype(float)


class Segment:
  """A group on its way from one step to another."""

  def __init__(
    self, program, source, judge_params, folder: pathlib.Path, report
  ):
    """Makes nothing yet.

    Args:
      program: `sweep_program.Program`.
      source: `sources.Source`.
      judge_params: of the judge of pictures, None for labels.
      folder: of the segment.
      report: told of progress.
    """
    self._program, self._source, self._report = program, source, report
    self._judge_params, self._folder = judge_params, folder
    self._names = [member.name for member in program.members]
    self._config = program.members[0].config
    self._data = journal.digests(source)
    self._rows, self._kept, self._begin, self._last = [], None, 0, 0
    self._seconds = self._earlier = 0.0  # Of training; of segments before.

  def run(self, states, first: int, last: int, seconds: float = 0.0) -> End:
    """All steps from `first`, or from a checkpoint, to `last`.

    Args:
      states: of NumPy at step `first`.
      first: step.
      last: step.
      seconds: of training up to `first`.

    Raises:
      ValueError, CheckpointError: a checkpoint of other data or members, or
        whose metrics are lost.
    """
    interruptions.nothing_unsaved(first)
    self._begin, self._last = first, last
    self._seconds = self._earlier = seconds
    fresh = states, np.asarray(first), np.zeros((3, len(self._names)))
    restored = parallel.on_main(lambda: self._restore(*fresh))
    states, first, owed = parallel.from_main(restored or fresh)
    if owed[0].any():
      placed = self._program.place(states)
      placed = self._evaluate(placed, np.asarray(owed), int(first))
      states = self._program.collect(placed)
    if first < last:
      states = self._train(states, int(first))
    self._close()
    return End(states, self._rows)

  def _restore(self, states, first, owed):
    """The arguments, or what the newest checkpoint has in their place.

    Makes the folder ready to go on.

    Args:
      states: of NumPy.
      first: their step.
      owed: [3, M]: 1 where the evaluation of this step is still to be made,
        then the loss and the information of the step, nats.
    """
    found = checkpoints.restore(self._folder, states, self._report)
    path = self._folder / "metrics.jsonl"
    if found is not None:
      states, meta = found
      for name, ours in (("data", self._data), ("members", self._names)):
        if meta.get(name) != ours:
          raise ValueError(
            f"workdir: the checkpoint in {self._folder} is of other {name}"
          )
      self._seconds, first = meta["train_seconds"], meta["step"]
      owed = owed if meta["owed"] is None else np.asarray(meta["owed"])
      before = first - (meta["owed"] is not None)
      rows = journal.read_rows(path)
      self._rows = [row for row in rows if row["step"] <= before]
      self._check_rows(path, before)
    self._folder.mkdir(parents=True, exist_ok=True)
    journal.write_rows(path, self._rows, self._report)
    self._kept = checkpoints.Checkpoints(self._folder, first, KEEP)
    return states, np.asarray(first), owed

  def _check_rows(self, path, step) -> None:
    """Refuses to go on from an end whose figures are lost."""
    found = {row["member"] for row in self._rows if row["step"] == step}
    missing = [name for name in self._names if name not in found]
    if step == self._last and missing:
      raise ValueError(
        f"workdir: {path} has lost the line of {missing[0]} at step {step};"
        f" without {self._folder} it is trained again"
      )

  def _train(self, states, first):
    """The steps; the states at their end, of NumPy."""
    config, program, last = self._config, self._program, self._last
    states, given = program.place(states), program.given(inputs.training_key)
    batches = feed.batches(
      self._source.rows("train"), config.batch_size, program.seeds, first,
      last, config.data.device_bytes, program.layout,
    )  # fmt: skip
    begun = time.monotonic()
    clock = clocks.Clock(config.checkpoint_seconds, first)
    before, pending = self._seconds, None
    with batches:
      for step, batch in batches:
        states, metrics = program.step(states, batch, given, False)
        jax.block_until_ready(pending)  # One step late.
        pending, done = metrics, step + 1
        if step == first:  # Compiled; seconds of what follows count.
          jax.block_until_ready(metrics)
          interruptions.step_taken()
          begun = time.monotonic()
        stop = interruptions.wanted(step)
        now = done % config.eval_every == 0 or done == last
        if not (now or stop or clock.is_due(done)):
          continue
        jax.block_until_ready(metrics)
        self._seconds = before + time.monotonic() - begun
        if now:
          numbers = _numbers(program.collect(metrics))
          states = self._evaluate(states, numbers, done)
        saved = self._save(states, done)
        if stop:
          saved = self._close() and saved
          raise interruptions.InterruptedRunError(done, saved)
        # Neither evaluations nor saves are training.
        before, begun = self._seconds, time.monotonic()
        clock.saved()
    return program.collect(states)

  def _close(self) -> bool:
    """Waits for the last checkpoint; whether it is on disk."""
    if self._kept is None:
      return True
    return self._kept.try_wait(self._report, close=True)

  def _save(self, states, step, owed=None) -> bool:
    """Begins a checkpoint; whether it was begun."""
    whole = self._program.collect(states)
    if self._kept is None:
      return True
    owed = None if owed is None else owed.tolist()
    meta = {
      "step": step, "members": self._names, "data": self._data,
      "train_seconds": self._seconds, "owed": owed,
    }  # fmt: skip
    return self._kept.try_save(step, whole, meta, self._report)

  def _evaluate(self, states, numbers, step):
    """A line per member; the states, without those that break here.

    Args:
      states: on their devices.
      numbers: `_numbers` of the step's metrics.
      step: of the states.
    """
    try:
      figures = self._program.evaluate(
        states, self._judge_params, self._source.rows("validation"),
        inputs.validation_key,
      )  # fmt: skip
    except interruptions.InterruptedEvaluationError as error:
      saved = self._save(states, step, numbers)
      saved = self._close() and saved
      raise interruptions.InterruptedRunError(step, saved) from error
    states = self._program.without_broken(states, figures)
    alive = self._program.collect(states.alive)
    steps = self._program.collect(states.train.step)
    skipped = self._program.collect(states.skipped)
    rows = []
    for place, name in enumerate(self._names):
      rows.append({
        "member": name, "step": step, "alive": bool(alive[place]),
        "steps_taken": int(steps[place]),
        "skipped_steps": int(skipped[place]), "train_seconds": self._seconds,
        "train_loss": float(numbers[1, place]),
        "train_information_bits": float(
          metrics_lib.nats_to_bits(numbers[2, place])
        ),
        "data_source": self._source.name, "split": "validation",
      } | figures[place])  # fmt: skip
    rows = [{k: progress.finite(v) for k, v in row.items()} for row in rows]
    self._rows += rows
    path = self._folder / "metrics.jsonl"
    if self._kept is not None:
      journal.write_rows(path, self._rows, self._report)
      self._report(self._progress(rows, step))
    return states

  def _progress(self, rows, step) -> str:
    metric = inputs.task(self._config).metric
    best = max(rows, key=lambda row: (row["alive"], row[metric]))
    broken = sum(not row["alive"] for row in rows)
    skipped = sum(row["skipped_steps"] for row in rows)
    odd = f", {broken} diverged" if broken else ""
    odd += f", {skipped} steps skipped" if skipped else ""
    taken, spent = step - self._begin, self._seconds - self._earlier
    seen = taken * self._config.batch_size * len(rows)
    return (
      f"step {step}/{self._last}  {len(rows)} members{odd}"
      f"  {seen / max(spent, 1e-9):,.0f} examples/s"
      f"  {(self._last - step) * spent / taken:4.0f} s left"
      f"  best {metric.replace('_', ' ')} {best[metric]:.3f} (validation):"
      f" {best['member']}"
    )
