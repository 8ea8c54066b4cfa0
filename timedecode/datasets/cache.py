"""Arrays that are derived once and kept on disk.

A file is named by a digest of what its arrays depend on (the key) and holds
the key itself, which is compared when it is read. The format is that of
`timedecode.checkpoint`: no pickle, checksums, complete or absent. Processes
that prepare the same file at once each write their own and move it into
place, so none can disturb another. Any file may be deleted at any time: those
of earlier options or versions stay otherwise. What killed ones left of any
key's file is removed by the next that writes one, by the rule of
`timedecode.temporary`.
"""

import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from timedecode import checkpoint, temporary

_Arrays = dict[str, np.ndarray]
_NAMES = r"arrays-[0-9a-f]{32}\.npz"


def _canonical(key: Any) -> str:
  try:
    return json.dumps(key, sort_keys=True, allow_nan=False)
  except (TypeError, ValueError, RecursionError) as error:
    raise ValueError(f"key: expected what JSON can hold: {error}") from error


def path_of(folder: str | os.PathLike, key: dict) -> pathlib.Path:
  """The file in `folder` that keeps the arrays of a key.

  Raises:
    ValueError: a key that JSON can't hold.
  """
  digest = hashlib.sha256(_canonical(key).encode()).hexdigest()
  return pathlib.Path(folder) / f"arrays-{digest[:32]}.npz"


def _describe(arrays: Mapping[str, Any]) -> dict[str, list]:
  return {
    name: [list(array.shape), np.dtype(array.dtype).str]
    for name, array in arrays.items()
  }


def _stored_template(path: pathlib.Path, described: Any) -> _Arrays:
  """A template from the file's own description, bounded by the file's size."""
  try:
    template = {
      # One element that is seen at every place: takes no memory.
      name: np.broadcast_to(np.zeros((), dtype), shape)
      for name, (shape, dtype) in described.items()
    }
    size = path.stat().st_size
  except (AttributeError, OSError, TypeError, ValueError) as error:
    raise checkpoint.CheckpointError(
      f"{path}: malformed description of its arrays: {error}"
    ) from error
  if sum(array.nbytes for array in template.values()) > size:
    raise checkpoint.CheckpointError(
      f"{path}: describes arrays larger than the file"
    )
  return template


def _read(path: pathlib.Path, key: dict, template) -> _Arrays:
  metadata = checkpoint.load_metadata(path)
  found = metadata.get("key")
  if found != json.loads(_canonical(key)):
    raise checkpoint.CheckpointError(
      f"{path}: expected the arrays of {key}, got those of {found}"
    )
  if template is None:
    template = _stored_template(path, metadata.get("arrays"))
  loaded, metadata = checkpoint.load(path, template)
  if metadata.get("key") != found:  # Another file is in its place by now.
    raise checkpoint.CheckpointError(f"{path}: replaced while it was read")
  return loaded


def _check(arrays: Any, template) -> _Arrays:
  if not isinstance(arrays, Mapping) or not all(
    isinstance(name, str) and isinstance(array, np.ndarray)
    for name, array in arrays.items()
  ):
    raise ValueError(
      "make: expected a dict of names to NumPy arrays, got"
      f" {type(arrays).__name__}"
    )
  got = _describe(arrays)
  if template is not None and got != (expected := _describe(template)):
    raise ValueError(f"make: expected arrays {expected}, got {got}")
  for name, array in arrays.items():
    if array.dtype.kind not in "biufc":
      raise ValueError(
        f"make: array {name!r}: expected a boolean or numeric dtype, got"
        f" {array.dtype}"
      )
  return dict(arrays)


def _notice(text: str) -> None:
  print(f"cache: {text}", file=sys.stderr, flush=True)


def arrays(
  folder: str | os.PathLike,
  key: dict,
  template: Mapping[str, Any] | None,
  make: Callable[[], Mapping[str, np.ndarray]],
) -> _Arrays:
  """The arrays of a key: from disk if they are there, else made and kept.

  A file that is damaged, half written, foreign, of another key or of other
  shapes is made anew, and one that can't be written (a full disk, no
  permission) does without; both print a notice to stderr and lose nothing.

  Args:
    folder: of the files; made when missing.
    key: what the arrays depend on (source, options, version of the reader),
      of types that JSON holds.
    template: by name, anything with the expected shape and dtype; None
      accepts what `make` made.
    make: computes the arrays by name.

  Returns:
    NumPy arrays by name, equal whether read or made.

  Raises:
    ValueError: a key that JSON can't hold, or `make` returned no numeric
      arrays or others than the template's. What `make` raises passes through.
  """
  path = path_of(folder, key)
  try:
    return _read(path, key, template)
  except (checkpoint.CheckpointError, MemoryError) as error:
    if os.path.lexists(path):
      _notice(f"made anew, because it is of no use: {error}")
  made = _check(make(), template)
  try:
    checkpoint.save(path, made, {"key": key, "arrays": _describe(made)})
    temporary.clean(folder, _NAMES)
  except OSError as error:
    _notice(f"{path}: not kept: {error}")
  return made
