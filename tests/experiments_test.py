"""The loop and the binaries: resuming, options, refusals."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import binaries
import jax
import numpy as np
import pytest
import tiny

from experiments import (
  build,
  checkpoint_contents,
  checkpoints,
  checks,
  evaluate,
  inputs,
  interruptions,
  job,
  journal,
  kills,
  loop,
  scoring,
  train,
  workdir,
)
from experiments.configs import (
  base,
  mnist_rate,
  mnist_time,
  mnist_time_conv,
  mnist_time_published,
  smoke,
)
from timedecode import bottleneck, checkpoint
from timedecode.datasets import sources


def _tiny(**fields):
  return tiny.configuration(**{"steps": 4, "eval_every": 2} | fields)


def _train(config, folder, report=lambda line: None):
  folder.mkdir(exist_ok=True)
  checks.validate(config)
  source = inputs.load(config)
  run = loop.prepare(config, config.view, folder, source)
  judge_params = binaries.judge_params(config)
  return loop.train(config, run, source, judge_params, report)


def _same(a, b):
  for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True):
    np.testing.assert_array_equal(x, y)


def _saved(folder):
  """Steps of the checkpoints."""
  return checkpoints.steps(folder)


def test_checkpoints_between_evaluations(tmp_path):
  """With hardly a second between them every step is kept, the last three."""
  config = _tiny(steps=9, eval_every=9, checkpoint_seconds=1e-6)
  whole = _train(config, tmp_path / "whole")
  assert _saved(tmp_path / "whole") == [7, 8, 9]
  shutil.rmtree(tmp_path / "whole" / "checkpoints" / "9")
  lines = []
  again = _train(config, tmp_path / "whole", lines.append)
  assert "continues from step 8" in lines[0] and len(again.rows) == 1
  _same(again.state, whole.state)
  config.checkpoint_seconds = 0.0
  _train(config, tmp_path / "seldom")
  assert _saved(tmp_path / "seldom") == [9]


def test_a_void_state_is_not_saved_between_evaluations(tmp_path):
  config = _tiny(
    steps=9, eval_every=9, checkpoint_seconds=1e-6, optimizer__name="sgd",
    optimizer__learning_rate=1e38, optimizer__warmup_fraction=0.0,
    optimizer__max_norm=0.0,
  )  # fmt: skip
  with pytest.raises(journal.NonFiniteLossError, match="the state after step"):
    _train(config, tmp_path / "run")
  assert not _saved(tmp_path / "run")


def test_a_disk_that_is_full_is_told_of_and_training_goes_on(
  tmp_path, monkeypatch
):
  def refuse(*arguments):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(checkpoints.Checkpoints, "save", refuse)
  lines = []
  run = _train(_tiny(), tmp_path / "run", lines.append)
  told = [line for line in lines if "checkpoint not written: " in line]
  assert len(told) == 2 and "No space left" in told[0]
  assert int(run.state.step) == 4 and len(run.rows) == 2


@pytest.mark.parametrize("limit, lost", [
  (2**17, "checkpoint"),  # As little as a nearly full disk has.
  (2**9, "metrics"),  # Not even the metrics.
])  # fmt: skip
def test_files_that_cannot_be_written_are_told_of(tmp_path, limit, lost):
  """The system refuses all larger files from the training's begin on."""
  code = (
    "import resource, runpy\n"
    "from experiments import inputs\n"
    "judge = inputs.judge\n"
    "def limited(*arguments):\n"
    "  found = judge(*arguments)\n"
    f"  resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    "  return found\n"
    "inputs.judge = limited\n"
    "runpy.run_module('experiments.train', run_name='__main__')\n"
  )
  fields = {
    "steps": 4, "eval_every": 2, "eval_samples": 1, "baseline_view": "",
    "num_steps": 10, "batch_size": 4,
  }  # fmt: skip
  environment = dict(os.environ, JAX_ENABLE_COMPILATION_CACHE="false")
  result = subprocess.run(
    [
      sys.executable, "-c", code, "--config=experiments/configs/smoke.py",
      f"--workdir={tmp_path / 'run'}",
      *(f"--config.{name}={value}" for name, value in fields.items()),
    ],
    cwd=binaries.ROOT, capture_output=True, text=True, env=environment,
  )  # fmt: skip
  assert result.stdout.count("checkpoint not written: ") == 2, result.stdout
  assert "[full] step 4/4" in result.stdout
  names = [p.name for p in (tmp_path / "run/checkpoints").iterdir()]
  assert not any(name.isdigit() for name in names)
  if lost == "checkpoint":
    assert result.returncode == 0, result.stderr[-2000:]
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "run/summary.json").exists()
    return
  assert result.stdout.count("metrics not written: [Errno 27]") == 2

  assert "test, mnist_5k: learned" in result.stdout
  lines = result.stderr.splitlines()  # Threads of Orbax tell theirs, too.
  assert any(line.startswith("error: [Errno 27]") for line in lines)
  assert result.returncode == 1


@pytest.mark.parametrize("step", [1, 2])  # An evaluation is after the second.
def test_a_run_ends_after_any_step_that_it_is_asked_at(
  tmp_path, monkeypatch, step
):
  monkeypatch.setattr(interruptions, "wanted", lambda now: now == step)
  with pytest.raises(interruptions.InterruptedRunError, match="is saved"):
    _train(_tiny(steps=6, eval_every=2), tmp_path / "run")
  assert step + 1 in _saved(tmp_path / "run")


@pytest.mark.parametrize("folder", ["/proc/none", "/dev/null/run"])
def test_a_folder_that_cannot_be_written_to_is_refused(folder):
  result = binaries.run(
    "train", "--config=experiments/configs/smoke.py", f"--workdir={folder}"
  )
  assert result.returncode == 1 and "Traceback" not in result.stderr
  last = result.stderr.strip().splitlines()[-1]
  assert last.startswith(f"error: workdir: can't write to {folder}: ")


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
  """Forward by a day, back by two."""
  config = _tiny(steps=8, eval_every=4, checkpoint_seconds=1e-6)
  whole, real, day = _train(config, tmp_path / "whole"), time.time, 86_400.0
  ahead = {}

  def wanted(step):
    ahead["now"] = {2: day, 5: -day}.get(step, ahead.get("now", 0.0))
    return False

  monkeypatch.setattr(time, "time", lambda: real() + ahead.get("now", 0.0))
  monkeypatch.setattr(interruptions, "wanted", wanted)
  lines = []
  run = _train(config, tmp_path / "run", lines.append)
  _same(run.state, whole.state)
  assert 8 in _saved(tmp_path / "run") and 0 < run.seconds < 600
  state, _ = checkpoints.restore(tmp_path / "run", run.state, lines.append)
  _same(state, whole.state)


def test_steps_that_are_not_finite_are_skipped_and_counted(
  tmp_path, monkeypatch
):
  """Of 8 one: what others would be without it; the count outlives a stop."""
  config = _tiny(steps=8, eval_every=4, non_finite="skip")
  source, broken = inputs.load(config), 2

  def spoil(run, last):
    decode = source.decode
    bad = jax.random.key_data(
      inputs.example_keys(
        jax.random.fold_in(
          jax.random.split(jax.random.key(config.seed + 1))[0], broken
        ),
        config.batch_size,
      )
    )[0]

    def spoilt(rows, keys):
      batch = decode(rows, keys)
      first = jax.vmap(jax.random.split)(jax.random.wrap_key_data(bad[None]))
      same = jax.random.key_data(keys)[0] == jax.random.key_data(first)[0, 0]
      factor = jax.numpy.where(same.all(), jax.numpy.nan, 1.0)
      return batch._replace(targets=batch.targets * factor)

    return loop.train(
      config, run, source._replace(decode=spoilt),
      binaries.judge_params(config), last.append,
    )  # fmt: skip

  lines = []
  wanted = lambda step: step == 5 and "continues" not in str(lines)
  monkeypatch.setattr(interruptions, "wanted", wanted)
  (tmp_path / "run").mkdir()
  prepare = lambda: loop.prepare(config, "full", tmp_path / "run", source)
  with pytest.raises(interruptions.InterruptedRunError):
    spoil(prepare(), lines)
  assert lines[0] == "[full] step 3 is not finite: skipped"
  run = spoil(prepare(), lines)
  assert [row["skipped_steps"] for row in run.rows] == [1, 1]
  assert run.skipped == 1 and int(run.state.step) == 8
  built = build.build(config, "full")  # By hand, without that step.
  step, state = loop.make_step(source, built), build.init_state(config, built)
  key = jax.random.split(jax.random.key(config.seed + 1))[0]
  with loop.feed.batches(
    source.rows("train"), config.batch_size, config.seed, 0, 8
  ) as batches:
    for index, batch in batches:
      if index == broken:
        state = state._replace(step=state.step + 1)
        continue
      state, _ = step(state, batch, key, False)
  _same(run.state.params, state.params)


def test_skipping_ends_where_no_step_is_finite(tmp_path):
  config = _tiny(
    steps=60, eval_every=60, non_finite="skip", optimizer__name="sgd",
    optimizer__learning_rate=1e38, optimizer__warmup_fraction=0.0,
    optimizer__max_norm=0.0,
  )  # fmt: skip
  with pytest.raises(journal.NonFiniteLossError, match="loss of step 50 is"):
    _train(config, tmp_path / "run")


def test_skips_in_a_row_are_counted_on_after_a_restart(tmp_path, monkeypatch):
  config = _tiny(
    steps=60, eval_every=60, non_finite="skip", optimizer__name="sgd",
    optimizer__learning_rate=1e38, optimizer__warmup_fraction=0.0,
    optimizer__max_norm=0.0,
  )  # fmt: skip
  with monkeypatch.context() as asked:
    asked.setattr(interruptions, "wanted", lambda step: step == 29)
    with pytest.raises(interruptions.InterruptedRunError):
      _train(config, tmp_path / "run")
  assert _saved(tmp_path / "run") == [30]
  with pytest.raises(journal.NonFiniteLossError, match="loss of step 50 is"):
    _train(config, tmp_path / "run")


def test_sigterm_saves_and_exits_with_75(tmp_path):
  """And the same command goes on to the same end."""
  fields = [f"--config.{name}={value}" for name, value in {
    "steps": 400, "eval_every": 400, "eval_samples": 1, "baseline_view": "",
    "checkpoint_seconds": 0.1, "num_steps": 10, "batch_size": 4,
  }.items()]  # fmt: skip
  command = [
    sys.executable, "-m", "experiments.train",
    "--config=experiments/configs/smoke.py", *fields,
  ]  # fmt: skip
  place, log = tmp_path / "run", tmp_path / "log.txt"
  with log.open("w") as output:
    process = subprocess.Popen(
      [*command, f"--workdir={place}"], cwd=binaries.ROOT, stdout=output,
      stderr=subprocess.STDOUT,
    )  # fmt: skip
    while not _saved(place) and process.poll() is None:
      time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=120) == interruptions.EXIT_CODE, log.read_text()
  step = max(_saved(place))
  assert 1 <= step < 400
  assert f"asked to end at step {step}, which is saved" in log.read_text()
  result = subprocess.run(
    [*command, f"--workdir={place}"], cwd=binaries.ROOT, check=True,
    capture_output=True, text=True,
  )  # fmt: skip
  assert f"continues from step {step}" in result.stdout
  subprocess.run(
    [*command, f"--workdir={tmp_path / 'whole'}"], cwd=binaries.ROOT,
    check=True, capture_output=True,
  )  # fmt: skip
  ends = [
    journal.read_rows(folder / "metrics.jsonl")[-1]["distortion"]
    for folder in (place, tmp_path / "whole")
  ]
  assert ends[0] == ends[1]


def test_before_its_first_step_a_run_ends_at_once(tmp_path):
  """It would train its judge for an hour."""
  process = subprocess.Popen(
    [sys.executable, "-m", "experiments.train",
     "--config=experiments/configs/smoke.py", "--config.judge_epochs=10000",
     f"--workdir={tmp_path / 'run'}"],
    cwd=binaries.ROOT, stdout=subprocess.PIPE, text=True,
    stderr=subprocess.PIPE, env=dict(os.environ, PYTHONUNBUFFERED="1"),
  )  # fmt: skip
  while not process.stdout.readline().startswith("judge: LeNet-5"):
    assert process.poll() is None
  process.terminate()
  _, errors = process.communicate(timeout=20)
  assert process.returncode == interruptions.EXIT_CODE, errors
  assert "asked to end before a first step; the same command goes" in errors
  assert (tmp_path / "run/config.json").exists()


def test_a_notice_between_two_trainings_ends_the_second(tmp_path):
  """It comes after the last step of the first."""
  config = _tiny()
  interruptions.listen()
  try:
    _train(config, tmp_path / "run")
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(interruptions.InterruptedRunError, match="at step 4"):
      _train(config, tmp_path / "run")
  finally:
    interruptions.listen()  # Forgets it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_a_cut_off_evaluation_is_made_again(tmp_path):
  """SIGTERM in an evaluation ends it; nothing differs at the end, nor does
  which checkpoints are kept."""
  config = _tiny(steps=8)
  whole, cut = _train(config, tmp_path / "whole"), tmp_path / "cut"
  cut.mkdir()
  source = inputs.load(config)
  run = loop.prepare(config, config.view, cut, source)

  def asked(judge_params, params, rows, key):
    if (cut / "metrics.jsonl").read_text().count("\n") == 1:  # The second.
      signal.raise_signal(signal.SIGTERM)
    return run.evaluate(judge_params, params, rows, key)

  judge_params = binaries.judge_params(config)
  interruptions.listen()
  try:
    with pytest.raises(
      interruptions.InterruptedRunError, match="at step 4, wh"
    ):
      loop.train(
        config, run._replace(evaluate=asked), source, judge_params, print
      )
  finally:
    interruptions.listen()  # Forgets it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
  assert [r["step"] for r in journal.read_rows(cut / "metrics.jsonl")] == [2]
  lines = []
  resumed = _train(config, cut, lines.append)
  assert "continues from step 4" in lines[0] and "step 4/8" in lines[1]
  _same(resumed.state, whole.state)
  plain = lambda rows: [
    {k: v for k, v in row.items() if k not in kills.TIMES} for row in rows
  ]
  assert plain(resumed.rows) == plain(whole.rows)
  metrics = [
    (folder / "checkpoints/4/metrics/metrics").read_text()
    for folder in (cut, tmp_path / "whole")
  ]
  assert json.loads(metrics[0]) == json.loads(metrics[1])


def test_a_damaged_line_is_named(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 1}\n{"step": \n{"st')
  with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: expected JSON"):
    journal.read_rows(path)
  path.write_text('{"step": 1}\n{"st')
  assert journal.read_rows(path) == [{"step": 1}]


def test_kills_at_random_moments(tmp_path):
  """Four in saves, of early and late steps; by default the command does 200."""
  found = kills.run(tmp_path, kills=10, in_saves=4, seed=0)
  assert found["kills"] == 10 and found["save"] >= 4
  assert max(found["saves_hit"]) - min(found["saves_hit"]) >= 5
  assert found["ended_equal"] >= 1


def test_a_killed_run_resumes_exactly(tmp_path):
  whole = _train(_tiny(), tmp_path / "whole")

  class KilledError(Exception):
    pass

  def kill(line):
    late = time.monotonic() + 60
    while not checkpoints.steps(tmp_path / "cut"):  # It is being written.
      assert time.monotonic() < late
      time.sleep(0.01)
    raise KilledError

  with pytest.raises(KilledError):
    _train(_tiny(), tmp_path / "cut", kill)
  path = tmp_path / "cut" / "metrics.jsonl"
  with path.open("a") as file:  # Lines that the kill left without their state.
    file.write(json.dumps({"step": 4}) + '\n{"step": 6, "cut o')
  lines = []
  resumed = _train(_tiny(), tmp_path / "cut", lines.append)
  assert "continues from step 2" in lines[0] and len(lines) == 2
  _same(resumed.state, whole.state)
  timing = ("train_seconds", "examples_per_second", "waiting_share")
  for a, b in zip(
    journal.read_rows(path), journal.read_rows(whole.folder / "metrics.jsonl"),
    strict=True,
  ):  # fmt: skip
    assert {k: v for k, v in a.items() if k not in timing} == {
      k: v for k, v in b.items() if k not in timing
    }
  again = _train(_tiny(), tmp_path / "cut", lines.append)
  _same(again.state, whole.state)
  assert len(lines) == 3  # Nothing was left to do.


def test_seeds_reproduce_and_differ(tmp_path):
  first = _train(_tiny(), tmp_path / "a").state
  _same(first, _train(_tiny(), tmp_path / "b").state)
  other = _train(_tiny(seed=1), tmp_path / "c").state
  a, b = first.params.decoder, other.params.decoder
  assert any(
    not np.array_equal(x, y)
    for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
  )


def test_one_compilation_of_the_training_step(tmp_path, caplog):
  binaries.judge_params(_tiny())
  with jax.log_compiles(), caplog.at_level(logging.WARNING):
    _train(_tiny(), tmp_path / "run")
  names = [
    record.getMessage().split()[1]
    for record in caplog.records
    if record.getMessage().startswith("Compiling ")
  ]
  assert names.count("jit(step)") == 1, names
  assert names.count("jit(evaluate_batch)") == 1, names


OPTIONS = [
  {"estimator": "score_function", "num_samples": 3, "credit": "local"},
  {"estimator": "score_function", "baseline": "none", "prior": "rate",
   "non_finite": "skip"},
  {"estimator": "score_function", "baseline": "batch",
   "optimizer__encoder_name": "adam"},
  {"estimator": "score_function", "baseline": "moving_average",
   "optimizer__encoder_name": "sgd", "optimizer__encoder_learning_rate": 0.1},
  {"estimator": "relaxed", "credit": "symmetric", "encoder__hidden": (6, 5)},
  {"estimator": "arm", "num_samples": 2, "remat_every": 4},
  {"estimator": "disarm", "num_samples": 4, "prior": "glm", "prior_length": 3},
  {"estimator": "published", "information": "sampled"},
  {"estimator": "published", "information": "sampled", "repairs": (),
   "credit": "feedback", "encoder__kind": "convolutional",
   "encoder__hidden": (2,)},
  {"online_chunk": 12, "num_steps": 30, "credit": "local",
   "encoder__hidden": (6, 5)},
  {"online_chunk": 12, "num_steps": 30, "credit": "feedback",
   "estimator": "score_function", "num_samples": 3,
   "encoder__kind": "convolutional", "encoder__hidden": (2,)},
  {"decoder": "linear", "data__coding": "rate"},
  {"decoder": "conv", "data__max_shift": 0},
  {"decoder_width": 0, "encoder__surrogate": "boxcar"},
  {"decoder": "conv", "view": "rate", "decoder_channels": 3,
   "encoder__event_driven": True},
  {"view": "window", "window": 4, "encoder__surrogate": "logistic"},
  {"view": "rate", "encoder__surrogate": "fast_sigmoid", "view_scale": 2.0},
  {"channel_flip": 0.2, "estimator": "disarm", "num_samples": 2},
  {"data__target": "label", "channel_flip": 0.1},
  {"view": "first_spike", "encoder__surrogate": "arctan", "view_scale": 2.0},
  {"encoder__hidden": (), "num_microbatches": 2},
  {"encoder__kind": "convolutional", "encoder__hidden": (2,)},
  {"encoder__gain": "published", "encoder__lateral": True},
  {"optimizer__name": "sgd", "optimizer__max_norm": 0.0,
   "optimizer__final_fraction": 1.0},
]  # fmt: skip


def _one_step(config):
  checks.validate(config)
  built, source = build.build(config, config.view), inputs.load(config)
  state = build.init_state(config, built)
  step = loop.make_step(source, built)
  rows = sources.gather(source.rows("train"), slice(config.batch_size))
  before = jax.tree.map(np.asarray, state.params)
  after, metrics = step(state, rows, jax.random.key(0), True)
  return before, after.params, metrics


@pytest.mark.parametrize(
  "fields", OPTIONS, ids=lambda f: "-".join(f"{k}={v}" for k, v in f.items())
)
def test_every_option_trains_its_parameters(fields):
  before, after, metrics = _one_step(_tiny(**fields))
  assert np.isfinite(metrics.loss)
  for part in ("encoder", "decoder"):
    moved = [
      not np.array_equal(a, b)
      for a, b in zip(
        *map(jax.tree.leaves, (getattr(before, part), getattr(after, part))),
        strict=True,
      )
    ]
    assert any(moved)
  assert np.isfinite(metrics.diagnostics.gradient_norms).all()


def test_the_baseline_has_its_own_rate_and_scale():
  """As a run of its own with these, parameter by parameter."""
  config = _tiny(
    baseline_view="rate", baseline_learning_rate=0.02, baseline_view_scale=2.0,
    baseline_encoder_learning_rate=0.1, optimizer__encoder_learning_rate=0.3,
  )  # fmt: skip
  alone = _tiny(
    view="rate", view_scale=2.0, optimizer__learning_rate=0.02,
    optimizer__encoder_learning_rate=0.1,
  )  # fmt: skip
  ends = []
  for fields in (config, alone):
    built = build.build(fields, "rate")
    state = build.init_state(fields, built)
    source = inputs.load(fields)
    rows = sources.gather(source.rows("train"), slice(4))
    step = loop.make_step(source, built)
    for _ in range(2):  # The first step of a warm-up moves nothing.
      state, _ = step(state, rows, jax.random.key(0), False)
    ends.append(state.params)
  _same(*ends)
  built = build.build(config, "full")
  assert build.for_view(config, "full").optimizer.learning_rate == 5e-3


@pytest.mark.parametrize("channels, expected", [(0, 6), (5, 5)])
def test_channels_do_not_depend_on_the_view(channels, expected):
  """Counts have one row; what decodes them is as wide as for whole trains."""
  for view in ("full", "rate"):
    fields = {"decoder_channels": channels, "num_steps": 12}
    config = _tiny(decoder="conv", view=view, **fields)
    state = build.init_state(config, build.build(config, view))
    assert (
      state.params.decoder["params"]["first"]["kernel"].shape[-1] == expected
    )


def test_a_frozen_encoder_stays_as_it_began():
  before, after, _ = _one_step(_tiny(optimizer__encoder_name="frozen"))
  _same(before.encoder, after.encoder)
  assert not np.array_equal(
    *[p.decoder["params"]["output"]["kernel"] for p in (before, after)]
  )


def test_every_choice_is_among_the_options():
  covered = {(k.replace("__", "."), v) for f in OPTIONS for k, v in f.items()}
  covered.add(("optimizer.encoder_name", "frozen"))
  covered |= {
    (name, checks.field(_tiny(), name)) for name in checks.CHOICES
  } | {("baseline_view", view) for view in checks.CHOICES["view"]}
  for name, choices in checks.CHOICES.items():
    if name.startswith("data.") or name in ("parallel", "precision"):
      continue  # Tests of recordings_training, parallel and precision.
    assert {(name, choice) for choice in choices} <= covered, name


def test_published_configurations():
  config = mnist_time_published.get_config()
  assert config.beta == pytest.approx(1.02e-4, rel=1e-3)
  built = build.build(config, "full")
  state = jax.eval_shape(lambda: build.init_state(config, built))
  shapes = [leaf.shape for leaf in jax.tree.leaves(state.params.decoder)]
  assert (3840, 7680) in shapes and (784, 3840) in shapes
  assert state.params.encoder.hidden[0].weights.shape == (784, 600)
  for module in (base, mnist_time, mnist_rate, mnist_time_conv, smoke):
    checks.validate(module.get_config())
    build.build(module.get_config(), "full")


BAD = [
  (
    {"online_chunk": 64},
    "credit: online .* got 'bptt'; the nearest is 'local'",
  ),
  (
    {
      "online_chunk": 64,
      "credit": "local",
      "estimator": "disarm",
      "num_samples": 2,
    },
    "estimator: .* online, got 'disarm'",
  ),
  ({"online_chunk": 9, "credit": "local"}, "chunk: expected more than the 9"),
  (
    {
      "online_chunk": 64,
      "credit": "local",
      "estimator": "score_function",
      "baseline": "none",
    },
    "config.baseline: expected 'samples' for online",
  ),
  (
    {"online_chunk": 64, "credit": "local", "remat_every": 5},
    "config.remat_every: expected 0 with online_chunk",
  ),
  (
    {"estimator": "score_function", "baseline": "batch", "batch_size": 1},
    "config.batch_size: expected >= 2 for the baseline 'batch'",
  ),
  ({"beta": -1.0}, "beta: expected a finite number >= 0, got -1.0"),
  ({"prior_rate": 1.0}, r"prior_rate: expected a number in \(0, 1\)"),
  ({"estimator": "magic"}, "config.estimator: expected one of"),
  ({"decoder": "magic"}, "config.decoder: expected one of"),
  ({"view": "magic"}, "config.view: expected one of"),
  ({"view": "window", "window": 11}, "config.window: .* num_steps = 10"),
  ({"steps": 0}, "config.steps: expected >= 1, got 0"),
  ({"baseline_view": "full"}, "config.baseline_view: expected another view"),
  ({"encoder__surrogate": "magic"}, "expected one of boxcar"),
  ({"encoder__weight_scale": 0.0}, "encoder.weight_scale: expected > 0"),
  ({"encoder__hidden": (0,)}, "num_units: expected an integer >= 1"),
  ({"optimizer__learning_rate": float("nan")}, "learning_rate: expected > 0"),
  ({"optimizer__final_fraction": 2.0}, r"final_fraction: .* \[0, 1\]"),
  ({"data__max_rotation": 200.0}, r"data.max_rotation: .* \[0, 180\], got 200"),
  ({"data__max_shift": 29}, "max_shift: expected at most 28 pixels, got 29"),
  ({"data__max_zoom": 1.0}, r"data.max_zoom: .* \[0, 0.99\], got 1.0"),
  ({"precision": "float16"}, "config.precision: expected one of 'float32',"),
  ({"estimator": "score_function"}, "num_samples: score_function expects"),
  (
    {"encoder__kind": "convolutional", "encoder__hidden": (2, 2, 2)},
    "convolutional: expected inputs",
  ),
  ({"data__source": "magic"}, "source: expected one of .*mnist_5k"),
  (
    {"data__target": "random"},
    "target: .* image, label for the source mnist_5k",
  ),
  ({"data__source": "mnist_dvs_sim"}, "target: .* label, prototype, random"),
  (
    {"data__source": "shd", "data__target": "label"},
    "config.data.max_shift: expected 0 for shd, which has no pixels, got 1",
  ),
  (
    {
      "data__source": "shd",
      "data__target": "label",
      "data__max_shift": 0,
      "data__max_zoom": 0.1,
    },
    "config.data.max_zoom: expected 0 for shd, which has no pixels, got 0.1",
  ),
  (
    {"data__source": "shd", "data__target": "prototype"},
    "config.data.target: expected one of label for the source shd",
  ),
  ({"seed": 2**32}, "config.seed: expected <= 4294967286, got 4294967296"),
  ({"data__dt_ms": 0.0}, "config.data.dt_ms: expected > 0, got 0.0"),
  ({"channel_flip": 1.5}, r"flip: expected a probability in \[0, 1\], got 1.5"),
  (
    {"online_chunk": 64, "credit": "local", "channel_flip": 0.1},
    "config.channel_flip: expected 0 with online_chunk",
  ),
  (
    {"batch_size": 6, "num_microbatches": 4},
    "num_microbatches: expected a divisor of the 6 examples .* got 4",
  ),
  ({"num_microbatches": 0}, "config.num_microbatches: expected >= 1, got 0"),
  (
    {
      "estimator": "score_function",
      "baseline": "batch",
      "num_microbatches": 2,
    },
    "num_microbatches: expected 1 where examples of a batch need .*got 2",
  ),
  (
    {
      "estimator": "published",
      "information": "sampled",
      "repairs": ("averaging", "reset"),
      "num_microbatches": 2,
    },
    "num_microbatches: expected 1 where examples of a batch need .*got 2",
  ),
  ({"view_scale": -1.0}, "config.view_scale: expected >= 0, got -1.0"),
  ({"decoder_channels": -1}, "config.decoder_channels: expected >= 0, got -1"),
  (
    {"encoder__event_driven": True, "online_chunk": 64, "credit": "local"},
    "config.encoder.event_driven: expected False with online_chunk, got True",
  ),
  (
    {
      "encoder__event_driven": True,
      "encoder__kind": "convolutional",
      "encoder__hidden": (2,),
    },
    "config.encoder.event_driven: expected False without a dense first layer",
  ),
]


@pytest.mark.parametrize("fields, message", BAD)
def test_bad_configurations_are_refused_before_any_file(
  fields, message, tmp_path
):
  with pytest.raises(ValueError, match=message):
    train.run(_tiny(**fields), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_damaged_checkpoints_are_refused_before_long_work(tmp_path, capsys):
  config = _tiny()
  workdir.claim(config, tmp_path)
  _train(config, tmp_path)
  capsys.readouterr()  # What comes before does not count.
  paths = sorted((tmp_path / "checkpoints").glob("*/state/manifest.ocdbt"))
  assert len(paths) == 2
  for path in paths:
    path.write_bytes(path.read_bytes()[:10])
  for again in (lambda: train.run(config, tmp_path),
                lambda: evaluate.evaluate(tmp_path)):  # fmt: skip
    with pytest.raises(checkpoint.CheckpointError, match="4: damaged.*2: dam"):
      again()
  assert "judge" not in capsys.readouterr().out
  assert all(path.stat().st_size == 10 for path in paths)


def test_a_damaged_checkpoint_is_passed_over(tmp_path, capsys):
  whole = _train(_tiny(), tmp_path / "whole")
  _train(_tiny(), tmp_path / "run")
  place = tmp_path / "run" / "checkpoints" / "4"
  (place / "meta" / "metadata").write_text("")
  capsys.readouterr()
  lines = []
  again = _train(_tiny(), tmp_path / "run", lines.append)
  assert f"{place}: damaged: " in capsys.readouterr().out
  assert "continues from step 2" in lines[0]
  _same(again.state, whole.state)
  steps = [row["step"] for row in again.rows]
  assert steps == [2, 4] and json.loads((place / "meta/metadata").read_text())


def test_a_run_with_a_checkpoint_of_format_1_goes_on(tmp_path):
  whole = _train(_tiny(), tmp_path / "whole")
  place = tmp_path / "whole" / "checkpoints" / "2"
  state, meta = checkpoint_contents.read(place, whole.state)
  (tmp_path / "run").mkdir()
  checkpoint.save(tmp_path / "run" / "checkpoint", state, meta)
  lines = []
  resumed = _train(_tiny(), tmp_path / "run", lines.append)
  assert "continues from step 2" in lines[0]
  _same(resumed.state, whole.state)


def test_evaluate_refuses_folders_without_a_run(tmp_path):
  with pytest.raises(ValueError, match="config.json is missing"):
    evaluate.evaluate(tmp_path)
  workdir.claim(_tiny(), tmp_path)
  with pytest.raises(ValueError, match="holds no checkpoint"):
    evaluate.evaluate(tmp_path)
  for text, message in (
    ("{", "config.json is not JSON"),
    ("[]", "holds no configuration"),
    ('{"sead": 1}', "fields of another release: sead$"),
  ):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
      evaluate.evaluate(tmp_path)


@pytest.mark.parametrize("field, value, error", [
  ("beta", "x", "config.beta: expected a value of type float, got 'x'"),
  ("steps", "x", "config.steps: expected a value of type int, got 'x'"),
  ("steps", True, "config.steps: expected a value of type int, got True"),
  ("view", 1, "config.view: expected a value of type str, got 1"),
  ("encoder.hidden", 6, "encoder.hidden: expected a value of type list, got 6"),
  ("encoder.hidden", ["x"], "hidden: expected a value of type int, got 'x'"),
  ("encoder", {}, "holds no checkpoint"),  # As before a field came.
  ("optimizer", 3, "fields of another release: optimizer"),
  ("optimizer.name", {}, "name: expected a value of type str, got {}"),
])  # fmt: skip
def test_evaluate_names_a_field_of_another_type(tmp_path, field, value, error):
  workdir.claim(_tiny(), tmp_path)
  path = tmp_path / "config.json"
  stored = json.loads(path.read_text())
  place, _, leaf = field.rpartition(".")
  (stored[place] if place else stored)[leaf] = value
  path.write_text(json.dumps(stored))
  with pytest.raises(ValueError, match=error):
    evaluate.load(tmp_path)


def test_files_of_a_run_that_are_too_large_are_not_read(tmp_path):
  path = tmp_path / "config.json"
  path.write_text("[" * 10**5)
  with pytest.raises(ValueError, match="config.json is not JSON: "):
    evaluate.load(tmp_path)
  with path.open("wb") as file:
    file.truncate(2**33)
  with pytest.raises(
    ValueError, match=r"config.json: expected at most \d+ byt"
  ):
    evaluate.load(tmp_path)
  path = tmp_path / "metrics.jsonl"
  path.write_text(json.dumps({"step": 1, "more": "x" * 2**20}) + "\n")
  with pytest.raises(ValueError, match="line 1: expected .* at most 1048576 "):
    journal.read_rows(path)
  path.write_text('{"steps": 1}\n')
  with pytest.raises(ValueError, match="line 1: expected JSON with a step"):
    journal.read_rows(path)
  with path.open("wb") as file:
    file.truncate(2**33)
  with pytest.raises(ValueError, match="metrics.jsonl: expected at most"):
    journal.read_rows(path)


def test_what_a_folder_is_known_by_outlives_a_power_cut(tmp_path, monkeypatch):
  """On the disk before it has its name; one that was cut off is named."""
  synced, fsync = [], os.fsync
  monkeypatch.setattr(os, "fsync", lambda f: (synced.append(f), fsync(f)))
  workdir.claim(_tiny(), tmp_path / "run")
  assert len(synced) == 1
  job.claim(tmp_path / "jobs", {"seeds": 3})
  assert len(synced) == 2
  job.claim(tmp_path / "jobs", {"seeds": 3})
  path = tmp_path / "jobs/settings.json"
  for text in ("", path.read_text()[:-4]):
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path} is not JSON: "):
      job.claim(tmp_path / "jobs", {"seeds": 3})


def test_a_model_is_compared_before_it_is_made(tmp_path):
  """This one would take 10 TB: what the folder holds is another."""
  _train(_tiny(steps=2), tmp_path)
  workdir.claim(_tiny(steps=2), tmp_path / "made")
  stored = json.loads((tmp_path / "made/config.json").read_text())
  stored["encoder"]["hidden"] = [3 * 10**9]
  (tmp_path / "config.json").write_text(json.dumps(stored))
  with pytest.raises(checkpoint.CheckpointError, match="of another model: "):
    evaluate.load(tmp_path)
  shutil.rmtree(tmp_path / "checkpoints")
  with pytest.raises(ValueError, match="holds no checkpoint"):
    evaluate.load(tmp_path)


def test_figures_are_told_even_where_they_cannot_be_written(tmp_path):
  config = _tiny(steps=2)
  workdir.claim(config, tmp_path / "run")
  _train(config, tmp_path / "run")
  (tmp_path / "run/evaluation.json").mkdir()
  result = binaries.run("evaluate", f"--workdir={tmp_path / 'run'}")
  assert json.loads(result.stdout)["full"]["step"] == 2
  (error,) = re.findall("^error: .*$", result.stderr, re.M)
  assert result.returncode == 1 and "evaluation.json" in error
  assert "Traceback" not in result.stderr


def test_a_non_finite_loss_stops_and_keeps_what_was_finite(tmp_path):
  config = _tiny(optimizer__name="sgd", optimizer__learning_rate=1e-3)
  finite = _train(_tiny(steps=2), tmp_path / "finite")
  (tmp_path / "run").mkdir()
  broken = jax.tree.map(lambda x: x * np.float32(np.nan), finite.state.params)
  source = inputs.load(config)
  run = loop.prepare(config, "full", tmp_path / "run", source)
  state = finite.state._replace(params=broken, optimizer=run.state.optimizer)
  run = run._replace(state=state, rows=finite.rows)
  with pytest.raises(journal.NonFiniteLossError, match="loss of step 3 is nan"):
    loop.train(config, run, source, binaries.judge_params(config), print)
  saved = json.loads((tmp_path / "run" / "non_finite.json").read_text())
  assert saved == {"step": 3, "last_finite": finite.rows[-1]}
  assert not _saved(tmp_path / "run")


def test_a_step_into_the_void_is_not_saved(tmp_path):
  """The loss is finite, the parameters that the step leaves are not."""
  config = _tiny(
    eval_every=1, optimizer__name="sgd", optimizer__learning_rate=1e38,
    optimizer__warmup_fraction=0.0, optimizer__max_norm=0.0,
  )  # fmt: skip
  with pytest.raises(
    journal.NonFiniteLossError, match="the state after step 1"
  ):
    _train(config, tmp_path / "run")
  assert not _saved(tmp_path / "run")


def test_a_misspelt_field_gets_a_suggestion(tmp_path):
  result = binaries.run(
    "train", "--config=experiments/configs/smoke.py",
    "--config.estimatr=score_function", f"--workdir={tmp_path}/run",
  )  # fmt: skip
  assert result.returncode != 0
  assert "estimatr" in result.stderr and '"estimator"' in result.stderr
  assert not (tmp_path / "run").exists()


def test_errors_of_use_are_one_line(tmp_path):
  result = binaries.run(
    "train", "--config=experiments/configs/smoke.py", "--config.beta=-1.0",
    f"--workdir={tmp_path}/run",
  )  # fmt: skip
  assert result.returncode == 1 and "Traceback" not in result.stderr
  lines = [x for x in result.stderr.splitlines() if x.startswith("error:")]
  assert lines == ["error: beta: expected a finite number >= 0, got -1.0"]


def test_information_of_a_report_is_the_bound_in_bits():
  """One sample at the prior's rate but certain: T N_y (-log2 of its rate)."""
  figures = scoring.in_bits({
    "information": 12 * np.log(2.0), "distortion": 784.0,
    "readout_spikes_per_example": 4.0, "readout_entropy": np.log(2.0),
  }, 784)  # fmt: skip
  assert figures["information_bits"] == pytest.approx(12.0)
  assert figures["information_bits_per_spike"] == pytest.approx(3.0)
  assert figures["readout_entropy_bits"] == pytest.approx(1.0)
  assert figures["pixel_cross_entropy"] == 1.0
  converted = bottleneck.beta_from_means(1e-3, 784, 30, 256)
  assert converted == pytest.approx(1e-3 * 784 / (30 * 256))


def test_long_trains_are_measured():
  result = binaries.run("benchmark_long", "--lengths=70", "--timed=1")
  assert result.returncode == 0, result.stderr
  rows = json.loads(result.stdout.splitlines()[-1])
  assert len(rows) == 7 and all(row["bytes"] > 0 for row in rows)


def test_folders_of_runs_before_a_field_came(tmp_path):
  """Fields that are not in config.json are at their defaults."""
  config = _tiny(steps=2)
  workdir.claim(config, tmp_path / "run")
  path = tmp_path / "run" / "config.json"
  stored = json.loads(path.read_text())
  del stored["channel_flip"], stored["data"]["simulator"]
  path.write_text(json.dumps(stored))
  workdir.claim(config, tmp_path / "run")
  _train(config, tmp_path / "run")
  loaded, _, _ = evaluate.load(tmp_path / "run")
  assert loaded.channel_flip == config.channel_flip
  plain = lambda c: json.loads(c.data.simulator.to_json())
  assert plain(loaded) == plain(config)
  config.channel_flip = 0.1
  with pytest.raises(ValueError, match=r"\(differs in channel_flip \("):
    workdir.claim(config, tmp_path / "run")
