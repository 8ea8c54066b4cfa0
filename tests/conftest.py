"""Strict shapes; what one session of tests shares: its caches, its order."""

import os
import pathlib
import tempfile

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Tests of these go to one worker each: what they share takes long to make.
TOGETHER = ("smoke_test.py", "parallel_test.py", "sweep_test.py",
            "microscope_test.py", "lost_test.py")  # fmt: skip
QUICK = "--xla_backend_optimization_level=0"


def pytest_configure(config):
  """Compiled programs, images and judges are made once for all processes.

  The folder is new for each session, and it is deleted at its end: nothing
  that an earlier state of the code has left can be found in it. Most programs
  run for less time than their machine code takes to be optimised, so it is
  not, except in `binaries.AS_USED`.
  """
  if not hasattr(config, "workerinput"):  # Workers inherit the environment.
    folder = tempfile.TemporaryDirectory(prefix="timedecode-tests-")
    config.add_cleanup(folder.cleanup)
    os.environ["TIMEDECODE_CACHE"] = str(pathlib.Path(folder.name, "data"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(
      pathlib.Path(folder.name, "programs")
    )
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    others = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{QUICK} {others}".strip()
  # JAX may have read the environment already.
  jax.config.update(
    "jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"]
  )
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """Tests that share what takes long go first, to one worker: made once.

  xdist's own groups are no help: version 3.8 writes them into the ids of the
  tests, which can no longer be written in pytest 9.2, and says nothing.
  """
  from xdist.scheduler import LoadScopeScheduling

  class Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid):
      module = nodeid.split("::")[0]
      return module if module.endswith(TOGETHER) else nodeid

  return Scheduling(config, log)
