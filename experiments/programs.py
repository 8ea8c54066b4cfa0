"""Compiled programs outlive the process: JAX's persistent cache, by default.

They lie in the user's cache folder (or in `$TIMEDECODE_CACHE`), in a folder of
their own for every kind of processor and release of jaxlib: a program that was
compiled for another processor may not run. `$JAX_COMPILATION_CACHE_DIR` names
another folder; `$JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing.
"""

import hashlib
import os
import pathlib
import platform

import jax
import jaxlib

from timedecode import datasets

LIMIT = 2**31  # Bytes; what was not used for longest goes first.
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
  jax.config.update("jax_compilation_cache_dir", str(folder()))
  jax.config.update("jax_compilation_cache_max_size", LIMIT)
