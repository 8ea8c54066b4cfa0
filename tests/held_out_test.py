"""Which of tonic's training recordings are for validation."""

import itertools

import h5py
import numpy as np
import pytest
import tonic_sources_test

from timedecode import datasets
from timedecode.datasets import held_out, recordings


def _gesture(folder, users, kinds=("led", "lab")):
  """Each user in each light, two gestures."""
  for split in ("ibmGestureTrain", "ibmGestureTest"):
    tonic_sources_test.write_gesture(
      folder,
      {
        (f"user{user:02}_{kind}", label): [[user, label, 1, 0]]
        for user in users
        for kind in kinds
        for label in (0, 3)
      },
      split,
    )


def test_users_of_gestures_are_in_one_split(tmp_path, monkeypatch):
  monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path / "cache")
  users = range(1, 16)
  _gesture(tmp_path, users)
  options = recordings.Options(duration_s=0.02)
  source = recordings.load("dvs_gesture", tmp_path, options, flat=False)
  column = {  # The user is the column of the only event, four to a neuron.
    split: {
      np.flatnonzero(np.unpackbits(row, bitorder="little"))[0] // 2 % 32
      for row in source.rows(split).data
    }
    for split in ("train", "validation")
  }
  names = np.array(sorted(f"user{user:02}" for user in users))
  # Each has 4 of 60: two would be as far from 6 as one is.
  chosen = names[datasets.epoch_order(15, 0, 0)][:1]
  assert source.size("validation") == 4 and source.size("train") == 56
  assert source.remarks == (
    f"validation: 4 of 60 training recordings, all of the persons {chosen[0]}"
  )
  assert column["validation"] == {int(name[4:]) // 4 for name in chosen}


def _speakers(folder, counts):
  """A file of SHD with so many recordings of each speaker."""
  speakers = np.repeat(list(counts), list(counts.values()))
  number = len(speakers)
  path = tonic_sources_test.write_shd(
    folder, [[(0.0, 3)]] * number, [1] * number, "train"
  )
  with h5py.File(path, "a") as file:
    file["extra/speaker"][...] = speakers
  return path, speakers


def _nearest(counts):
  """The best choice there is, by trying all."""
  total = sum(counts.values())
  sums = [
    sum(some)
    for size in range(1, len(counts))
    for some in itertools.combinations(counts.values(), size)
  ]
  return min(abs(number - -(-total // 10)) for number in sums)


@pytest.mark.parametrize("counts", [
  {0: 1, 2: 3, 5: 10, 7: 6}, {1: 90, 2: 5, 3: 5}, {1: 8, 2: 4, 3: 70},
  {k: 10 for k in range(12)},
])  # fmt: skip
def test_speakers_of_shd_are_in_one_split(tmp_path, counts):
  _, speakers = _speakers(tmp_path, counts)
  number = len(speakers)
  mask, remark = held_out.split("shd", tmp_path, number)
  taken, left = set(speakers[mask]), set(speakers[~mask])
  assert taken and not taken & left and taken | left == set(counts)
  # At most as far from a tenth as the best choice and one person more.
  assert abs(mask.sum() - number / 10) <= _nearest(counts) + number / 12
  told = ", ".join(map(str, sorted(taken)))
  assert remark.endswith(f"all of the persons {told}")


@pytest.mark.parametrize("counts", [{1: 40}, {1: 25, 2: 15}, {1: 20, 2: 20}])
def test_who_has_too_many_is_not_held_out(tmp_path, counts):
  path, _ = _speakers(tmp_path, counts)
  random = sorted(datasets.epoch_order(40, 0, 0)[:4])
  mask, remark = held_out.split("shd", tmp_path, 40)
  assert np.flatnonzero(mask).tolist() == random
  assert remark == "validation: 4 of 40 training recordings, random ones"
  with h5py.File(path, "a") as file:
    del file["extra/speaker"]
  again, _ = held_out.split("shd", tmp_path, 40)
  assert np.flatnonzero(again).tolist() == random


def test_other_numbers_of_recordings_are_refused(tmp_path):
  _gesture(tmp_path, (1, 2))
  message = "expected the person of each of 9 training recordings of dvs_gest"
  with pytest.raises(ValueError, match=message):
    held_out.split("dvs_gesture", tmp_path, 9)
