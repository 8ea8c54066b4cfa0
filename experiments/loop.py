"""Trains one model: compiles its step, resumes, goes through the steps."""

import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import (
  build,
  checkpoints,
  inputs,
  interruptions,
  journal,
  progress,
  scoring,
)
from timedecode import finite, parallel, precision, training
from timedecode.datasets import feed


def pure_step(source, built, axis_name=None, skip=False):
  """The step ``(state, rows of a batch, root key, diagnose)``, not compiled.

  Args:
    source: turns rows into inputs and targets.
    built: `build.Built`.
    axis_name: of the devices that share the batch.
    skip: whether a step that is not finite is passed over.
  """
  train_step = training.make_train_step(
    built.model,
    built.estimator,
    built.optimizer,
    axis_name,
    built.num_microbatches,
  )
  if skip:
    train_step = finite.skip_steps(train_step)

  def step(state, rows, key, diagnose):
    step_key = jax.random.fold_in(key, state.step)
    keys = inputs.example_keys(step_key, len(rows.labels), axis_name)
    halves = jax.vmap(jax.random.split)(keys)
    rows = source.augment(rows, halves[:, 0])
    batch = source.decode(rows, halves[:, 0])
    return train_step(
      state, batch.inputs, batch.targets, halves[:, 1], diagnose
    )

  return precision.in_precision(built.precision, step)


def make_step(source, built, layout=None, skip=False):
  """`pure_step`, compiled.

  Args:
    source: turns rows into inputs and targets.
    built: `build.Built`, of a configuration for the same layout.
    layout: `parallel.Layout`; None: one device.
    skip: as in `pure_step`.
  """
  layout = parallel.layout() if layout is None else layout
  step = pure_step(source, built, layout.axis_name, skip)
  return layout.compile(step, num_others=2)


class Timer:
  """Seconds of training, without evaluations and the first compilation."""

  def __init__(self, seconds: float = 0.0):
    self.seconds = seconds
    self._since = None

  def start(self):
    """Counts from now."""
    self._since = time.perf_counter()

  def spent(self) -> float:
    """Seconds counted so far."""
    running = 0.0 if self._since is None else time.perf_counter() - self._since
    return self.seconds + running

  def stop(self):
    """Counts until now."""
    if self._since is not None:
      self.seconds += time.perf_counter() - self._since
    self._since = None


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
    skipped: steps so far that were not finite and passed over.
    in_a_row: those of them after the last finite one.
    owed: `progress.describe` of the step's metrics where its evaluation was cut
      off, and is to be made.
  """

  view: str
  folder: pathlib.Path
  built: build.Built
  evaluate: Any
  state: training.TrainState
  seconds: float
  rows: list[dict]
  skipped: int = 0
  in_a_row: int = 0
  owed: dict | None = None


def _check_data(folder, source, theirs) -> None:
  """Refuses to go on with other rows than those of the checkpoint."""
  ours = journal.digests(source)
  if ours != theirs:
    changed = [name for name in ours if ours[name] != (theirs or {}).get(name)]
    raise ValueError(
      f"workdir: the checkpoint in {folder} is of other data: of"
      f" {source.name} the rows of {', '.join(changed)} have changed since"
    )


def _restore(folder, state, source):
  """(state, meta, rows) of the checkpoint, of the same data, or None."""
  found = checkpoints.restore(folder, state)
  if found is None:
    return None
  _check_data(folder, source, found[1].get("data"))
  return *found, journal.read_rows(folder / "metrics.jsonl")


def prepare(config, view: str, folder: pathlib.Path, source) -> Run:
  """A fresh run, or the one whose checkpoint lies in `folder`.

  Raises:
    ValueError: a model that can't be built, a checkpoint of other data.
    CheckpointError: a checkpoint that is damaged or of another model.
  """
  built = build.build(config, view)
  fresh = lambda: build.init_state(config, built)
  shapes = jax.eval_shape(fresh)  # Held against a checkpoint before all else.
  seconds, skipped, in_a_row, rows, owed = 0.0, 0, 0, [], None
  found = parallel.on_main(lambda: _restore(folder, shapes, source))
  if found is None:
    state = fresh()
  else:
    restored, meta, rows = found
    state = jax.tree.map(jnp.asarray, restored)
    seconds, skipped = meta["train_seconds"], meta.get("skipped", 0)
    in_a_row, owed = meta.get("in_a_row", 0), meta.get("owed")
    last = int(state.step) - (owed is not None)
    rows = [row for row in rows if row["step"] <= last]
  state = parallel.from_main(state)
  evaluate = scoring.make_evaluator(config, view, source)
  return Run(
    view, folder, built, evaluate, state, seconds, rows, skipped, in_a_row, owed
  )


def train(config, run: Run, source, judge_params, report=print) -> Run:
  """Takes the steps that are left; returns the run at its end."""
  first, layout = int(run.state.step), build.layout(config)
  interruptions.nothing_unsaved(first)
  kept = journal.Journal(config, run, source, judge_params, report)
  kept.repay()
  skip = config.non_finite == "skip"
  step_function = make_step(source, run.built, layout, skip)
  key = layout.replicate(inputs.training_key(config.seed))
  timer, state = Timer(run.seconds), layout.replicate(run.state)
  batches = feed.batches(
    source.rows("train"), config.batch_size, config.seed, first,
    config.steps, config.data.device_bytes, layout,
  )  # fmt: skip
  with batches:
    for step, batch in batches:
      now = (step + 1) % config.eval_every == 0 or step + 1 == config.steps
      state, metrics_ = step_function(state, batch, key, now)
      kept.seen(step + 1, metrics_.loss)
      if step == first:
        jax.block_until_ready(metrics_)
        interruptions.step_taken()
        timer.start()
        kept.since(batches.waited, timer.seconds)
      stop = interruptions.wanted(step)  # Asked at every step by all.
      if now:
        kept.settle()
        timer.stop()
        described = progress.describe(metrics_)
        kept.keep(state, described, timer.seconds, batches.waited)
        kept.since(batches.waited, timer.seconds)
        timer.start()
      if not now or stop:
        saved = kept.save(state, timer.spent(), stop)
      if stop:
        raise interruptions.InterruptedRunError(step + 1, saved)
  kept.close()
  state = parallel.to_local(state)
  return run._replace(
    state=state, seconds=timer.seconds, rows=kept.rows, skipped=kept.skipped
  )
