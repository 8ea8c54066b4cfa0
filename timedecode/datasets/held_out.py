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

_EVERY = 10  # One recording in so many, or the persons until it is reached.


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


def split(
  name: str, data_dir: str | os.PathLike, count: int
) -> tuple[np.ndarray, str]:
  """Whether each of `count` training recordings is held out, and a remark.

  Persons come in a fixed random order, until a tenth of the recordings is
  reached; one of several persons is always left for training.

  Raises:
    ValueError: persons are told for another number of recordings.
  """
  whose = persons(name, data_dir)
  if whose is not None and len(whose) != count:
    raise ValueError(
      f"{data_dir}: expected the person of each of {count} training recordings"
      f" of {name}, got {len(whose)}"
    )
  names = np.unique(whose) if whose is not None else ()
  wanted = -(-count // _EVERY)
  if len(names) < 2:  # Files may be sorted by class: random ones.
    chosen = datasets.epoch_order(count, 0, 0)[:wanted]
    remark = f"validation: {wanted} random recordings of training"
    return np.isin(np.arange(count), chosen), remark
  order = names[datasets.epoch_order(len(names), 0, 0)][:-1]
  sizes = np.cumsum([(whose == person).sum() for person in order])
  taken = order[: 1 + int((sizes < wanted).sum())]
  held_out = np.isin(whose, taken)
  told = ", ".join(map(str, np.sort(taken)))
  return held_out, (
    f"validation: {held_out.sum()} recordings of training, all of the persons"
    f" {told}"
  )
