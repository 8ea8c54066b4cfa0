"""A cache loses nothing: damage, full disks and races give the same arrays."""

import errno
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from timedecode import checkpoint, temporary
from timedecode.datasets import cache

KEY = {"source": "abc", "options": [10, 2.0, (1, 2)], "reader": 1}


def _make(seed=0):
  rng = np.random.default_rng(seed)
  return {
    "bits": rng.integers(0, 256, (20, 30)).astype(np.uint8),
    "times": rng.integers(0, 2**50, 7),
    "none": np.zeros((0, 3), np.float32),
  }


def _never():
  raise AssertionError("made again")


def _equal(a, b):
  assert sorted(a) == sorted(b)
  for name in a:
    np.testing.assert_array_equal(a[name], b[name])
    assert a[name].dtype == b[name].dtype
    assert type(a[name]) is type(b[name]) is np.ndarray


@pytest.mark.parametrize("template", [None, _make(1)])
def test_made_once_then_read(tmp_path, capsys, template):
  folder = tmp_path / "new" / "folder"
  first = cache.arrays(folder, KEY, template, _make)
  second = cache.arrays(folder, KEY, template, _never)
  _equal(first, _make())
  _equal(second, _make())
  assert [p.name for p in folder.iterdir()] == [cache.path_of(folder, KEY).name]
  assert capsys.readouterr() == ("", "")


def test_another_key_is_another_file(tmp_path):
  others = [{**KEY, "reader": 2}, {**KEY, "options": []}, {**KEY, "new": None}]
  for seed, key in enumerate([KEY, *others]):
    cache.arrays(tmp_path, key, None, lambda: _make(seed))  # noqa: B023
  assert len(list(tmp_path.iterdir())) == 4
  for seed, key in enumerate([KEY, *others]):
    _equal(cache.arrays(tmp_path, key, None, _never), _make(seed))
  reordered = dict(reversed(KEY.items()))
  _equal(cache.arrays(tmp_path, reordered, None, _never), _make())


def test_a_file_of_another_key_is_not_believed(tmp_path, capsys):
  other = {**KEY, "reader": 2}
  cache.arrays(tmp_path, other, None, lambda: _make(1))
  cache.path_of(tmp_path, other).rename(cache.path_of(tmp_path, KEY))
  _equal(cache.arrays(tmp_path, KEY, None, _make), _make())
  assert "expected the arrays of" in capsys.readouterr().err
  _equal(cache.arrays(tmp_path, KEY, None, _never), _make())


def test_every_truncation_and_change_is_repaired(tmp_path, capsys):
  path = cache.path_of(tmp_path, KEY)
  cache.arrays(tmp_path, KEY, None, _make)
  whole = path.read_bytes()
  at = whole.find(_make()["bits"].tobytes())
  changed = bytearray(whole)
  changed[at + 5] ^= 1
  damages = [whole[:n] for n in range(0, len(whole), 131)] + [bytes(changed)]
  for damage in damages:
    path.write_bytes(damage)
    _equal(cache.arrays(tmp_path, KEY, None, _make), _make())
    assert "made anew" in capsys.readouterr().err
    assert path.read_bytes() == whole


def _save(path, arrays, described, key=KEY):
  checkpoint.save(path, arrays, {"key": key, "arrays": described})


def test_foreign_files_are_replaced(tmp_path, capsys):
  path = cache.path_of(tmp_path, KEY)
  one = {"a": np.zeros(3)}

  def numpy_file():
    np.savez(path, a=np.zeros(3))

  def not_json():
    with zipfile.ZipFile(path, "w") as file:
      file.writestr("__metadata__", json.dumps({"format": "other"}))

  writers = (
    lambda: path.write_text("text"),
    lambda: path.write_bytes(pickle.dumps(_make())),
    numpy_file,
    not_json,
    lambda: checkpoint.save(path, one, {}),
    lambda: checkpoint.save(path, one, {"key": float("nan")}),
    lambda: _save(path, one, None),
    lambda: _save(path, one, {"a": 3}),
    lambda: _save(path, one, {"a": [[10**12], "<f8"]}),
    lambda: _save(path, one, {"a": [[-1], "<f8"]}),
    lambda: _save(path, one, {"a": [[3], "|O"]}),
    lambda: _save(path, one, {"a": [[3], "no dtype"]}),
    lambda: _save(path, one, {"b": [[3], "<f8"]}),
  )
  for write in writers:
    write()
    _equal(cache.arrays(tmp_path, KEY, None, _make), _make())
    assert "made anew" in capsys.readouterr().err
    _equal(cache.arrays(tmp_path, KEY, None, _never), _make())


def test_arrays_of_other_shapes_than_the_template_are_made_anew(
  tmp_path, capsys
):
  cache.arrays(tmp_path, KEY, None, lambda: {"bits": np.zeros(3)})
  _equal(cache.arrays(tmp_path, KEY, _make(1), _make), _make())
  assert "made anew" in capsys.readouterr().err


def test_a_full_disk_loses_nothing(tmp_path, capsys, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(checkpoint.os, "fsync", full)
  _equal(cache.arrays(tmp_path, KEY, None, _make), _make())
  assert "not kept: [Errno 28] No space left" in capsys.readouterr().err
  assert not list(tmp_path.iterdir())
  monkeypatch.undo()
  _equal(cache.arrays(tmp_path, KEY, None, _make), _make())
  assert len(list(tmp_path.iterdir())) == 1


def test_a_write_that_fails_midway_leaves_no_file(
  tmp_path, capsys, monkeypatch
):
  write, calls = np.lib.format.write_array, []

  def fails_later(*args, **kwargs):
    calls.append(1)
    if len(calls) == 2:
      raise OSError(errno.ENOSPC, "No space left on device")
    return write(*args, **kwargs)

  monkeypatch.setattr(np.lib.format, "write_array", fails_later)
  _equal(cache.arrays(tmp_path, KEY, None, _make), _make())
  assert len(calls) == 2 and not list(tmp_path.iterdir())
  assert "not kept" in capsys.readouterr().err


def test_a_folder_that_cannot_be_one(tmp_path, capsys):
  blocked = tmp_path / "file"
  blocked.write_text("in the way")
  _equal(cache.arrays(blocked, KEY, None, _make), _make())
  assert "not kept" in capsys.readouterr().err
  assert blocked.read_text() == "in the way"
  cache.path_of(tmp_path, KEY).mkdir()
  _equal(cache.arrays(tmp_path, KEY, None, _make), _make())
  assert "made anew" in capsys.readouterr().err


def _process(folder, barrier, results):
  def make():
    barrier.wait(30)  # Both make: neither has written before the other began.
    return _make()

  got = cache.arrays(folder, KEY, None, make)
  results.put(all((got[name] == want).all() for name, want in _make().items()))


def test_two_processes_at_once(tmp_path, capfd):
  context = multiprocessing.get_context("spawn")
  barrier, results = context.Barrier(2), context.Queue()
  workers = [
    context.Process(target=_process, args=(tmp_path, barrier, results))
    for _ in range(2)
  ]
  for worker in workers:
    worker.start()
  assert [results.get(timeout=60) for _ in workers] == [True, True]
  for worker in workers:
    worker.join(30)
    assert worker.exitcode == 0
  assert len(list(tmp_path.iterdir())) == 1
  _equal(cache.arrays(tmp_path, KEY, None, _never), _make())
  assert "cache:" not in capfd.readouterr().err


def test_what_killed_writers_of_any_key_left_is_removed(tmp_path):
  process = subprocess.Popen([sys.executable, "-c", ""])
  process.wait()
  other = cache.path_of(tmp_path, {"another": "key"})
  name = lambda path, process: temporary.name_for(path, process=process)
  for path in (other, cache.path_of(tmp_path, KEY)):
    name(path, process.pid).write_bytes(b"half")
  running = name(other, os.getppid())
  foreign = name(tmp_path / "arrays-mine.npz", process.pid)
  for path in (running, foreign):
    path.write_bytes(b"half")
  _equal(cache.arrays(tmp_path, KEY, None, _make), _make())
  want = [running, foreign, cache.path_of(tmp_path, KEY)]
  assert sorted(tmp_path.iterdir()) == sorted(want)


def test_a_file_that_is_replaced_while_it_is_read(
  tmp_path, capsys, monkeypatch
):
  """Its description was of our key, its arrays are of another."""
  path = cache.path_of(tmp_path, KEY)
  cache.arrays(tmp_path, KEY, None, _make)
  load_metadata = checkpoint.load_metadata

  def then_replaced(found):
    metadata = load_metadata(found)
    _save(path, _make(1), metadata["arrays"], {"another": "key"})
    return metadata

  monkeypatch.setattr(checkpoint, "load_metadata", then_replaced)
  _equal(cache.arrays(tmp_path, KEY, None, _make), _make())
  assert "replaced while it was read" in capsys.readouterr().err


def test_mistakes_are_named(tmp_path):
  for key in ({"a": {1, 2}}, {"a": float("nan")}, {"a": np.int64(1)}):
    with pytest.raises(ValueError, match="key: expected what JSON can hold"):
      cache.arrays(tmp_path, key, None, _never)
  for made, message in (
    ([np.zeros(3)], "make: expected a dict of names to NumPy arrays"),
    ({"a": [1, 2]}, "make: expected a dict of names to NumPy arrays"),
    ({"a": np.array(["text"])}, "make: array 'a': expected a boolean or num"),
    ({"a": np.array([None])}, "make: array 'a': expected a boolean or num"),
  ):
    with pytest.raises(ValueError, match=message):
      cache.arrays(tmp_path, KEY, None, lambda: made)  # noqa: B023
  with pytest.raises(ValueError, match=r"make: expected arrays \{'a'"):
    cache.arrays(tmp_path, KEY, {"a": np.zeros(2)}, lambda: {"a": np.ones(3)})
  with pytest.raises(ZeroDivisionError):
    cache.arrays(tmp_path, KEY, None, lambda: 1 / 0)
  assert not list(tmp_path.iterdir())
