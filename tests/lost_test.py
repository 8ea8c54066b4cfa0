"""A process that is killed, of several: the others end, and nothing is lost."""

import re
import time

import jax
import numpy as np
import processes
import pytest

from experiments import evaluate, hosts, joining, peers

FIELDS = ("--config.steps=200", "--config.eval_every=100",
          "--config.checkpoint_seconds=0.2")  # fmt: skip


def _both(folder):
  port = processes.free_port()
  return [
    processes.start("train", folder, port, index, *FIELDS) for index in range(2)
  ]


def _end(folder):
  """Step, and the leaves of the state."""
  _, runs, _ = evaluate.load(folder)
  state = runs["full"].state
  leaves = jax.tree.leaves(state)
  return int(state.step), [np.asarray(leaf).tobytes() for leaf in leaves]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp("whole") / "run"
  codes, told = processes.ends(_both(folder))
  assert codes == [0, 0], told
  return _end(folder)


@pytest.mark.parametrize("victim", [1, 0])
def test_the_kill_of_one_process_ends_the_other_and_loses_nothing(
  tmp_path, whole, victim
):
  folder = tmp_path / "run"
  both = _both(folder)
  while not any((folder / "checkpoints").glob("[0-9]*")):
    for process in both:
      assert process.poll() is None, processes.told(process)[-3000:]
    time.sleep(0.01)
  both[victim].kill()
  both[victim].wait()
  other = both[1 - victim]
  code, told = other.wait(timeout=90), processes.told(other)
  if victim:
    assert code == joining.EXIT_CODE, told
    assert len(re.findall("^error: ", told, re.M)) == 1, told
    assert "Traceback" not in told
  else:  # With it the store: JAX may be faster.
    assert code in (joining.EXIT_CODE, -6), told
  codes, told = processes.ends(_both(folder))
  assert codes == [0, 0], told
  step, leaves = _end(folder)
  assert step == whole[0] == 200
  assert leaves == whole[1]


def test_a_lack_of_memory_is_told_in_a_line(capsys):
  with pytest.raises(jax.errors.JaxRuntimeError) as caught:
    jax.jit(lambda: jax.numpy.ones((2**46,)) * 2)().block_until_ready()
  with pytest.raises(SystemExit) as ended:
    hosts.end_with(caught.value)
  (line,) = capsys.readouterr().err.splitlines()
  assert ended.value.code == 1 and line.startswith("error: RESOURCE_EXHAUSTED")


def test_a_loss_has_a_code_of_its_own_and_bugs_keep_their_traces(capsys):
  with pytest.raises(SystemExit) as ended:
    hosts.end_with(peers.LostProcessError("process 1 is lost"))
  assert ended.value.code == joining.EXIT_CODE
  assert capsys.readouterr().err == "error: process 1 is lost\n"
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
    hosts.end_with(jax.errors.JaxRuntimeError("INTERNAL: a bug"))
