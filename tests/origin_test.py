"""What a result was made with, of small repositories made here."""

import os
import re
import subprocess

import pytest

from experiments import origin


def _git(folder, *words):
  """Of nobody's configuration, and of no other repository."""
  kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
  who = {f"GIT_{whose}_{what}": "somebody" for whose in ("AUTHOR", "COMMITTER")
         for what in ("NAME", "EMAIL")}  # fmt: skip
  none = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
  return subprocess.run(
    ["git", "-C", str(folder), *words], check=True, stdout=subprocess.PIPE,
    text=True, env=kept | who | none,
  ).stdout.strip()  # fmt: skip


@pytest.fixture
def clone(tmp_path):
  folder = tmp_path / "clone"
  folder.mkdir()
  _git(folder, "init", "-q")
  (folder / "code.py").write_text("one = 1\n")
  (folder / "results.txt").write_text("results\n")
  _git(folder, "add", "code.py", "results.txt")
  _git(folder, "commit", "-qm", "one")
  return folder


def test_a_commit_is_named_whole(clone):
  found = origin.commit(clone)
  assert re.fullmatch("[0-9a-f]{40}", found)
  assert found == _git(clone, "rev-parse", "HEAD")
  _git(clone, "tag", "-a", "v1", "-m", "one")  # A tag would name it shorter.
  assert origin.commit(clone) == found


def test_changed_code_is_told(clone):
  before = origin.commit(clone)
  (clone / "results.txt").write_text("other results\n")
  assert origin.commit(clone) == before
  (clone / "new.py").write_text("two = 2\n")
  assert origin.commit(clone) == f"{before}+changes"
  (clone / "new.py").unlink()
  (clone / "code.py").write_text("one = 2\n")
  assert origin.commit(clone) == f"{before}+changes"


def test_it_only_looks(clone):
  """A lock that another process holds does not matter, and none is left."""
  found, lock = origin.commit(clone), clone / ".git" / "index.lock"
  index = (clone / ".git" / "index").read_bytes()
  os.utime(clone / "code.py", (1, 1))  # What would be written into the index.
  lock.touch()
  assert origin.commit(clone) == found
  lock.unlink()
  assert origin.commit(clone) == found
  assert (clone / ".git" / "index").read_bytes() == index


def test_git_may_be_at_work_elsewhere(clone, tmp_path, monkeypatch):
  """As in a hook of another repository."""
  found, other = origin.commit(clone), tmp_path / "other"
  other.mkdir()
  _git(other, "init", "-q")
  monkeypatch.setenv("GIT_DIR", str(other / ".git"))
  assert origin.commit(clone) == found


def test_what_is_no_clone_has_none(clone, tmp_path, monkeypatch):
  installed = clone / "site-packages"
  installed.mkdir()
  assert origin.commit(installed) is None
  alone = tmp_path / "alone"
  alone.mkdir()
  assert origin.commit(alone) is None
  monkeypatch.setenv("PATH", str(alone))
  assert origin.commit(clone) is None
