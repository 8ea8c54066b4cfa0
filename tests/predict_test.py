"""The prediction experiment: its sequences, programs, table, command."""

import json
import re

import binaries
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import predict_report, predict_runs, predict_sequences
from timedecode import encoder
from timedecode.datasets import blobs

FLAGS = (
  "--deltas=-1,0", "--full_deltas=0", "--betas=0.1,3", "--seeds=2",
  "--sequences=1000", "--tune_sequences=60", "--num_steps=30",
  "--batch_size=10", "--rates=0.03,0.001", "--factors=1",
  "--test_sequences=10", "--test_steps=120",
)  # fmt: skip


@pytest.mark.parametrize("delta", [-5, -1, 0, 3, 5])
def test_sequences_are_the_blobs_with_their_targets(delta):
  key, steps, largest = jax.random.key(3), 40, predict_sequences.LARGEST_DELTA
  now, targets = jax.jit(
    lambda delta: predict_sequences.sequence(key, steps, delta)
  )(delta)
  if abs(delta) == largest:
    x, expected = blobs.drifting_blobs(key, steps, delta)
    np.testing.assert_array_equal(blobs.pattern(now), x)
    np.testing.assert_array_equal(targets, expected)
  shared = slice(delta, None) if delta > 0 else slice(0, steps + delta)
  late = slice(0, steps - delta) if delta > 0 else slice(-delta, None)
  np.testing.assert_array_equal(now[shared], targets[late])
  assert len({*map(int, targets)}) > 5


def test_references_are_counted():
  steps, count, long = 20, 30, 50
  found = predict_sequences.references(1, steps, count, long)
  keys = predict_sequences.judged_keys(predict_sequences.TEST, count)
  pairs = [predict_sequences.sequence(key, long, 1) for key in keys]
  now, targets = (np.stack(part) for part in zip(*pairs, strict=True))
  np.testing.assert_allclose(found["persistence"], np.mean(now == targets))
  first = np.mean((now == targets)[:, :steps])
  np.testing.assert_allclose(found["persistence_start"], first)
  shares = np.bincount(targets.reshape(-1), minlength=210) / targets.size
  assert 0 < found["most_frequent"] <= shares.max()
  exact = predict_sequences.references(0, steps, count, long)
  assert exact["persistence"] == 1.0


def _numbers(view_factor=1.0, rate=0.0):
  return predict_runs.Numbers(0, 0, 0.1, rate, view_factor)


@pytest.mark.parametrize("view", predict_runs.VIEWS)
def test_figures_are_those_of_the_frozen_network(view):
  """Against NumPy over the encoder's own spikes."""
  kind = predict_runs.Kind(view, "tuned", "straight_through", 20, 4)
  member = predict_runs.Member(kind, _numbers(2.0))
  params = member.init().params
  found = jax.jit(lambda params: member.evaluate(params, 1, 3, 35))(params)
  rows = []
  for key in predict_sequences.judged_keys(1, 3):
    key, key_spikes = jax.random.split(key)
    now, targets = predict_sequences.sequence(key, 35, 0)
    snn = encoder.make_encoder((20,), (), 10)
    sample = snn.sample(params.encoder, blobs.pattern(now), key_spikes)
    y = np.concatenate([np.zeros((4, 10)), sample.spikes])
    kernel = np.asarray(params.decoder["output"]["kernel"], np.float64)
    for t, target in enumerate(np.asarray(targets)):
      window = y[t : t + 5]
      seen = window.sum(0) if view == "rate" else window.reshape(-1)
      z = kernel @ (2.0 * seen) + np.asarray(params.decoder["output"]["bias"])
      p = 1 / (1 + np.exp(-np.asarray(sample.logits[t], np.float64)))
      rows.append((
        t, z.argmax() == target, np.log2(np.exp(z).sum()) - z[target]
        / np.log(2), np.sum(p * np.log2(p / 0.2) + (1 - p)
        * np.log2((1 - p) / 0.8)), y[t + 4].mean(),
      ))  # fmt: skip
  rows = np.array(rows, np.float64)
  mean = rows.mean(0)
  np.testing.assert_allclose(found.accuracy, mean[1], atol=1e-6)
  start = rows[rows[:, 0] < 20][:, 1].mean()
  np.testing.assert_allclose(found.accuracy_start, start, atol=1e-6)
  np.testing.assert_allclose(found.cross_entropy_bits, mean[2], rtol=1e-4)
  np.testing.assert_allclose(found.information_bits, mean[3], rtol=1e-4)
  np.testing.assert_allclose(found.spikes, mean[4], rtol=1e-5)


def test_published_moves_the_encoder_by_plain_descent():
  """A step's change of the encoder is -rate times its gradient."""
  kind = predict_runs.Kind("full", "published", "straight_through", 20, 4)
  member = predict_runs.Member(kind, _numbers(rate=0.01))
  state = member.init()
  x, target = blobs.pattern(jnp.arange(4)), jnp.arange(4)
  gradients, _ = jax.jit(member.learner.gradients)(state, x, target)
  after, _, _ = jax.jit(member.learner.step)(state, x, target)
  for a, b, g in zip(
    *map(jax.tree.leaves, (after.params.encoder, state.params.encoder,
                           gradients.encoder)), strict=True,
  ):  # fmt: skip
    np.testing.assert_allclose(a, b - 0.01 * g, rtol=1e-5, atol=1e-7)
  moved = (
    after.params.decoder["output"]["kernel"]
    - (state.params.decoder["output"]["kernel"])
  )
  assert np.abs(moved).max() <= 0.0101  # Adam's first step.


def test_members_do_not_depend_on_those_beside_them():
  kind = predict_runs.Kind("full", "tuned", "straight_through", 15, 4)
  programs = predict_runs.programs(kind, 2, 20)

  def train(*members):
    numbers = predict_runs.Numbers(*map(jnp.stack, zip(*members, strict=True)))
    state = programs.init(numbers)
    return programs.learn(numbers, state, jnp.arange(2))[0].params

  one, other = (
    predict_runs.Numbers(*map(jnp.asarray, row))
    for row in ((3, 1, 0.1, 0.01, 1.0), (4, -2, 0.5, 0.1, 0.3))
  )
  together, alone, before = (
    train(one, other), train(other),
    programs.init(jax.tree.map(lambda a: a[None], other)).params,
  )  # fmt: skip
  for a, b, c in zip(
    *map(jax.tree.leaves, (together, alone, before)), strict=True
  ):
    np.testing.assert_allclose(a[1], b[0], rtol=1e-2, atol=1e-3)
    assert np.abs(b - c).max() > 0.1


def test_the_table_has_means_deviations_and_every_seed():
  names = predict_runs.Figures._fields
  rows = [
    {"rule": "tuned", "view": view, "delta": 1, "beta": 0.1, "seed": seed,
     "rate": 0.01, "factor": 1.0} | {name: value for name in names}
    for view, values in (("full", (0.5, 0.7)), ("rate", (0.25, 0.25)))
    for seed, value in enumerate(values)
  ]  # fmt: skip
  references = {
    1: {"most_frequent": 0.01, "most_frequent_start": 0.02,
        "persistence": 0.3, "persistence_start": 0.2}
  }  # fmt: skip
  text = predict_report.table(rows, references)
  assert "| +1 | 0.1 | full | tuned | 0.01 | 1 | 2 | 0.600 ± 0.141 |" in text
  assert "| 0.500 0.700 |" in text and "| 0.250 ± 0.000 |" in text
  assert "| +1 | 0.010 | 0.020 | 0.300 | 0.200 |" in text


def test_a_curve_of_learning_is_of_equal_parts(tmp_path):
  """Means in their order; members without curves leave no picture."""
  found = predict_report.curve(np.arange(200) / 200)
  np.testing.assert_allclose(found, (np.arange(50) * 4 + 1.5) / 200, atol=1e-4)
  assert predict_report.curve(np.array([0.25, 0.5])) == [0.25, 0.5]
  row = {"rule": "tuned", "view": "full", "delta": 0, "beta": 0.1, "seed": 0}
  path = tmp_path / "learning.png"
  assert not predict_report.learning(path, [row], {}, 0.1)
  assert not path.exists()


def test_the_command_learns_resumes_and_reports(tmp_path):
  def tuned_at_zero(row):
    where = {"rule": "tuned", "view": "full", "delta": 0, "beta": 0.1}
    return where.items() <= row.items()

  run = lambda *more: binaries.run(
    "predict", f"--workdir={tmp_path}", *FLAGS, *more
  )
  first = run()
  assert first.returncode == 0, first.stderr
  assert re.search(r"beta 0.1: batch \d+/100 of 2 members", first.stdout)
  assert "s left" in first.stdout
  text = (tmp_path / "results.jsonl").read_text()
  rows = [json.loads(line) for line in text.splitlines()]
  # Delta 0: two betas and the published rule; delta -1: one beta.
  assert len(rows) == 2 * 2 * (3 + 1)
  assert (tmp_path / "prediction.png").stat().st_size > 20_000
  assert (tmp_path / "learning.png").stat().st_size > 20_000
  learnt = [row["learning"] for row in rows if tuned_at_zero(row)]
  assert {len(curve) for curve in learnt} == {50}
  assert min(curve[-1] for curve in learnt) > max(c[0] for c in learnt)
  mean = lambda name, **where: np.mean(
    [row[name] for row in rows if where.items() <= row.items()]
  )
  tuned = {"rule": "tuned", "view": "full", "delta": 0}
  assert mean("accuracy", **tuned, beta=0.1) > 0.05  # Chance: 0.02.
  assert mean("information_bits", **tuned, beta=3.0) < 0.7 * mean(
    "information_bits", **tuned, beta=0.1
  )
  assert {row["rate"] for row in rows if row["rule"] == "published"} == {0.01}
  assert {row["updates"] for row in rows} == {3000}
  again = run()
  assert again.returncode == 0 and "batch" not in again.stdout
  assert (tmp_path / "results.jsonl").read_text() == text
  lost = next((tmp_path / "members").glob("tuned_full_delta0_beta0.1_seed1*"))
  kept = json.loads(lost.read_text())
  lost.unlink()
  one = run()
  assert one.returncode == 0 and "of 1 members" in one.stdout
  assert "of 2 members" not in one.stdout
  new = json.loads(lost.read_text())
  assert {k: new[k] for k in ("seed", "rate")} == {
    k: kept[k] for k in ("seed", "rate")
  }
  other = run("--batch_size=20")
  assert other.returncode == 1 and "differs in batch_size" in other.stderr


@pytest.mark.parametrize(
  "flag, message",
  [
    ("--deltas=9", "deltas: expected whole numbers in -5..5"),
    ("--deltas=0,0", "deltas: .*each once"),
    ("--full_deltas=x", "full_deltas: expected whole numbers"),
    ("--betas=-1", "betas: expected numbers >= 0"),
    ("--rates=0", "rates: expected numbers > 0"),
    ("--factors=nan", "factors: expected numbers > 0"),
    ("--seeds=1", "seeds: expected at least 2, got 1"),
    ("--sequences=0", "sequences: expected at least 1, got 0"),
    ("--num_steps=4", "num_steps: expected at least 5, got 4"),
    ("--test_steps=50", "test_steps: expected at least 100, got 50"),
  ],
)
def test_a_bad_flag_is_one_line_before_any_work(tmp_path, flag, message):
  found = binaries.run("predict", f"--workdir={tmp_path}", flag)
  assert found.returncode == 1 and not any(tmp_path.iterdir())
  assert re.fullmatch(f"error: {message}.*\n", found.stderr), found.stderr
