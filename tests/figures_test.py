"""Figures of studies show the means of their records."""

import json

import numpy as np
import pytest

from experiments import figures


def _record(study, row, seed, accuracy, bits=10.0):
  summary = {
    "judge_accuracy": accuracy, "information_bits_per_example": bits,
    "pixel_cross_entropy": 1.0 - accuracy, "judge_clean_accuracy": 0.99,
    "data_source": "some images", "examples_seen": 5000,
    "split": "test, 30 examples, 2 samples of y each",
  }  # fmt: skip
  return {
    "study": study, "row": row, "seed": seed, "summary": summary,
    "settings": {} if row.endswith(" 16") else {"beta": 0.01},
  }  # fmt: skip


def test_accuracy_against_neurons():
  records = [
    _record("readout_neurons", f"{view}, N_y {size}", seed, base + 0.1 * seed)
    for view, base in (("full", 0.5), ("rate", 0.3), ("first_spike", 0.1))
    for size in (4, 2, 16)
    for seed in (0, 1)
  ]
  figure = figures.readout_neurons(records)
  left, right = figure.axes
  assert left.get_xlabel() == right.get_xlabel() == "readout neurons"
  assert "bits" in right.get_ylabel() and "misread" in left.get_ylabel()
  title = figure.get_suptitle()
  assert "30 images of some images" in title and "seeds: 2" in title
  assert title.endswith("\nβ = 0.001, 0.01")
  for container, base in zip(left.containers, (0.5, 0.3, 0.1), strict=True):
    line, _, (bars,) = container.lines
    np.testing.assert_array_equal(line.get_xdata(), [2, 4, 16])
    np.testing.assert_allclose(line.get_ydata(), 1 - (base + 0.05))
    low, high = bars.get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 0.1 * np.sqrt(0.5))


def test_distortion_against_bits():
  records = [
    _record("ablations", f"beta {beta:g}", 0, accuracy, bits)
    for beta, accuracy, bits in ((0.0, 0.9, 100.0), (1e-4, 0.8, 50.0))
  ] + [_record("ablations", "frozen encoder", 0, 0.1)]
  records.append(_record("ablations", "beta 0.0001", 1, 0.6, 70.0))
  figure = figures.ablations(records)
  means = [0.1, 0.3], [0.9, 0.7]
  runs = [0.1, 0.2, 0.4], [0.9, 0.8, 0.6]
  for axis, mean, each in zip(figure.axes, means, runs, strict=True):
    one, one_run, other, other_runs = (
      line.get_xydata().astype(float) for line in axis.lines
    )
    want = np.transpose([[100.0, 60.0], mean])
    np.testing.assert_allclose(np.concatenate([one, other]), want)
    want = np.transpose([[100.0, 50.0, 70.0], each])
    np.testing.assert_allclose(np.concatenate([one_run, other_runs]), want)
  shown = figure.axes[1].get_legend().get_texts()
  assert [t.get_text() for t in shown] == ["β = 0", "β = 0.0001"]
  said = figure.get_suptitle().splitlines()[1]
  assert said == "8 readout neurons; means, and each seed in small"


def test_the_table_has_means_and_every_seed():
  records = [
    _record("ablations", "beta 1", seed, accuracy)
    for seed, accuracy in enumerate((0.5, 0.7))
  ] + [_record("ablations", "counts", 0, 0.25, 1234.0)]
  lines = figures.table(records).splitlines()
  assert lines[2:] == [
    "| beta 1 | 0.600 ± 0.141 | 0.4000 ± 0.1414 | 10 ± 0 | 0.500, 0.700 |",
    "| counts | 0.250 | 0.7500 | 1,234 | 0.250 |",
  ]


def test_the_picture_of_a_study_and_of_none(tmp_path):
  path = tmp_path / "records.jsonl"
  path.write_text(json.dumps(_record("ablations", "beta 1", 0, 0.5)) + "\n")
  picture = figures.draw(path, tmp_path / "out")
  assert picture.name == "ablations.png"
  assert "beta 1" in picture.with_suffix(".md").read_text()
  assert picture.read_bytes().startswith(b"\x89PNG")
  path.write_text(json.dumps(_record("tuning", "a", 0, 0.5)) + "\n")
  with pytest.raises(ValueError, match="expected a study of readout_neurons"):
    figures.draw(path, tmp_path)
