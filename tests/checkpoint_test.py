"""Checkpoints: exact round trips; every damage is named, nothing is lost."""

import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from timedecode import checkpoint, temporary
from timedecode.checkpoint import CheckpointError


def _tree(seed=0):
  rng = np.random.default_rng(seed)
  params = {
    "w": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
    "empty": jnp.zeros((0, 2)),
    "flag": np.array(True),
  }
  return params, optax.adam(0.1).init(params["w"])


def _equal(a, b):
  for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True):
    np.testing.assert_array_equal(x, y)
    assert x.dtype == y.dtype and type(x) is type(y)
  assert jax.tree.structure(a) == jax.tree.structure(b)


def test_round_trip(tmp_path):
  path = tmp_path / "new" / "checkpoint"
  meta = {"step": 3, "nested": {"list": [1, 2.5, None]}}
  checkpoint.save(path, _tree(), meta)
  tree, found = checkpoint.load(path, _tree(1))
  _equal(tree, _tree())
  assert found == meta == checkpoint.load_metadata(path)
  assert [p.name for p in path.parent.iterdir()] == ["checkpoint"]


def test_equal_contents_give_equal_bytes(tmp_path):
  checkpoint.save(tmp_path / "a", _tree(), {"x": 1, "y": 2})
  checkpoint.save(tmp_path / "b", _tree(), {"y": 2, "x": 1})
  assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
  checkpoint.save(tmp_path / "c", _tree(1), {"x": 1, "y": 2})
  assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_every_truncation_is_noticed(tmp_path):
  path = tmp_path / "checkpoint"
  checkpoint.save(path, _tree(), {})
  whole = path.read_bytes()
  for length in range(0, len(whole), 97):
    path.write_bytes(whole[:length])
    with pytest.raises(CheckpointError, match="checkpoint: "):
      checkpoint.load(path, _tree())


def test_changed_data_are_noticed(tmp_path):
  path = tmp_path / "checkpoint"
  checkpoint.save(path, _tree(), {})
  whole = bytearray(path.read_bytes())
  at = whole.find(np.asarray(_tree()[0]["w"]).tobytes())
  assert at > 0
  whole[at + 5] ^= 1
  path.write_bytes(whole)
  with pytest.raises(CheckpointError, match="corrupt: wrong checksum of"):
    checkpoint.load(path, _tree())


def _foreign_files(folder):
  (folder / "text").write_text("not a checkpoint")
  (folder / "pickle").write_bytes(pickle.dumps({"w": 1}))
  np.savez(folder / "numpy.npz", w=np.zeros(3))
  with zipfile.ZipFile(folder / "other.zip", "w") as file:
    file.writestr("__metadata__", json.dumps({"format": "other"}))
  return [p for p in folder.iterdir() if p.is_file()]


def test_foreign_files_are_refused(tmp_path):
  files = _foreign_files(tmp_path)
  assert len(files) == 4
  for path in files:
    with pytest.raises(CheckpointError, match=path.name):
      checkpoint.load(path, _tree())


def test_pickled_entries_are_not_read(tmp_path):
  path = tmp_path / "checkpoint"
  template = {"w": np.zeros(2)}
  checkpoint.save(path, template, {})
  with zipfile.ZipFile(path) as archive:
    meta = archive.read("__metadata__")
    name = [n for n in archive.namelist() if n.endswith(".npy")][0]
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("__metadata__", meta)
    with archive.open(name, "w") as entry:
      np.lib.format.write_array(
        entry, np.array([{}, {}], object), allow_pickle=True
      )
  with pytest.raises(CheckpointError, match="expected shape"):
    checkpoint.load(path, template)


def test_newer_formats_and_missing_files(tmp_path, monkeypatch):
  path = tmp_path / "checkpoint"
  with pytest.raises(CheckpointError, match="no such file"):
    checkpoint.load(path, _tree())
  monkeypatch.setattr(checkpoint, "VERSION", 2)
  checkpoint.save(path, _tree(), {})
  monkeypatch.undo()
  with pytest.raises(CheckpointError, match="version 2 is newer than 1"):
    checkpoint.load(path, _tree())


@pytest.mark.parametrize(
  "template, message",
  [
    ({"w": np.zeros((2, 3))}, "expected shape .* got"),
    ({"w": np.zeros((3, 2), np.float32)}, "expected shape .* got"),
    ({"v": np.zeros((3, 2))}, "missing .*v.* unexpected .*w"),
  ],
)
def test_other_models_are_refused(tmp_path, template, message):
  checkpoint.save(tmp_path / "c", {"w": np.zeros((3, 2))}, {})
  with pytest.raises(CheckpointError, match=message):
    checkpoint.load(tmp_path / "c", template)


KILLED = """
import os, signal, sys
import numpy as np
from timedecode.checkpoint import save

os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
save(sys.argv[1], {"w": np.zeros(9)}, {})
"""


def test_what_a_killed_save_left_is_removed_by_the_next(tmp_path):
  path = tmp_path / "checkpoint"
  killed = subprocess.run([sys.executable, "-c", KILLED, str(path)])
  assert killed.returncode == -signal.SIGKILL
  assert [p.suffix for p in tmp_path.iterdir()] == [".tmp"]
  running = temporary.name_for(path, process=os.getppid())
  running.write_bytes(b"half")
  checkpoint.save(path, _tree(), {})
  assert sorted(tmp_path.iterdir()) == sorted([running, path])


def test_a_failed_save_keeps_the_earlier_file(tmp_path):
  path = tmp_path / "checkpoint"
  checkpoint.save(path, _tree(), {})
  before = path.read_bytes()
  for tree, meta, message in (
    ({"w": "text"}, {}, "expected an array"),
    ({"w": np.array([object()])}, {}, "expected a boolean or numeric"),
    ({"w": jax.random.key(0)}, {}, "leaf"),
    (_tree(), {"x": object()}, "metadata is not JSON"),
  ):
    with pytest.raises(CheckpointError, match=message):
      checkpoint.save(path, tree, meta)
  assert path.read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]
