"""One device against several, pmap against mesh, one process against two."""

import json

import jax
import jax.numpy as jnp
import kernels
import numpy as np
import processes
import pytest

from timedecode import lif_recurrence, parallel, platforms, surrogate


def _start(count, jobs, *arguments):
  command = (
    str(processes.ROOT / "tests" / "devices.py"),
    str(count),
    json.dumps(jobs),
  )
  return processes.spawn([*command, *arguments], {})


def _finish(*started):
  for process in started:
    assert process.wait(timeout=1000) == 0, processes.told(process)[-3000:]


def _read(path):
  with np.load(path, allow_pickle=False) as found:
    return dict(found)


def _agree(ours, theirs, tolerance=1e-5):
  """Every array to a share of its norm."""
  assert ours.keys() == theirs.keys() and len(ours) > 10
  for name, value in ours.items():
    error = np.linalg.norm(value - theirs[name])
    assert error <= tolerance * np.linalg.norm(theirs[name]), name


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
  "events": {"encoder.event_driven": True},
  "streamed, clipped": {"data.device_bytes": 0, "optimizer.max_norm": 0.5},
  "bfloat16": {
    "precision": "bfloat16", "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.02,
  },
}  # fmt: skip
SWEEP = {"sweep": ["seed=0,1,2,3,4"], "steps": 8, "eval_every": 8}
LAYOUTS = {
  "one": {},
  "4 pmap": {"parallel": "pmap", "num_devices": 4},
  "8 mesh": {"parallel": "mesh"},
}
# Parts of one run: the first ends early, the second goes on in its folder.
CONTINUED = {
  "whole": [{}],
  "from 8 to 1": [{"parallel": "mesh", "until": 10}, {"num_microbatches": 8}],
  "from 1 to 8": [{"until": 10}, {"parallel": "pmap"}],
}
MORE = {  # Of the first rule.
  "2 pmap": {"parallel": "pmap", "num_devices": 2},
  "4 parts": {"num_microbatches": 4},
  "4 pmap, parts": {
    "parallel": "pmap",
    "num_devices": 4,
    "num_microbatches": 2,
  },
  "8 mesh, parts": {"parallel": "mesh", "num_microbatches": 2},
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
  for name, parts in CONTINUED.items():
    for number, fields in enumerate(parts):
      place = {"folder": f"{folder / name}", "data.target": "label"}
      path = f"{folder / str(len(jobs))}.npz"
      jobs[name, number] = path, fields | place | {"eval_every": 5}
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
    # A sum that differs in its last bit may be rounded to another bfloat16, and
    # XLA may leave factors of a small product as they were.
    tolerance = 0.04 if rule == "bfloat16" else 1e-5
    # Adam moves a weight as far whose gradient is rounding alone.
    tolerance *= 10 if "parts" in layout else 1
    _agree(trained[rule, layout], one, tolerance)


@pytest.mark.parametrize("layout", list(LAYOUTS)[1:])
def test_members_on_many_devices_are_those_on_one(trained, layout):
  """Five members, so that they have to be filled up; the best go on."""
  one = trained["sweep", "one"]
  losses = {float(v) for name, v in one.items() if "'train_loss'" in name}
  assert len(losses) == 5
  _agree(trained["sweep", layout], one)


@pytest.mark.parametrize("name", list(CONTINUED)[1:])
def test_a_run_goes_on_on_another_number_of_devices(trained, name):
  """State and all figures of evaluations, two made before and two after."""
  assert not trained[name, 0]  # It ended early.
  whole = trained["whole", 0]
  assert [whole[f"[1][{i}][0]"] for i in range(4)] == [5, 10, 15, 20]
  _agree(trained[name, 1], whole)


def test_rules_differ(trained):
  """What agrees above does not agree because nothing was learned."""
  rules = [rule for rule in RULES if rule != "events"]
  first, *others = (trained[rule, "one"] for rule in rules)
  name = next(key for key in first if "readout" in key)
  for other in others:
    distance = np.linalg.norm(first[name] - other[name])
    assert distance > 1e-4 * np.linalg.norm(first[name])
  _agree(trained["events", "one"], first)  # Products in another way.


def test_two_processes_are_one(trained, tmp_path):
  """Two processes of two devices each, on loopback."""
  address = f"localhost:{processes.free_port()}"
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


def test_what_the_devices_of_a_mesh_share_has_no_kernels(monkeypatch):
  """Compilers can't partition them; on one device they are there."""
  # Exported as a part of a program, which options of compilers can't be given.
  monkeypatch.setattr(platforms, "in_place", lambda: None)
  run = lif_recurrence.make_run(surrogate.get("triangular"), 0.9, True)
  members = lambda current: jax.vmap(
    lambda one: run(one, *[jnp.zeros(3)] * 3)[0]
  )(current)
  for kind, count in (("mesh", 0), ("none", 1)):
    split = parallel.layout(kind, 1).compile_split(members, (True,))
    assert kernels.count(split, "cuda", jnp.ones((2, 4, 3))) == count


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
