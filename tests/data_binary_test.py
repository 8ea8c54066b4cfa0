"""The binaries for data: reports with their values, pictures, bad flags."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import (
  benchmark_events,
  benchmark_feeding,
  data,
  data_contents,
)
from timedecode import coding, contact_sheet, datasets
from timedecode.datasets import recordings, simulated, sources

ROOT = pathlib.Path(__file__).parents[1]


def _run(capsys, tmp_path, *arguments):
  """The report, and what a person reads."""
  values = data.define(flags.FlagValues())
  values(["data", f"--output={tmp_path}", *arguments])
  data.main(["data"], values)
  *lines, last = capsys.readouterr().out.strip().split("\n")
  report = json.loads(last)
  picture = pathlib.Path(report["picture"])
  assert picture == tmp_path / f"data-{report['source']}.png"
  assert picture.read_bytes().startswith(b"\x89PNG")
  return report, lines


@pytest.fixture(name="few", autouse=True)
def _few(monkeypatch):
  """30, 10 and 10 of the images."""
  load = datasets.load

  def some(*arguments):
    *parts, name = load(*arguments)
    few = zip(parts, (30, 10, 10), strict=True)
    parts = [datasets.Images(*(a[:n] for a in part)) for part, n in few]
    return datasets.Splits(*parts, name)

  monkeypatch.setattr(datasets, "load", some)


def test_images(capsys, tmp_path, monkeypatch):
  # Seven examples at once: the last batch holds two, and five again.
  monkeypatch.setattr(data_contents, "_BATCH_BYTES", 7 * 4 * 6 * 784)
  report, lines = _run(capsys, tmp_path, "--source=mnist_5k", "--num_steps=6")
  assert (report["steps"], report["neurons"]) == (6, 784)
  assert not report["simulated"] and report["files"] == []
  assert report["held_out_also_in_training"] == 0
  for split, part in zip(
    sources.SPLITS, datasets.load("mnist_5k"), strict=False
  ):
    found = report["splits"][split]
    values = part.images.astype(np.float32) / 255
    spikes = np.asarray(coding.latency_encode(values, 6))
    assert found == {
      "examples": len(values),
      "per_class": {str(digit): len(values) // 10 for digit in range(10)},
      "share_of_set_bits": pytest.approx(spikes.mean()),
      "silent_neurons": int((spikes.sum((0, 1)) == 0).sum()),
      "examples_without_spikes": 0,
      "bytes": len(values) * (784 + 4),
      "bytes_as_float32": 4 * spikes.size,
    }
  assert lines[0] == "mnist_5k: 6 steps, 784 neurons"
  assert lines[1].startswith("train: 30 examples; ")
  assert lines[2].startswith("  per class: 0: 3, 1: 3, ")


def test_blobs(capsys, tmp_path, monkeypatch):
  blobs = sources.blobs
  monkeypatch.setattr(
    sources, "blobs", lambda *args: blobs(*args, sizes=(40, 5, 5))
  )
  report, lines = _run(
    capsys, tmp_path, "--source=blobs", "--num_steps=9", "--delta=2"
  )
  source = blobs(9, 2, sizes=(40, 5, 5))
  rows = source.rows("train")
  keys = jax.random.split(jax.random.key(0), 40)
  x = jax.jit(source.decode)(rows, keys).inputs
  found = report["splits"]["train"]
  assert found["share_of_set_bits"] == pytest.approx(float(x.mean()))
  assert (found["examples"], found["per_class"]) == (40, None)
  assert report["held_out_also_in_training"] is None
  assert lines[0] == "blobs (simulated): 9 steps, 20 neurons"


def test_simulated(capsys, tmp_path):
  arguments = (
    "--source=mnist_dvs_sim", "--simulated=2,2,2", "--duration_s=0.1",
  )  # fmt: skip
  report, lines = _run(capsys, tmp_path, *arguments)
  assert report["simulated"] and report["steps"] == 10
  options = recordings.Options(duration_s=0.1, simulated=(2, 2, 2))
  source = recordings.load("mnist_dvs_sim", options=options)
  for split in sources.SPLITS:
    bits = np.unpackbits(source.rows(split).data, axis=-1)
    found = report["splits"][split]
    assert found["share_of_set_bits"] == pytest.approx(bits.mean())
    assert found["silent_neurons"] == (bits.sum((0, 1)) == 0).sum()
    assert found["bytes"] == len(bits) * (10 * 169 + 4)
    assert found["bytes_as_float32"] == len(bits) * 10 * 1352 * 4
  assert lines[0] == (
    "mnist_dvs_sim (simulated): 10 steps of 10 ms, 1,352 neurons"
  )


def _dvs(folder, name, *times):
  """A file with an ON event of pixel (60, 50) at each time."""
  path = folder / "grabbed_data3" / "scale4" / name
  path.parent.mkdir(parents=True, exist_ok=True)
  records = np.zeros((len(times), 2), ">u4")
  records[:, 0] = (50 << 8) | ((127 - 60) << 1)
  records[:, 1] = times
  path.write_bytes(b"#!AER-DAT2.0\r\n" + records.tobytes())


def test_recordings_that_are_left_out_are_named(capsys, tmp_path):
  for number in (1, 2, 4):
    # The second is the first again; 100 ms is past the end.
    times = (0, 9_999, 10_000, 100_000) if number < 4 else (0, 30_000)
    _dvs(tmp_path, f"mnist_3_scale04_{number:04}.aedat", *times)
  _dvs(tmp_path, "mnist_3_scale04_0003.aedat")
  report, lines = _run(
    capsys, tmp_path, "--source=mnist_dvs", f"--data_dir={tmp_path}",
    "--digits=3", "--bounds=2,3", "--duration_s=0.1",
  )  # fmt: skip
  train = report["splits"]["train"]
  assert train["share_of_set_bits"] == pytest.approx(2 / (10 * 1352))
  assert train["silent_neurons"] == 1351
  assert train["per_class"] == {"3": 1}
  assert report["held_out_also_in_training"] == 1
  assert "files: left out, empty: 1: recordings 3 of digit 3" in lines
  assert "files: short, silent at the end: 1: recordings 4 of digit 3" in lines
  assert "files: digit 3: 3 recordings, numbers 1..4" in " ".join(lines)


def _three(folder):
  """A recording of digit 3 for each split."""
  for number, last in ((1, 5_000), (2, 15_000), (3, 25_000)):
    name = f"mnist_3_scale04_{number:04}.aedat"
    _dvs(folder, name, 0, last, 99_999)
  return (
    "--source=mnist_dvs", f"--data_dir={folder}", "--digits=3",
    "--bounds=2,3", "--duration_s=0.1",
  )  # fmt: skip


def test_events_benchmark_says_what_is_met(capsys):
  flags.FLAGS.mark_as_parsed()
  with flagsaver.flagsaver(
    (benchmark_events.EVENTS, 2_000), (benchmark_events.REPEATS, 3)
  ):
    benchmark_events.main(["benchmark"])
  *lines, last = capsys.readouterr().out.strip().split("\n")
  found = json.loads(last)
  assert found["MB of 10,000 recordings at 10 ms"] == 338.0
  line = "| MB of 10,000 recordings at 10 ms | 338 | at most 340: met |"
  assert line in lines and set(benchmark_events.TARGETS) < set(found)
  name = "million events/s, in order"
  assert benchmark_events.verdict(name, 29.9) == "at least 30: MISSED"
  assert benchmark_events.verdict(name, 30.0) == "at least 30: met"
  assert benchmark_events.verdict("events", 1) == ""


def test_raw_events_through_tfds_give_the_same(capsys, tmp_path):
  arguments, place = _three(tmp_path), tmp_path / "tfds"
  plain, _ = _run(capsys, tmp_path, *arguments)
  report, _ = _run(capsys, tmp_path, *arguments, f"--tfds_dir={place}")
  assert report["splits"] == plain["splits"]
  assert report["splits"]["train"]["share_of_set_bits"] == 2 / (10 * 1352)
  place.joinpath("file").write_text("")
  with pytest.raises(SystemExit, match="tfds_dir: expected a folder, got"):
    _run(capsys, tmp_path, *arguments, f"--tfds_dir={place / 'file'}")


def test_crops_and_rings_and_other_sensors(capsys, tmp_path, monkeypatch):
  crop = "--crop=60,50,1,1"  # The pixel of all events.
  report, _ = _run(capsys, tmp_path, *_three(tmp_path), crop)
  assert report["neurons"] == 2
  assert report["splits"]["train"]["share_of_set_bits"] == pytest.approx(0.1)
  arguments = (
    "--source=mnist_dvs_sim", "--simulated=2,2,2", "--duration_s=0.1",
  )  # fmt: skip
  share = lambda *more: _run(capsys, tmp_path, *arguments, *more)[0]["splits"][
    "train"
  ]["share_of_set_bits"]
  quiet = share("--simulator=shot_hz=0,threshold_on=3,threshold_off=3")
  assert 0 < quiet < 0.8 * share()
  assert share("--simulator_seed=5") != share()
  blobs, asked = sources.blobs, []
  monkeypatch.setattr(
    sources, "blobs",
    lambda *args: asked.append(args) or blobs(*args, sizes=(4, 2, 2)),
  )  # fmt: skip
  _run(capsys, tmp_path, "--source=blobs", "--num_steps=9", "--ring")
  assert asked == [(9, 0, True)]


def test_durations_are_those_of_the_source():
  values = data.define(flags.FlagValues())
  for arguments, want in (
    (("--source=shd", "--data_dir=.", "--dt_ms=4"), 1.4),
    (("--source=nmnist", "--data_dir=."), 0.3),
    (("--source=nmnist", "--data_dir=.", "--duration_s=0.2"), 0.2),
    (("--source=mnist_dvs_sim", "--dt_ms=30"), 2.01),
  ):
    values.unparse_flags()
    values["duration_s"].unparse()
    values(["data", *arguments])
    assert data.check(values).duration_s == pytest.approx(want)


DVS = ("--source=mnist_dvs", "--data_dir=.")


@pytest.mark.parametrize("arguments, message", [
  ((), "source: expected one of mnist_5k, .*blobs, got ''"),
  (("--source=mnst",), "source: expected one of .*, got 'mnst'"),
  (("--source=mnist_dvs",), "data_dir: expected the folder of mnist_dvs"),
  (("--source=mnist",), "data_dir: expected the folder of mnist, got none"),
  (("--source=shd", "--data_dir=none"), "data_dir: expected a folder, got"),
  ((*DVS, "--digits=1,x"), "digits: expected numbers from 0 on .*'1,x'"),
  ((*DVS, "--digits=12"), "digits: .*12"),
  ((*DVS, "--bounds=9"), "bounds: expected 2 numbers from 1 on .*'9'"),
  ((*DVS, "--bounds=9,8"), "bounds: .* test <= 1000, got 9 and 8"),
  ((*DVS, "--scale=5"), "scale: .*5"),
  (("--source=blobs", "--coding=rate"), "coding: is of mnist_5k, .* of blobs"),
  (("--source=mnist_5k", "--delta=1"), "delta: is of blobs, not of mnist_5k"),
  (("--source=mnist_dvs_sim", "--polarity=merged"),
   "polarity: is of mnist_dvs, not of mnist_dvs_sim"),
  (("--source=mnist_5k", "--coding=x"), "coding: expected one of latency, "),
  ((*DVS, "--crop=1,2,3"), "crop: expected 4 numbers from 0 on"),
  ((*DVS, "--ring"), "ring: is of blobs, not of mnist_dvs"),
  (("--source=mnist_dvs_sim", "--simulator=x=1"), "simulator: .*got 'x=1'"),
  (("--source=mnist_dvs_sim", "--simulator=leak_hz=a"), "simulator: expected a"
   " number, got 'leak_hz=a'"),
  (("--source=mnist_dvs_sim", "--simulator=leak_hz=-1"), "settings.leak_hz"),
  (("--source=mnist_dvs_sim", "--tfds_dir=x"), "tfds_dir: is of mnist_dvs, n"),
  (("--source=blobs", "--num_steps=1"), "num_steps: expected at least 2"),
  (("--source=mnist_dvs_sim", "--simulated=1,2"), "simulated: expected 3"),
  (("--source=mnist_dvs_sim", "--simulated=1,1,1", "--dt_ms=0"),
   "dt_ms: expected a positive number, got 0"),
])  # fmt: skip
def test_mistakes_are_one_line(tmp_path, arguments, message):
  values = data.define(flags.FlagValues())
  values(["data", f"--output={tmp_path / 'new'}", *arguments])
  with pytest.raises(SystemExit, match=f"^error: {message}") as raised:
    data.main(["data"], values)
  assert "\n" not in str(raised.value)


def test_what_fails_underneath_is_one_line(tmp_path, monkeypatch):
  def fail(*arguments):
    raise RuntimeError("no memory\n  left")

  monkeypatch.setattr(datasets, "load", fail)
  values = data.define(flags.FlagValues())
  values(["data", f"--output={tmp_path}", "--source=mnist_5k"])
  with pytest.raises(SystemExit, match="^error: no memory left$"):
    data.main(["data"], values)


def test_a_folder_of_results_that_is_a_file(tmp_path):
  (tmp_path / "file").write_text("text")
  result = subprocess.run(
    [sys.executable, "-m", "experiments.data", "--source=blobs",
     f"--output={tmp_path / 'file'}"],
    capture_output=True, text=True, cwd=ROOT,
  )  # fmt: skip
  assert result.returncode == 1 and not result.stdout
  (line,) = result.stderr.strip().split("\n")
  assert line.startswith("error: output: expected a folder")


def test_statistics_need_spikes():
  rows = sources.Rows(np.zeros((2, 3), np.uint8), np.zeros(2, np.int32))
  decode = lambda rows, keys: sources.Batch(
    rows.data.T[..., None] + 0.5, rows.labels, rows.labels
  )
  source = sources.Source("some", {"train": rows}, decode, (1,), 3)
  with pytest.raises(ValueError, match="train: expected spikes 0 and 1"):
    data_contents.statistics(source)
  none = source._replace(splits={"train": sources.gather(rows, slice(0))})
  with pytest.raises(ValueError, match="train: expected at least one example"):
    data_contents.statistics(none)


def test_sheet_shows_what_it_was_given():
  rng = np.random.default_rng(0)
  spikes = (rng.random((12, 30)) < 0.2).astype(float)
  pictures = rng.random((3, 5, 7))
  rates = contact_sheet.Rates(np.array([0.0, 0.0, 1.0, 4.0, 4.0]), "Hz")
  row = contact_sheet.Row("events", pictures, "per pixel")
  figure = contact_sheet._examples(
    [row], ["a", "b", "c"], spikes, rates, "title", "steps of 5 ms"
  )
  shown = [axis for axis in figure.axes if axis.images][:3]
  for axis, picture, name in zip(shown, pictures, "abc", strict=True):
    np.testing.assert_array_equal(axis.images[0].get_array(), picture)
    assert axis.images[0].get_clim() == (0.0, pictures.max())
    assert axis.get_title() == name
  (raster,) = (a for a in figure.axes if a.get_xlabel().startswith("time"))
  assert raster.get_xlabel() == "time (steps of 5 ms)"
  points = zip(*raster.lines[0].get_data(), strict=True)
  assert set(points) == set(zip(*np.nonzero(spikes), strict=True))
  (histogram,) = (a for a in figure.axes if "rate" in a.get_xlabel())
  assert histogram.get_xlabel() == "firing rate (Hz)"
  assert sum(bar.get_height() for bar in histogram.patches) == 3
  assert histogram.get_title().startswith("2 of 5 neurons")
  with pytest.raises(ValueError, match="'events': expected 2 pictures"):
    contact_sheet._examples([row], ["a", "b"], spikes, rates, "title")
  with pytest.raises(ValueError, match=r"classes: expected 1\.\.10, got 11"):
    contact_sheet._examples([], ["a"] * 11, spikes, rates, "title")
  with pytest.raises(ValueError, match="trains: expected at least one"):
    contact_sheet._sequences(spikes, rates, "title")


def test_neurons_of_a_large_sheet_are_spread_over_the_active_ones():
  spikes = np.zeros((4, 1000))
  spikes[1, 100:700] = 1
  shown, label = contact_sheet._spread(spikes)
  assert label == "200 of 600 active" and shown.sum() == 200
  spikes[:, 105:] = 0
  shown, label = contact_sheet._spread(spikes)
  assert label == "all 5 active" and shown.shape == (4, 5)


def test_feeding_benchmark(capsys, monkeypatch):
  rng = np.random.default_rng(0)
  random = lambda images, *_: rng.integers(
    0, 256, (len(images), 4, 169), dtype=np.uint8
  )
  monkeypatch.setattr(simulated, "simulate", random)
  values = benchmark_feeding.define(flags.FlagValues())
  values([
    "b", "--repeats=2", "--batch=2", "--hidden=3", "--readout=4",
    "--recordings=3", "--duration_s=0.1", "--decoder=mlp",
  ])  # fmt: skip
  benchmark_feeding.main(["b"], values)
  *lines, last = capsys.readouterr().out.strip().split("\n")
  found = json.loads(last)
  assert found["steps"] == 4 and found["data"].endswith("(simulated)")
  bits, ready = found["step_bits_ms"], found["step_float32_ms"]
  assert found["unpacking_share"] == pytest.approx(1 - ready / bits)
  assert 0 < found["unpacking_alone_ms"] < 1e3
  waited, total = found["waited_ms"], found["fed_step_ms"]
  assert 0 <= waited < total
  assert found["waiting_share"] == pytest.approx(waited / total)
  assert "waiting for rows" in lines[-1]
  values(["b", "--recordings=5000"])
  with pytest.raises(SystemExit, match="^error: simulated: expected at"):
    benchmark_feeding.main(["b"], values)
