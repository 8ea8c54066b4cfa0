"""One process owns a folder; its end, of any kind, sets the folder free."""

import errno
import fcntl
import socket
import time

import binaries
import processes
import pytest
import tiny

from experiments import job, locks, sweep_run, workdir
from experiments.configs import smoke

OWNER = """
import pathlib, sys, time
import locks_test
folder = pathlib.Path(sys.argv[2])
locks_test.claim(sys.argv[1], folder)
(folder / "owned").touch()
time.sleep(600)
"""


def claim(name, folder):
  """As the binary does."""
  config, texts = smoke.get_config(), ["seed=0,1"]
  if name == "train":
    workdir.claim(config, folder)
  else:
    job.claim(folder, sweep_run.Sweep(config, texts).settings(texts))


def _owner(name, folder):
  path = {"PYTHONPATH": f"{processes.ROOT}:{processes.ROOT / 'tests'}"}
  process = processes.spawn(["-c", OWNER, name, str(folder)], path)
  while not (folder / "owned").exists():
    assert process.poll() is None, processes.told(process)
    time.sleep(0.02)
  return process


@pytest.mark.parametrize("name, more", [
  ("train", ()), ("sweep", ("--sweep=seed=0,1",)),
])  # fmt: skip
def test_a_folder_of_a_living_process_is_refused(tmp_path, name, more):
  """In one line that names the owner; a killed one owns nothing."""
  folder = tmp_path / "run"
  owner = _owner(name, folder)
  before = sorted(folder.iterdir())
  result = binaries.run(
    name, "--config=experiments/configs/smoke.py", f"--workdir={folder}", *more
  )
  owner.kill()
  owner.wait()
  assert result.returncode == 1 and "Traceback" not in result.stderr
  expected = f"process {owner.pid} on {socket.gethostname()}"
  last = result.stderr.strip().splitlines()[-1]
  assert last.startswith(f"error: workdir: {folder} is in use by {expected}")
  assert sorted(folder.iterdir()) == before
  claim(name, folder)


def test_a_process_claims_its_folder_again_and_others_as_well(tmp_path):
  for _ in range(2):
    for name in "ab":
      workdir.claim(tiny.configuration(), tmp_path / name)
  assert workdir.read_config(tmp_path / "a") == workdir.read_config(
    tmp_path / "b"
  )


def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
  def refuse(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", refuse)
  locks.hold(tmp_path)
  monkeypatch.undo()
  locks.hold(tmp_path)
