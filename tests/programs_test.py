"""Compiled programs are kept by default, apart for each kind of processor."""

import contextlib
import fcntl
import os
import subprocess
import sys

import binaries

from experiments import programs

_CODE = """
import sys, time, experiments, jax
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
start = time.monotonic()
print(jax.jit(lambda x: x * 3 + 1)(2.0))
print(sum("cache_hits" in name for name in events))
print(time.monotonic() - start)
"""


def _run(folder, code=_CODE, **more):
  others = ("JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL")
  kept = {k: v for k, v in os.environ.items() if k not in others}
  kept |= {
    "TIMEDECODE_CACHE": str(folder),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  result = subprocess.run(
    [sys.executable, "-c", code], env=kept | more, capture_output=True,
    text=True, check=True, cwd=binaries.ROOT,
  )  # fmt: skip
  return result.stdout.split(), result.stderr


def test_the_next_process_compiles_nothing(tmp_path):
  value, hits, _ = _run(tmp_path)[0]
  assert value == "7.0" and hits == "0"
  (place,) = tmp_path.glob("programs-*")
  assert any(place.iterdir())
  (value, hits, _), errors = _run(tmp_path)
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


def test_a_process_that_was_stopped_holds_up_no_other(tmp_path):
  """Whatever it holds locked in the folder."""
  _run(tmp_path)
  (place,) = tmp_path.glob("programs-*")
  with contextlib.ExitStack() as stack:
    for name in (".lockfile", ".prune"):
      file = stack.enter_context((place / name).open("w"))
      fcntl.flock(file, fcntl.LOCK_EX)
    (_, hits, seconds), _ = _run(tmp_path)
  assert int(hits) > 0 and float(seconds) < 8.0


def _program(place, name, used, size=10):
  """A file like those of programs; seconds since 1970."""
  path = place / f"{name}-cache"
  path.write_bytes(b"0" * size)
  os.utime(path, (used, used))
  return path


def test_what_was_not_used_for_longest_goes_first(tmp_path):
  days = {"b": 2, "a": 3, "c": 1, "d": 4}
  paths = [_program(tmp_path, name, day * 86400) for name, day in days.items()]
  os.utime(paths[2], (5 * 86400, 86400))  # Written first, and used today.
  (tmp_path / "b-atime").write_bytes(b"0")
  (tmp_path / "gone-cache").symlink_to(tmp_path / "nowhere")
  programs.prune(tmp_path, 40)
  assert all(path.exists() for path in paths)
  programs.prune(tmp_path, 25)
  assert [path.exists() for path in paths] == [False, False, True, True]
  assert not (tmp_path / "b-atime").exists()


def test_two_do_not_prune_at_once_and_none_waits(tmp_path):
  path = _program(tmp_path, "a", 0)
  with (tmp_path / ".prune").open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    programs.prune(tmp_path, 0)
    assert path.exists()
  programs.prune(tmp_path, 0)
  assert not path.exists()
  programs.prune(tmp_path / "missing", 0)  # Nothing was compiled.
  assert not (tmp_path / "missing").exists()


def test_the_folder_is_pruned_at_the_end_of_a_process(tmp_path):
  code = f"{_CODE}\nexperiments.programs.LIMIT = 0"
  _run(tmp_path, code)
  (place,) = tmp_path.glob("programs-*")
  assert [path.name for path in place.iterdir()] == [".prune"]
