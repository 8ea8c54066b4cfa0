"""What is cached is what was keyed: files that change meanwhile are refused."""

import os
import pathlib

import numpy as np
import pytest

from timedecode.datasets import identity, tonic_sources


def _write(folder, name, content):
  path = folder / "NMNIST" / "Test" / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)
  return path


EVENT = bytes((1, 2, 0, 0, 9))


def _load(folder):
  cache_dir = folder / "cache"
  return tonic_sources.load(
    "nmnist", folder, "test", 10, 30, cache_dir=cache_dir
  )


def test_digest_is_of_names_sizes_and_times(tmp_path):
  paths = [_write(tmp_path, f"{i}/a.bin", EVENT * i) for i in range(3)]
  first = identity.snapshot(paths)
  assert list(first) == paths
  assert first == identity.snapshot(iter(reversed(paths)))
  assert first[paths[2]] == (10, paths[2].stat().st_mtime_ns)
  found = {
    identity.digest(first),
    identity.digest(identity.snapshot(paths[1:])),
  }
  os.utime(paths[0], ns=(1, 1))
  found.add(identity.digest(identity.snapshot(paths)))
  paths[0].write_bytes(b"longer")
  os.utime(paths[0], ns=(1, 1))
  found.add(identity.digest(identity.snapshot(paths)))
  paths[0].rename(paths[0].with_name("b.bin"))
  paths[0] = paths[0].with_name("b.bin")
  found.add(identity.digest(identity.snapshot(paths)))
  assert len(found) == 5


def test_first_change_is_named():
  a, b = pathlib.Path("a"), pathlib.Path("b")
  identity.check_unchanged({a: (1, 2)}, {a: (1, 2)})
  for after, message in (
    ({a: (1, 2), b: (3, 4)}, "^b: .* expected no file, got 3 bytes of"),
    ({}, "^a: .* expected 1 bytes of .*, got no file"),
    ({a: (2, 2)}, "^a: .* expected 1 bytes of .*, got 2 bytes of"),
    ({a: (1, 10**9)}, "^a: .* expected .* of 0.000000 s, got .* of 1.000000 s"),
  ):
    with pytest.raises(ValueError, match=message):
      identity.check_unchanged({a: (1, 2)}, after)


@pytest.mark.parametrize("change", ["content", "time", "gone"])
def test_tonics_files_that_change_while_they_are_read(
  tmp_path, monkeypatch, change
):
  first = _write(tmp_path, "1/a.bin", EVENT)
  _write(tmp_path, "2/a.bin", EVENT)
  read = tonic_sources._read

  def changed(dataset, index, name):
    found = read(dataset, index, name)
    if index == 1 and change == "content":
      first.write_bytes(2 * EVENT)
    elif index == 1 and change == "time":
      os.utime(first, ns=(1, 1))
    elif index == 1:
      first.unlink()
    return found

  monkeypatch.setattr(tonic_sources, "_read", changed)
  message = f"^{first}: changed while the data were read: expected 5 bytes of"
  with pytest.raises(ValueError, match=message):
    _load(tmp_path)
  assert not list(tmp_path.glob("cache/*"))
  monkeypatch.undo()
  _write(tmp_path, "1/a.bin", EVENT)
  assert _load(tmp_path)[1].tolist() == [1, 2]


def test_a_file_that_comes_after_tonic_has_listed_them(tmp_path, monkeypatch):
  """It is neither keyed nor read: the next call makes the set anew."""
  _write(tmp_path, "1/a.bin", EVENT)
  opened = tonic_sources._open

  def then_another(*arguments):
    dataset = opened(*arguments)
    _write(tmp_path, "2/a.bin", EVENT)
    return dataset

  monkeypatch.setattr(tonic_sources, "_open", then_another)
  assert _load(tmp_path)[1].tolist() == [1]
  monkeypatch.undo()
  assert _load(tmp_path)[1].tolist() == [1, 2]


def test_recordings_of_tonic_are_bounded(tmp_path, monkeypatch):
  _write(tmp_path, "1/a.bin", EVENT * 2)
  monkeypatch.setattr(tonic_sources, "RECORDING_LIMIT", 9)
  message = "1/a.bin: recording 0: expected at most 9 bytes, got 10"
  with pytest.raises(ValueError, match=message):
    _load(tmp_path)
  gesture = tmp_path / "DVSGesture/ibmGestureTest/user01_lab/3.npy"
  gesture.parent.mkdir(parents=True)
  np.save(gesture, np.zeros((1, 4)))
  message = "3.npy: recording 0: expected at most 9 bytes, got 160"
  with pytest.raises(ValueError, match=message):
    tonic_sources.load("dvs_gesture", tmp_path, "test", 10, 30)
