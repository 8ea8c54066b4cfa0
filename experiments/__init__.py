"""Experiment binaries: thin absl mains over the library."""

import importlib.util
import logging
import os

# XLA tells at length, as of an error, of each program from the cache that it
# was compiled with options that are no features of a processor.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from experiments import memory  # noqa: E402

# absl shows INFO, where JAX tells of each kind of device that it did not find.
logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
memory.keep_freed()
if importlib.util.find_spec("platformdirs"):  # The benchmark needs less.
  from experiments import programs

  programs.keep()
