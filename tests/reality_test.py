"""A model of simulated recordings on others that the test writes."""

import json

import binaries
import jax
import numpy as np
import pytest
import recordings_test
import recordings_training_test

from experiments import evaluate, inputs, reality, reality_report, train
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
  real, simulated = (
    figures[f"{kind}, full, seed 0"] for kind in ("real", "simulated")
  )
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
  lines = reality_report.table(figures).splitlines()
  assert f"real, full, seed 0 | 3 | 2 ± 0 | {share:.4g} ± 0" in lines[-2]
  assert lines[7].count("|") == 12
  # Events lie in two pixels, of which the mask of the middle has its share.
  y, x = np.nonzero(events)
  near = np.hypot(y - 12.5, x - 12.5) <= 4
  assert real["share_near_the_middle"]["mean"] == pytest.approx(near.mean())
  with pytest.raises(ValueError, match="got twice: real, full, seed 0"):
    reality.compare_all([str(run)] * 2, str(tmp_path / "real"), 2)
  assert json.dumps(figures) and "3 recordings" in capsys.readouterr().out


def test_runs_of_a_view_differ_in_their_seed_alone(run, tmp_path):
  """Refused before the second is looked at."""
  recordings_test.write_dvs(tmp_path / "real", (1, 2, 3))
  config = json.loads((run / "config.json").read_text())
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "config.json").write_text(
    json.dumps(config | {"seed": 1, "beta": 0.5})
  )
  with pytest.raises(ValueError, match=r"which differs in beta .*0\.5"):
    reality.compare_all([run, tmp_path / "other"], str(tmp_path / "real"), 2)


def test_seeds_are_pooled_over_the_same_recordings():
  """Means over seeds are 1, 0.5, 0 and 0.5: deviation sqrt(1 / 6)."""
  runs = [[1.0, 0.5, 0.0, 1.0], [1.0, 0.5, 0.0, 0.0]]
  figures = {
    f"real, full, seed {seed}": {"judged_right": {"by_recording": values}}
    for seed, values in enumerate(runs)
  }
  ((share, error, seeds),) = reality_report.pooled(figures).values()
  assert (share, seeds) == (0.5, 2)
  assert error == pytest.approx((1 / 6) ** 0.5 / 2)


def test_views_are_compared_on_the_same_recordings():
  """Differences 0.5, 0 and 0.25: mean 0.25, deviation 0.25."""
  values = {
    "real, full, seed 0": [1.0, 0.5, 1.0],
    "real, full, seed 1": [1.0, 0.5, 0.5],
    "real, rate, seed 0": [0.5, 0.5, 0.5],
    "simulated, full, seed 0": [1.0, 1.0],
  }
  figures = {
    name: {"judged_right": {"by_recording": by}} for name, by in values.items()
  }
  found = reality_report.paired(figures)
  assert found == {"real": pytest.approx((0.25, 0.25 / 3**0.5))}
  one = {name: {"judged_right": {"by_recording": [0.5]}} for name in values}
  assert reality_report.paired(one) == {"real": (0.0, 0.0)}


def test_rates_are_the_encoders_however_many_at_once(run, monkeypatch):
  config, runs, source = evaluate.load(run)
  rows = source.rows("test")
  judge_params = inputs.judge(config, source)
  keys = inputs.example_keys(jax.random.key(config.seed), 10)
  of_source, keys = jax.vmap(jax.random.split, out_axes=1)(keys)
  sample = runs["full"].built.model.encoder.run
  rates = []
  for x, key in zip(
    source.decode(rows, of_source).inputs.swapaxes(0, 1), keys, strict=True
  ):  # One recording at a time.
    u = jax.random.uniform(key, (config.eval_samples, 4, 3))
    rates += [sample(runs["full"].state.params.encoder, x, v) for v in u]
  for at_once in (10, 5):
    monkeypatch.setattr(reality, "_AT_ONCE", at_once)
    found, drawn = reality.look(
      config, runs["full"], source, judge_params, rows
    )
    assert found["readout_rate"]["mean"] == pytest.approx(
      np.mean([np.mean(s.spikes) for s in rates])
    )
    assert found["hidden_rate"] == pytest.approx(
      np.mean([np.mean(s.hidden[0]) for s in rates])
    )
    assert len(drawn["decoded"]) == len(drawn["events"]) == 10


def test_it_wants_a_run_of_simulated_pictures(tmp_path):
  config = recordings_training_test.tiny(
    "mnist_dvs_sim", "label", baseline_view=""
  )
  train.run(config, tmp_path / "run")
  with pytest.raises(ValueError, match="run: expected one on mnist_dvs_sim"):
    reality.compare(tmp_path / "run", str(tmp_path), 2)
