"""What is in a source: numbers of every example, and a picture of some."""

import hashlib
import os

import jax
import jax.numpy as jnp
import numpy as np

from timedecode import contact_sheet
from timedecode.datasets import recordings, sources

SIMULATED = ("mnist_dvs_sim", "blobs")
_BATCH_BYTES = 2**26  # Of spikes that are looked at together.
_SEQUENCES = 6  # Of blobs, in the picture.
_GROUPS = 35  # Of the channels of a sensor that is a line, in the picture.


def _keys(indices):
  return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(indices)


def _make_look(source: sources.Source):
  """``(rows, keys, real) -> all binary, spikes by neuron, by example``."""

  @jax.jit
  def look(rows, keys, real):
    inputs = source.decode(rows, keys).inputs
    binary = jnp.all((inputs == 0) | (inputs == 1))
    inputs = inputs.reshape(*inputs.shape[:2], -1) * real[None, :, None]
    return binary, inputs.sum((0, 1)), inputs.sum((0, 2))

  return look


def _count(look, split: str, rows: sources.Rows, batch: int, neurons: int):
  """Spikes of each neuron [N], and examples without a spike.

  The last batch is filled up with examples that don't count.
  """
  size, spikes, silent = len(rows.labels), np.zeros(neurons), 0
  for start in range(0, size, batch):
    at = np.arange(start, start + batch)
    taken, real = sources.gather(rows, at % size), at < size
    binary, counts, totals = look(taken, _keys(at), real)
    if not binary:
      raise ValueError(f"{split}: expected spikes 0 and 1, got other values")
    spikes += np.asarray(counts)
    silent += int((np.asarray(totals)[real] == 0).sum())
  return spikes, silent


def statistics(source: sources.Source) -> tuple[dict, dict]:
  """Looks at every example of every split.

  Returns:
    By split: numbers of what is there; and spikes of each neuron, [N].

  Raises:
    ValueError: an input that is neither 0 nor 1, or no training example.
  """
  if not source.size("train"):
    raise ValueError("train: expected at least one example, got none")
  neurons = int(np.prod(source.input_shape))
  cells = source.num_steps * neurons
  largest = max(source.size(split) for split in source.splits)
  batch = max(1, min(largest, _BATCH_BYTES // (4 * cells)))
  look, found, spikes = _make_look(source), {}, {}
  for split, rows in source.splits.items():
    size = len(rows.labels)
    spikes[split], silent = _count(look, split, rows, batch, neurons)
    labels, members = np.unique(rows.labels, return_counts=True)
    classes = dict(zip(labels.tolist(), members.tolist(), strict=True))
    found[split] = {
      "examples": size,
      "per_class": None if source.name == "blobs" else classes,
      "share_of_set_bits": spikes[split].sum() / max(size * cells, 1),
      "silent_neurons": int((spikes[split] == 0).sum()),
      "examples_without_spikes": silent,
      "bytes": sources.nbytes(rows),
      "bytes_as_float32": 4 * size * cells,
    }
  return found, spikes


def also_in_training(source: sources.Source) -> int | None:
  """Held-out examples that equal one for training; None for blobs."""
  if source.name == "blobs":
    return None
  digest = lambda row: hashlib.blake2b(row.tobytes(), digest_size=16).digest()
  of = lambda split: [digest(row) for row in source.rows(split).data]
  train = set(of("train"))
  return sum(row in train for name in sources.SPLITS[1:] for row in of(name))


def _pictures(source, rows, inputs) -> list[contact_sheet.Row]:
  """Rows of the sheet for K examples, inputs [T, K, ...]."""
  if source.name not in recordings.NAMES:
    summed = contact_sheet.Row("summed\nspikes", inputs.sum(0), "per pixel")
    images = np.asarray(rows.data) / 255.0
    return [contact_sheet.Row("image", images, "value"), summed]
  height, _, polarities = source.input_shape
  if height > 1 or polarities > 1:
    events = inputs.sum((0, -1))
    return [contact_sheet.Row("summed\nspikes", events, "per pixel")]
  steps, count, _, channels, _ = inputs.shape
  size = -(-channels // _GROUPS)
  wide = np.pad(
    inputs.reshape(steps, count, channels),
    ((0, 0), (0, 0), (0, -channels % size)),
  )
  groups = wide.reshape(steps, count, -1, size).sum(-1)
  label = f"{size} channels\na row,\ntime across"
  pictures = groups.transpose(1, 2, 0)[:, ::-1]
  return [contact_sheet.Row(label, pictures, "spikes")]


def _examples(source: sources.Source) -> tuple[sources.Rows, np.ndarray]:
  """The first training example of each class, of blobs the first ones."""
  train = source.rows("train")
  if source.name == "blobs":
    shown = np.arange(min(_SEQUENCES, len(train.labels)))
  else:
    shown = np.unique(train.labels, return_index=True)[1]
    shown = shown[: contact_sheet.MAX_CLASSES]
  rows = sources.gather(train, shown)
  return rows, np.asarray(jax.jit(source.decode)(rows, _keys(shown)).inputs)


def draw(
  path: str | os.PathLike,
  source: sources.Source,
  spikes: np.ndarray,
  name: str,
  dt_ms: float | None,
) -> None:
  """Draws the contact sheet.

  Args:
    path: of the PNG.
    source: inputs in the sensor's shape.
    spikes: of each neuron in all training examples, [N].
    name: of the source for the title.
    dt_ms: milliseconds per step, None where steps have no unit.
  """
  train = source.rows("train")
  cells, unit = len(train.labels) * source.num_steps, "spikes per step"
  step = "steps"
  if dt_ms is not None:
    cells, unit = cells * dt_ms * 1e-3, "Hz"
    step = f"steps of {dt_ms:g} ms"
  rates = contact_sheet.Rates(spikes / cells, unit)
  simulated = " (simulated)" if source.name in SIMULATED else ""
  title = (
    f"{name}{simulated}: {len(train.labels):,} training examples,"
    f" {source.num_steps} {step}, {len(spikes):,} neurons"
  )
  rows, inputs = _examples(source)
  if source.name == "blobs":
    trains = np.moveaxis(inputs, 1, 0)
    contact_sheet.sequences(path, trains, rates, title)
    return
  kind = "digit" if "mnist" in source.name else "class"
  contact_sheet.examples(
    path, _pictures(source, rows, inputs),
    [f"{kind} {label}" for label in rows.labels],
    inputs[:, 0].reshape(source.num_steps, -1), rates, title, step,
  )  # fmt: skip
