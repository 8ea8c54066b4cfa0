"""What the README shows runs as it stands there, each in under 20 lines."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pages
import pytest

from experiments import microscope_decoding, microscope_look
from timedecode import estimators, training

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
TITLES = [block.splitlines()[0].removeprefix("# ") for block in BLOCKS]


def _namespace(title):
  """Runs the shared beginning and one block."""
  names = {}
  exec(BLOCKS[0], names)
  block = next(b for b in BLOCKS if b.startswith(f"# {title}"))
  exec(block, names)
  return names


def test_blocks():
  assert TITLES == [
    "Begin", "Surrogate", "Neuron", "Decoder", "Loop", "Seeds", "Source",
    "Microscope",
  ]  # fmt: skip
  for block in BLOCKS:
    assert len([x for x in block.splitlines() if x.strip()]) < 20


def _moved(names):
  """Largest move of each parameter by one step of the library's training."""
  model, params = names["model"], names["params"]
  rule = estimators.straight_through()
  step = training.make_train_step(model, rule, optax.sgd(1.0))
  state = training.init_state(params, optax.sgd(1.0), rule)
  keys = jax.random.split(jax.random.key(0), 16)
  after, _ = jax.jit(step)(state, names["inputs"], names["targets"], keys)
  return jax.tree.map(
    lambda a, b: float(jnp.max(jnp.abs(a - b))), after.params, params
  )


def test_own_surrogate():
  names = _namespace("Surrogate")
  psi = names["model"].encoder.layers[0].derivative
  u = jnp.array([-0.4, 0.3])
  np.testing.assert_allclose(psi(u), np.exp(-4 * np.square(u)), rtol=1e-6)
  assert _moved(names).encoder.hidden[0].weights > 0


def test_own_neuron():
  names = _namespace("Neuron")
  neuron = names["reset_to_zero"]()
  state = neuron.initial_state((1,))
  potentials, spikes = [], []
  for drive in (0.6, 0.6, 0.6, 0.0):
    state, (s, u) = neuron.step((), state, jnp.array([drive]))
    potentials.append(float(u[0]))
    spikes.append(float(s[0]))
  np.testing.assert_allclose(potentials, [-0.4, 0.14, -0.4, -0.46], atol=1e-6)
  assert spikes == [0, 1, 0, 0]
  assert _moved(names).encoder.hidden[0].weights > 0


def test_own_decoder():
  moves = jax.tree.leaves(_moved(_namespace("Decoder")).decoder)
  assert len(moves) == 4 and min(moves) > 0


def test_own_loop_learns():
  history = _namespace("Loop")["history"]
  assert history[-1] < 0.9 * history[0]


def test_seeds_are_one_program_and_equal_single_runs():
  names = _namespace("Seeds")
  losses = np.asarray(names["metrics"].loss)
  assert losses.shape == (4,) and len(set(losses.tolist())) == 4
  model, params = names["build"](names["layer"], key=jax.random.key(2))
  state = training.init_state(params, names["optimizer"], names["rule"])
  keys = jax.random.split(jax.random.key(2), 16)
  _, metrics = names["step"](state, names["inputs"], names["targets"], keys)
  np.testing.assert_allclose(losses[2], metrics.loss, rtol=1e-4)


def test_own_encoder_under_the_microscope(tmp_path, monkeypatch):
  names = _namespace("Microscope")
  monkeypatch.setattr(microscope_decoding, "RETRAINING_STEPS", 20)
  monkeypatch.setattr(microscope_look, "PRIOR_STEPS", 5)
  found = names["page"](tmp_path / "page")
  assert found["examples"] == 100 and found["num_readout"] == 8
  assert set(found["information"]) >= {"independent", "glm"}
  pages.check((tmp_path / "page" / "microscope.html").read_text())


@pytest.mark.parametrize("name", re.findall(r"\]\(([^)#:]+)\)", TEXT))
def test_links_lead_somewhere(name):
  assert (ROOT / name).exists()


def test_commands_name_existing_modules():
  modules = set(re.findall(r"-m (experiments\.\w+)", TEXT))
  assert "experiments.train" in modules
  for module in modules:
    assert (ROOT / (module.replace(".", "/") + ".py")).exists()
