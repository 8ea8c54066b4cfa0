"""The checkpoints of a run: the last few and the best, by Orbax.

A folder `checkpoints` with one folder per step; a save appears whole or not at
all, and goes on in the background while training does. What is saved beside
the state says of which release, of what leaves (shape, dtype, CRC-32) and
whatever the caller adds. It is read first, and held against the model before a
single array is; after an array is read, its checksum is compared. Nothing here
is a pickle.
"""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from experiments import checkpoint_contents as contents
from timedecode import checkpoint

KEEP = 3  # Newest ones; the best one is kept as well.


def steps(folder: pathlib.Path) -> list[int]:
  """Steps of a run that were saved to their end, in their order."""
  return _steps(folder / "checkpoints")


def _steps(place: pathlib.Path) -> list[int]:
  if not place.is_dir():
    return []
  return sorted(int(p.name) for p in place.iterdir() if p.name.isdigit())


def exist(folder: pathlib.Path) -> bool:
  """Whether a run has saved anything, in any format that is read."""
  return bool(steps(folder)) or (folder / "checkpoint").exists()


def _mend_metrics(place: pathlib.Path) -> None:
  """Orbax would stop at a damaged figure of merit: none is put in its place."""
  for step in _steps(place):
    path = place / str(step) / "metrics" / "metrics"
    try:
      float(json.loads(path.read_text())["metric"])
    except (OSError, ValueError, TypeError, KeyError):
      path.parent.mkdir(exist_ok=True)
      path.write_text('{"metric": -Infinity}')


def _tell(report: Callable[[str], None], error: Exception) -> None:
  told = " ".join(str(error).split())[:300]
  report(f"checkpoint not written: {told}")


def _set_aside(place: pathlib.Path) -> None:
  """Renames a step that is not gone on from: nothing is lost by an error."""
  aside = place.with_name(f"{place.name}.aside")
  shutil.rmtree(aside, ignore_errors=True)
  place.rename(aside)


class Checkpoints:
  """Saves the states of one run; close it, or use `with`."""

  def __init__(self, folder: pathlib.Path, step: int, keep: int = KEEP):
    """Makes the folder ready.

    Args:
      folder: of the run.
      step: that the run goes on from; later ones, damaged, unreadable now or
        of a future that is computed anew, are renamed to N.aside, which
        stays until a step after N is whole.
      keep: how many of the newest stay; the best stays as well.
    """
    place, self._keep = folder.absolute() / "checkpoints", keep
    self._place = place
    place.mkdir(parents=True, exist_ok=True)
    for later in _steps(place):
      if later > step:
        _set_aside(place / str(later))
    _mend_metrics(place)
    self._manager = self._open()

  def _clear(self) -> None:
    """Removes what was set aside and is older than a step that is whole."""
    newest = max(_steps(self._place), default=0)
    for aside in self._place.glob("*.aside"):
      if aside.stem.isdigit() and int(aside.stem) < newest:
        shutil.rmtree(aside, ignore_errors=True)

  def _try(self, work: Callable[[], Any]) -> None:
    """Opens the manager anew where a save fails: it may have dropped steps from
    its list that are still there, and leaves a part that takes room."""
    try:
      work()
    except Exception:
      with contextlib.suppress(Exception):  # The same again.
        self._manager.close()
      self._manager = self._open()
      raise

  def _open(self) -> ocp.CheckpointManager:
    """Orbax' manager, which reads what is there once."""
    metric = lambda metrics: metrics["metric"]
    policy = preservation_policy.AnyPreservationPolicy(
      [
        preservation_policy.LatestN(n=self._keep),
        preservation_policy.BestN(get_metric_fn=metric, n=1),
      ]
    )
    return ocp.CheckpointManager(
      self._place,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policy, best_fn=metric, create=False,
        cleanup_tmp_directories=True, multiprocessing_options=contents.alone(),
      ),
    )  # fmt: skip

  def save(
    self, step: int, state: Any, meta: dict, metric: float = -np.inf
  ) -> None:
    """Begins to save; the state may be changed when this returns.

    Args:
      step: whose state it is; a step that is there is left as it is.
      state: pytree of arrays.
      meta: what JSON can hold.
      metric: larger is better; without one it is never the best.

    Raises:
      OSError, ValueError: this save or the one before could not be written.
    """
    if step in self._manager.all_steps():
      return
    self.wait()  # For the one before.
    host = jax.tree.map(np.array, state)  # Copies: buffers may be donated.
    meta = contents.complete(meta, host)
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave(meta)
    )
    metrics = {"metric": float(metric)}
    self._try(lambda: self._manager.save(step, args=args, metrics=metrics))

  def try_save(
    self, step: int, state: Any, meta: dict, report, metric: float = -np.inf
  ) -> bool:
    """`save` that tells of a failure and is not the end of a run.

    A failure may be of the save before, in the background: this one is then
    tried again.

    Args:
      step: as the others, of `save`.
      state: as above.
      meta: as above.
      report: told of what was not written.
      metric: as above.

    Returns:
      Whether it was begun.
    """
    lost, begun = None, False
    for _ in range(2):
      try:
        self.save(step, state, meta, metric)
        begun = True
        break
      except Exception as error:  # Of all kinds, Orbax' own among them.
        lost = error
    if lost is not None:
      _tell(report, lost)
    return begun

  def rate(self, step: int, metric: float) -> None:
    """Gives a step that was saved without one its metric, as of `save`."""
    self.close()
    path = self._place / str(step) / "metrics" / "metrics"
    path.write_text(json.dumps({"metric": float(metric)}))
    self._manager = self._open()

  def try_wait(self, report, close: bool = False) -> bool:
    """`wait`, or `close`, that tells of a failure; whether there was none."""
    try:
      self.close() if close else self.wait()
    except Exception as error:
      _tell(report, error)
      return False
    return True

  def wait(self) -> None:
    """Returns when all that was saved is on disk."""
    self._try(self._manager.wait_until_finished)
    self._clear()

  def close(self) -> None:
    """Waits and closes."""
    self._manager.close()
    self._clear()

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self.close()


def restore(
  folder: pathlib.Path, template: Any, report: Callable[[str], None] = print
) -> tuple[Any, dict] | None:
  """The newest state that is whole, and what was saved beside it.

  Damaged ones are reported and passed over. Nothing is written. A run of format
  1, one file, is read as well.

  Args:
    folder: of the run.
    template: a state of the model, or its shapes (`jax.eval_shape`).
    report: told of every damaged one.

  Returns:
    The state, NumPy arrays, and `meta`; None where nothing was saved.

  Raises:
    CheckpointError: a state of another model or release; or all are damaged.
  """
  place, damaged = folder.absolute() / "checkpoints", []
  for step in reversed(_steps(place)):
    try:
      found = contents.read(place / str(step), template)
    except checkpoint.CheckpointError:
      raise
    except Exception as error:  # Orbax raises all kinds for damage.
      told = " ".join(str(error).split())[:300]
      damaged.append(f"{place / str(step)}: damaged: {told}")
      continue
    for text in damaged:
      report(f"{text}; goes on from step {step}")
    return found
  if damaged:
    raise checkpoint.CheckpointError("; ".join(damaged))
  if (path := folder / "checkpoint").exists():
    return checkpoint.load(path, template)
  return None
