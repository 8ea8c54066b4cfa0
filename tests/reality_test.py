"""A model of simulated recordings on others that the test writes."""

import json

import binaries
import jax
import numpy as np
import pytest
import recordings_test
import recordings_training_test

from experiments import evaluate, inputs, reality, train
from experiments.configs import smoke


@pytest.fixture(name="run")
def _run(tmp_path, monkeypatch):
  judge = lambda config, source: binaries.judge_params(smoke.get_config())
  monkeypatch.setattr(inputs, "judge", judge)
  make = recordings_training_test.tiny
  config = make("mnist_dvs_sim", "prototype", baseline_view="")
  train.run(config, tmp_path / "run")
  return tmp_path / "run"


def test_real_ones_are_judged_and_the_gap_is_measured(run, tmp_path, capsys):
  recordings_test.write_dvs(tmp_path / "real", (1, 2, 3))
  figures, shown = reality.compare(run, str(tmp_path / "real"), 2)
  real, simulated = figures["real, full"], figures["simulated, full"]
  assert (real["recordings"], simulated["recordings"]) == (3, 1)
  # Two events within the first 40 ms and the window, in 4 steps.
  assert real["set_bits"] == {"mean": 2.0, "standard_deviation": 0.0}
  share = 2 / (4 * 26 * 26 * 2)
  assert real["share_of_set_bits"]["mean"] == pytest.approx(share)
  assert sum(real["judged_as"]) == pytest.approx(1.0)
  assert real["judged_right"]["mean"] == pytest.approx(real["judged_as"][2])
  config, _, source = evaluate.load(run)
  rows = source.rows("test")
  of_digit = jax.tree.map(lambda a: a[rows.labels == 2], rows)
  bits = np.unpackbits(of_digit.data[0]).sum()
  assert simulated["set_bits"]["mean"] == bits > 20
  assert shown["REAL, full view"].shape == (3, 28, 28)
  events = shown["REAL, summed events"][0]
  assert events.shape == (26, 26) and (events > 0).sum() == 2
  assert json.dumps(figures) and "3 recordings" in capsys.readouterr().out


def test_it_wants_a_run_of_simulated_pictures(tmp_path):
  config = recordings_training_test.tiny(
    "mnist_dvs_sim", "label", baseline_view=""
  )
  train.run(config, tmp_path / "run")
  with pytest.raises(ValueError, match="run: expected one on mnist_dvs_sim"):
    reality.compare(tmp_path / "run", str(tmp_path), 2)
