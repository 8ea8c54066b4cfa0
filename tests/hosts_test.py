"""Several processes as one run: they end together, and were given the same."""

import re
import time

import processes
import pytest

from experiments import checkpoints, joining


def test_sigterm_ends_both_processes_after_the_same_step(tmp_path):
  """Evaluations at every other step; the same command goes on."""
  fields = "--config.steps=20000", "--config.eval_every=2"
  port = processes.free_port()
  both = [
    processes.start("train", tmp_path / "run", port, i, *fields)
    for i in range(2)
  ]
  while not any((tmp_path / "run/checkpoints").glob("[0-9]*")):
    for process in both:
      assert process.poll() is None, processes.told(process)[-3000:]
    time.sleep(0.05)
  both[0].terminate()  # One of them is told; both have to end.
  codes = [process.wait(timeout=200) for process in both]
  told = [processes.told(process) for process in both]
  assert codes == [75, 75], told
  steps = [int(p.name) for p in (tmp_path / "run/checkpoints").glob("[0-9]*")]
  for errors in told:
    assert f"asked to end at step {max(steps)}, which is saved" in errors


ASKED = """
import os, signal, sys, time, jax
address, index, early = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "early"
from experiments import interruptions
from timedecode import parallel
interruptions.listen()  # JAX takes the signal from here, as in `train`.
jax.distributed.initialize(address, 2, index)
parallel.meet()
for first in (5000, 0, 0, 0):  # Resumed; then groups or views, each from 0.
  if not index and first == (5000 if early else 0):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1.0)
  parallel.wait_for_all("all know")
  for step in range(first, first + 20):
    if interruptions.wanted(step):
      sys.exit(75)
"""


@pytest.mark.parametrize("moment", ["early", "between"])
def test_a_notice_is_heard_whatever_the_numbers_of_steps(moment):
  """Before the first step of a run that goes on, and between two groups."""
  address = f"localhost:{processes.free_port()}"
  both = [
    processes.spawn(["-c", ASKED, address, str(index), moment], {})
    for index in range(2)
  ]
  codes = [process.wait(timeout=200) for process in both]
  assert codes == [75, 75], [
    processes.told(process)[-2000:] for process in both
  ]


def _started(name, folder, *fields, own=("", "")):
  """Both processes, each with the fields of both and one of its own."""
  port = processes.free_port()
  return [
    processes.start(name, folder, port, i, *fields, *filter(None, [own[i]]))
    for i in range(2)
  ]


def _end_with(both, error):
  """Both end with an error that one of them had."""
  codes, told = processes.ends(both)
  assert codes == [1, 1], told
  assert all(re.search(f"^error: .*{error}", t, re.M) for t in told), told
  assert not any("Traceback" in text for text in told)


def test_what_process_0_refuses_ends_the_other(tmp_path):
  (tmp_path / "file").write_text("another's")
  both = _started("train", tmp_path)
  _end_with(both, "workdir: expected an empty folder")


@pytest.mark.parametrize("name, more, path", [
  ("train", (), "summary.json"),
  ("sweep", ("--sweep=seed=0,1",), "members.csv"),
])  # fmt: skip
def test_what_process_0_cannot_write_ends_the_other(tmp_path, name, more, path):
  """At the end, while the other has nothing left to do but to wait."""
  folder = tmp_path / "run"
  both = _started(
    name, folder, "--config.steps=4", "--config.eval_every=2", *more
  )
  while not list(folder.glob("*.json")) and both[0].poll() is None:
    time.sleep(0.01)
  (folder / path).mkdir()
  _end_with(both, rf"\[Errno 21\].*{path}")


def test_parameters_that_process_0_will_not_save_end_the_other(tmp_path):
  """The loss of the step that spoilt them is finite."""
  fields = {
    "optimizer.name": "sgd", "optimizer.learning_rate": 1e38,
    "optimizer.warmup_fraction": 0.0, "optimizer.max_norm": 0.0,
    "checkpoint_seconds": 1e-6, "steps": 1000, "eval_every": 1000,
    "data.target": "image",
  }  # fmt: skip
  both = _started(
    "train", tmp_path, *(f"--config.{k}={v}" for k, v in fields.items())
  )
  _end_with(both, "the state after step 1 is not finite")


@pytest.mark.parametrize("name, own, error", [
  ("train", ("--config.beta=0.2", "--config.beta=0.1"),
   r"config.beta \(0.1 there, 0.2 here\)"),
  ("train", ("", "--config.data.split_seed=1"),
   r"config.data.split_seed \(1 there, 0 here\), data.test \('"),
  ("sweep", ("--sweep=seed=0,1", "--sweep=seed=0,2"), r"sweep.groups \("),
])  # fmt: skip
def test_processes_that_were_given_other_things_are_refused(
  tmp_path, name, own, error
):
  both = _started(name, tmp_path / "run", own=own)
  _end_with(both, f"between process 1 and process 0 differ .*{error}")
  assert not (tmp_path / "run").exists()


def test_what_ends_another_process_ends_process_0(tmp_path):
  both = _started("train", tmp_path / "run", own=("", "--config.beta=-1"))
  _end_with(both, "beta: expected a finite number >= 0")
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("index, error", [
  (0, "for process 1 to join process 0 at localhost:{}$"),
  (1, "for process 0 at localhost:{}, which can't be reached: "),
])  # fmt: skip
def test_a_process_that_stays_alone_says_whom_it_waits_for(
  tmp_path, index, error
):
  """And ends, without waiting for an abort of JAX."""
  port = processes.free_port()
  process = processes.start(
    "train", tmp_path / "run", port, index, "--join_seconds=8"
  )
  ((code,), (told,)) = processes.ends([process], 60)
  assert code == joining.EXIT_CODE, told
  error = error.format(port)
  assert re.search(f"^waits {error}".rstrip("$"), told, re.M), told
  waited = r"waited 8 s \(--join_seconds\)"
  assert re.search(f"^error: {waited} {error}", told, re.M), told
  assert "stack trace" not in told and "Traceback" not in told
  assert not (tmp_path / "run").exists()


def test_one_of_three_that_is_missing_is_not_taken_for_process_0(tmp_path):
  port = processes.free_port()
  both = [
    processes.start(
      "train", tmp_path, port, index, "--num_processes=3", "--join_seconds=12"
    )
    for index in range(2)
  ]
  codes, told = processes.ends(both, 60)
  assert codes == [joining.EXIT_CODE] * 2, told
  assert (
    f"for processes 1 to 2 to join process 0 at localhost:{port}" in told[0]
  )
  assert "for others of 3 processes to join process 0" in told[1], told[1]


def test_a_process_that_waits_for_others_ends_at_once_when_asked(tmp_path):
  process = processes.start("train", tmp_path, processes.free_port(), 1)
  while "waits for process 0" not in processes.told(process):
    assert process.poll() is None, processes.told(process)
    time.sleep(0.1)
  process.terminate()
  ((code,), (told,)) = processes.ends([process], 20)
  assert code == 75, told
  assert "asked to end before a first step" in told


def test_a_sweep_is_saved_between_evaluations(tmp_path):
  """When the clock of process 0 says so, whatever the other was given."""
  folder = tmp_path / "run"
  both = _started(
    "sweep", folder, "--config.steps=20000", "--config.eval_every=10000",
    "--sweep=seed=0,1", own=("--config.checkpoint_seconds=0.5",
    "--config.checkpoint_seconds=0"),
  )  # fmt: skip
  place = folder / "groups/0/20000"
  while len(found := checkpoints.steps(place)) < 2:
    for process in both:
      assert process.poll() is None, processes.told(process)[-3000:]
    time.sleep(0.05)
  assert max(found) < 10000
  both[1].terminate()
  codes, told = processes.ends(both)
  assert codes == [75, 75], told
