"""What a run leaves as it goes: metrics, checkpoints, progress."""

import json
import os
import pathlib
import time

import jax
import numpy as np

from experiments import checkpoints, inputs, interruptions
from timedecode import metrics, parallel
from timedecode.datasets import sources


class NonFiniteLossError(RuntimeError):
  """The loss of a training step was infinite or not a number."""


SKIPS = 50  # In a row, after which skipping does not help.


def _stop(step, loss, rows, folder):
  """Stops at a non-finite loss; the last finite metrics are kept on disk."""
  last = rows[-1] if rows else None
  path = folder / "non_finite.json"
  found = {"step": step, "last_finite": last}
  if parallel.is_main():
    replace_text(path, json.dumps(found, indent=2) + "\n")
  raise NonFiniteLossError(
    f"the loss of step {step} is {float(loss)}; the last finite"
    f" metrics are in {path}; checkpoints beside it, if there are some, are of"
    " earlier steps. Try a smaller optimizer.learning_rate, or"
    " non_finite='skip' where a rare step is to blame."
  )


def describe(metrics_) -> dict:
  """Metrics of a step as plain numbers, information in bits."""
  diagnostics = metrics_.diagnostics
  row = {
    "train_loss": float(metrics_.loss),
    "train_distortion": float(metrics_.distortion),
    "train_information_bits": float(metrics.nats_to_bits(metrics_.information)),
    "train_readout_rate": float(metrics_.readout_rate),
    "train_readout_entropy_bits": float(metrics.nats_to_bits(metrics_.entropy)),
  }
  for name, value in diagnostics._asdict().items():
    row[name] = [float(v) for v in value]
  return row


def replace_text(path: pathlib.Path, text: str) -> None:
  """Writes the file anew, all or nothing."""
  temporary = path.with_suffix(".partial")
  with temporary.open("w") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())  # Or a power cut leaves an empty file of the name.
  temporary.replace(path)


def read_rows(path: pathlib.Path) -> list[dict]:
  """The lines of a metrics file; a last line that was cut off is left out.

  Raises:
    ValueError: another line that is none, with its file and number.
  """
  if not path.exists():
    return []
  rows = []
  for number, line in enumerate(path.read_text().split("\n")[:-1], 1):
    try:
      rows.append(json.loads(line))
    except json.JSONDecodeError as error:
      raise ValueError(
        f"{path}, line {number}: expected JSON, got {line[:40]!r}"
      ) from error
  return rows


def write_rows(path: pathlib.Path, rows: list[dict], report) -> None:
  """All rows anew: what could not be written before is written now.

  Args:
    path: of the metrics file.
    rows: a line each.
    report: told if they can't be written, which is not the end of a run.
  """
  try:
    replace_text(path, "".join(json.dumps(row) + "\n" for row in rows))
  except OSError as error:
    report(f"metrics not written: {error}")


def digests(source) -> dict[str, str]:
  """Split -> digest of its rows."""
  return {name: sources.digest(rows) for name, rows in source.splits.items()}


class Journal:
  """What a run leaves as it goes: metrics and checkpoints, and progress.

  Only the main process evaluates and writes.
  """

  def __init__(self, config, run, source, judge_params, report):
    self._config, self._run, self._source = config, run, source
    self._judge_params, self._report = judge_params, report
    self._data = digests(source)
    self._key = inputs.validation_key(config.seed)
    self._before = 0.0, run.seconds  # Seconds waited, and of training.
    self.skipped, self._in_a_row, self._pending = run.skipped, 0, None
    self.rows = run.rows
    self._path = run.folder / "metrics.jsonl"
    self._checkpoints, self._saved = None, time.monotonic()
    if not parallel.is_main():
      return
    self._checkpoints = checkpoints.Checkpoints(run.folder, int(run.state.step))
    if first := int(run.state.step):
      report(f"[{run.view}] continues from step {first} in {run.folder}")
    self._write_rows()

  def _write_rows(self) -> None:
    write_rows(self._path, self.rows, self._told)

  def since(self, waited: float, seconds: float) -> None:
    """Where the share of waiting begins to count."""
    self._before = waited, seconds

  def seen(self, step: int, loss) -> None:
    """Judges the step before: one late, so that the device never waits."""
    self.settle()
    self._pending = step, loss

  def settle(self) -> None:
    """Stops the run at a step that was not finite, or counts it as skipped."""
    if self._pending is None:
      return
    (step, loss), self._pending = self._pending, None
    if np.isfinite(loss):
      self._in_a_row = 0
      return
    self._in_a_row += 1
    if self._config.non_finite == "stop" or self._in_a_row >= SKIPS:
      _stop(step, loss, self.rows, self._run.folder)
    self.skipped += 1
    if parallel.is_main():
      self._report(f"[{self._run.view}] step {step} is not finite: skipped")

  def _save(self, step, state, seconds, metric=-np.inf, owed=None) -> bool:
    """Begins a checkpoint, with what is known of an evaluation that is still
    to be made; whether it was begun."""
    self._saved = time.monotonic()
    meta = {
      "view": self._run.view, "step": step, "seed": self._config.seed,
      "train_seconds": seconds, "data": self._data, "skipped": self.skipped,
      "owed": owed,
    }  # fmt: skip
    return self._checkpoints.try_save(step, state, meta, self._told, metric)

  def _told(self, text: str) -> None:
    self._report(f"[{self._run.view}] {text}")

  def save(self, state, seconds: float, now: bool) -> bool:
    """A checkpoint between evaluations, if it is time, or at once.

    Returns:
      False if one that was asked for at once is not on disk.
    """
    if not parallel.is_main():
      return True
    every = self._config.checkpoint_seconds
    if not now and not (every and time.monotonic() - self._saved > every):
      return True
    self.settle()
    state = parallel.to_local(state)
    step = int(state.step)
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(state.params)):
      _stop(step, np.nan, self.rows, self._run.folder)
    begun = self._save(step, state, seconds)
    return begun and (not now or self._checkpoints.try_wait(self._told))

  def close(self) -> None:
    """Returns when everything is on disk, or was told not to be."""
    if self._checkpoints is not None:
      self._checkpoints.try_wait(self._told, close=True)

  def keep(self, state, described, seconds: float, waited: float) -> None:
    """Evaluates the state on validation; writes a line, with what `describe`
    says of the step, and a checkpoint."""
    if not parallel.is_main():
      return
    run, config, state = self._run, self._config, parallel.to_local(state)
    step = int(state.step)
    try:
      figures, _ = run.evaluate(
        self._judge_params, state.params, self._source.rows("validation"),
        self._key,
      )  # fmt: skip
    except interruptions.InterruptedEvaluationError as error:
      begun = self._save(step, state, seconds, owed=described)
      saved = begun and self._checkpoints.try_wait(self._told)
      raise interruptions.InterruptedRunError(step, saved) from error
    # Of the parameters after the step, which the checkpoint will hold.
    if not np.isfinite(figures["distortion"]):
      _stop(step, figures["distortion"], self.rows, run.folder)
    spent = max(seconds - self._before[1], 1e-9)  # In training.
    row = _row(config, self._source.name, step, seconds, figures | described)
    row |= {
      "waiting_share": (waited - self._before[0]) / spent,
      "skipped_steps": self.skipped,
    }
    self.rows = [*self.rows, row]
    self._write_rows()
    metric = row[inputs.task(config).metric]
    self._save(step, state, seconds, metric)
    self._report(progress_line(config, run.view, row))

  def repay(self) -> None:
    """Makes the evaluation that the end of the run before has cut off."""
    run = self._run
    if run.owed is None or not parallel.is_main():
      return
    self.keep(run.state, run.owed, run.seconds, 0.0)
    metric = self.rows[-1][inputs.task(self._config).metric]
    self._checkpoints.rate(int(run.state.step), metric)


def _row(config, source, step, seconds, figures):
  seen = step * config.batch_size
  return {
    "step": step, "examples_seen": seen, "train_seconds": seconds,
    "examples_per_second": seen / max(seconds, 1e-9),
    "data_source": source, "split": "validation",
  } | figures  # fmt: skip


def progress_line(config, view, row) -> str:
  """What a person wants to see while it runs."""
  metric = inputs.task(config).metric
  left = (config.steps - row["step"]) * row["train_seconds"] / row["step"]
  return (
    f"[{view}] step {row['step']}/{config.steps}"
    f"  {row['examples_per_second']:,.0f} examples/s  {left:4.0f} s left"
    f"  distortion {row['distortion']:.1f} nats"
    f"  information {row['information_bits']:.1f} bits"
    f"  {metric.replace('_', ' ')} {row[metric]:.3f} (validation)"
  )
