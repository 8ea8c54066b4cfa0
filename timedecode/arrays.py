"""Checks of measured arrays: spikes, labels, real numbers.

Each returns the array in NumPy that is to be used, or raises a ValueError that
names the argument, what was expected and what came.
"""

from typing import Any

import numpy as np

MOST_CLASSES = 10_000


def _array(name: str, value: Any) -> np.ndarray:
  """Of numbers or truth values."""
  try:
    found = np.asarray(value)
  except ValueError:
    raise ValueError(
      f"{name}: expected one array, got parts of different shapes"
    ) from None
  if not (np.issubdtype(found.dtype, np.number) or found.dtype == bool):
    raise ValueError(f"{name}: expected numbers, got {found.dtype}")
  return found


def _shaped(name: str, found: np.ndarray, axes: str) -> None:
  """Refuses other numbers of axes, and arrays that hold nothing."""
  names = axes.split()
  if found.ndim != len(names) or not found.size:
    raise ValueError(
      f"{name}: expected [{', '.join(names)}], each at least 1, got shape"
      f" {found.shape}"
    )


def real(name: str, value: Any, axes: str) -> np.ndarray:
  """Finite real numbers.

  Args:
    name: of the argument.
    value: what came.
    axes: letters with blanks between, as "M T N"; none may be empty.
  """
  found = _array(name, value)
  _shaped(name, found, axes)
  if np.iscomplexobj(found):
    raise ValueError(f"{name}: expected real numbers, got {found.dtype}")
  if wrong := found.size - np.count_nonzero(np.isfinite(found)):
    raise ValueError(
      f"{name}: expected finite numbers, got {wrong} of {found.size} that are"
      " NaN or infinite"
    )
  return found


def spikes(name: str, value: Any, axes: str = "M T N") -> np.ndarray:
  """Trains of 0 and 1, of any type of numbers."""
  found = real(name, value, axes)
  wrong = found[(found != 0) & (found != 1)]
  if wrong.size:
    raise ValueError(
      f"{name}: expected 0 and 1 only, got {wrong.size} of {found.size} others,"
      f" the first {wrong[0]}"
    )
  return found


def labels(name: str, value: Any, count: int) -> np.ndarray:
  """Whole numbers in 0 .. `MOST_CLASSES` - 1, one for each of `count`."""
  found = _array(name, value)
  if found.shape != (count,):
    raise ValueError(
      f"{name}: expected [{count}], one for each example, got shape"
      f" {found.shape}"
    )
  found = real(name, found, "M")
  wrong = found[(found != np.floor(found)) | (found < 0)]
  wrong = wrong if wrong.size else found[found >= MOST_CLASSES]
  if wrong.size:
    raise ValueError(
      f"{name}: expected whole numbers in 0 .. {MOST_CLASSES - 1}, got"
      f" {wrong[0]}"
    )
  return found.astype(np.int64)


def at_least(name: str, value: np.ndarray, count: int, what: str) -> None:
  """Refuses fewer examples than a figure needs."""
  if len(value) < count:
    raise ValueError(
      f"{name}: expected at least {count} {what}, got {len(value)}"
    )
