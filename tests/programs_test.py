"""Compiled programs are kept by default, apart for each kind of processor."""

import os
import subprocess
import sys

import binaries

from experiments import programs

_CODE = """
import sys, experiments, jax
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
print(jax.jit(lambda x: x * 3 + 1)(2.0))
print(sum("cache_hits" in name for name in events))
"""


def _run(folder, **more):
  others = ("JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL")
  kept = {k: v for k, v in os.environ.items() if k not in others}
  kept |= {
    "TIMEDECODE_CACHE": str(folder),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  result = subprocess.run(
    [sys.executable, "-c", _CODE], env=kept | more, capture_output=True,
    text=True, check=True, cwd=binaries.ROOT,
  )  # fmt: skip
  return result.stdout.split(), result.stderr


def test_the_next_process_compiles_nothing(tmp_path):
  value, hits = _run(tmp_path)[0]
  assert value == "7.0" and hits == "0"
  (place,) = tmp_path.glob("programs-*")
  assert any(place.iterdir())
  (value, hits), errors = _run(tmp_path)
  assert value == "7.0" and int(hits) > 0
  assert "Target machine feature" not in errors


def test_a_folder_that_the_user_has_chosen_is_used(tmp_path):
  own = tmp_path / "own"
  _run(tmp_path / "cache", JAX_COMPILATION_CACHE_DIR=str(own))
  assert any(own.iterdir()) and not (tmp_path / "cache").exists()


def test_processors_have_folders_of_their_own(tmp_path, monkeypatch):
  here = programs.folder()
  assert here == programs.folder()
  other = tmp_path / "cpuinfo"
  other.write_text("model name: other\nflags: sse\n")
  monkeypatch.setattr(programs, "_CPU_INFO", other)
  assert programs.folder() != here
  monkeypatch.setattr(programs, "_CPU_INFO", tmp_path / "none")
  assert programs.folder().parent == here.parent
