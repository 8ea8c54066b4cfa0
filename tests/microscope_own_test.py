"""Encoders of one's own under the microscope: codes whose answers are known."""

import json
import math
import os
import subprocess
import sys

import binaries
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
  """(what was printed, figures, page) of the command, from another folder."""
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
  return result.stdout, found, (place / "page" / "microscope.html").read_text()


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
  """Enumerated per class: given it, all cells are independent.

  The exact value is between the class's two bits and the bound, which a prior
  of 10 steps of all neurons can make tight.
  """
  _, found, _ = page
  h = lambda p: -p * math.log2(p) - (1 - p) * math.log2(1 - p)
  noise = 3 * (h(0.98) + 7 * h(0.002))
  bounds = {name: e["total"] for name, e in found["information"].items()}
  assert 1.9 < bounds["glm in time"] < bounds["rate"]
  at_most = 24 * h(3.0 * (0.98 + 7 * 0.002) / 24) - noise
  assert bounds["rate"] == pytest.approx(at_most, rel=0.1)


def test_its_trials_and_pictures(page):
  """Chance is independent per neuron; the input is shown at its delay."""
  _, found, page = page
  noise = np.array(found["trial_statistics"]["correlation"], float)
  assert np.abs(noise - np.eye(3)).max() < 0.1
  fano = np.array(found["trial_statistics"]["fano"], float)
  assert (fano < 0.15).all()
  pages.check(page)
  assert page.count("<img") == 4 and "latency code: 3 readout neurons" in page
  assert found["cost"] is None and "Cost" not in page


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
  assert page.count("<img") == 3 and "a rate: 2 readout neurons" in page


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


def test_trains_that_do_not_go_together():
  good = microscope_own.recorded(SPIKES, LABELS)
  short = microscope_own.recorded(SPIKES[:, :3], LABELS)
  with pytest.raises(ValueError, match=r"test: expected trains of \(5, 2\)"):
    microscope_own.of_trains(good, short)
  single = microscope_own.recorded(SPIKES[:1], LABELS[:1])
  with pytest.raises(ValueError, match="test: expected at least 2 examples"):
    microscope_own.of_trains(good, single)
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
