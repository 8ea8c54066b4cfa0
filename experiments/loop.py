"""Trains one model: resumes, evaluates, reports, writes checkpoints."""

import functools
import json
import pathlib
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import build, inputs, scoring
from timedecode import checkpoint, metrics, training
from timedecode.datasets import feed, sources


class NonFiniteLossError(RuntimeError):
  """The loss of a training step was infinite or not a number."""


def make_step(source, built):
  """The compiled step: (state, rows of a batch, root key, diagnose)."""
  train_step = training.make_train_step(
    built.model, built.estimator, built.optimizer
  )

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state, rows, key, diagnose):
    step_key = jax.random.fold_in(key, state.step)
    keys = inputs.example_keys(step_key, len(rows.labels))
    halves = jax.vmap(jax.random.split)(keys)
    rows = source.augment(rows, halves[:, 0])
    batch = source.decode(rows, halves[:, 0])
    return train_step(
      state, batch.inputs, batch.targets, halves[:, 1], diagnose
    )

  return step


class Timer:
  """Seconds of training, without evaluations and the first compilation."""

  def __init__(self, seconds: float = 0.0):
    self.seconds = seconds
    self._since = None

  def start(self):
    """Counts from now."""
    self._since = time.perf_counter()

  def stop(self):
    """Counts until now."""
    if self._since is not None:
      self.seconds += time.perf_counter() - self._since
    self._since = None


def _check_finite(step, loss, rows, folder):
  """Stops at a non-finite loss; the last finite metrics are kept on disk."""
  if np.isfinite(loss):
    return
  last = rows[-1] if rows else None
  path = folder / "non_finite.json"
  found = {"step": step, "last_finite": last}
  _replace_text(path, json.dumps(found, indent=2) + "\n")
  raise NonFiniteLossError(
    f"the loss of step {step} is {float(loss)}; the last finite"
    f" metrics are in {path}, and the checkpoint beside it is of the last"
    " evaluation."
    " Try a smaller optimizer.learning_rate."
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


def _replace_text(path: pathlib.Path, text: str) -> None:
  """Writes the file anew, all or nothing."""
  temporary = path.with_suffix(".partial")
  temporary.write_text(text)
  temporary.replace(path)


def read_rows(path: pathlib.Path) -> list[dict]:
  """The lines of a metrics file; a last line that was cut off is left out."""
  if not path.exists():
    return []
  lines = path.read_text().split("\n")
  return [json.loads(line) for line in lines[:-1]]


class Run(NamedTuple):
  """A model on its way.

  Attributes:
    view: what its decoder sees.
    folder: of its metrics and checkpoint.
    built: `build.Built`.
    evaluate: see `scoring.make_evaluator`.
    state: `training.TrainState`, fresh or from the checkpoint.
    seconds: of training so far, without evaluations and compilation.
    rows: of the metrics file up to the checkpoint.
  """

  view: str
  folder: pathlib.Path
  built: build.Built
  evaluate: Any
  state: training.TrainState
  seconds: float
  rows: list[dict]


def _digests(source) -> dict[str, str]:
  """Split -> digest of its rows."""
  return {name: sources.digest(rows) for name, rows in source.splits.items()}


def _check_data(folder, source, theirs) -> None:
  """Refuses to go on with other rows than those of the checkpoint."""
  ours = _digests(source)
  if ours != theirs:
    changed = [name for name in ours if ours[name] != (theirs or {}).get(name)]
    raise ValueError(
      f"workdir: the checkpoint in {folder} is of other data: of"
      f" {source.name} the rows of {', '.join(changed)} have changed since"
    )


def prepare(config, view: str, folder: pathlib.Path, source) -> Run:
  """A fresh run, or the one whose checkpoint lies in `folder`.

  Raises:
    ValueError: a model that can't be built, a checkpoint of other data.
    CheckpointError: a checkpoint that is damaged or of another model.
  """
  built = build.build(config, view)
  state = build.init_state(config, built)
  seconds, rows, path = 0.0, [], folder / "checkpoint"
  if path.exists():
    state, meta = checkpoint.load(path, state)
    _check_data(folder, source, meta.get("data"))
    seconds = meta["train_seconds"]
    rows = read_rows(folder / "metrics.jsonl")
    rows = [row for row in rows if row["step"] <= int(state.step)]
  evaluate = scoring.make_evaluator(config, view, source)
  return Run(view, folder, built, evaluate, state, seconds, rows)


def train(config, run: Run, source, judge_params, report=print) -> Run:
  """Takes the steps that are left; returns the run at its end."""
  first = int(run.state.step)
  lines = run.folder / "metrics.jsonl"
  if first:
    report(f"[{run.view}] continues from step {first} in {run.folder}")
  _replace_text(lines, "".join(json.dumps(row) + "\n" for row in run.rows))
  step_function = make_step(source, run.built)
  key_train, key_eval = jax.random.split(jax.random.key(config.seed + 1))
  timer, state, rows, pending = Timer(run.seconds), run.state, run.rows, None
  data, before = _digests(source), (0.0, run.seconds)
  batches = feed.batches(
    source.rows("train"), config.batch_size, config.seed, first,
    config.steps, config.data.device_bytes,
  )  # fmt: skip
  with batches:
    for step, batch in batches:
      now = (step + 1) % config.eval_every == 0 or step + 1 == config.steps
      state, metrics_ = step_function(state, batch, key_train, now)
      if pending is not None:  # One step late, so that the device never waits.
        _check_finite(step, pending.loss, rows, run.folder)
      pending = metrics_
      if step == first:
        jax.block_until_ready(metrics_)
        timer.start()
        before = batches.waited, timer.seconds
      if not now:
        continue
      _check_finite(step + 1, metrics_.loss, rows, run.folder)
      timer.stop()
      figures, _ = run.evaluate(
        judge_params, state.params, source.rows("validation"), key_eval
      )
      # Of the parameters after the step, which the checkpoint will hold.
      _check_finite(step + 1, figures["distortion"], rows, run.folder)
      spent = max(timer.seconds - before[1], 1e-9)  # In training.
      waiting = {"waiting_share": (batches.waited - before[0]) / spent}
      before = batches.waited, timer.seconds
      row = _row(config, source.name, step + 1, timer, metrics_, figures)
      rows = [*rows, row | waiting]
      with lines.open("a") as file:
        file.write(json.dumps(rows[-1]) + "\n")
      checkpoint.save(run.folder / "checkpoint", state, {
        "view": run.view, "step": step + 1, "seed": config.seed,
        "train_seconds": timer.seconds, "data": data,
      })  # fmt: skip
      report(progress_line(config, run.view, rows[-1]))
      pending = None
      timer.start()
  return run._replace(state=state, seconds=timer.seconds, rows=rows)


def _row(config, source, step, timer, metrics_, figures):
  seen = step * config.batch_size
  return {
    "step": step, "examples_seen": seen, "train_seconds": timer.seconds,
    "examples_per_second": seen / max(timer.seconds, 1e-9),
    "data_source": source, "split": "validation",
  } | figures | describe(metrics_)  # fmt: skip


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
