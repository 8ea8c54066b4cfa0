"""Sweeps: members are runs made alone, whatever shares their program."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time

import binaries
import jax
import numpy as np
import processes
import pytest
import tiny

from experiments import (
  benchmark_sweep,
  build,
  checkpoints,
  evaluate,
  inputs,
  interruptions,
  journal,
  loop,
  scoring,
  sweep_plan,
  sweep_program,
  sweep_run,
)
from experiments.configs import smoke
from timedecode import plots
from timedecode.datasets import feed


def _tiny(**fields):
  return tiny.configuration(**{
    "steps": 20, "batch_size": 16, "num_steps": 8, "eval_every": 10,
    "eval_samples": 2,
  } | fields)  # fmt: skip


def _close(ours, theirs, tolerance=1e-5):
  pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
  for a, b in pairs:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


RULES = {
  "straight_through": (
    {}, ["beta=1e-3,0.1", "optimizer.learning_rate=1e-3,1e-2", "seed=0,3"]
  ),
  "score_function, learned prior": (
    {"estimator": "score_function", "num_samples": 2, "prior": "glm",
     "optimizer.name": "sgd", "optimizer.learning_rate": 1e-3,
     "num_microbatches": 2},
    ["prior_rate=0.1,0.4", "optimizer.encoder_learning_rate=1e-3,2e-3"],
  ),
  "online, streamed": (
    {"online_chunk": 10, "num_steps": 20, "credit": "local",
     "data.device_bytes": 0},
    ["seed=1,2", "beta=0,1e-2"],
  ),
}  # fmt: skip


def _alone(config, source, steps):
  built = build.build(config, config.view)
  state, step = build.init_state(config, built), loop.make_step(source, built)
  key = inputs.training_key(config.seed)
  with feed.batches(
    source.rows("train"), config.batch_size, config.seed, 0, steps
  ) as batches:
    for _, batch in batches:
      state, metrics = step(state, batch, key, False)
  return state, metrics


@pytest.mark.parametrize("together", sweep_program.TOGETHER)
@pytest.mark.parametrize("rule", RULES)
def test_a_member_is_the_same_run_made_alone(rule, together):
  """State, losses and figures on validation after 20 steps.

  Of half the members, in which every value of every field occurs.
  """
  fields, texts = RULES[rule]
  config = _tiny(**fields)
  sweep = sweep_run.Sweep(config, texts, together=together)
  (group,), source = sweep.groups, inputs.load(config)
  program, judge = sweep.program(group.members), binaries.judge_params(config)
  states, given = program.init(), program.given(inputs.training_key)
  with feed.batches(
    source.rows("train"), config.batch_size, program.seeds, 0, 20,
    config.data.device_bytes, program.layout,
  ) as batches:  # fmt: skip
    for _, batch in batches:
      states, metrics = program.step(states, batch, given, False)
  key, rows = inputs.validation_key, source.rows("validation")
  figures = program.evaluate(states, judge, rows, key, 2)
  states, ends = program.collect(states), set()
  assert states.alive.all() and len(group.members) >= 4
  half = [at for at in range(len(group.members)) if at.bit_count() % 2 == 0]
  for at in half:
    own = group.members[at].config
    state, theirs = _alone(own, source, 20)
    _close(jax.tree.map(lambda x, at=at: x[at], states.train), state)
    _close(metrics.loss[at], theirs.loss)
    alone = scoring.make_evaluator(own, own.view, source)
    expected, _ = alone(judge, state.params, rows, key(own.seed), 2)
    assert figures[at] == pytest.approx(expected, rel=1e-5)
    ends.add(float(theirs.loss))
  assert len(ends) == len(half) >= 2  # They are different runs.


PLAIN = {
  "optimizer.name": "sgd", "optimizer.max_norm": 0.0,
  "optimizer.warmup_fraction": 0.0,
}  # fmt: skip


def test_one_that_diverges_stops_and_does_its_neighbours_no_harm(tmp_path):
  texts = ["optimizer.learning_rate=1e-4,1e30,1e-3"]
  results, ends = [], []
  for name, values in (
    ("all", texts),
    ("good", [texts[0].replace("1e30,", "")]),
  ):
    sweep, lines = sweep_run.Sweep(_tiny(**PLAIN), values), []
    results.append(sweep_run.run(sweep, tmp_path / name, values, lines.append))
    ends.append(_states(sweep, tmp_path / name))
    assert ("1 diverged" in lines[0]) == (name == "all")
  first, broken, last = results[0]
  assert broken["status"] == "diverged after step 1"
  table = (tmp_path / "all/members.md").read_text()
  assert "| 1e+30 | diverged after step 1 |" in table and "nan" not in table
  assert broken["test"] is None and broken["validation"]["distortion"] is None
  assert first["status"] == last["status"] == "finished"
  assert first["test"] == results[1][0]["test"]
  assert last["test"] == results[1][1]["test"]
  for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
    np.testing.assert_array_equal(a[[0, 2]], b)
  assert not ends[0].alive[1] and ends[0].train.step.tolist() == [20, 1, 20]


def _states(sweep, folder, step=20):
  """The last states of the only group."""
  template = sweep.program(sweep.members)
  template = template.collect(template.init())
  return checkpoints.restore(folder / f"groups/0/{step}", template)[0]


@pytest.mark.parametrize("fields, values, taken, message", [
  # Adam's second moment overflows; losses and parameters are finite.
  ({"optimizer.name": "adam"}, "beta=1e-3,1e25", 0, "the state after step 1"),
  # The step's loss and state are finite, but not what comes of the state.
  ({}, "optimizer.learning_rate=1e-4,1e30", 1, "the distortion on validation"),
])  # fmt: skip
def test_what_is_not_finite_ends_members_as_runs(
  tmp_path, fields, values, taken, message
):
  config = _tiny(steps=1, eval_every=1, **PLAIN | fields)
  sweep = sweep_run.Sweep(config, [values])
  good, bad = sweep_run.run(sweep, tmp_path / "all", [values], lambda line: 0)
  assert good["status"] == "finished"
  assert bad["status"] == f"diverged after step {taken}" and not bad["test"]
  states = _states(sweep, tmp_path / "all", 1)
  assert states.alive.tolist() == [True, False]
  assert journal.read_rows(tmp_path / "all/best/metrics.jsonl")
  for member, broken in zip(sweep.members, (False, True), strict=True):
    folder, own = tmp_path / str(broken), member.config
    folder.mkdir()
    source = inputs.load(own)
    run = loop.prepare(own, own.view, folder, source)
    train = lambda run=run, own=own, source=source: loop.train(
      own, run, source, binaries.judge_params(own), lambda line: 0
    )
    if not broken:
      assert int(train().state.step) == 1
      continue
    with pytest.raises(journal.NonFiniteLossError, match=message):
      train()
    assert not checkpoints.steps(folder)


TEXTS = ["beta=1e-3,0.1", "seed=range(0, 1, 2)", "encoder.num_readout=2,3"]


def _csv(folder):
  with (folder / "members.csv").open() as file:
    rows = list(csv.DictReader(file))
  return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory):
  """A sweep of two groups with halving: folder, results, lines."""
  folder, lines = tmp_path_factory.mktemp("sweep"), []
  sweep = sweep_run.Sweep(_tiny(), TEXTS, halving=2)
  return folder, sweep_run.run(sweep, folder, TEXTS, lines.append), lines


def test_halving_keeps_the_best(whole):
  """8 members: 4 of them after 3 steps, 2 after 5, 1 after 10."""
  folder, results, lines = whole
  metric, ended = "judge_accuracy", {}
  for result in results:
    ended.setdefault(result["status"], []).append(result)
  assert {k: len(v) for k, v in ended.items()} == {
    "dropped after step 3": 4, "dropped after step 5": 2,
    "dropped after step 10": 1, "finished": 1,
  }  # fmt: skip
  (best,) = ended["finished"]
  rows = [
    json.loads(line)
    for path in folder.glob("groups/*/3/metrics.jsonl")
    for line in path.read_text().splitlines()
  ]
  assert len(rows) == 8
  order = sorted(rows, key=lambda r: (-r[metric], r["distortion"]))
  went_on = {row["member"] for row in order[:4]}
  dropped = {r["member"] for r in ended["dropped after step 3"]}
  assert not went_on & dropped and best["member"] in went_on
  assert [r["test"] is not None for r in results].count(True) == 1
  assert best["member"] in lines[-1]


def test_the_best_is_a_run_that_can_be_judged_again(whole):
  folder, results, _ = whole
  (best,) = [r for r in results if r["test"]]
  found = evaluate.evaluate(folder / "best")["full"]
  assert found["step"] == 20
  assert best["test"] == pytest.approx(
    {name: found[name] for name in best["test"]}, rel=1e-5
  )


def test_the_best_run_is_left_as_it_is(whole, tmp_path):
  """With what others have put there, as long as it is that run."""
  folder = tmp_path / "copy"
  shutil.copytree(whole[0], folder)
  (folder / "best/note.txt").write_text("mine")
  again = lambda: sweep_run.run(
    sweep_run.Sweep(_tiny(), TEXTS, halving=2), folder, TEXTS, lambda line: 0
  )
  again()
  assert (folder / "best/note.txt").read_text() == "mine"
  stored = json.loads((folder / "best/config.json").read_text())
  stored["seed"] += 1  # As if another member had been the best one.
  (folder / "best/config.json").write_text(json.dumps(stored))
  again()
  assert not (folder / "best/note.txt").exists()
  assert checkpoints.steps(folder / "best") == [20]


def test_the_best_run_can_be_drawn(whole, tmp_path):
  """Its metrics have what the curves of a run need."""
  place = whole[0] / "best"
  rows = journal.read_rows(place / "metrics.jsonl")
  batch_size = json.loads((place / "config.json").read_text())["batch_size"]
  assert [r["examples_seen"] for r in rows] == [
    r["step"] * batch_size for r in rows
  ]
  path = tmp_path / "curves.png"
  plots.learning_curves(path, {"best": rows}, "title", "judge_accuracy")
  assert path.stat().st_size > 5000


def test_seconds_are_of_all_rungs(whole):
  rows = journal.read_rows(whole[0] / "best/metrics.jsonl")
  assert [row["step"] for row in rows] == [3, 5, 10, 20]
  seconds = [row["train_seconds"] for row in rows]
  assert 0 < seconds[0] < seconds[1] < seconds[2] < seconds[3]


def test_lost_metrics_are_named(whole, tmp_path):
  """Of a part that has ended: its figures say who goes on."""
  folder = tmp_path / "copy"
  shutil.copytree(whole[0], folder)
  path = folder / "groups/1/3/metrics.jsonl"
  path.write_text(path.read_text().splitlines()[0] + "\n")
  sweep = sweep_run.Sweep(_tiny(), TEXTS, halving=2)
  found = f"workdir: {path} has lost the line of beta=0.001, seed=1, .*step 3;"
  with pytest.raises(ValueError, match=found):
    sweep_run.run(sweep, folder, TEXTS, lambda line: None)
  shutil.rmtree(path.parent)  # As it says.
  sweep = sweep_run.Sweep(_tiny(), TEXTS, halving=2)
  sweep_run.run(sweep, folder, TEXTS, lambda line: None)
  assert _csv(folder) == _csv(whole[0])


def test_the_tables_hold_all_figures(whole):
  folder, results, _ = whole
  rows = _csv(folder)
  assert [row["member"] for row in rows] == [r["member"] for r in results]
  for row, result in zip(rows, results, strict=True):
    assert float(row["beta"]) == result["values"]["beta"]
    expected = result["validation"]["judge_accuracy"]
    assert float(row["validation judge_accuracy"]) == expected
  text = (folder / "members.md").read_text().splitlines()
  assert len(text) == 10 and "| finished |" in text[2]
  assert (folder / "rate_distortion.png").stat().st_size > 5000


@pytest.mark.parametrize("moment", [1, 4, 12])
def test_a_sweep_that_was_ended_goes_on(whole, tmp_path, monkeypatch, moment):
  """Asked to end in every group's step `moment`, again and again."""
  asked, again = set(), 0

  def wanted(step):
    fresh = step == moment and again not in asked
    asked.add(again if fresh else -1)
    return fresh

  monkeypatch.setattr(interruptions, "wanted", wanted)
  while True:
    sweep = sweep_run.Sweep(_tiny(), TEXTS, halving=2)
    try:
      sweep_run.run(sweep, tmp_path, TEXTS, lambda line: None)
      break
    except interruptions.InterruptedRunError:
      again += 1
  assert again >= 1
  assert _csv(tmp_path) == _csv(whole[0])


def _fields():
  return {
    "steps": 40, "eval_every": 20, "eval_samples": 1, "batch_size": 16,
    "num_steps": 8, "checkpoint_seconds": 1e-3, "baseline_view": "",
  }  # fmt: skip


PAIR = ["seed=0,1"]


def _pair():
  config = smoke.get_config()
  config.update(_fields())
  return sweep_run.Sweep(config, PAIR)


def _end(folder):
  """States, figures and lines of a sweep, but for times."""
  sweep = _pair()
  template = sweep.program(sweep.members)
  template = template.collect(template.init())
  states, _ = checkpoints.restore(folder / "groups/0/40", template)
  rows = journal.read_rows(folder / "groups/0/40/metrics.jsonl")
  rows = [{k: v for k, v in r.items() if "seconds" not in k} for r in rows]
  leaves = [leaf.tobytes() for leaf in jax.tree.leaves(states)]
  return leaves, rows, _csv(folder)


@pytest.fixture(name="unbroken", scope="module")
def _unbroken(tmp_path_factory):
  """How a sweep ends that nothing disturbs."""
  folder = tmp_path_factory.mktemp("unbroken")
  sweep_run.run(_pair(), folder, PAIR, lambda line: None)
  return _end(folder)


def test_a_sweep_that_was_killed_ends_as_the_unbroken_one(unbroken, tmp_path):
  """To the last bit; killed between its evaluations."""
  folder = tmp_path / "run"
  flags = [f"--config.{name}={value}" for name, value in _fields().items()]
  process = subprocess.Popen(
    [sys.executable, "-m", "experiments.sweep", f"--workdir={folder}",
     "--config=experiments/configs/smoke.py", f"--sweep={PAIR[0]}", *flags],
    cwd=binaries.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
  )  # fmt: skip
  place = folder / "groups/0/40"
  while max([0, *checkpoints.steps(place)]) < 22 and process.poll() is None:
    time.sleep(1e-3)
  process.kill()
  assert process.wait() == -signal.SIGKILL
  assert 22 <= checkpoints.steps(place)[-1] < 40
  lines = []
  sweep_run.run(_pair(), folder, PAIR, lines.append)
  assert "step 40/40" in lines[0]  # And the one at 20 is not made again.
  assert _end(folder) == unbroken


@pytest.mark.parametrize("asked", [1, 3, 5])
def test_an_evaluation_that_was_cut_off_is_made_again(
  unbroken, tmp_path, monkeypatch, asked
):
  """In the one at 20, at the end, and in the test; two batches have each."""
  count, load = 0, inputs.load

  class Asking(np.ndarray):
    """Rows at whose batch number `asked` the process is asked to end."""

    def __getitem__(self, index):
      nonlocal count
      count += 1
      if count == asked:
        signal.raise_signal(signal.SIGTERM)
      return np.asarray(self)[index]

  def asking(config):
    source = load(config)
    splits = {
      name: rows if name == "train" else rows._replace(
        data=rows.data.view(Asking)
      )
      for name, rows in source.splits.items()
    }  # fmt: skip
    return source._replace(splits=splits)

  monkeypatch.setattr(inputs, "load", asking)
  interruptions.listen()
  try:
    with pytest.raises(interruptions.InterruptedRunError, match="asked to end"):
      sweep_run.run(_pair(), tmp_path, PAIR, lambda line: None)
  finally:
    interruptions.listen()  # Forgets it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
  monkeypatch.undo()
  rows = journal.read_rows(tmp_path / "groups/0/40/metrics.jsonl")
  assert len(rows) == {1: 0, 3: 2, 5: 4}[asked]
  sweep_run.run(_pair(), tmp_path, PAIR, lambda line: None)
  assert _end(tmp_path) == unbroken


def test_a_member_that_skips_goes_on(monkeypatch):
  """As `train` does: the step is counted, the state is kept, others follow."""
  config = _tiny(non_finite="skip", steps=4)
  sweep = sweep_run.Sweep(config, ["optimizer.learning_rate=1e-3,1e-2"])
  source = inputs.load(config)

  def spoilt(rows, keys, decode=source.decode):
    batch = decode(rows, keys)
    bad = (rows.labels == 7).all()  # Of a batch that is made up below.
    return batch._replace(
      targets=jax.numpy.where(bad, jax.numpy.nan, batch.targets)
    )

  program = sweep_program.Program(
    sweep.members, source._replace(decode=spoilt), sweep.layout, "vmap"
  )
  given = program.given(inputs.training_key)
  before = program.init()
  kept = program.collect(before)
  some = jax.tree.map(
    lambda leaf: np.stack([leaf[:16]] * 2), source.rows("train")
  )
  bad = some._replace(labels=np.full_like(some.labels, 7))
  states, metrics = program.step(before, bad, given, False)
  assert np.isnan(metrics.loss).all() and states.alive.all()
  for a, b in zip(
    jax.tree.leaves(states.train.params), jax.tree.leaves(kept.train.params),
    strict=True,
  ):  # fmt: skip
    np.testing.assert_array_equal(a, b)
  states, metrics = program.step(states, some, given, False)
  assert states.train.step.tolist() == [2, 2]
  assert np.isfinite(metrics.loss).all()
  with pytest.raises(AssertionError):
    _close(states.train.params, kept.train.params)
  one = some._replace(labels=np.stack([bad.labels[0], some.labels[1]]))
  for _ in range(journal.SKIPS - 1):
    states, _ = program.step(states, one, given, False)
  assert states.alive.tolist() == [True, True]
  states, _ = program.step(states, one, given, False)
  assert states.alive.tolist() == [False, True]
  assert states.train.step.tolist() == [51, 52]
  assert states.skipped.tolist() == [50, 1]


def test_skips_are_told_and_have_an_end(tmp_path):
  """The end is that of a single run; the other member goes on."""
  config = _tiny(steps=60, eval_every=60, non_finite="skip", **PLAIN)
  texts = ["optimizer.learning_rate=1e-4,1e38"]
  sweep, lines = sweep_run.Sweep(config, texts), []
  good, bad = sweep_run.run(sweep, tmp_path, texts, lines.append)
  assert "1 diverged, 49 steps skipped" in lines[0]
  assert (good["status"], good["skipped_steps"]) == ("finished", 0)
  assert (bad["status"], bad["skipped_steps"]) == ("diverged after step 49", 49)
  table = (tmp_path / "members.md").read_text()
  assert "| status | skipped steps |" in table
  assert "| 1e+38 | diverged after step 49 | 49 |" in table
  assert [row["skipped_steps"] for row in _csv(tmp_path)] == ["0", "49"]


def test_another_sweep_is_refused_in_its_folder(whole):
  other = [*TEXTS[:2], "encoder.num_readout=2"]
  sweep = sweep_run.Sweep(_tiny(), other, halving=2)
  with pytest.raises(ValueError, match=r"other settings \(differs in .*sweep"):
    sweep_run.run(sweep, whole[0], other)
  sweep = sweep_run.Sweep(_tiny(credit="local"), TEXTS, halving=2)
  found = r"differs in config.credit \('bptt' there, 'local' here\)\);"
  with pytest.raises(ValueError, match=found):
    sweep_run.run(sweep, whole[0], TEXTS)


def test_a_folder_of_other_files_is_refused(tmp_path):
  (tmp_path / "note.txt").write_text("mine")
  sweep = sweep_run.Sweep(_tiny(), ["seed=0,1"])
  with pytest.raises(ValueError, match="expected an empty .* no settings.json"):
    sweep_run.run(sweep, tmp_path, ["seed=0,1"])
  assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_members_share_one_compilation():
  """Of 16 members; also after the states were on the host and back."""
  config = _tiny()
  sweep = sweep_run.Sweep(config, ["seed=range(0, 15, 16)"])
  program, source = sweep.program(sweep.members), inputs.load(config)
  states, key = program.init(), inputs.training_key
  for first in (0, 3):
    with feed.batches(
      source.rows("train"), config.batch_size, program.seeds, first, first + 3
    ) as batches:
      for _, batch in batches:
        states, _ = program.step(states, batch, program.given(key), False)
    states = program.place(program.collect(states))
  assert states.train.step.tolist() == [6] * 16
  assert program.step._cache_size() == program._init._cache_size() == 1


def test_values():
  kinds = {"a": float, "n": int, "s": str, "b": bool}
  of = lambda name, text: sweep_plan.values_of(name, text, kinds[name])
  assert of("a", "1e-3, 2") == [1e-3, 2.0]
  assert of("a", "log(1e-4, 1, 5)") == [1e-4, 1e-3, 1e-2, 0.1, 1.0]
  assert of("a", "range(0, 1, 3)") == [0.0, 0.5, 1.0]
  assert of("n", "range(0,9,4)") == [0, 3, 6, 9] and of("n", "4") == [4]
  assert of("n", "range(20261124, 20261126, 3)") == [
    20261124 + i for i in (0, 1, 2)
  ]
  assert of("n", "log(16, 1000, 4)") == [16, 63, 252, 1000]
  assert of("s", "full,rate") == ["full", "rate"]
  assert of("b", "true,False") == [True, False]
  for name, text, message in (
    ("a", "x", "a: expected values of type float, got 'x'"),
    ("a", "nan", "of type float, got 'nan'"),
    ("n", "1.5", "n: expected values of type int, got '1.5'"),
    ("n", "range(0,1,3)", "type int, got '0.5'"),
    ("a", "log(0,1,3)", "of log all > 0, got"),
    ("a", "range(0,1,1)", "expected at least 2 values"),
    ("a", "1,1.0", "has a value twice"),
    ("s", "range(0,1,3)", "has no ranges"),
  ):
    with pytest.raises(ValueError, match=message):
      of(name, text)


@pytest.mark.parametrize("texts, message", [
  ([], "at least one --sweep=FIELD=VALUES"),
  (["bata=1"], "no field 'bata'"),
  (["beta"], "each field once as NAME=VALUES"),
  (["beta=1", "beta=2"], "each field once"),
  (["data=1"], "data: can't be swept"),
  (["parallel=none,pmap"], "parallel: can't be swept"),
  (["baseline_learning_rate=1e-3,1e-2"], "baseline_learning_rate: can't be sw"),
  (["encoder.hidden=1"], "encoder.hidden: can't be swept"),
  (["beta=0.1,-1"], "beta=-1.0: beta: expected a finite number >= 0"),
  (["steps=10,20"], "halving: expected 0 where steps are swept"),
])  # fmt: skip
def test_a_sweep_that_cannot_be(texts, message):
  with pytest.raises(ValueError, match=message):
    sweep_run.Sweep(_tiny(), texts, halving=2 if "steps" in str(texts) else 0)


def test_bad_options():
  with pytest.raises(ValueError, match="halving: expected 0 or at least 2"):
    sweep_run.Sweep(_tiny(), ["seed=0,1"], halving=1)
  with pytest.raises(ValueError, match="halving: expected at most the 2 memb"):
    sweep_run.Sweep(_tiny(), ["seed=0,1"], halving=3)
  with pytest.raises(ValueError, match="together: expected one of"):
    sweep_run.Sweep(_tiny(), ["seed=0,1"], together="both")
  with pytest.raises(ValueError, match="most: expected >= 0, got -1"):
    sweep_run.Sweep(_tiny(), ["seed=0,1"], most=-1)


def test_groups_are_programs():
  """Learning rates, beta, prior and seed are arguments, 0 is no rate."""
  texts = [
    "optimizer.encoder_learning_rate=0,1e-3,2e-3", "seed=0,1",
    "batch_size=4,8", "prior_rate=0.2,0.3",
  ]  # fmt: skip
  members = sweep_plan.members(_tiny(), sweep_plan.grid(_tiny(), texts))
  assert len(members) == 24
  sizes = [len(g.members) for g in sweep_plan.groups(members)]
  assert sizes == [4, 4, 8, 8]
  sizes = [len(g.members) for g in sweep_plan.groups(members, 3)]
  assert sizes == [3, 1, 3, 1, 3, 3, 2, 3, 3, 2]


def test_devices_share_members_and_not_examples():
  """The batch is no multiple of their number."""
  config = _tiny(parallel="pmap", num_devices=3)
  members = sweep_plan.members(config, sweep_plan.grid(config, ["seed=0,1"]))
  assert [member.config.num_devices for member in members] == [3, 3]


def test_rungs():
  config = _tiny(steps=900)
  assert sweep_plan.rungs(config, 5, 0) == [(900, 5)]
  assert sweep_plan.rungs(config, 27, 3) == [
    (34, 9), (100, 3), (300, 1), (900, 1)
  ]  # fmt: skip
  assert sweep_plan.rungs(config, 10, 4) == [(225, 3), (900, 3)]


def test_the_plan_names_memory_and_compilations(capsys):
  sweep = sweep_run.Sweep(_tiny(), TEXTS, halving=2)
  plan = sweep_plan.describe(sweep)
  assert "8 members in 2 groups (map over members" in plan
  # Three of each group; of what is left of them after three rungs two each.
  assert "at most 16 programs to compile" in plan
  for member in sweep.members:
    assert plan.splitlines().count(f"  {member.name}") == 1
  assert "after 3 steps the best 4 members go on" in plan
  lines = [line for line in plan.splitlines() if line.startswith("group")]
  assert len(lines) == 2 and "group 1: 4 members, 20 steps; state" in lines[1]
  (group, _) = sweep_run.Sweep(_tiny(), TEXTS).groups
  program = sweep_run.Sweep(_tiny(), TEXTS).program(group.members)
  state, step, evaluation = program.memory()
  leaves = jax.tree.leaves(program.init())
  assert state == sum(leaf.nbytes for leaf in leaves) and step > 0
  # Of 200 examples, not 16.
  assert evaluation > step and f"{evaluation / 1e6:,.1f} MB, of an eval" in plan


def test_the_plan_is_told_once():
  """By process 0 alone, of two; what they print goes where it is read."""
  port = processes.free_port()
  code = (
    "import runpy, sys\n"
    "sys.stdout = sys.stderr\n"
    "runpy.run_module('experiments.sweep', run_name='__main__')\n"
  )
  both = [
    processes.spawn([
      "-c", code, "--config=experiments/configs/smoke.py", "--dry_run",
      "--sweep=seed=0,1", "--config.parallel=mesh",
      "--config.data.target=label", "--num_processes=2",
      f"--process_id={index}", f"--coordinator_address=localhost:{port}",
    ], {})
    for index in range(2)
  ]  # fmt: skip
  codes, told = processes.ends(both)
  assert codes == [0, 0], told
  assert ["2 members in 1 group" in text for text in told] == [True, False]


def test_the_command(tmp_path):
  flags = [
    "--config=experiments/configs/smoke.py", "--config.steps=4",
    "--sweep=seed=0,1", f"--workdir={tmp_path / 'run'}",
    "--config.eval_every=2", "--config.data.device_bytes=0",
  ]  # fmt: skip
  new = "--config.judge_epochs=1"  # Of which there is no judge in the cache.
  result = binaries.run("sweep", *flags, "--dry_run", new)
  assert result.returncode == 0, result.stderr
  assert "2 members in 1 group" in result.stdout
  assert "; 3 programs to compile" in result.stdout
  assert "judge" not in result.stdout
  assert not (tmp_path / "run").exists()
  result = binaries.run("sweep", *flags, "--together=vmap")
  assert result.returncode == 0, result.stderr
  assert "[group 0] step 4/4  2 members" in result.stdout
  assert (tmp_path / "run/best/checkpoints/4").is_dir()
  result = binaries.run("sweep", *flags, "--sweep=nothing=1")
  assert result.returncode == 1
  assert (
    result.stderr.strip()
    .splitlines()[-1]
    .startswith("error: sweep: no field 'nothing'")
  )


def test_the_benchmark_runs_every_program():
  found = benchmark_sweep.measure(_tiny(), [1, 2], blocks=1, steps=1)
  names = [(name, count) for name, count, _ in found]
  assert names == [
    ("alone", 1), ("vmap", 1), ("map", 1), ("vmap", 2), ("map", 2)
  ]  # fmt: skip
  assert all(seconds > 0 for *_, seconds in found)
  assert "| vmap | 2 |" in benchmark_sweep.table(found)
