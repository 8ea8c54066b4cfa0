"""Pictures show what they were given; files are written where asked."""

import numpy as np
import pytest
from matplotlib import colors

from timedecode import plots

RNG = np.random.default_rng(0)
IMAGES = RNG.random((10, 28, 28))


def test_reconstructions_show_every_image_on_one_scale(tmp_path):
  rows = {
    "original": IMAGES, "learned": IMAGES * 0.5, "rate": IMAGES * 0.25
  }  # fmt: skip
  figure = plots._reconstructions(rows, "title")
  axes = np.array(figure.axes).reshape(3, 10)
  for row, scale in enumerate((1.0, 0.5, 0.25)):
    for column in range(10):
      (image,) = axes[row, column].images
      np.testing.assert_allclose(image.get_array(), scale * IMAGES[column])
      assert image.get_clim() == (0.0, 1.0)
  labels = [axis.get_ylabel() for axis in axes[:, 0]]
  assert labels == ["original", "learned", "rate"]
  plots.reconstructions(tmp_path / "a.png", rows, "title")
  assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_reconstructions_refuse_numbers_that_differ():
  with pytest.raises(ValueError, match="rate: expected 10 images"):
    plots._reconstructions({"a": IMAGES, "rate": IMAGES[:9]}, "title")


def _points(axis):
  (line,) = axis.lines
  return set(zip(*map(tuple, line.get_data()), strict=True))


def test_raster_draws_each_spike(tmp_path):
  layers = [(RNG.random((12, n)) < 0.2).astype(float) for n in (20, 15, 4)]
  pictures = {"original": IMAGES[0], "reconstruction": IMAGES[1]}
  args = (layers[0], [layers[1]], layers[2], pictures, "title")
  figure = plots._raster(*args)
  for axis, spikes in zip(figure.axes, layers, strict=False):
    assert _points(axis) == set(zip(*np.nonzero(spikes), strict=True))
    assert "neuron" in axis.get_ylabel()
  assert figure.axes[2].get_xlabel() == "time (steps)"
  np.testing.assert_allclose(figure.axes[3].images[0].get_array(), IMAGES[0])
  np.testing.assert_allclose(figure.axes[4].images[0].get_array(), IMAGES[1])
  names = [axis.get_xlabel() for axis in figure.axes[3:]]
  assert names == list(pictures)
  assert len(plots._raster(*args[:3], {}, "title").axes) == 3
  plots.raster(tmp_path / "a.png", *args)
  assert (tmp_path / "a.png").stat().st_size > 1000


def test_raster_of_a_large_layer_says_what_it_leaves_out():
  spikes = np.zeros((5, 300))
  spikes[:2, 50:250] = 1
  shown, label = plots._thin(spikes)
  assert label == "200 busiest of 300"
  np.testing.assert_array_equal(shown, spikes[:, 50:250])


@pytest.mark.parametrize("metric", ["judge_accuracy", "accuracy"])
def test_learning_curves_draw_the_rows(tmp_path, metric):
  rows = [
    {
      "examples_seen": 1000 * i,
      metric: 0.1 * i,
      "distortion": 3.0 / i,
      "pixel_cross_entropy": 1.0 / i,
      "information_bits": 10.0 * i,
    }
    for i in (1, 2, 3)
  ]
  runs = {"learned": rows, "rate": rows[:2]}
  figure = plots._learning_curves(runs, "title", metric)
  curves = plots.CURVES[metric]
  for axis, (field, label) in zip(figure.axes, curves, strict=True):
    assert axis.get_ylabel() == label and "examples" in axis.get_xlabel()
    for line, data in zip(axis.lines, runs.values(), strict=True):
      np.testing.assert_allclose(line.get_xdata(), [1, 2, 3][: len(data)])
      np.testing.assert_allclose(line.get_ydata(), [r[field] for r in data])
    styles = [line.get_linestyle() for line in axis.lines]
    assert styles[0] != styles[1]
  plots.learning_curves(tmp_path / "a.png", runs, "title", metric)
  assert (tmp_path / "a.png").stat().st_size > 1000


def test_colours_differ_in_lightness_or_hue():
  rgb = np.array([colors.to_rgb(c) for c in plots.COLOURS])
  distance = np.abs(rgb[:, None] - rgb[None]).sum(-1)
  assert distance[~np.eye(len(rgb), dtype=bool)].min() > 0.3
