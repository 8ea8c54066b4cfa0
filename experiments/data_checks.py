"""Checks of binned recordings: each row, and how many a set should have."""

import numpy as np

from timedecode.datasets import mnist_dvs_files, recordings, sources
from timedecode.datasets import tonic_sources as tonic

CLASSES = {"mnist_dvs": 10, "mnist_dvs_sim": 10} | {
  name: source.num_classes for name, source in tonic.SOURCES.items()
}
# Training and test recordings, as their authors distribute them.
OFFICIAL = {
  "nmnist": (60_000, 10_000),
  "dvs_gesture": (1_077, 264),
  "shd": (8_156, 2_264),
}


def expected(name: str, options: recordings.Options) -> dict[str, int]:
  """Recordings that the complete set has, by split or "train, validation"."""
  if name in OFFICIAL:
    return dict(zip(("train, validation", "test"), OFFICIAL[name], strict=True))
  if name == "mnist_dvs":  # Of each digit, at each scale.
    end = mnist_dvs_files.NUM_RECORDINGS + 1
    edges = np.minimum([1, *options.bounds, end], end)
    counts = (len(options.digits) * np.diff(edges)).tolist()
  else:
    counts = options.simulated
  return dict(zip(sources.SPLITS, counts, strict=True))


def _check_padding(split: str, data: np.ndarray, neurons: int) -> None:
  used = neurons % 8
  if not used:
    return
  rows, steps = np.nonzero(data[:, :, -1] >> used)
  if rows.size:
    row, step = rows[0], steps[0]
    raise ValueError(
      f"{split}: row {row}: expected the {8 - used} padding bits after"
      f" {neurons} neurons to be 0, got byte {data[row, step, -1]:#04x} in"
      f" step {step}"
    )


def _check_labels(split: str, labels: np.ndarray, classes: int) -> None:
  bad = np.flatnonzero((labels < 0) | (labels >= classes))
  if bad.size:
    raise ValueError(
      f"{split}: row {bad[0]}: label: expected 0..{classes - 1}, got"
      f" {labels[bad[0]]}"
    )


def check(source: sources.Source) -> str:
  """Looks at every row of every split; returns what was checked, in words.

  Raises:
    ValueError: bits set beyond the neurons, or a label of no class; it names
      the split, the row and what was expected.
  """
  neurons, classes = int(np.prod(source.input_shape)), CLASSES[source.name]
  count = 0
  for split, rows in source.splits.items():
    _check_padding(split, np.asarray(rows.data), neurons)
    _check_labels(split, np.asarray(rows.labels), classes)
    count += len(rows.labels)
  unused = -neurons % 8
  bits = f"the {unused} padding bits are 0" if unused else "no padding bits"
  return (
    f"{count:,} recordings of {', '.join(source.splits)}: {neurons:,} neurons,"
    f" {bits}; labels in 0..{classes - 1}"
  )


def missing(found: int, complete: int) -> str:
  """How a number of recordings compares with the complete set's."""
  if found == complete:
    return f"all {complete:,} of the complete set"
  how = "missing" if found < complete else "too many"
  return f"{abs(complete - found):,} {how} of the complete set's {complete:,}"
