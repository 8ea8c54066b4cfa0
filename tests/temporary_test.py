"""Temporary files: which are abandoned, and that others are left alone."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from timedecode import temporary

DAY = 86_400


@pytest.fixture(name="dead", scope="module")
def _dead():
  """The number of a process that has ended."""
  process = subprocess.Popen([sys.executable, "-c", ""])
  process.wait()
  return process.pid


def _write(path, age_s=0.0):
  path.write_bytes(b"half")
  os.utime(path, (time.time() - age_s,) * 2)
  return path


def _other(path, **parts):
  """The name with another machine or run."""
  _, name, owner, kind = path.name.split(".")
  names = "machine", "process", "run", "number"
  owner = dict(zip(names, owner.split("-"), strict=True))
  owner = "-".join((owner | parts).values())
  return path.with_name(f".{name}.{owner}.{kind}")


def test_the_rule(tmp_path, dead):
  path = tmp_path / "file"
  name = lambda process=None: temporary.name_for(path, process=process)
  left = [
    _write(name(dead)),
    _write(name(temporary.NOBODY)),
    _write(_other(name(), run="0" * 16)),  # Our number, an earlier life.
    _write(name(), DAY + 60),
    _write(name(os.getppid()), DAY + 60),
    _write(_other(name(dead), machine="0" * 8), DAY + 60),
    _write(tmp_path / f".file.{'0' * 16}.tmp", DAY + 60),
  ]
  kept = [
    _write(name(), DAY - 60),
    _write(name(os.getppid()), DAY - 60),
    _write(_other(name(dead), machine="0" * 8), DAY - 60),
    _write(tmp_path / f".file.{'0' * 16}.tmp.x", DAY + 60),
    _write(tmp_path / f".file.{'1' * 16}.tmp", DAY - 60),
    _write(tmp_path / ".file.tmp", DAY + 60),
    _write(temporary.name_for(tmp_path / "other", process=dead)),
    _write(temporary.name_for(tmp_path / "file.x", process=dead)),
    _write(path, DAY + 60),
  ]
  folder = name(dead)
  folder.mkdir()
  link = name(dead)
  link.symlink_to(path)
  assert sorted(temporary.abandoned(tmp_path, "file")) == sorted(left)
  temporary.clean(tmp_path, "file")
  assert sorted(tmp_path.iterdir()) == sorted([*kept, folder, link])
  temporary.clean(tmp_path / "none", "file")


def test_names_are_new_each_time(tmp_path):
  names = {temporary.name_for(tmp_path / "file") for _ in range(100)}
  assert len(names) == 100 and {path.parent for path in names} == {tmp_path}


def test_move_puts_in_place_and_cleans_up(tmp_path, dead):
  path = tmp_path / "file(1)"
  _write(temporary.name_for(path, process=dead))
  other = _write(temporary.name_for(tmp_path / "file1", process=dead))
  temporary.move(_write(temporary.name_for(path)), path)
  assert sorted(tmp_path.iterdir()) == sorted([path, other])


def test_one_of_several_gets_what_was_left(tmp_path, dead, monkeypatch):
  path, kind = tmp_path / "file", "0123456789abcdef.part"
  assert temporary.take(path, kind) is None
  _write(temporary.name_for(path, kind, dead))
  large = temporary.name_for(path, kind, dead)
  large.write_bytes(b"the largest")
  os.utime(large, (1, 1))
  first = temporary.take(path, kind)
  assert first.read_bytes() == b"the largest" and not large.exists()
  # It is ours now, and new, so nobody else takes it.
  assert time.time() - first.stat().st_mtime < 60
  second = temporary.take(path, kind)
  assert second.read_bytes() == b"half" and temporary.take(path, kind) is None
  # Two saw the same file: for the one that comes too late there is none.
  gone = temporary.name_for(path, kind, dead)
  monkeypatch.setattr(temporary, "abandoned", lambda *_: [_write(gone)])
  rename, calls = os.rename, []

  def overtaken(old, new):
    calls.append(old)
    pathlib.Path(old).unlink()
    rename(old, new)

  monkeypatch.setattr(os, "rename", overtaken)
  assert temporary.take(path, kind) is None and calls
