"""Receptive fields under the microscope: neurons whose fields are known."""

import numpy as np
import pytest

from experiments import microscope_fields, microscope_own

DELAY, PIXEL = 3, 4


@pytest.fixture(name="subject")
def _subject():
  """Hidden neuron 1 copies a pixel after a delay; 0 is silent, 2 guesses."""
  generator = np.random.default_rng(0)
  draw = lambda *shape: (generator.random(shape) < 0.2).astype(np.float32)
  inputs, hidden = draw(600, 12, 6), np.zeros((600, 12, 3), np.float32)
  hidden[:, DELAY:, 1] = inputs[:, :-DELAY, PIXEL]
  hidden[:, :, 2] = draw(600, 12)
  trains = microscope_own.recorded(
    draw(600, 12, 2), generator.integers(0, 2, 600), inputs
  )
  trains = trains._replace(hidden=hidden)
  subject = microscope_own.of_trains(trains, trains, input_shape=(2, 3))
  weights = np.eye(6)[[PIXEL, 0, PIXEL]]
  return subject._replace(weights=weights, shown=np.array([1, 0, 2]))


def _arrays(subject):
  return {
    "input_shape": subject.input_shape, "weights": subject.weights,
    "shown": subject.shown, "averages": microscope_fields.averages(subject),
  }  # fmt: skip


def test_a_hidden_neuron_that_copies_a_pixel(subject):
  """0.8 at its pixel and delay, where its weights are; chance elsewhere."""
  found = microscope_fields.averages(subject)
  place = found["lags"].index(DELAY)
  field = found["hidden"][0].copy()
  assert field[place, PIXEL] == pytest.approx(0.8, abs=0.03)
  field[place, PIXEL] = 0.0
  assert np.abs(field).max() < 0.1
  assert np.abs(found["hidden"][2]).max() < 0.1
  figures = microscope_fields.figures(subject, found)
  assert figures["hidden_neurons"] == [1, 0, 2]
  assert int(np.argmax(figures["hidden"][0])) == place
  assert figures["hidden_likeness"][0] > 0.98
  assert figures["hidden"][1] == [None] * len(found["lags"])  # Silent.
  assert figures["hidden_likeness"][1] is None
  assert np.shape(figures["readout"]) == (2, len(found["lags"]))


def test_the_picture_has_rows_of_hidden_neurons(subject):
  """Below its weights a neuron's averages, each lag a row."""
  figure = microscope_fields.draw(_arrays(subject), "a title")
  names = [axis.get_ylabel() for axis in figure.axes]
  found = microscope_fields.averages(subject)
  assert names[0] == "weights" and "before spikes of\nreadout 1" in names
  titles = [axis.get_title() for axis in figure.axes]
  assert titles[:3] == ["hidden 1", "hidden 0", "hidden 2"]
  for place in range(0, len(found["lags"]), 2):
    name = f"before spikes,\n{found['lags'][place]} steps"
    axis = figure.axes[names.index(name)]
    shown = axis.images[0].get_array()
    np.testing.assert_allclose(shown, found["hidden"][0, place].reshape(2, 3))


def test_hidden_neurons_without_weights(subject):
  """As of an own encoder, whose spikes alone are known."""
  other = subject._replace(weights=np.zeros((0, 0)))
  figure = microscope_fields.draw(_arrays(other), "a title")
  assert figure.axes[0].get_ylabel() == "before spikes,\n0 steps"
  titles = [axis.get_title() for axis in figure.axes]
  assert titles[:3] == ["hidden 1", "hidden 0", "hidden 2"]
  figures = microscope_fields.figures(other, microscope_fields.averages(other))
  assert len(figures["hidden"]) == 3 and figures["hidden_likeness"] == []


def test_events_are_shown_as_on_minus_off():
  """Of every pixel OFF comes first."""
  values = np.arange(12.0) ** 2
  found = microscope_fields.as_picture(values, (2, 3, 2))
  expected = [values[2 * n + 1] - values[2 * n] for n in range(6)]
  np.testing.assert_array_equal(found, np.reshape(expected, (2, 3)))
  np.testing.assert_array_equal(
    microscope_fields.as_picture(values, (3, 4)), values.reshape(3, 4)
  )


def test_fields_of_events_are_drawn(subject):
  """[H, W, 2]: one picture for each neuron and lag."""
  arrays = _arrays(subject._replace(input_shape=(3, 1, 2)))
  figure = microscope_fields.draw(arrays, "a title")
  assert "ON minus OFF" in figure.get_suptitle()
  shown = figure.axes[0].images[0].get_array()
  np.testing.assert_array_equal(shown, [[0.0], [0.0], [-1.0]])  # OFF of row 2.


@pytest.mark.parametrize("shape, known, told", [
  ((), True, "one step of the input is no picture"),
  ((1, 2, 3), True, "one step of the input is no picture"),
  ((2, 3), False, "the input isn't known"),
  ((2, 3), True, ""),
])  # fmt: skip
def test_why_there_is_no_picture(subject, shape, known, told):
  arrays = _arrays(subject) | {"input_shape": shape}
  arrays = arrays if known else arrays | {"averages": None}
  assert microscope_fields.none_drawn(arrays) == told
  assert (microscope_fields.draw(arrays, "a title") is None) == bool(told)


def test_inputs_that_are_not_known(subject):
  nothing = subject.test._replace(inputs=subject.test.inputs[..., :0])
  assert microscope_fields.averages(subject._replace(test=nothing)) is None
  assert microscope_fields.figures(subject, None) is None
