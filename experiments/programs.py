"""Compiled programs outlive the process: JAX's persistent cache, by default.

They lie in the user's cache folder (or in `$TIMEDECODE_CACHE`), in a folder of
their own for every kind of processor and release of jaxlib: a program that was
compiled for another processor may not run. `$JAX_COMPILATION_CACHE_DIR` names
another folder; `$JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing.

JAX can bound the folder as well, but takes a lock of the whole folder for each
program that it reads: one process that is stopped, or a file server that is
slow, then holds up the start of all others. So it is bounded here, at the end
of each process.
"""

import atexit
import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform

import jax
import jaxlib

from timedecode import datasets

LIMIT = 2**31  # Bytes; what was not used for longest goes first.
_PROGRAM, _NOTE = "-cache", "-atime"  # How JAX ends their names.
_CPU_INFO = pathlib.Path("/proc/cpuinfo")


def _processor() -> str:
  """What the processor can do, as far as the system tells."""
  try:
    lines = _CPU_INFO.read_text().splitlines()
  except OSError:
    return platform.processor()
  told = ("flags", "Features", "model name")  # Of x86, of ARM.
  return "\n".join(sorted({line for line in lines if line.startswith(told)}))


def folder() -> pathlib.Path:
  """Of the programs of this processor and release."""
  parts = (jaxlib.__version__, platform.machine(), _processor())
  digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=8)
  return datasets.cache_folder() / f"programs-{digest.hexdigest()}"


def keep() -> None:
  """Turns the cache on, unless the user has chosen a folder."""
  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    return
  place = folder()
  jax.config.update("jax_compilation_cache_dir", str(place))
  jax.config.update("jax_compilation_cache_max_size", -1)  # See above.
  atexit.register(lambda: prune(place, LIMIT))


def prune(place: pathlib.Path, limit: int) -> None:
  """Deletes programs until they take no more than `limit` bytes.

  Where another process does so, or nothing can be deleted, it leaves them.
  """
  with contextlib.suppress(OSError), (place / ".prune").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Until it is closed.
    _prune(place, limit)


def _prune(place: pathlib.Path, limit: int) -> None:
  found = []
  for path in place.glob(f"*{_PROGRAM}"):
    with contextlib.suppress(FileNotFoundError):  # Deleted meanwhile.
      stat = path.stat()
      # Few file systems note each use, but most one a day.
      used = max(stat.st_atime_ns, stat.st_mtime_ns)
      found.append((used, stat.st_size, path))
  size = sum(entry[1] for entry in found)
  for _, bytes_, path in sorted(found):
    if size <= limit:
      return
    path.unlink(missing_ok=True)
    # Of earlier releases, which had JAX bound the folder.
    path.with_name(path.name.removesuffix(_PROGRAM) + _NOTE).unlink(True)
    size -= bytes_
