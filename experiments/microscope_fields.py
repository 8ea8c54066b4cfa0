"""Receptive fields of `microscope`: figures of them, and their picture."""

import numpy as np
from matplotlib.figure import Figure

from experiments.microscope_subject import Subject
from timedecode import receptive_fields

LAGS = (0, 1, 2, 3, 5, 7, 10)
READOUT = 4  # Neurons of the readout that are drawn.


def averages(subject: Subject) -> dict | None:
  """Inputs before spikes, of one sample of y of the test examples.

  Returns:
    `lags` in steps, L of them; `readout`, [N, L, D]; `hidden`, of the shown
    hidden neurons, [W, L, D]. NaN where no spike comes so late. None where
    inputs aren't known.
  """
  test = subject.test
  if not test.inputs.shape[2]:
    return None
  lags = [lag for lag in LAGS if lag < test.inputs.shape[1]]
  found = {
    "lags": lags,
    "readout": receptive_fields.spike_triggered_average(
      test.inputs, test.spikes, lags
    ),
    "hidden": np.zeros((0, len(lags), test.inputs.shape[2])),
  }
  if len(subject.shown):
    found["hidden"] = receptive_fields.spike_triggered_average(
      test.inputs, test.hidden[:, :, subject.shown], lags
    )
  return found


def _likeness(weights: np.ndarray, found: np.ndarray) -> float | None:
  """Correlation of weights [D] with the strongest of averages [L, D]."""
  known = found[~np.isnan(found).any(1)]
  if not known.size:
    return None
  strongest = known[np.argmax((known**2).sum(1))]
  if weights.std() < 1e-12 or strongest.std() < 1e-12:
    return None
  return float(np.corrcoef(weights, strongest)[0, 1])


def figures(subject: Subject, found: dict | None) -> dict | None:
  """When neurons see what they see, for JSON; where is in the picture.

  Args:
    subject: what is looked at.
    found: of `averages`.

  Returns:
    `lags`; `hidden_neurons`, their places in the layer; `hidden` and `readout`,
    the root mean square over inputs of every average, [W, L] and [N, L], None
    where none is known; `hidden_likeness`, [W], the correlation of weights and
    the strongest average, [] where weights aren't known. None where inputs
    aren't.
  """
  if found is None:
    return None
  strength = lambda a: [
    [None if np.isnan(v) else float(v) for v in row]
    for row in np.sqrt((a**2).mean(2))
  ]
  return {
    "lags": found["lags"],
    "hidden_neurons": [int(n) for n in subject.shown],
    "hidden": strength(found["hidden"]),
    "readout": strength(found["readout"]),
    "hidden_likeness": [
      _likeness(*pair)
      for pair in zip(subject.weights, found["hidden"], strict=False)
    ],
  }


def none_drawn(arrays: dict) -> str:
  """Why no fields are drawn; "" where they are."""
  if arrays["averages"] is None:
    return "the input isn't known"
  shape = arrays["input_shape"]
  if len(shape) == 2 or (len(shape) == 3 and shape[2] == 2):
    return ""
  return "one step of the input is no picture"


def as_picture(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """[D] as a picture, [H, W]; of events [H, W, 2] ON minus OFF."""
  image = values.reshape(shape)
  return image[..., 1] - image[..., 0] if len(shape) == 3 else image


def _rows(arrays: dict) -> list[tuple[str, np.ndarray, list[str]]]:
  """(name, values [columns, D], titles), row by row."""
  found, weights = arrays["averages"], arrays["weights"]
  lags, rows = found["lags"], []
  names = [f"hidden {n}" for n in arrays["shown"]]
  if len(weights):
    rows.append(("weights", weights, names))
    names = []
  for place in range(0, len(lags), 2) if len(found["hidden"]) else ():
    name = f"before spikes,\n{lags[place]} steps"
    rows.append((name, found["hidden"][:, place], names))
    names = []
  titles = [f"{lag} steps before" for lag in lags]
  for n, values in enumerate(found["readout"][:READOUT]):
    rows.append((f"before spikes of\nreadout {n}", values, titles))
    titles = []
  return rows


def draw(arrays: dict, title: str) -> Figure | None:
  """Weights of hidden neurons, input before their spikes and the readout's.

  None where the input is no picture.
  """
  if none_drawn(arrays):
    return None
  rows, shape = _rows(arrays), arrays["input_shape"]
  columns = max(len(values) for _, values, _ in rows)
  figure = Figure((11.0, 0.8 + 1.2 * len(rows)), layout="constrained")
  axes = figure.subplots(len(rows), columns, squeeze=False)
  for axis in axes.ravel():
    axis.set(xticks=[], yticks=[])
    axis.set_frame_on(False)
  for line, (name, values, titles) in zip(axes, rows, strict=True):
    images = [as_picture(one, shape) for one in values]
    most = np.abs(np.nan_to_num(images)).max() or 1.0
    for axis, image in zip(line, images, strict=False):
      axis.imshow(image, cmap="RdBu_r", vmin=-most, vmax=most)
    for axis, words in zip(line, titles, strict=False):
      axis.set_title(words, fontsize="small")
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
  if len(shape) == 3:
    title += "; events: ON minus OFF"
  figure.suptitle(title, fontsize="medium")
  return figure
