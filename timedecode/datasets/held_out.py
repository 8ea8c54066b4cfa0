"""Which training recordings of tonic's sets are held out for validation.

Whole persons where they are known, so that validation tells how a model does
for those whom it has never seen, as the official test sets do (DVS-Gesture's
of other users, SHD's with two speakers of its own); else a random tenth.
"""

import os
import pathlib

import numpy as np

from timedecode import datasets
from timedecode.datasets import tonic_sources

_EVERY = 10  # One recording in so many, or about.


def persons(name: str, data_dir: str | os.PathLike) -> np.ndarray | None:
  """Whose the training recordings are, [M], in the order of `load`'s rows.

  None where it is not known: N-MNIST, and files of SHD without speakers.
  """
  if name == "nmnist":
    return None
  place = tonic_sources.path_of(name, data_dir, "train")
  if name == "dvs_gesture":
    pattern = tonic_sources.SOURCES[name].pattern
    paths = sorted(place.glob(pattern), key=str)
    return np.array([_user(path) for path in paths])
  import h5py  # Comes with tonic.

  with h5py.File(place) as file:
    speakers = file.get("extra/speaker")
    return None if speakers is None else np.asarray(speakers)


def _user(path: pathlib.Path) -> str:
  return path.parent.name.split("_")[0]  # Of user07_led.


def _near_a_tenth(whose: np.ndarray) -> np.ndarray:
  """Persons whose recordings together come nearest a tenth, as they come.

  They are looked at in a fixed random order, and one is taken if that brings
  the number nearer; none where it would leave less than three quarters.
  """
  names, sizes = np.unique(whose, return_counts=True)
  wanted, taken, number = -(-len(whose) // _EVERY), [], 0
  for index in datasets.epoch_order(len(names), 0, 0):
    more = number + sizes[index]
    if abs(more - wanted) < abs(number - wanted):
      taken, number = [*taken, names[index]], more
  return np.array(sorted(taken)) if 4 * number <= len(whose) else np.array([])


def split(
  name: str, data_dir: str | os.PathLike, count: int
) -> tuple[np.ndarray, str]:
  """Whether each of `count` training recordings is held out, and a remark.

  All recordings of some persons, about a tenth of all. Where persons are not
  known, or none of them has so few, a random tenth, and the remark says so.

  Raises:
    ValueError: persons are told for another number of recordings.
  """
  whose = persons(name, data_dir)
  if whose is not None and len(whose) != count:
    raise ValueError(
      f"{data_dir}: expected the person of each of {count} training recordings"
      f" of {name}, got {len(whose)}"
    )
  taken = _near_a_tenth(whose) if whose is not None else ()
  if len(taken):
    held_out = np.isin(whose, taken)
    return held_out, (
      f"validation: {held_out.sum()} of {count} training recordings, all of the"
      f" persons {', '.join(map(str, taken))}"
    )
  chosen = datasets.epoch_order(count, 0, 0)[: -(-count // _EVERY)]
  held_out = np.isin(np.arange(count), chosen)
  return held_out, (
    f"validation: {held_out.sum()} of {count} training recordings, random ones"
  )
