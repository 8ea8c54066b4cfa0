"""The report: means by hand, rows, damage, escaping, one file alone."""

import base64
import html.parser
import json
import pathlib
import re
import shlex
import subprocess
import sys

import pages
import pytest
from absl import flags
from matplotlib.figure import Figure
from ml_collections import config_flags

from experiments import report, report_charts, report_runs, report_text
from experiments.configs import base

ROOT = pathlib.Path(__file__).parents[1]
BASE = ROOT / "experiments" / "configs" / "base.py"
VERSIONS = {"jax": "0.10.1"}


def _config(**fields):
  config = json.loads(base.get_config().to_json_best_effort())
  for name, value in fields.items():
    place, _, leaf = name.rpartition("__")
    (config[place] if place else config)[leaf] = value
  return config


def _summary(seed=0, accuracy=0.9, **figures):
  return {
    "task": "job", "data_source": "mnist_5k", "split": "test, 9 images",
    "seed": seed, "judge_accuracy": accuracy, "pixel_cross_entropy": 0.125,
    "baseline_view": None, "versions": VERSIONS, "commit": "0123abc",
  } | figures  # fmt: skip


def _run(folder, summary, lines=(), **fields):
  folder.mkdir(parents=True)
  (folder / "config.json").write_text(json.dumps(_config(**fields)))
  if summary:
    (folder / "summary.json").write_text(json.dumps(summary))
  if lines:
    (folder / "metrics.jsonl").write_text("\n".join(lines))


def _record(**fields):
  return json.dumps({
    "study": "sweep", "row": "a", "seed": 0, "settings": {"beta": 0.5},
    "command": "python -m experiments.train", "summary": _summary(),
  } | fields)  # fmt: skip


def _report(*paths):
  """The studies, what was not read, the page and the Markdown."""
  output = paths[0].parent / "report"
  runs, _ = report.gather(list(paths))
  problems = report.write(list(paths), output)
  studies = report.arrange(runs, [])
  texts = [(output / f"report.{kind}").read_text() for kind in ("html", "md")]
  return studies, problems, *texts


class _Page(html.parser.HTMLParser):
  """Cells of the tables by row, tags with attributes, and plain text."""

  def __init__(self, text):
    super().__init__()
    self.rows, self.tags, self.text = [], [], ""
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag == "tr":
      self.rows.append([])
    if tag in ("td", "th"):
      self.rows[-1].append("")

  def handle_data(self, data):
    self.text += data
    if self.rows and self.rows[-1]:
      self.rows[-1][-1] += data

  def row(self, name):
    return next(row for row in self.rows if row and row[0] == name)


@pytest.mark.parametrize(
  ("values", "digits", "expected"),
  [
    # Mean 0.5, squares (0.01 + 0 + 0.01) / 2: deviation 0.1.
    ([0.4, 0.5, 0.6], 3, "0.500 ± 0.100"),
    ([1.0, 2.0], 1, "1.5 ± 0.7"),  # sqrt(0.5) = 0.7071.
    ([0.1234567], 4, "0.1235"),
    ([0.90001, 0.90003], 3, "0.900020 ± 0.000014"),  # sqrt(2) 1e-5.
    ([0.1, 0.1, 0.1], 3, "0.100 ± 0.000"),
    ([1234.6], 0, "1,235"),
    ([1234.6], None, "1,235"),
    ([0.0012345], None, "0.001234"),
    ([-0.00001], 3, "0.000"),
    ([float("nan")], 3, "nan"),
    ([2.5e12], None, "2.5e+12"),
    ([], 3, "–"),
  ],
)
def test_numbers(values, digits, expected):
  assert report_text.mean_text(values, digits) == expected


def _three_rows(place):
  for seed, accuracy in enumerate((0.8, 0.9)):
    _run(place / f"one/seed{seed}", _summary(seed, accuracy), seed=seed)
  _run(place / "two/seed0", _summary(0, 0.7, extra=12.0), beta=0.25)
  _run(place / "two/seed1", _summary(1, 0.5), beta=0.25, seed=1)
  _run(place / "two/b/seed10", _summary(10, 0.6), beta=0.25, seed=10)


def test_rows_settings_and_means(tmp_path):
  _three_rows(tmp_path / "sweep")
  (study,), problems, page, table = _report(tmp_path / "sweep")
  assert not problems and "Not read" not in page + table
  assert study.name == "sweep" and study.differing == ["beta"]
  assert [row.name for row in study.rows] == ["one", "two/b", "two"]
  assert [[run.seed for run in row.runs] for row in study.rows] == [
    [0, 1], [10], [0, 1],
  ]  # fmt: skip
  found = _Page(page)
  head = ["row", "beta", "data", "split", "runs", "judge accuracyshare"]
  assert found.rows[0] == [*head, "distortionnats/pixel", "extra"]
  # 0.8, 0.9: sqrt(2 * 0.05^2); 0.7, 0.5: sqrt(2 * 0.1^2).
  of = ["mnist_5k", "test, 9 images"]
  one = ["one", "0.001", *of, "2", "0.850 ± 0.071", "0.1250 ± 0.0000", "–"]
  two = ["two", "0.25", *of, "2", "0.600 ± 0.141", "0.1250 ± 0.0000"]
  assert found.row("one") == one
  assert found.row("two") == [*two, "12.00 (1 of 2)"]
  line = f"| sweep | one | beta = 0.001 | {' | '.join(one[2:])} |"
  assert line in table.split("\n")
  seeds = [row for row in found.rows if len(row) > 1 and row[1] == "finished"]
  assert [row[:3] for row in seeds] == [
    ["0", "finished", "0.8"], ["1", "finished", "0.9"],
    ["10", "finished", "0.6"], ["0", "finished", "0.7"],
    ["1", "finished", "0.5"],
  ]  # fmt: skip
  assert "jax 0.10.1, commit 0123abc" in found.text


def test_data_and_splits_are_not_mixed(tmp_path):
  path = tmp_path / "records.jsonl"
  others = [_summary(data_source="mnist"), _summary(split="validation")]
  lines = [_record()] + [_record(seed=1, summary=s) for s in others]
  path.write_text("\n".join(lines))
  (study,), _, page, _ = _report(path)
  assert [(row.data, row.split) for row in study.rows] == [
    ("mnist_5k", "test, 9 images"), ("mnist", "test, 9 images"),
    ("mnist_5k", "validation"),
  ]  # fmt: skip
  assert [row[2:4] for row in _Page(page).rows if row[0] == "a"] == [
    [row.data, row.split][1:] + ["1"] for row in study.rows
  ]


def test_shared_settings_are_said_once(tmp_path):
  for row, steps in (("a", 10), ("b", 20)):
    _run(tmp_path / "s" / row / "seed0", _summary(), steps=steps,
         encoder__hidden=[30, 20], name="job")  # fmt: skip
  (study,), _, page, table = _report(tmp_path / "s")
  assert study.shared == {"name": "job", "encoder.hidden": [30, 20]}
  for text in (_Page(page).text, table):
    assert text.count("encoder.hidden = 30, 20") == 1
    assert text.count("name = job") == 1


def test_unfinished_runs_fill_in(tmp_path):
  place = tmp_path / "s"
  lines = ['{"step": 500}', '{"step": 1000}', '{"step": 15']
  _run(place / "a/seed0", None, lines, seed=0)
  _run(place / "a/seed1", _summary(1), seed=1)
  _run(place / "b/seed0", None, view="rate")
  (place / "b/seed0/non_finite.json").write_text("{}")
  found = _Page(_report(place)[2])
  assert "1 finished runs, 2 unfinished" in found.text
  a, b = found.row("a"), found.row("b")
  assert a[4:6] == ["1; seed 0: step 1000 of 2800", "0.900"]
  state = "0; seed 0: step 0 of 2800, not finite"
  assert b[1:] == ["rate", "mnist_5k", "–", state, "–", "–"]
  (place / "a/seed0/summary.json").write_text(json.dumps(_summary(0, 0.7)))
  assert _Page(_report(place)[2]).row("a")[4:6] == ["2", "0.800 ± 0.141"]


def test_damage_is_named(tmp_path, capsys):
  place = tmp_path / "s"
  _three_rows(place)
  (place / "one/seed0/summary.json").write_text('{"task": "<b>')
  (place / "one/seed1/summary.json").write_text("[]")
  (place / "two/seed0/config.json").write_text("{")
  wrong = json.dumps(_summary(accuracy="much"))
  (place / "two/seed1/summary.json").write_text(wrong)
  (place / "alone").mkdir()
  (place / "alone/summary.json").write_text("{}")
  lines = [_record(), "", _record()[:40], _record(seed=True), "[" * 100_000]
  (place / "more.jsonl").write_text("\n".join(lines))
  (place / "bytes.jsonl").write_bytes(b"\xff\n")
  expected = [
    "alone/summary.json: no config.json beside it", "bytes.jsonl: 'utf-8'",
    "more.jsonl, line 3: ", "more.jsonl, line 4: seed: expected int, got True",
    "more.jsonl, line 5: ", "one/seed0/summary.json: Unterminated",
    "one/seed1/summary.json: expected figures, got []",
    "two/seed0/config.json: ",
    "two/seed1/summary.json: judge_accuracy: expected a number, got 'much'",
  ]  # fmt: skip
  _main(f"--workdirs={place}", f"--output={tmp_path / 'out'}")
  told = capsys.readouterr().err.strip().split("\n")
  page = _Page((tmp_path / "out/report.html").read_text())
  table = (tmp_path / "out/report.md").read_text()
  assert len(told) == len(expected)
  for line, start in zip(sorted(told), expected, strict=True):
    assert line.startswith(f"not read: {place}/{start}")
    assert line.removeprefix("not read: ") in page.text
    assert start.split("[")[0] in table
  assert ("h2", {"class": "warn", "id": "not-read"}) in page.tags
  assert "2 finished runs, 0 unfinished" in page.text


def test_many_problems_are_counted(tmp_path):
  path = tmp_path / "r.jsonl"
  path.write_text(_record() + "\n" + "x\n" * 150)
  problems = _report(path)[1]
  assert len(problems) == 101 and problems[-1] == "and 50 more"


def test_a_seed_counts_once(tmp_path):
  path = tmp_path / "r.jsonl"
  other = _record(summary=_summary(accuracy=0.1))
  path.write_text("\n".join([_record(), _record(), other]))
  (study,), problems, page, _ = _report(path)
  assert len(study.rows[0].runs) == 1 and "0.900" in page
  assert problems == [
    "study sweep, row a: seed 0 again, with other figures, left out (a record)"
  ]


def test_names_are_escaped(tmp_path):
  bad = "<script>alert('x')</script> & \"q\" | $x^ \ud800"
  record = {"row": bad, "study": bad, "command": f"train {bad}"}
  settings = {f"f{bad}": bad, "view": bad}
  lines = [
    _record(**record, settings=settings | {"beta": beta}, seed=seed,
            summary=_summary(data_source=bad, split=bad) | {bad: 1.5})
    for seed, beta in enumerate((0.1, 0.2))
  ]  # fmt: skip
  path = tmp_path / "r.jsonl"
  path.write_text("\n".join([*lines, f'"{bad[:-1]}"']))
  _, problems, page, table = _report(path)
  assert len(problems) == 1 and "<script" not in page + table
  found = _Page(page)
  assert not [tag for tag, _ in found.tags if tag == "script"]
  shown = bad.replace("\ud800", "?")
  assert found.row(shown)[2:4] == [shown, shown]
  assert f"train {shown}" in found.text and "\\|" in table
  columns = {
    len(re.findall(r"(?<!\\)\|", line))
    for line in table.split("\n")
    if line.startswith("|")
  }
  assert len(columns) == 1


def _png(path, size=1.0):
  path.parent.mkdir(exist_ok=True)
  Figure((size, size)).savefig(path)


def test_the_page_stands_alone(tmp_path):
  place = tmp_path / "http:"  # A name like an address is text.
  for beta in (1e-4, 1e-3, 1e-2):
    for view in ("full", "rate"):
      _run(place / f"b{beta}_{view}/seed0", _summary(), beta=beta, view=view)
  figures = place / "b0.001_full/seed0/figures"
  for name in ("a_raster", "reconstructions"):
    _png(figures / f"{name}.png")
  (figures / "fake.png").write_text("text")
  (figures / "large.png").write_bytes(b"\x89PNG" + b"0" * 3_000_001)
  _, problems, page, _ = _report(place)
  assert problems == [
    f"{figures}/fake.png: not a PNG picture",
    f"{figures}/large.png: left out, 3,000,005 bytes",
  ]
  assert all(problem in _Page(page).text for problem in problems)
  tags = pages.check(page)
  ids = {a["id"] for _, a in tags if "id" in a}
  assert {a["href"][1:] for _, a in tags if "href" in a} == ids
  pictures = [a for tag, a in tags if tag == "img"]
  assert [a["alt"] for a in pictures] == [
    "judge accuracy (share) against beta, mnist_5k",
    "distortion (nats/pixel) against beta, mnist_5k",
    "reconstructions: b0.001_full, seed 0, mnist_5k",
    "a raster: b0.001_full, seed 0, mnist_5k",
  ]
  for attributes in pictures:
    data = base64.b64decode(attributes["src"].partition(",")[2])
    assert data.startswith(b"\x89PNG")


def _lines(tmp_path, runs):
  for index, (fields, figures) in enumerate(runs):
    _run(tmp_path / f"s/r{index}/seed0", _summary(**figures), **fields)
  (study,), _, page, _ = _report(tmp_path / "s")
  x = report_charts._axis(study.rows, study.differing)
  lines = x and report_charts._lines(study, x, "judge_accuracy")
  return x, lines, page.count("<img")


def test_a_chart_has_a_line_per_view(tmp_path):
  """The price follows the number of neurons; the baseline has its line."""
  baseline = {"baseline_view": "rate", "baseline_judge_accuracy": 0.2}
  x, lines, charts = _lines(tmp_path, [
    ({"encoder__num_readout": n, "beta": 1 / n, "name": f"n{n}", "view": view},
     {"accuracy": n / 100} | (baseline if view == "full" else {}))
    for n in (8, 2, 4) for view in ("full", "window")
  ])  # fmt: skip
  assert (x, charts) == ("encoder.num_readout", 2)
  assert lines == {
    "view full": [(2, [0.02]), (4, [0.04]), (8, [0.08])],
    "view rate, baseline of full": [(2, [0.2]), (4, [0.2]), (8, [0.2])],
    "view window": [(2, [0.02]), (4, [0.04]), (8, [0.08])],
  }


def test_no_chart_where_two_settings_differ(tmp_path):
  runs = [({"beta": b, "steps": s}, {}) for b in (0.1, 0.2) for s in (3, 5)]
  assert _lines(tmp_path, runs) == ("", "", 0)


def test_scales():
  assert report_charts._scale([1, 20]) == {"value": "linear"}
  assert report_charts._scale([1, 20.5]) == {"value": "log"}
  assert report_charts._scale([0, 0.1, 5]) == {
    "value": "symlog", "linthresh": 0.1,
  }  # fmt: skip
  assert report_charts._scale([-1, 0.1, 5]) == {"value": "linear"}
  assert report_charts._scale([0, 0]) == {"value": "linear"}


@pytest.mark.parametrize(
  ("inner", "expected"),
  [("sweep/one/seed0", ("sweep", "one")), ("sweep/mine", ("sweep", "job"))],
)
def test_one_run_alone(tmp_path, inner, expected):
  _run(tmp_path / inner, _summary(), name="job")
  (study,), _, page, _ = _report(tmp_path / inner)
  assert (study.name, study.rows[0].name) == expected
  assert _Page(page).row(expected[1])[3:5] == ["1", "0.900"]


def test_runs_without_a_folder_of_their_row(tmp_path):
  for seed in (0, 1):
    _run(tmp_path / f"s/seed{seed}", _summary(seed), seed=seed, name="job")
  (study,), *_ = _report(tmp_path / "s", tmp_path / "s/seed0")  # Twice.
  assert [(row.name, len(row.runs)) for row in study.rows] == [("job", 2)]


def test_folders_of_one_name_are_two_studies(tmp_path):
  for name in "ab":
    _run(tmp_path / name / "s/r/seed0", _summary(), beta=0.5)
  places = [tmp_path / name / "s" for name in "ab"]
  assert [study.name for study in _report(*places)[0]] == [*map(str, places)]


def test_records_equal_folders(tmp_path):
  place = tmp_path / "sweep"
  _three_rows(place)
  _, _, page, table = _report(place)
  runs, _ = report.gather([place])
  names = ("study", "row", "seed", "settings", "command", "summary")
  lines = [json.dumps({n: getattr(run, n) for n in names}) for run in runs]
  (tmp_path / "r").mkdir()
  (tmp_path / "r/records.jsonl").write_text("\n".join(lines) + "\n")
  assert _report(tmp_path / "r")[2:] == (page, table)
  assert _report(tmp_path / "r/records.jsonl")[2:] == (page, table)


def test_the_command_makes_the_configuration(tmp_path, monkeypatch):
  fields = {
    "seed": 3, "beta": 1e-5, "name": "it's", "baseline_view": "rate",
    "repairs": ["averaging", "scale"], "encoder__hidden": [],
    "encoder__lateral": True, "data__data_dir": "/a b", "steps": 7,
  }  # fmt: skip
  _run(tmp_path / "s/r/seed3", _summary(), **fields)
  (run,), _ = report.gather([tmp_path / "s"])
  words = shlex.split(run.command)
  assert words[:3] == ["python", "-m", "experiments.train"]
  assert words[3] == "--config=experiments/configs/base.py"
  assert words[-1] == f"--workdir={tmp_path / 's/r/seed3'}"
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file("config", flag_values=values)
  monkeypatch.setattr(sys, "argv", ["train", f"--config={BASE}", *words[4:-1]])
  values(sys.argv)
  assert json.loads(config.value.to_json_best_effort()) == _config(**fields)


def _main(*arguments):
  values = flags.FlagValues()
  report.define(values)
  report.main(values(["report", *arguments]), values)


@pytest.mark.parametrize(
  ("flag", "said"),
  [
    ("missing", "missing"), ("", "an empty list"), ("empty,missing",
    "empty, .*missing"), ("run,missing", "missing"), ("file.txt", "file.txt"),
  ],
)  # fmt: skip
def test_wrong_workdirs(tmp_path, monkeypatch, flag, said):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("empty").mkdir()
  pathlib.Path("file.txt").touch()
  _run(tmp_path / "run", _summary())
  expected = rf"error: workdirs: expected folders .* found neither in {said}$"
  with pytest.raises(SystemExit, match=expected):
    _main(f"--workdirs={flag}", "--output=out")
  assert not pathlib.Path("out").exists()


def test_wrong_output(tmp_path):
  _run(tmp_path / "run", _summary())
  with pytest.raises(SystemExit, match="error: expected --workdirs"):
    _main(f"--workdirs={tmp_path / 'run'}")
  (tmp_path / "file").touch()
  with pytest.raises(SystemExit, match="error: .*file"):
    _main(f"--workdirs={tmp_path / 'run'}", f"--output={tmp_path / 'file'}")


def test_as_used(tmp_path):
  _run(tmp_path / "s/one/seed0", _summary())
  found = subprocess.run(
    [sys.executable, "-m", "experiments.report",
     f"--workdirs={tmp_path / 's'}", f"--output={tmp_path / 'new/out'}"],
    capture_output=True, text=True, cwd=ROOT, check=True,
  )  # fmt: skip
  assert found.stdout.startswith("report in ") and not found.stderr
  assert (tmp_path / "new/out/report.html").exists()


def test_the_command_of_an_autoencoder(tmp_path):
  """Its weight is a flag of its own, and the rest is the configuration."""
  settings = {"name": "vae", "kl_weight": 0.5, "steps": 7}
  words = report_runs.command(settings, 3, tmp_path).split()
  assert words[:5] == [
    "python", "-m", "experiments.vae", "--config=experiments/configs/base.py",
    "--kl_weight=0.5",
  ]  # fmt: skip
  assert "--config.seed=3" in words and "--config.steps=7" in words
  assert not any("config.kl_weight" in word for word in words)


def test_brief_lists_every_seed(tmp_path):
  path = tmp_path / "r.jsonl"
  lines = [
    _record(seed=seed, summary=_summary(seed, accuracy, train_seconds=seconds))
    for seed, accuracy, seconds in ((0, 0.5, 60.0), (1, 0.75, 80.0))
  ]
  path.write_text("\n".join(lines))
  (study,), *_ = _report(path)
  # Mean 0.625, deviation 0.25 / sqrt(2); 70 and 20 / sqrt(2).
  line = "| a | 0.625 ± 0.177 | 0.500, 0.750 | 70 ± 14 |"
  assert report_text.brief(study).splitlines()[-1] == line
  page = tmp_path / "page.md"
  page.write_text("a\n<!-- results: sweep -->\nold\n<!-- end -->\nb\n")
  arguments = (
    f"--workdirs={path}", f"--output={tmp_path / 'out'}", f"--fill={page}"
  )  # fmt: skip
  for _ in range(2):
    _main(*arguments)
    text = page.read_text()
    assert text.startswith("a\n<!-- results: sweep -->\nmnist_5k, test, 9")
    assert text.endswith(f"{line}\n<!-- end -->\nb\n") and "old" not in text
  page.write_text("no mark")
  with pytest.raises(SystemExit, match="fill: expected one '<!-- results: sw"):
    _main(*arguments)


RESULTS = ROOT / "experiments" / "results"
PAGE = ROOT / "experiments" / "README.md"
MARKS = re.findall(r"<!-- results: (\w+) -->", PAGE.read_text())


def test_every_study_with_records_is_in_the_readme():
  kept = {path.parent.name for path in RESULTS.glob("*/records.jsonl")}
  assert set(MARKS) == kept and len(MARKS) == len(kept)


@pytest.mark.parametrize("name", MARKS)
def test_tables_of_the_readme_are_those_of_the_records(name):
  text = PAGE.read_text().split(f"<!-- results: {name} -->\n")[1]
  runs, problems = report_runs.gather([RESULTS / name / "records.jsonl"])
  (study,) = report.arrange(runs, problems)
  assert text.startswith(report_text.brief(study)) and not problems
