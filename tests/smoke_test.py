"""One run of the smoke configuration, which all tests here share."""

import itertools
import json

import binaries
import jax
import numpy as np
import pytest

from experiments import inputs, journal, loop, train, workdir
from experiments.configs import smoke
from timedecode import judge
from timedecode.datasets import sources

SUMMARY = {
  "task", "data_source", "seed", "steps", "examples_seen", "train_seconds",
  "examples_per_second", "judge_accuracy", "judge_clean_accuracy",
  "pixel_cross_entropy", "mean_squared_error", "information_bits_per_example",
  "readout_spikes_per_example", "hidden_rate", "readout_rate",
  "baseline_view", "baseline_judge_accuracy", "versions",
}  # fmt: skip
FIGURES = ("reconstructions", "raster", "learning_curves")


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("smoke") / "run"
  result = binaries.run(
    "train", "--config=experiments/configs/smoke.py", f"--workdir={folder}"
  )
  assert result.returncode == 0, result.stderr
  return folder, result


def _summary(folder):
  return json.loads((folder / "summary.json").read_text())


def test_smoke_writes_its_files(smoke_run):
  folder, _ = smoke_run
  summary, config = _summary(folder), smoke.get_config()
  assert set(summary) >= SUMMARY
  assert summary["task"] == "smoke" and summary["data_source"] == "mnist_5k"
  assert summary["examples_seen"] == config.steps * config.batch_size == 640
  assert summary["baseline_view"] == "rate"
  assert summary["versions"]["jax"] == jax.__version__
  assert binaries.names_a_commit(summary)
  assert json.loads((folder / "config.json").read_text()) == json.loads(
    config.to_json_best_effort()
  )
  for name in FIGURES:
    png = (folder / "figures" / f"{name}.png").read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 10_000
  for place in (folder, folder / "baseline"):
    rows = journal.read_rows(place / "metrics.jsonl")
    assert [row["step"] for row in rows] == [20, 40]
    assert all(row["data_source"] == "mnist_5k" for row in rows)
    assert (place / "checkpoints" / "40").is_dir()


def test_smoke_reports_progress_and_provenance(smoke_run):
  _, result = smoke_run
  line = next(x for x in result.stdout.splitlines() if "step 20/40" in x)
  for part in ("examples/s", "s left", "distortion", "bits", "judge accuracy"):
    assert part in line
  assert "mnist_5k" in result.stdout and "on clean images" in result.stdout
  assert "Traceback" not in result.stderr and "tpu" not in result.stderr


def test_smoke_learns_something(smoke_run):
  """Of 40 steps no more can be asked than a clear fall."""
  rows = journal.read_rows(smoke_run[0] / "metrics.jsonl")
  assert rows[-1]["distortion"] < 0.95 * rows[0]["distortion"]
  assert rows[-1]["distortion"] < 784 * np.log(2) * 0.9


def test_summary_equals_an_independent_computation(smoke_run):
  """Test figures from the checkpoint, one image at a time, in NumPy."""
  folder, _ = smoke_run
  config = smoke.get_config()
  source = inputs.load(config)
  run = loop.prepare(config, "full", folder, source)
  rows = source.rows("test")
  key = jax.random.key(7)
  few = sources.gather(rows, slice(20))
  figures, _ = run.evaluate(
    binaries.judge_params(config), run.state.params, few, key, 2
  )
  cross, spikes, right = [], [], []
  for draw, i in itertools.product(range(2), range(20)):
    batch_key = jax.random.fold_in(jax.random.fold_in(key, draw), 0)
    key_code, key_spikes = jax.random.split(jax.random.fold_in(batch_key, i))
    del key_code  # The latency code is certain.
    r = few.data[i].reshape(784) / np.float32(255)
    steps = 10 - np.round(r * np.float32(9)).astype(int)
    x = (steps[None] == np.arange(10)[:, None]).astype(np.float32)
    u = jax.random.uniform(key_spikes, (1, config.num_steps, 8))[0]
    sample = run.built.model.encoder.run(run.state.params.encoder, x, u)
    logits = np.asarray(
      run.built.model.decode(run.state.params.decoder, sample.spikes),
      np.float64,
    )
    cross.append(np.mean(np.logaddexp(0, logits) - r * logits))
    spikes.append(float(sample.spikes.sum()))
    picture = 1 / (1 + np.exp(-logits)).reshape(1, 28, 28)
    guess = judge.predict(binaries.judge_params(config), np.float32(picture))
    right.append(int(guess[0]) == few.labels[i])
  assert figures["pixel_cross_entropy"] == pytest.approx(
    np.mean(cross), rel=1e-4
  )
  assert figures["readout_spikes_per_example"] == pytest.approx(np.mean(spikes))
  assert figures["judge_accuracy"] == pytest.approx(np.mean(right))


def test_evaluate_reproduces_the_summary(smoke_run):
  folder, _ = smoke_run
  result = binaries.run("evaluate", f"--workdir={folder}")
  assert result.returncode == 0, result.stderr
  figures = json.loads((folder / "evaluation.json").read_text())
  summary = _summary(folder)
  assert figures["full"]["step"] == 40
  for name in ("judge_accuracy", "pixel_cross_entropy", "mean_squared_error"):
    assert figures["full"][name] == pytest.approx(summary[name], rel=1e-6)
  assert figures["rate"]["judge_accuracy"] == summary["baseline_judge_accuracy"]


def test_a_folder_of_another_run_is_refused(smoke_run, tmp_path):
  folder, _ = smoke_run
  before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
  config = smoke.get_config()
  config.beta, config.encoder.num_readout = 0.5, 9
  found = r"beta \(0.001 there, 0.5 here\), encoder\.num_readout \(8 there, 9"
  with pytest.raises(ValueError, match=rf"\(differs in {found} here\)\)"):
    train.run(config, folder)
  assert before == {p: p.read_bytes() for p in before}
  (tmp_path / "note.txt").write_text("mine")
  with pytest.raises(ValueError, match="expected an empty folder"):
    workdir.claim(config, tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]
  (tmp_path / "note.txt").rename(tmp_path / "config.partial")
  workdir.claim(config, tmp_path)  # Of a process that was killed as it began.
  assert {p.name for p in tmp_path.iterdir()} == {".lock", "config.json"}


def test_compare_writes_its_table_and_keeps_its_runs(smoke_run, tmp_path):
  flags = [
    "--config=experiments/configs/smoke.py", f"--workdir={tmp_path}",
    "--rules=frozen,score_function + local", "--sizes=3",
    "--seeds=2", "--examples=64", "--seconds=0.01", "--reference=16",
    "--learning_rates=5e-3",
  ]  # fmt: skip
  result = binaries.run("compare", *flags)
  assert result.returncode == 0, result.stderr
  table = (tmp_path / "table.md").read_text()
  for rule in ("frozen", "score_function + local"):
    assert f"| `{rule}` | 0.005 |" in table
  found = json.loads((tmp_path / "comparison.json").read_text())
  assert found["data_source"] == "mnist_5k"
  assert [len(row["runs"]) for row in found["rows"]] == [2, 2]
  assert set(found["gradients"]) == {"score_function + local"}
  assert (tmp_path / "comparison.png").stat().st_size > 10_000
  kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*-3-*.json")}
  assert len(kept) == 4
  again = binaries.run("compare", *flags)
  assert again.returncode == 0, again.stderr
  assert kept == {n: (tmp_path / n).stat().st_mtime_ns for n in kept}
  other = binaries.run("compare", *flags, "--examples=32")
  assert other.returncode == 1 and "differs in examples" in other.stderr
  assert "Traceback" not in other.stderr
  wrong = binaries.run("compare", *flags, "--rules=luck")
  assert wrong.returncode == 1 and "rules: expected some of" in wrong.stderr


def test_repairs_writes_its_table(smoke_run, tmp_path):
  result = binaries.run(
    "repairs", "--config=experiments/configs/smoke.py",
    f"--workdir={tmp_path}", "--repair_examples=8", "--repair_batch=4",
    "--repair_seeds=2", "--repair_rates=1e-3", "--variants=all",
    "--repair_reference=16",
  )  # fmt: skip
  assert result.returncode == 0, result.stderr
  table = (tmp_path / "table.md").read_text()
  assert "| all | 0." in table


def test_richer_priors_tighten_the_bound(smoke_run):
  folder, _ = smoke_run
  result = binaries.run("priors", f"--workdir={folder}", "--prior_steps=300")
  assert result.returncode == 0, result.stderr
  found = json.loads((folder / "priors.json").read_text())
  summary = json.loads((folder / "summary.json").read_text())
  independent = found["independent"]
  # The same bound as the summary's, from other samples of y.
  gap = independent["bits"] - summary["information_bits_per_example"]
  assert abs(gap) < 6 * independent["standard_error"]
  for name in ("rate", "glm"):
    gain = found[name]["difference"]
    assert gain < -6 * found[name]["difference_standard_error"] < 0
  assert found["rate"]["bits"] < 0.9 * independent["bits"]
  missing = binaries.run("priors", f"--workdir={folder / 'nothing'}")
  assert missing.returncode == 1 and "config.json" in missing.stderr
  assert "Traceback" not in missing.stderr
