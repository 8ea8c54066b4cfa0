"""Encoders of one's own under the microscope: codes whose answers are known."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from typing import NamedTuple

import binaries
import jax
import jax.numpy as jnp
import numpy as np
import pages
import pytest

from experiments import (
  microscope,
  microscope_decoding,
  microscope_look,
  microscope_own,
  microscope_page,
)

LATENCY = '''
"""A latency code with the library's signature; inputs say the class at once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import microscope_own


class Latencies(NamedTuple):
  spikes: jax.Array
  logits: jax.Array


def sample(steps, inputs, key):
  """Neuron n fires at steps[class, n] with 0.98, else with 0.002."""
  at = inputs[0].ravel() @ steps
  p = jnp.where(jnp.arange(len(inputs))[:, None] == at[None], 0.98, 0.002)
  spikes = jax.random.bernoulli(key, p).astype(jnp.float32)
  return Latencies(spikes, jnp.log(p) - jnp.log1p(-p))


def data(count, seed):
  labels = np.random.default_rng(seed).integers(0, 4, count)
  inputs = np.zeros((count, 8, 2, 2), np.float32)
  inputs[np.arange(count), 0, labels // 2, labels % 2] = 1.0
  return inputs, labels


def subject():
  steps = jnp.array([[0.0, 5.0, 3.0], [2.0, 3.0, 1.0], [4.0, 1.0, 7.0],
                     [6.0, 7.0, 5.0]])
  return microscope_own.of_encoder(
    sample, steps, data(1200, 0), data(400, 1), "latency code"
  )
'''


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory):
  """(what was printed, figures, path of the page), from another folder."""
  place = tmp_path_factory.mktemp("own")
  (place / "latencies.py").write_text(LATENCY)
  flags = ["--encoder=latencies:subject", "--output=page"]
  result = subprocess.run(
    [sys.executable, "-m", "experiments.microscope", *flags],
    capture_output=True, text=True, cwd=place,
    env=os.environ | {"PYTHONPATH": str(binaries.ROOT)},
  )  # fmt: skip
  assert result.returncode == 0, result.stderr
  found = json.loads((place / "page" / "microscope.json").read_text())
  return result.stdout, found, place / "page" / "microscope.html"


def test_a_latency_code_is_told_as_one(page):
  said, found, _ = page
  share = found["timing_share"]
  assert share["share"] > 0.9 and share["intact"]["bits"] > 1.9
  assert found["retrained"]["trains"]["accuracy"] > 0.97
  assert found["retrained"]["counts"]["accuracy_low"] < 0.35
  assert found["distortion_share"]["share"] > 0.9
  intact, *_, shuffled = found["curves"]["shuffle"]
  assert intact["accuracy"] > 0.97 and shuffled["accuracy"] < 0.6
  assert "lies in spike times" in said


def test_its_information_is_that_of_its_classes(page):
  """The exact value is at most the class's two bits; the bound is above it.

  Two neurons that may fire at the same step share what they tell, which no
  prior that takes neurons one by one makes use of: of these the best, by Bayes'
  rule over the classes, leaves `_least` = 2.173 bits. The one that is fitted is
  twice as far, since its few steps don't reach the logits of an almost certain
  code, but takes off the most of what rates alone leave.
  """
  _, found, _ = page
  h = lambda p: -p * math.log2(p) - (1 - p) * math.log2(1 - p)
  noise = 3 * (h(0.98) + 7 * h(0.002))
  bounds = {name: e["total"] for name, e in found["information"].items()}
  least = _least()
  assert 2.0 < least == pytest.approx(2.173, abs=0.02)
  assert least < bounds["glm in time"] < 0.4 * bounds["rate"]
  assert bounds["glm in time"] < bounds["glm"] < bounds["rate"]
  at_most = 24 * h(3.0 * (0.98 + 7 * 0.002) / 24) - noise
  assert bounds["rate"] == pytest.approx(at_most, rel=0.1)


def _least():
  """The bound at P(y_t,n | y^{t-1}), of 20,000 trains, bits."""
  generator = np.random.default_rng(0)
  steps = np.array([[0, 5, 3], [2, 3, 1], [4, 1, 7], [6, 7, 5]])
  chance = np.where(np.arange(8)[:, None] == steps[:, None], 0.98, 0.002)
  labels = generator.integers(0, 4, 20_000)
  posterior, total = np.full((20_000, 4), 0.25), 0.0
  for t in range(8):
    p, q = chance[labels, t], posterior @ chance[:, t]
    told = p * np.log2(p / q) + (1 - p) * np.log2((1 - p) / (1 - q))
    total += told.sum(1).mean()
    y = generator.random(p.shape) < p
    likely = np.where(y[:, None], chance[None, :, t], 1 - chance[None, :, t])
    posterior = posterior * likely.prod(2)
    posterior /= posterior.sum(1, keepdims=True)
  return total


def test_its_trials_and_pictures(page):
  """Chance is independent per neuron; the input is shown at its delay."""
  _, found, path = page
  page = path.read_text()
  noise = np.array(found["trial_statistics"]["correlation"], float)
  assert np.abs(noise - np.eye(3)).max() < 0.1
  fano = np.array(found["trial_statistics"]["fano"], float)
  assert (fano < 0.15).all()
  pages.check(page)
  assert page.count("<img") == 4 and "latency code: 3 readout neurons" in page
  assert found["cost"] is None and "Cost: not counted for encoders of" in page
  assert found["fields"]["hidden"] == [] and "Fields: of the readout al" in page


@pytest.mark.skipif(
  importlib.util.find_spec("PySide6") is None, reason="PySide6 is not installed"
)
def test_its_page_in_a_browser(page):
  """Keyboard, phone width, both colour schemes, no network."""
  script = binaries.ROOT / "experiments" / "check_page.py"
  result = subprocess.run(
    [sys.executable, str(script), str(page[2])], capture_output=True, text=True
  )
  assert result.returncode == 0, result.stdout + result.stderr
  assert result.stdout.count("nothing wrong") == 2


@pytest.fixture(name="quick")
def _quick(monkeypatch):
  monkeypatch.setattr(microscope_decoding, "RETRAINING_STEPS", 20)
  monkeypatch.setattr(microscope_look, "PRIOR_STEPS", 5)


def test_counts_of_any_origin(quick, tmp_path):
  """A rate code as arrays, without logits or inputs."""

  def trains(count, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    rates = np.where(labels, 0.7, 0.2)[:, None, None]
    spikes = generator.random((count, 12, 2)) < rates
    return microscope_own.recorded(spikes, labels)

  subject = microscope_own.of_trains(trains(400, 0), trains(100, 1), "a rate")
  found = microscope.write(subject, tmp_path / "page")
  assert found["timing_share"]["share"] < 0.1
  assert found["information"] == {} and found["trial_statistics"] is None
  said = microscope_page.statements(found)
  assert any(line.startswith("Information bound: not known") for line in said)
  page = (tmp_path / "page" / "microscope.html").read_text()
  assert "Fields: not drawn, since the input isn&#x27;t known." in page
  assert page.count("<img") == 3 and "a rate: 2 readout neurons" in page


def test_noise_has_no_share_of_anything(quick):
  """Spikes that have nothing to do with labels."""
  generator = np.random.default_rng(0)
  trains = [
    microscope_own.recorded(
      generator.integers(0, 2, (count, 6, 2)), generator.integers(0, 2, count)
    )
    for count in (200, 100)
  ]
  found, _ = microscope_look.look(microscope_own.of_trains(*trains))
  assert found["timing_share"]["share"] is found["distortion_share"] is None
  said = " ".join(microscope_page.statements(found))
  assert "that no share of it needs spike times" in said


SPIKES, LABELS = np.zeros((4, 5, 2)), np.arange(4)


@pytest.mark.parametrize("arguments, message", [
  ({"spikes": SPIKES + 2}, "spikes: expected 0 and 1 only, got 40 of 40"),
  ({"labels": LABELS - 1}, "labels: expected whole numbers in 0 .. .* got -1"),
  ({"logits": SPIKES[:, :3]}, r"logits: expected the shape of spikes \(4, 5"),
  ({"logits": SPIKES + np.inf}, "logits: expected finite numbers, got 40"),
  ({"inputs": np.zeros((4, 6, 3))}, r"inputs: expected \[4, 5, ...\] as"),
  ({"inputs": np.full((4, 5, 3), np.nan)}, "inputs: expected finite numbers"),
])  # fmt: skip
def test_trains_that_are_none(arguments, message):
  with pytest.raises(ValueError, match=message):
    microscope_own.recorded(**{"spikes": SPIKES, "labels": LABELS} | arguments)


def test_hidden_spikes_of_an_own_encoder_are_recorded():
  """Of the test examples alone; of the first layer, the busiest first."""

  class Sample(NamedTuple):
    spikes: jax.Array
    hidden: tuple

  def sample(params, x, key):
    first = jnp.stack([0 * x[:, 0, 0], x[:, 0, 1], x[:, 1, 1]], 1)
    return Sample(x[:, :1, 0], (first, first[:, :2]))

  x = np.zeros((4, 5, 2, 2), np.float32)
  x[:, 1, 0, 1], x[:, 2:, 1, 1] = 1, 1
  subject = microscope_own.of_encoder(sample, (), (x, LABELS), (x, LABELS))
  assert subject.train.hidden.shape == (4, 5, 0)
  np.testing.assert_array_equal(subject.test.hidden[:, :, 1], x[:, :, 0, 1])
  assert subject.shown.tolist() == [2, 1, 0] and subject.input_shape == (2, 2)
  with pytest.raises(ValueError, match=r"hidden: expected \[4, 5, ...\] as"):
    microscope_own.recorded(SPIKES, LABELS, hidden=SPIKES[:, :4])
  with pytest.raises(ValueError, match="hidden: expected 0 and 1 only"):
    microscope_own.recorded(SPIKES, LABELS, hidden=SPIKES + 0.5)


def test_trains_that_do_not_go_together():
  good = microscope_own.recorded(SPIKES, LABELS)
  short = microscope_own.recorded(SPIKES[:, :3], LABELS)
  with pytest.raises(ValueError, match=r"test: expected trains of \(5, 2\)"):
    microscope_own.of_trains(good, short)
  single = microscope_own.recorded(SPIKES[:1], LABELS[:1])
  with pytest.raises(ValueError, match="test: expected at least 2 examples"):
    microscope_own.of_trains(good, single)
  few = microscope_own.recorded(SPIKES[:3], LABELS[:3])
  with pytest.raises(ValueError, match="train: expected at least 4 examples"):
    microscope_own.of_trains(few, good)
  with pytest.raises(
    ValueError, match=r"trials: expected \[4, S, 5, 2\] of te"
  ):
    microscope_own.of_trains(good, good, trials=SPIKES[:, None, :4])
  with pytest.raises(ValueError, match=r"inputs: expected \[M, T, ...\], each"):
    microscope_own.record(lambda p, x, key: x, (), SPIKES[:0], LABELS[:0])
  with pytest.raises(ValueError, match="sample: expected something with spike"):
    microscope_own.record(lambda p, x, key: x, (), SPIKES, LABELS)


@pytest.mark.parametrize("place, message", [
  ("json", "expected MODULE:FUNCTION, got 'json'"),
  ("no_such_module:f", "No module named 'no_such_module'"),
  ("json:no_such", "has no attribute 'no_such'"),
  ("os:getcwd", "expected os:getcwd to return what microscope_own.of_encoder"),
])  # fmt: skip
def test_functions_that_are_none(place, message):
  with pytest.raises(ValueError, match=f"encoder: .*{message}"):
    microscope_own.load(place)


def test_a_run_or_an_encoder():
  """One of them."""
  result = binaries.run("microscope", "--workdir=x", "--encoder=a:b")
  assert result.returncode == 1
  assert "expected --workdir=DIR, or --encoder=" in result.stderr


@pytest.mark.parametrize("flag", ["--view=rate", "--examples=50"])
def test_flags_of_runs_are_not_of_encoders(flag, tmp_path):
  result = binaries.run(
    "microscope", "--encoder=a:b", f"--output={tmp_path}", flag
  )
  assert result.returncode == 1
  name = flag.partition("=")[0]
  assert f"{name}: is of a run, not of --encoder" in result.stderr
