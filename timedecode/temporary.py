"""Names of files that are written beside their place and then moved there.

A file `name` is written as `.name.<machine>-<process>-<run>-<number>.<kind>`
in the same folder. Who is killed meanwhile leaves it there. One rule says when
it is abandoned, so that the next writer may remove it or go on with it:

  its process is of this machine and no longer runs, or
  it hasn't been written to for a day.

The second half is for what the first can't tell: processes of other machines
and of other containers, process numbers that were used again, names that an
earlier version gave. A temporary file of a process that runs is never touched
before that, so any number of processes may write the same file at once.
"""

import contextlib
import hashlib
import itertools
import os
import pathlib
import platform
import re
import secrets
import time

DAY_S = 86_400
_RUN = secrets.token_hex(8)  # A number of a process may come back after it.
_NUMBERS = itertools.count()
_OWNER = r"([0-9a-f]{8})-(\d{1,9})-([0-9a-f]{16})-\d+"
_OLDER = r"[0-9a-f]{16}"  # Names of version 1 had no owner.
NOBODY = 0  # Process of a file that was left on purpose, for anyone.


def _machine() -> str:
  """8 hexadecimal digits for the machine and, in a container, for that."""
  try:
    space = os.readlink("/proc/self/ns/pid")
  except OSError:  # Another system than Linux.
    space = ""
  return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def name_for(
  path: str | os.PathLike, kind: str = "tmp", process: int | None = None
) -> pathlib.Path:
  """A new name beside `path`, of this process or of a given one.

  Args:
    path: the place the file is for.
    kind: the name's end, 'tmp' or '<16 hexadecimal digits>.part'.
    process: a number, `NOBODY` for what may be taken up at once.
  """
  path = pathlib.Path(path)
  process = os.getpid() if process is None else process
  owner = f"{_machine()}-{process}-{_RUN}-{next(_NUMBERS)}"
  return path.with_name(f".{path.name}.{owner}.{kind}")


def _runs(process: int, run: str) -> bool:
  if process in (NOBODY, os.getpid()):
    return process != NOBODY and run == _RUN
  if os.name != "posix":  # Elsewhere asking would end it.
    return True
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return False
  except OSError:  # It runs, under another user.
    pass
  return True


def abandoned(
  folder: str | os.PathLike, names: str, kind: str = r"(?:tmp|\w{16}\.part)"
) -> list[pathlib.Path]:
  """Temporary files in a folder that are abandoned by the rule above.

  Args:
    folder: where to look; one that can't be listed has none.
    names: a regular expression for the names that the files are for.
    kind: a regular expression for the end of the temporary names.
  """
  pattern = re.compile(rf"\.(?:{names})\.(?:{_OWNER}|{_OLDER})\.(?:{kind})")
  found, machine = [], _machine()
  with contextlib.suppress(OSError), os.scandir(folder) as entries:
    for entry in entries:
      if (match := pattern.fullmatch(entry.name)) is None:
        continue
      with contextlib.suppress(OSError):  # Gone meanwhile.
        if not entry.is_file(follow_symlinks=False):
          continue
        old = time.time() - entry.stat().st_mtime > DAY_S
        ours = match[1] == machine
        if old or ours and not _runs(int(match[2]), match[3]):
          found.append(pathlib.Path(entry.path))
  return found


def clean(folder: str | os.PathLike, names: str) -> None:
  """Removes what is `abandoned`; what can't be removed stays."""
  for path in abandoned(folder, names):
    with contextlib.suppress(OSError):
      path.unlink()


def _sync_folder(folder: pathlib.Path) -> None:
  """Makes a rename in the folder durable, where the system can."""
  if os.name != "posix":
    return
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def move(partial: pathlib.Path, path: pathlib.Path) -> None:
  """Moves a file that is whole to its place, and cleans up beside it.

  Raises:
    OSError: it can't be moved, or was taken away as abandoned.
  """
  os.replace(partial, path)
  _sync_folder(path.parent)
  clean(path.parent, re.escape(path.name))


def take(path: pathlib.Path, kind: str) -> pathlib.Path | None:
  """The largest abandoned file for `path`, under a new name of this process.

  Of several processes that want the same one, one gets it.

  Returns:
    The new name; None where there was none to be had.
  """
  found = {}
  for old in abandoned(path.parent, re.escape(path.name), re.escape(kind)):
    with contextlib.suppress(OSError):
      found[old] = old.stat().st_size
  for old in sorted(found, key=found.__getitem__, reverse=True):
    new = name_for(path, kind)
    with contextlib.suppress(OSError):  # Another process has just taken it.
      os.utime(old)  # First: under its new name it must not look old.
      os.rename(old, new)
      return new
  return None
