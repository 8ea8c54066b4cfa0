"""Studies: members, records, resuming, failures; all rows are valid."""

import json
import pathlib
import shutil

import pytest

from experiments import report, studies, study, study_records

NAMES = sorted(
  path.stem for path in pathlib.Path(studies.__file__).parent.glob("[a-z]*.py")
)


@pytest.mark.parametrize("name", NAMES)
def test_every_study_is_of_valid_rows(name):
  found = study.load(name)
  assert found.name == name and found.seeds >= 1 and found.question
  members = study.members(found, found.seeds, [])
  assert len(members) == len(found.rows) * found.seeds
  assert len({tuple(member.command) for member in members}) == len(members)
  place = lambda row: study_records.place(pathlib.Path(), row, 0)
  folders = set(map(place, found.rows))
  assert len(folders) == len(found.rows)


def test_main_rows_get_more_seeds():
  found = study.load("reconstruction")
  seeds = {}
  for member in study.members(found, 0, []):
    seeds.setdefault(member.row, []).append(member.seed)
  assert set(seeds) == set(found.rows) and len(found.main_rows) == 10
  for row, given in seeds.items():
    assert given == list(range(5 if row in found.main_rows else 3))


@pytest.mark.parametrize(
  "name", ["reconstruction", "naturalisation", "classification"]
)
def test_studies_that_take_files(name):
  found = study.load(name, "some/where")
  for row in found.rows:
    config = study.configure(found, row)
    assert config.data.data_dir == "some/where"
    assert config.data.source in ("mnist_5k_official", "mnist_dvs")
  with pytest.raises(ValueError, match="data_dir: the study tuning takes no"):
    study.load("tuning", "some/where")


def _tiny(**rows):
  common = {
    "steps": 2, "eval_every": 1, "eval_samples": 1, "baseline_view": "",
    "encoder.hidden": (4,),
  }  # fmt: skip
  return studies.Study(
    "tiny", "nothing", "smoke", {k: common | v for k, v in rows.items()}, 2
  )


def test_members_run_once_and_are_recorded(tmp_path, capfd):
  tiny = _tiny(**{"beta 1, N_y 3": {"beta": 1.0, "encoder.num_readout": 3}})
  study.run(tiny, tmp_path, seeds=1)
  (found,) = study_records.read(tmp_path / "records.jsonl")
  assert (found["study"], found["row"], found["seed"]) == (
    "tiny", "beta 1, N_y 3", 0,
  )  # fmt: skip
  assert found["settings"]["beta"] == 1.0 and found["settings"]["steps"] == 2
  assert "seed" not in found["settings"]
  place = tmp_path / "beta_1__N_y_3" / "seed0" / "run"
  assert found["summary"] == json.loads((place / "summary.json").read_text())
  assert found["validation"]["step"] == 2
  assert "--config.encoder.num_readout=3" in found["command"]
  assert "'--config.encoder.hidden=(4,)'" in found["command"]
  output = (place.parent / "output.txt").read_text()
  assert "step 2/2" in output
  assert "judge accuracy 0." in capfd.readouterr().out
  study.run(tiny, tmp_path, seeds=1)
  assert (place.parent / "output.txt").read_text() == output
  assert "1 done, 0 to do" in capfd.readouterr().out
  _check_report(tmp_path, place)


def _check_report(folder, place):
  """The run counts once, by its record; a second seed fills its row."""
  (run,), problems = report.gather([folder])
  assert not problems and run.folder is None
  second = place.parents[1] / "seed1" / "run"
  shutil.copytree(place, second)
  (second / "summary.json").unlink()
  config = json.loads((second / "config.json").read_text()) | {"seed": 1}
  (second / "config.json").write_text(json.dumps(config))
  runs, problems = report.gather([folder])
  ((row,),) = (found.rows for found in report.arrange(runs, problems))
  assert not problems and row.name == "beta 1, N_y 3"
  assert [(r.seed, r.state) for r in row.runs] == [(0, ""), (1, "step 2 of 2")]
  (folder / "records.jsonl").unlink()  # Then by the names of folders.
  runs, _ = report.gather([folder])
  assert [(r.row, r.seed) for r in runs] == [("beta_1__N_y_3", 0),
                                             ("beta_1__N_y_3", 1)]  # fmt: skip


def test_records_of_other_settings_are_refused(tmp_path):
  """What a study's file said before it was changed is not taken for it."""
  path = tmp_path / "records.jsonl"
  record = {"row": "a", "seed": 0, "summary": {"x": 1}}
  config = study.configure(_tiny(a={"beta": 1.0}), "a", 0)
  settings = study_records.settings_of(config)
  assert settings["encoder.hidden"] == [4] and settings["beta"] == 1.0
  write = lambda **found: path.write_text(json.dumps(record | found) + "\n")
  write(settings=settings)
  assert study.finished(_tiny(a={"beta": 1.0}), path) == {("a", 0)}
  for other, message in (
    ({"beta": 0.5}, "a, seed 0 was run with beta = 1.0, expected the study's"),
    ({"beta": 1.0, "num_steps": 11}, "num_steps = .*, expected the study's 11"),
    ({"beta": 1.0, "encoder.hidden": (5,)}, r"hidden = \[4\], .* \[5\]"),
  ):
    with pytest.raises(ValueError, match=message):
      study.run(_tiny(a=other), tmp_path)
  write(settings=[])
  with pytest.raises(ValueError, match="settings: expected a dict, got"):
    study.run(_tiny(a={"beta": 1.0}), tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_committed_records_are_of_their_studies(name):
  path = pathlib.Path(study.__file__).parent
  path = path / "results" / name / "records.jsonl"
  found = study.load(name, "DIR" if name == "reconstruction" else "")
  done = study.finished(found, path)
  assert len(done) == len(study_records.read(path))
  assert {row for row, _ in done} <= set(found.rows)


def test_a_row_can_be_of_another_program(tmp_path):
  """The autoencoder's, with its flag; its figures, and of the validation."""
  tiny = _tiny(vae={"encoder.num_readout": 2})
  tiny = tiny._replace(programs={"vae": ("experiments.vae", "--kl_weight=0.5")})
  study.run(tiny, tmp_path, seeds=1)
  (found,) = study_records.read(tmp_path / "records.jsonl")
  assert found["command"].startswith(
    "python -m experiments.vae --kl_weight=0.5 --config="
  )
  assert found["summary"]["kl_weight"] == 0.5
  place = tmp_path / "vae" / "seed0" / "run"
  rows = [json.loads(r) for r in (place / "metrics.jsonl").open()]
  assert [row["step"] for row in rows] == [1, 2]
  assert found["validation"] == rows[-1]
  assert rows[0]["train_loss"] != rows[1]["train_loss"]


def test_a_failed_member_does_not_stop_the_others(tmp_path, capfd):
  tiny = _tiny(bad={}, good={})
  place = tmp_path / "bad" / "seed0" / "run"
  place.mkdir(parents=True)
  (place / "something.else").write_text("")
  with pytest.raises(ValueError, match="1 runs failed, the others are kept"):
    study.run(tiny, tmp_path, seeds=1)
  printed = capfd.readouterr().out
  assert "bad, seed 0" in printed and "expected an empty folder" in printed
  (found,) = study_records.read(tmp_path / "records.jsonl")
  assert found["row"] == "good"


def test_a_line_that_was_cut_off_is_run_again(tmp_path):
  path, tiny = tmp_path / "records.jsonl", _tiny(a={"steps": 1})
  study.run(tiny, tmp_path, seeds=1)
  whole = path.read_text()
  path.write_text(whole + '{"row": "a", "se')
  assert len(study_records.read(path)) == 1
  study.run(tiny, tmp_path)
  first, second = study_records.read(path)
  assert path.read_text().startswith(whole)
  assert (first["seed"], second["seed"]) == (0, 1)
  path.write_text(whole.rstrip("\n"))  # As editors may leave it.
  assert study_records.read(path) == [first]
  study_records.add(path, second)
  assert study_records.read(path) == [first, second]
  path.write_text('{"row": "a", "se\n' + whole)
  with pytest.raises(ValueError, match=r"records.jsonl, line 1: no record"):
    study.run(tiny, tmp_path)


@pytest.mark.parametrize("name, text, message", [
  ("summary.json", "{", "summary.json is not JSON"),
  ("summary.json", "{}", "summary.json: expected judge_accuracy and inform"),
  ("summary.json", "[]", "summary.json: expected judge_accuracy and inform"),
  ("metrics.jsonl", '{"step": 1}\n', "metrics.jsonl: expected judge_accuracy"),
  ("metrics.jsonl", "", "metrics.jsonl: expected evaluations"),
])  # fmt: skip
def test_damaged_results_of_a_run_are_a_failure_of_it(
  tmp_path, monkeypatch, capfd, name, text, message
):
  def run_member(member, place, core):
    place.mkdir(parents=True)
    summary = {"judge_accuracy": 0.5, study_records.BITS: 1.0}
    (place / "summary.json").write_text(json.dumps(summary))
    row = '{"step": 1, "judge_accuracy": 0.25}\n'
    (place / "metrics.jsonl").write_text(row)
    if member.row == "bad":
      (place / name).write_text(text)

  monkeypatch.setattr(study, "run_member", run_member)
  with pytest.raises(ValueError, match="1 runs failed, the others are kept"):
    study.run(_tiny(bad={}, good={}), tmp_path, seeds=1)
  printed = capfd.readouterr().out
  assert message in printed and "good, seed 0: judge accuracy 0.500" in printed
  (found,) = study_records.read(tmp_path / "records.jsonl")
  assert found["row"] == "good"


def test_mistakes_are_found_before_any_run(tmp_path):
  with pytest.raises(
    ValueError, match="study: expected one of .*tuning.*, got"
  ):
    study.load("nothing")
  for row, message in (
    ({"beta": -1.0}, "beta: expected a finite"),
    ({"magic": 1}, "tiny, row: no field magic"),
  ):
    with pytest.raises(ValueError, match=message):
      study.run(_tiny(row=row), tmp_path / "runs")
  with pytest.raises(ValueError, match="rows: expected some of"):
    study.run(_tiny(row={}), tmp_path / "runs", rows=["other"])
  path = tmp_path / "records.jsonl"
  path.write_text('{"row": "a", "seed": 0, "summary": {}}\n{"row"\n')
  with pytest.raises(ValueError, match="records.jsonl, line 2: no record"):
    study.run(_tiny(row={}), tmp_path)
