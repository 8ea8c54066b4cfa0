"""The checkpoints of a run: the last few and the best, by Orbax.

A folder `checkpoints` with one folder per step; a save appears whole or not at
all, and goes on in the background while training does. What is saved beside
the state says of which release, of what leaves (shape, dtype, CRC-32) and
whatever the caller adds. It is read first, and held against the model before a
single array is; after an array is read, its checksum is compared. Nothing here
is a pickle.
"""

import json
import pathlib
import shutil
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy

from timedecode import checkpoint

logging.set_verbosity(logging.WARNING)  # Orbax tells of each of its files.

FORMAT, VERSION = "timedecode-run", 2  # 1 was the single file `checkpoint`.
KEEP = 3  # Newest ones; the best one is kept as well.
_META_LIMIT = 2**24  # Bytes of what describes a checkpoint.
_SLACK = 2**24  # Bytes that a checkpoint may take beyond its arrays.


def _describe(state: Any) -> dict[str, list]:
  """Name of a leaf -> [shape, dtype, CRC-32 of its bytes]."""
  pairs, _ = jax.tree_util.tree_flatten_with_path(state)
  found = {}
  for path, leaf in pairs:
    array = np.asarray(leaf)
    sum_of_bytes = zlib.crc32(np.ascontiguousarray(array).data)
    found[jax.tree_util.keystr(path)] = [
      list(array.shape), array.dtype.str, sum_of_bytes
    ]  # fmt: skip
  return found


def _sum_of(meta: dict) -> int:
  """CRC-32 of what describes a checkpoint, but of this number itself."""
  rest = {name: value for name, value in meta.items() if name != "crc"}
  return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def _differing(ours: dict, theirs: dict, parts: int) -> list[str]:
  """Leaves that are not in both, or whose first `parts` parts differ."""
  return sorted(
    name
    for name in {*ours, *theirs}
    if ours.get(name, [])[:parts] != theirs.get(name, [])[:parts]
    or name not in ours
  )


def _check_meta(place: pathlib.Path, meta: Any) -> None:
  """Raises CheckpointError for what another program or release has written,
  ValueError for damage."""
  if isinstance(meta, dict) and "crc" in meta and meta["crc"] != _sum_of(meta):
    raise ValueError("wrong checksum of the metadata")
  if not isinstance(meta, dict) or meta.get("format") != FORMAT:
    raise checkpoint.CheckpointError(f"{place}: not a checkpoint of a run")
  if meta.get("version") != VERSION:
    raise checkpoint.CheckpointError(
      f"{place}: of format version {meta.get('version')}, this release reads"
      f" {VERSION}"
    )
  if not isinstance(meta.get("leaves"), dict):
    raise checkpoint.CheckpointError(f"{place}: says nothing of its arrays")


def _alone():
  """Of several processes the main one saves and restores for itself."""
  return ocp.options.MultiprocessingOptions(
    primary_host=0, active_processes={0}, barrier_sync_key_prefix="main"
  )


def _steps(place: pathlib.Path) -> list[int]:
  """Steps that were saved to their end, in their order."""
  if not place.is_dir():
    return []
  return sorted(int(p.name) for p in place.iterdir() if p.name.isdigit())


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
        of a future that is computed anew, are renamed to N.aside.
      keep: how many of the newest stay; the best stays as well.
    """
    place = self._place = folder.absolute() / "checkpoints"
    place.mkdir(parents=True, exist_ok=True)
    for later in _steps(place):
      if later > step:
        _set_aside(place / str(later))
    _mend_metrics(place)
    metric = lambda metrics: metrics["metric"]
    policy = preservation_policy.AnyPreservationPolicy(
      [
        preservation_policy.LatestN(n=keep),
        preservation_policy.BestN(get_metric_fn=metric, n=1),
      ]
    )
    self._manager = ocp.CheckpointManager(
      place,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policy, best_fn=metric, create=False,
        cleanup_tmp_directories=True, multiprocessing_options=_alone(),
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
    try:
      self._manager.wait_until_finished()  # With the one before.
    except Exception:
      for partial in self._place.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(partial, ignore_errors=True)  # Takes room on the disk.
      raise
    host = jax.tree.map(np.array, state)  # Copies: buffers may be donated.
    meta = meta | {
      "format": FORMAT, "version": VERSION, "leaves": _describe(host)
    }  # fmt: skip
    meta = json.loads(json.dumps(meta))  # As it will be read.
    meta["crc"] = _sum_of(meta)
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave(meta)
    )
    self._manager.save(step, args=args, metrics={"metric": float(metric)})

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
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits and closes."""
    self._manager.close()

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self.close()


def _check_stored(metadata: Any, template: Any) -> None:
  """Holds the store's own shapes against the model, before any array is read.

  What the metadata beside it says may be another thing.
  """
  tree = getattr(metadata, "item_metadata", metadata)
  tree = getattr(tree, "tree", tree)
  stored = sorted(
    (tuple(leaf.shape), np.dtype(leaf.dtype).str)
    for leaf in jax.tree.leaves(tree, is_leaf=lambda x: hasattr(x, "dtype"))
    if hasattr(leaf, "dtype")
  )
  wanted = sorted(
    (tuple(np.shape(leaf)), np.asarray(leaf).dtype.str)
    for leaf in jax.tree.leaves(template)
  )
  if stored != wanted:
    raise ValueError("the arrays in the store are not those it is said to hold")


def _read(place: pathlib.Path, template: Any) -> tuple[Any, dict]:
  """What was saved of a step; any error but CheckpointError is damage."""
  path = place / "meta" / "metadata"
  if path.stat().st_size > _META_LIMIT:
    raise ValueError(f"metadata over {_META_LIMIT} bytes")
  meta = json.loads(path.read_text())
  _check_meta(place, meta)
  ours, theirs = _describe(template), meta["leaves"]
  if names := _differing(ours, theirs, 2):
    first = names[0]
    raise checkpoint.CheckpointError(
      f"{place}: of another model: {first}: expected"
      f" {ours.get(first, ['none'])[:2]}, got"
      f" {theirs.get(first, ['none'])[:2]} ({len(names)} differ)"
    )
  most = sum(leaf.nbytes for leaf in jax.tree.leaves(template)) + _SLACK
  size = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
  if size > most:
    raise ValueError(f"expected at most {most} bytes, got {size}")
  args = ocp.args.StandardRestore(jax.tree.map(np.asarray, template))
  handler = ocp.StandardCheckpointHandler(multiprocessing_options=_alone())
  with ocp.Checkpointer(handler, multiprocessing_options=_alone()) as reader:
    logging.set_verbosity(logging.ERROR)  # It misses a file that it can do
    try:  # without.
      stored = reader.metadata(place / "state")
    finally:
      logging.set_verbosity(logging.WARNING)
    _check_stored(stored, template)
    state = reader.restore(place / "state", args=args)
  if names := _differing(_describe(state), theirs, 3):
    raise ValueError(f"wrong checksum of {', '.join(names[:3])}")
  return state, meta


def restore(
  folder: pathlib.Path, template: Any, report: Callable[[str], None] = print
) -> tuple[Any, dict] | None:
  """The newest state that is whole, and what was saved beside it.

  Damaged ones are reported and passed over. Nothing is written. A run of format
  1, one file, is read as well.

  Args:
    folder: of the run.
    template: a state of the model.
    report: told of every damaged one.

  Returns:
    The state, NumPy arrays, and `meta`; None where nothing was saved.

  Raises:
    CheckpointError: a state of another model or release; or all are damaged.
  """
  place, damaged = folder.absolute() / "checkpoints", []
  for step in reversed(_steps(place)):
    try:
      found = _read(place / str(step), template)
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
