"""What the data binary verifies of binned recordings: each can fail."""

import json

import numpy as np
import pytest
from absl import flags

from experiments import data, data_checks
from timedecode.datasets import packing, recordings, sources

SHAPES = {"shd": (1, 700, 1), "nmnist": (34, 34, 2), "dvs_gesture": (32, 32, 2)}


def _source(name, sizes=(4, 2, 3), steps=5):
  shape = SHAPES[name]
  rng, splits = np.random.default_rng(0), {}
  for split, size in zip(sources.SPLITS, sizes, strict=True):
    spikes = rng.random((size, steps, np.prod(shape))) < 0.2
    labels = np.arange(size, dtype=np.int32) % 10
    splits[split] = sources.Rows(packing.pack(spikes), labels)
  return sources.recordings(name, splits, shape, flat=False)


def test_numbers_of_the_complete_sets():
  """Those that the sets' authors publish."""
  of = lambda name, **o: data_checks.expected(name, recordings.Options(**o))
  for name, train, test in (
    ("nmnist", 60_000, 10_000),
    ("dvs_gesture", 1_077, 264),
    ("shd", 8_156, 2_264),
  ):
    assert of(name) == {"train, validation": train, "test": test}
  dvs = lambda *counts: dict(zip(sources.SPLITS, counts, strict=True))
  assert of("mnist_dvs") == dvs(8_000, 1_000, 1_000)
  assert sum(of("mnist_dvs", bounds=(5, 2_000)).values()) == 10 * 1_000
  some = of("mnist_dvs", digits=(0, 3), bounds=(3, 4))
  assert some == dvs(2 * 2, 2 * 1, 2 * 997)
  assert of("mnist_dvs_sim", simulated=(7, 8, 9)) == dvs(7, 8, 9)


def test_what_was_checked_is_said():
  assert data_checks.check(_source("shd")) == (
    "9 recordings of train, validation, test: 700 neurons, the 4 padding bits"
    " are 0; labels in 0..19"
  )
  assert "2,312 neurons, no padding bits;" in data_checks.check(
    _source("nmnist")
  )
  for found, complete, said in (
    (8_000, 8_000, "all 8,000 of the complete set"),
    (30, 8_000, "7,970 missing of the complete set's 8,000"),
    (8_002, 8_000, "2 too many of the complete set's 8,000"),
  ):
    assert data_checks.missing(found, complete) == said


@pytest.mark.parametrize("split, row", [("train", 3), ("test", 0)])
@pytest.mark.parametrize("bit", [4, 7])
def test_a_padding_bit_is_named(split, row, bit):
  source = _source("shd")
  data = source.rows(split).data
  data[row, 2, -1] = 1 << bit
  message = (
    f"^{split}: row {row}: expected the 4 padding bits after 700 neurons to be"
    f" 0, got byte {1 << bit:#04x} in step 2$"
  )
  with pytest.raises(ValueError, match=message):
    data_checks.check(source)
  data[row, 2, -1] = 1 << 3  # Neuron 699.
  data_checks.check(source)


@pytest.mark.parametrize("name, last", [("shd", 19), ("dvs_gesture", 10)])
def test_a_label_of_no_class_is_named(name, last):
  source = _source(name)
  labels = source.rows("validation").labels
  for label in (-1, last + 1):
    labels[1] = label
    message = f"^validation: row 1: label: expected 0..{last}, got {label}$"
    with pytest.raises(ValueError, match=message):
      data_checks.check(source)
  labels[1] = last
  data_checks.check(source)


def _run(monkeypatch, tmp_path, source):
  monkeypatch.setattr(recordings, "load", lambda *_, **__: source)
  values = data.define(flags.FlagValues())
  values([
    "data", "--source=shd", f"--data_dir={tmp_path}", f"--output={tmp_path}"
  ])  # fmt: skip
  data.main(["data"], values)


def test_the_binary_reports_and_refuses(capsys, monkeypatch, tmp_path):
  source = _source("shd")
  _run(monkeypatch, tmp_path, source)
  *lines, last = capsys.readouterr().out.strip().split("\n")
  report = json.loads(last)
  want = {"train, validation": 8_156, "test": 2_264}
  assert report["expected"] == want
  missing = "train, validation: 8,150 missing of the complete set's 8,156"
  assert missing in lines
  assert "test: 2,261 missing of the complete set's 2,264" in lines
  assert f"checked: {data_checks.check(source)}" in lines
  assert report["checked"] == data_checks.check(source)
  source.rows("test").data[1, 0, -1] = 0x10
  message = "^error: test: row 1: expected the 4 padding bits"
  with pytest.raises(SystemExit, match=message):
    _run(monkeypatch, tmp_path, source)
