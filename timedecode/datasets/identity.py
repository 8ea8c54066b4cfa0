"""Which files arrays were derived from: names, sizes, times of change.

A cache is keyed by the files before they are read, and what is read later
must be what was keyed. So they are looked at twice, before and after, and
arrays of files that changed in between are refused, not kept. A change that
leaves a file's size and time as they were is seen by neither.
"""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterable

Snapshot = dict[pathlib.Path, tuple[int, int]]


def snapshot(paths: Iterable[pathlib.Path]) -> Snapshot:
  """Bytes and time of change, ns, of files, in the order of their paths."""
  found = {}
  for path in sorted(paths):
    with contextlib.suppress(FileNotFoundError):  # It has just gone.
      about = path.stat()
      found[path] = about.st_size, about.st_mtime_ns
  return found


def digest(files: Snapshot) -> str:
  """A digest of names, each with its folder's, sizes and times, in hex."""
  lines = [
    f"{'/'.join(path.parts[-2:])} {size} {time}"
    for path, (size, time) in files.items()
  ]
  return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()


def _said(about: tuple[int, int] | None) -> str:
  if about is None:
    return "no file"
  return f"{about[0]} bytes of {about[1] * 1e-9:.6f} s"


def check_unchanged(before: Snapshot, after: Snapshot) -> None:
  """Whether files are the same as before they were read.

  Raises:
    ValueError: a file came, went or changed; it names the first.
  """
  for path in sorted(before.keys() | after.keys()):
    was, now = before.get(path), after.get(path)
    if was != now:
      raise ValueError(
        f"{path}: changed while the data were read: expected {_said(was)}, got"
        f" {_said(now)}; try again when nothing writes there"
      )
