"""One device against several, pmap against mesh, one process against two."""

import contextlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import pytest

from timedecode import parallel

ROOT = pathlib.Path(__file__).parents[1]


def _spawn(command, environment):
  """A process that tells into a file: a pipe that is not read holds it up."""
  told = tempfile.TemporaryFile("w+")  # Closed with the process's object.
  process = subprocess.Popen(
    [sys.executable, *command], cwd=ROOT, text=True, stderr=told,
    stdout=subprocess.DEVNULL,
    env=dict(os.environ, PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu")
    | environment,
  )  # fmt: skip
  process.told = told
  return process


def _told(process):
  """What a process has told so far."""
  process.told.seek(0)
  return process.told.read()


def _start(count, jobs, *arguments):
  command = str(ROOT / "tests" / "devices.py"), str(count), json.dumps(jobs)
  return _spawn([*command, *arguments], {})


def _finish(*processes):
  for process in processes:
    assert process.wait(timeout=500) == 0, _told(process)[-3000:]


def _read(path):
  with np.load(path, allow_pickle=False) as found:
    return dict(found)


def _agree(ours, theirs):
  """Every array to 1e-5 of its norm."""
  assert ours.keys() == theirs.keys() and len(ours) > 10
  for name, value in ours.items():
    error = np.linalg.norm(value - theirs[name])
    assert error <= 1e-5 * np.linalg.norm(theirs[name]), name


SCORE = {"estimator": "score_function"}
RULES = {
  "straight_through": {},
  # Adam blows up what rounding leaves of a signal that should be 0.
  "samples": SCORE | {
    "num_samples": 2, "optimizer.name": "sgd", "optimizer.learning_rate": 0.02
  },
  "batch": SCORE | {"num_samples": 1, "baseline": "batch"},
  "moving_average": SCORE | {"num_samples": 1, "baseline": "moving_average"},
  "published": {
    "estimator": "published", "credit": "feedback", "information": "sampled",
    "optimizer.name": "sgd",
  },
  "streamed, clipped": {"data.device_bytes": 0, "optimizer.max_norm": 0.5},
}  # fmt: skip
SWEEP = {"sweep": ["seed=0,1,2,3,4"], "steps": 8, "eval_every": 8}
LAYOUTS = {
  "one": {},
  "4 pmap": {"parallel": "pmap", "num_devices": 4},
  "8 mesh": {"parallel": "mesh"},
}
MORE = {  # Of the first rule.
  "2 pmap": {"parallel": "pmap", "num_devices": 2},
  "8 pmap": {"parallel": "pmap"},
  "1 mesh": {"parallel": "mesh", "num_devices": 1},
}


@pytest.fixture(name="trained", scope="module")
def _trained(tmp_path_factory):
  """(rule, layout) -> leaves after 20 steps, on 8 fake devices."""
  folder, jobs = tmp_path_factory.mktemp("devices"), {}
  for number, (rule, fields) in enumerate(RULES.items()):
    layouts = LAYOUTS | (MORE if not number else {})
    for layout, spread in layouts.items():
      jobs[rule, layout] = f"{folder / str(len(jobs))}.npz", fields | spread
  for layout, spread in LAYOUTS.items():
    jobs["sweep", layout] = f"{folder / str(len(jobs))}.npz", SWEEP | spread
  _finish(_start(8, dict(jobs.values())))
  return {name: _read(path) for name, (path, _) in jobs.items()}


@pytest.mark.parametrize("layout", [*LAYOUTS, *MORE][1:])
@pytest.mark.parametrize("rule", RULES)
def test_many_devices_are_one(trained, rule, layout):
  """Loss, parameters, optimiser, estimator, diagnostics after 20 steps."""
  if (rule, layout) in trained:
    one = trained[rule, "one"]
    assert 0 < one["[1].readout_rate"] < 1 and one["[0].step"] == 20
    _agree(trained[rule, layout], one)


@pytest.mark.parametrize("layout", list(LAYOUTS)[1:])
def test_members_on_many_devices_are_those_on_one(trained, layout):
  """Five members, so that they have to be filled up; the best go on."""
  one = trained["sweep", "one"]
  losses = {float(v) for name, v in one.items() if "'train_loss'" in name}
  assert len(losses) == 5
  _agree(trained["sweep", layout], one)


def test_rules_differ(trained):
  """What agrees above does not agree because nothing was learned."""
  first, *others = (trained[rule, "one"] for rule in RULES)
  name = next(key for key in first if "readout" in key)
  for other in others:
    distance = np.linalg.norm(first[name] - other[name])
    assert distance > 1e-4 * np.linalg.norm(first[name])


def _free_port():
  """Below those that systems give to clients, which could take it meanwhile."""
  while True:
    port = random.randrange(20_000, 30_000)
    with socket.socket() as taken, contextlib.suppress(OSError):
      taken.bind(("localhost", port))
      return port


def test_two_processes_are_one(trained, tmp_path):
  """Two processes of two devices each, on loopback."""
  address = f"localhost:{_free_port()}"
  paths = {kind: f"{tmp_path / kind}.npz" for kind in ("pmap", "mesh")}
  jobs = {path: {"parallel": kind} for kind, path in paths.items()}
  sweeps = {kind: f"{tmp_path / kind}-sweep.npz" for kind in paths}
  jobs |= {path: SWEEP | {"parallel": kind} for kind, path in sweeps.items()}
  _finish(*(
    _start(2, jobs, f"--process={index}/2@{address}") for index in range(2)
  ))  # fmt: skip
  for path in paths.values():
    _agree(_read(path), trained["straight_through", "one"])
  for path in sweeps.values():
    _agree(_read(path), trained["sweep", "one"])


def test_layouts_that_cannot_be(monkeypatch):
  with pytest.raises(ValueError, match="parallel: expected one of .*'tpu'"):
    parallel.layout("tpu")
  count = len(jax.devices())
  with pytest.raises(ValueError, match=rf"num_devices: expected 1\.\.{count}"):
    parallel.layout("pmap", count + 1)
  with pytest.raises(ValueError, match="expected pmap or mesh for several dev"):
    parallel.layout("none", 2)
  three = parallel.Layout("mesh", tuple(jax.devices()) * 3)
  with pytest.raises(ValueError, match="a multiple of the 3 devices, got 4"):
    three.check(4)


def test_the_share_of_a_process_is_that_of_its_devices(monkeypatch):
  """Devices of two processes, interleaved as in a pod."""

  class Device:
    def __init__(self, process_index):
      self.process_index = process_index

  devices = tuple(map(Device, (0, 1, 1, 0)))
  layout = parallel.Layout("mesh", devices)
  assert layout.share(np.arange(8)).tolist() == [0, 1, 6, 7]
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  assert layout.share(np.arange(8)).tolist() == [2, 3, 4, 5]


def _start_train(folder, port, index, *fields):
  """Process `index` of two of `experiments.train`, two devices each."""
  flags = "--xla_force_host_platform_device_count=2"
  return _spawn(
    [
      "-m", "experiments.train",
      "--config=experiments/configs/smoke.py", "--config.parallel=mesh",
      "--config.baseline_view=", "--config.batch_size=8",
      "--config.num_steps=10", "--config.eval_samples=1", *fields,
      f"--coordinator_address=localhost:{port}", "--num_processes=2",
      f"--process_id={index}", f"--workdir={folder}",
    ],
    {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"},
  )  # fmt: skip


def test_sigterm_ends_both_processes_after_the_same_step(tmp_path):
  """Evaluations at every other step; the same command goes on."""
  fields = "--config.steps=20000", "--config.eval_every=2"
  port = _free_port()
  both = [_start_train(tmp_path / "run", port, i, *fields) for i in range(2)]
  while not any((tmp_path / "run/checkpoints").glob("[0-9]*")):
    for process in both:
      assert process.poll() is None, _told(process)[-3000:]
    time.sleep(0.05)
  both[0].terminate()  # One of them is told; both have to end.
  codes = [process.wait(timeout=200) for process in both]
  told = [_told(process) for process in both]
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
  address = f"localhost:{_free_port()}"
  both = [
    _spawn(["-c", ASKED, address, str(index), moment], {}) for index in range(2)
  ]
  codes = [process.wait(timeout=200) for process in both]
  assert codes == [75, 75], [_told(process)[-2000:] for process in both]


def test_what_process_0_refuses_ends_the_other(tmp_path):
  (tmp_path / "file").write_text("another's")
  port = _free_port()
  both = [_start_train(tmp_path, port, index) for index in range(2)]
  codes = [process.wait(timeout=200) for process in both]
  told = [_told(process) for process in both]
  assert codes == [1, 1], told
  assert "error: workdir: expected an empty folder" in told[0]
  assert "error: process 0 ended with an error, which it tells" in told[1]
  assert not any("Traceback" in text for text in told)
