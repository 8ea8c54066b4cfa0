"""What a checkpoint of a run holds: described, held against a model, read.

Beside the arrays lies JSON: of which release, of what leaves (shape, dtype,
CRC-32), whatever the caller adds, and a CRC-32 of all that.
"""

import json
import math
import pathlib
import zlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from timedecode import checkpoint

logging.set_verbosity(logging.WARNING)  # Orbax tells of each of its files.

FORMAT, VERSION = "timedecode-run", 2  # 1 was the single file `checkpoint`.
_META_LIMIT = 2**24  # Bytes of what describes a checkpoint.
_SLACK = 2**24  # Bytes that a checkpoint may take beyond its arrays.


def describe(state: Any) -> dict[str, list]:
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


def _shapes(template: Any) -> dict[str, list]:
  """Name of a leaf -> [shape, dtype]."""
  pairs, _ = jax.tree_util.tree_flatten_with_path(template)
  return {
    jax.tree_util.keystr(path): [list(leaf.shape), np.dtype(leaf.dtype).str]
    for path, leaf in pairs
  }


def _nbytes(leaf: Any) -> int:
  return math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize


def _sum_of(meta: dict) -> int:
  """CRC-32 of what describes a checkpoint, but of this number itself."""
  rest = {name: value for name, value in meta.items() if name != "crc"}
  return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def complete(meta: dict, state: Any) -> dict:
  """What is written beside a state: what the caller adds, and all else."""
  meta = meta | {
    "format": FORMAT, "version": VERSION, "leaves": describe(state)
  }  # fmt: skip
  meta = json.loads(json.dumps(meta))  # As it will be read.
  return meta | {"crc": _sum_of(meta)}


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


def alone():
  """Of several processes the main one saves and restores for itself."""
  return ocp.options.MultiprocessingOptions(
    primary_host=0, active_processes={0}, barrier_sync_key_prefix="main"
  )


def _check_chunks(leaf: Any) -> None:
  """Refuses an array whose chunks are larger than it is.

  A chunk is read whole: few bytes on the disk may be many in memory.
  """
  chunk = getattr(leaf.storage, "chunk_shape", None)
  most = tuple(max(size, 1) for size in leaf.shape)
  if (
    chunk is None
    or len(chunk) != len(most)
    or any(a is None or a > b for a, b in zip(chunk, most, strict=True))
  ):
    raise ValueError(
      f"{leaf.name}: expected chunks of at most {list(most)}, got {chunk}"
    )


def _check_stored(metadata: Any, template: Any) -> None:
  """Holds the store's own shapes against the model, before any array is read.

  What the metadata beside it says may be another thing.
  """
  tree = getattr(metadata, "item_metadata", metadata)
  tree = getattr(tree, "tree", tree)
  found = jax.tree.leaves(tree, is_leaf=lambda x: hasattr(x, "dtype"))
  found = [leaf for leaf in found if hasattr(leaf, "dtype")]
  stored = sorted(
    (tuple(leaf.shape), np.dtype(leaf.dtype).str) for leaf in found
  )
  wanted = sorted(
    (tuple(leaf.shape), np.dtype(leaf.dtype).str)
    for leaf in jax.tree.leaves(template)
  )
  if stored != wanted:
    raise ValueError("the arrays in the store are not those it is said to hold")
  for leaf in found:
    _check_chunks(leaf)


def read(place: pathlib.Path, template: Any) -> tuple[Any, dict]:
  """What was saved of a step; any error but CheckpointError is damage.

  Nothing is allocated before it is known to fit the template's shapes.
  """
  path = place / "meta" / "metadata"
  if path.stat().st_size > _META_LIMIT:
    raise ValueError(f"metadata over {_META_LIMIT} bytes")
  meta = json.loads(path.read_text())
  _check_meta(place, meta)
  ours, theirs = _shapes(template), meta["leaves"]
  if names := _differing(ours, theirs, 2):
    first = names[0]
    raise checkpoint.CheckpointError(
      f"{place}: of another model: {first}: expected"
      f" {ours.get(first, ['none'])}, got"
      f" {theirs.get(first, ['none'])[:2]} ({len(names)} differ)"
    )
  most = sum(_nbytes(leaf) for leaf in jax.tree.leaves(template)) + _SLACK
  size = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
  if size > most:
    raise ValueError(f"expected at most {most} bytes, got {size}")
  handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone())
  with ocp.Checkpointer(handler, multiprocessing_options=alone()) as reader:
    logging.set_verbosity(logging.ERROR)  # It misses a file that it can do
    try:  # without.
      stored = reader.metadata(place / "state")
    finally:
      logging.set_verbosity(logging.WARNING)
    _check_stored(stored, template)
    empty = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), template)
    args = ocp.args.StandardRestore(empty)
    state = reader.restore(place / "state", args=args)
  if names := _differing(describe(state), theirs, 3):
    raise ValueError(f"wrong checksum of {', '.join(names[:3])}")
  return state, meta
