"""Experiment binaries: thin absl mains over the library."""

import logging

from experiments import memory

# absl shows INFO, where JAX tells of each kind of device that it did not find.
logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
memory.keep_freed()
