"""Saves and loads any pytree of arrays: one file, no pickle, all or nothing.

The file is an uncompressed zip, readable with ``numpy.load``. Each leaf is a
``.npy`` entry named by its path in the tree (`jax.tree_util.keystr`); the
entry ``__metadata__`` is JSON: the format's name, its version, and what the
caller wrote. Loading fills a template, whose shapes and dtypes bound what is
read, so a file from elsewhere can neither run code nor fill the memory.
"""

import json
import os
import pathlib
import struct
import zipfile
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from timedecode import temporary

FORMAT = "timedecode"
VERSION = 1
_METADATA = "__metadata__"
_METADATA_LIMIT = 16 * 2**20
_HEADER_LIMIT = 2**14
_CHUNK = 2**20
_DAMAGE = (
  zipfile.BadZipFile,
  zlib.error,
  struct.error,
  EOFError,
  KeyError,
  NotImplementedError,
  OSError,
  OverflowError,
  RecursionError,
  RuntimeError,
  SyntaxError,
  TypeError,
  ValueError,
)


class CheckpointError(ValueError):
  """A checkpoint that cannot be written or read; says which and why."""


def _leaves(path, tree) -> tuple[dict[str, Any], Any]:
  """Leaves by entry name, and the tree's structure."""
  pairs, structure = jax.tree_util.tree_flatten_with_path(tree)
  leaves = {}
  for keys, leaf in pairs:
    name = jax.tree_util.keystr(keys)
    if name in leaves:
      raise CheckpointError(f"{path}: two leaves are called {name!r}")
    if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
      raise CheckpointError(
        f"{path}: leaf {name!r}: expected an array, got {type(leaf).__name__}"
      )
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      raise CheckpointError(
        f"{path}: leaf {name!r} is a typed PRNG key, which has no portable "
        "form: keep jax.random.key_data(key) and rebuild it with "
        "jax.random.wrap_key_data"
      )
    if np.dtype(leaf.dtype).kind not in "biufc":
      raise CheckpointError(
        f"{path}: leaf {name!r}: expected a boolean or numeric NumPy dtype, "
        f"got {leaf.dtype}"
      )
    leaves[name] = leaf
  return leaves, structure


def save(path: str | os.PathLike, tree: Any, metadata: dict) -> None:
  """Writes a pytree of arrays and its metadata.

  The file is complete or absent: it is written beside its final place and
  moved there, so an earlier file survives any failure. Missing folders are
  made. Equal contents give equal bytes. What killed processes left of earlier
  attempts is removed by the rule of `temporary`.

  Args:
    path: of the file.
    tree: arrays in NamedTuples, dicts, lists, Flax or optax states.
    metadata: what JSON can hold (tuples come back as lists).

  Raises:
    CheckpointError: a leaf that is no numeric array, a typed PRNG key, or
      metadata that JSON cannot hold.
    OSError: the file cannot be written.
  """
  path = pathlib.Path(path)
  leaves, _ = _leaves(path, tree)
  header = {"format": FORMAT, "version": VERSION, "metadata": metadata}
  try:
    text = json.dumps(header, sort_keys=True).encode()
  except (TypeError, ValueError, RecursionError) as error:
    raise CheckpointError(f"{path}: metadata is not JSON: {error}") from error
  if len(text) > _METADATA_LIMIT:
    raise CheckpointError(
      f"{path}: metadata: expected at most {_METADATA_LIMIT} bytes, got "
      f"{len(text)}"
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  # Not tempfile, whose files are readable by their owner alone.
  partial = temporary.name_for(path)
  try:
    with open(partial, "xb") as file:
      with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_METADATA), text)
        for name, leaf in leaves.items():
          info = zipfile.ZipInfo(f"{name}.npy")
          with archive.open(info, "w", force_zip64=True) as entry:
            np.lib.format.write_array(
              entry, np.asarray(leaf), allow_pickle=False
            )
      file.flush()
      os.fsync(file.fileno())
    temporary.move(partial, path)
  finally:
    partial.unlink(missing_ok=True)


def _open(path: pathlib.Path) -> zipfile.ZipFile:
  try:
    archive = zipfile.ZipFile(path)
  except FileNotFoundError as error:
    raise CheckpointError(f"{path}: no such file") from error
  except _DAMAGE as error:
    raise CheckpointError(
      f"{path}: truncated, corrupt or no checkpoint: {error}"
    ) from error
  return archive


def _read_metadata(path: pathlib.Path, archive: zipfile.ZipFile) -> dict:
  foreign = f"{path}: not a {FORMAT} checkpoint: "
  names = archive.namelist()
  if _METADATA not in names:
    raise CheckpointError(f"{foreign}no entry {_METADATA!r}")
  if len(set(names)) != len(names):
    raise CheckpointError(f"{foreign}an entry's name occurs twice")
  for info in archive.infolist():
    if info.compress_type != zipfile.ZIP_STORED:
      raise CheckpointError(f"{foreign}entry {info.filename!r} is compressed")
  if archive.getinfo(_METADATA).file_size > _METADATA_LIMIT:
    raise CheckpointError(f"{foreign}metadata over {_METADATA_LIMIT} bytes")
  try:
    text = archive.read(_METADATA)
  except _DAMAGE as error:
    raise CheckpointError(f"{path}: corrupt metadata: {error}") from error
  try:
    header = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise CheckpointError(f"{foreign}metadata is not JSON") from error
  if not isinstance(header, dict) or header.get("format") != FORMAT:
    raise CheckpointError(f"{foreign}metadata of another format")
  version, metadata = header.get("version"), header.get("metadata")
  if type(version) is not int or version < 1 or not isinstance(metadata, dict):
    raise CheckpointError(f"{foreign}metadata of another format")
  if version > VERSION:
    raise CheckpointError(
      f"{path}: format version {version} is newer than {VERSION}, the newest "
      "that this release reads"
    )
  return metadata


def _read_leaf(path, archive: zipfile.ZipFile, name: str, leaf) -> Any:
  """One array, whose header is held against the template before its data."""
  expected = (tuple(leaf.shape), np.dtype(leaf.dtype))
  readers = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }
  with archive.open(f"{name}.npy") as entry:
    version = np.lib.format.read_magic(entry)
    if version not in readers:
      raise ValueError(f"npy version {version}")
    shape, _, dtype = readers[version](entry)
    if (shape, dtype) != expected:
      raise CheckpointError(
        f"{path}: entry {name!r}: expected shape {expected[0]} and dtype "
        f"{expected[1]}, got {shape} and {dtype}"
      )
    entry.seek(0)
    array = np.lib.format.read_array(entry, allow_pickle=False)
    if entry.read(1):
      raise ValueError("data after the array")
  return jnp.asarray(array) if isinstance(leaf, jax.Array) else array


def load(path: str | os.PathLike, template: Any) -> tuple[Any, dict]:
  """Reads a checkpoint into the structure of a template.

  Args:
    path: of the file.
    template: a tree like the saved one; its leaves' values do not matter
      (`jax.eval_shape` gives one without computing anything).

  Returns:
    The tree and the metadata. Leaves are jax arrays where the template's
    are, otherwise NumPy arrays.

  Raises:
    CheckpointError: the file is missing, truncated, corrupt (the checksum of
      every entry is verified), foreign, of a newer format, or does not fit
      the template in names, shapes or dtypes.
  """
  path = pathlib.Path(path)
  leaves, structure = _leaves(path, template)
  with _open(path) as archive:
    metadata = _read_metadata(path, archive)
    try:
      bad = archive.testzip()  # In chunks: the sizes are not yet trusted.
      if bad is not None:
        raise CheckpointError(f"{path}: corrupt: wrong checksum of {bad!r}")
      found = {n.removesuffix(".npy") for n in archive.namelist()}
      missing = sorted(set(leaves) - found)
      extra = sorted(found - set(leaves) - {_METADATA})
      if missing or extra:
        raise CheckpointError(
          f"{path}: entries differ from the template's: missing {missing}, "
          f"unexpected {extra}"
        )
      arrays = [_read_leaf(path, archive, *item) for item in leaves.items()]
    except CheckpointError:
      raise
    except _DAMAGE as error:
      raise CheckpointError(f"{path}: corrupt: {error}") from error
  return jax.tree_util.tree_unflatten(structure, arrays), metadata


def load_metadata(path: str | os.PathLike) -> dict:
  """Reads the metadata alone; raises `CheckpointError` as `load` does."""
  path = pathlib.Path(path)
  with _open(path) as archive:
    return _read_metadata(path, archive)
