"""What a run leaves as it goes: metrics, checkpoints, progress."""

import json
import pathlib
import time

import jax
import numpy as np

from experiments import checkpoints, files, inputs, interruptions, progress
from timedecode import finite, parallel
from timedecode.datasets import sources


class NonFiniteLossError(RuntimeError):
  """A loss, or a number of a state, was infinite or not a number."""


_METRICS = 2**28  # Bytes of a file of them.
SKIPS = 50  # In a row, after which skipping does not help.
_all_finite = jax.jit(finite.all_finite)


def _stop(step, told, rows, folder):
  """Stops at what is not finite; the last finite metrics are kept on disk."""
  last = rows[-1] if rows else None
  path = folder / "non_finite.json"
  found = {"step": step, "last_finite": last}
  if parallel.is_main():
    files.replace_text(path, json.dumps(found, indent=2) + "\n")
  raise NonFiniteLossError(
    f"{told}; the last finite metrics are in {path}; checkpoints beside it, if"
    " there are some, are of earlier steps. Try a smaller"
    " optimizer.learning_rate, or non_finite='skip' where a rare step is to"
    " blame."
  )


def read_rows(path: pathlib.Path) -> list[dict]:
  """The lines of a metrics file; a last line that was cut off is left out.

  Raises:
    ValueError: another line that is none, with its file and number.
  """
  if not path.exists():
    return []
  rows, lines = [], files.read_text(path, _METRICS).split("\n")[:-1]
  for number, line in enumerate(lines, 1):
    try:
      row = json.loads(line) if len(line) <= files.LIMIT else None
    except (ValueError, RecursionError):
      row = None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
      raise ValueError(
        f"{path}, line {number}: expected JSON with a step, at most"
        f" {files.LIMIT} characters, got {line[:40]!r}"
      )
    rows.append(row)
  return rows


def write_rows(path: pathlib.Path, rows: list[dict], report) -> None:
  """All rows anew: what could not be written before is written now.

  Args:
    path: of the metrics file.
    rows: a line each.
    report: told if they can't be written, which is not the end of a run.
  """
  try:
    files.replace_text(path, "".join(json.dumps(row) + "\n" for row in rows))
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
    self.skipped, self._in_a_row = run.skipped, run.in_a_row
    self._pending = None
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
      told = f"the loss of step {step} is {float(loss)}"
      _stop(step, told, self.rows, self._run.folder)
    self.skipped += 1
    if parallel.is_main():
      self._report(f"[{self._run.view}] step {step} is not finite: skipped")

  def _check(self, state) -> None:
    """Stops the run at a state that is not finite; its loss may be.

    What is not finite stays so, and is seen before it is judged or saved. A
    test at every step would read all of the state once more.
    """
    if not _all_finite(state):
      step = int(state.step)
      told = f"the state after step {step} is not finite"
      _stop(step, told, self.rows, self._run.folder)

  def _save(self, step, state, seconds, metric=-np.inf, owed=None) -> bool:
    """Begins a checkpoint, with what is known of an evaluation that is still
    to be made; whether it was begun."""
    self._saved = time.monotonic()
    meta = {
      "view": self._run.view, "step": step, "seed": self._config.seed,
      "train_seconds": seconds, "data": self._data, "skipped": self.skipped,
      "in_a_row": self._in_a_row, "owed": owed,
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
    self._check(state)
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
    self._check(state)
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
    if not np.isfinite(nats := figures["distortion"]):
      told = f"the distortion on validation after step {step} is {nats}"
      _stop(step, told, self.rows, run.folder)
    spent = max(seconds - self._before[1], 1e-9)  # In training.
    row = progress.row(
      config, self._source.name, step, seconds, figures | described
    )
    row |= {
      "waiting_share": (waited - self._before[0]) / spent,
      "skipped_steps": self.skipped,
    }
    self.rows = [*self.rows, row]
    self._write_rows()
    metric = row[inputs.task(config).metric]
    self._save(step, state, seconds, metric)
    self._report(progress.line(config, run.view, row))

  def repay(self) -> None:
    """Makes the evaluation that the end of the run before has cut off."""
    run = self._run
    if run.owed is None or not parallel.is_main():
      return
    self.keep(run.state, run.owed, run.seconds, 0.0)
    metric = self.rows[-1][inputs.task(self._config).metric]
    self._checkpoints.rate(int(run.state.step), metric)
