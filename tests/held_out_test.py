"""Which of tonic's training recordings are for validation."""

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
  chosen = names[datasets.epoch_order(15, 0, 0)][:2]  # 6 of 60: two users.
  assert source.size("validation") == 8 and source.size("train") == 52
  told = ", ".join(sorted(chosen))
  assert source.remarks == (
    f"validation: 8 recordings of training, all of the persons {told}"
  )
  assert column["validation"] == {int(name[4:]) // 4 for name in chosen}
  mask, _ = held_out.split("dvs_gesture", tmp_path, 60)
  assert mask.sum() == 8


def test_speakers_of_shd_are_in_one_split(tmp_path):
  speakers = np.repeat([0, 2, 5, 7], [1, 3, 10, 6])
  path = tonic_sources_test.write_shd(
    tmp_path, [[(0.0, 3)]] * 20, [1] * 20, "train"
  )
  with h5py.File(path, "a") as file:
    file["extra/speaker"][...] = speakers
  mask, remark = held_out.split("shd", tmp_path, 20)
  taken, left = set(speakers[mask]), set(speakers[~mask])
  assert not taken & left and taken | left == {0, 2, 5, 7}
  order = np.array([0, 2, 5, 7])[datasets.epoch_order(4, 0, 0)]
  sizes = {0: 1, 2: 3, 5: 10, 7: 6}
  want = []
  while sum(sizes[speaker] for speaker in want) < 2:
    want.append(order[len(want)])
  assert taken == set(want) and "persons" in remark
  with h5py.File(path, "a") as file:
    del file["extra/speaker"]
  mask, remark = held_out.split("shd", tmp_path, 20)
  assert sorted(np.flatnonzero(mask)) == sorted(
    datasets.epoch_order(20, 0, 0)[:2]
  )
  assert remark == "validation: 2 random recordings of training"


def test_one_person_is_split_at_random_and_two_are_not(tmp_path):
  _gesture(tmp_path, (4,))
  mask, remark = held_out.split("dvs_gesture", tmp_path, 4)
  assert mask.sum() == 1 and "1 random recordings" in remark
  _gesture(tmp_path, (4, 5))
  mask, remark = held_out.split("dvs_gesture", tmp_path, 8)
  assert mask.sum() == 4 and "all of the persons user0" in remark


def test_other_numbers_of_recordings_are_refused(tmp_path):
  _gesture(tmp_path, (1, 2))
  message = "expected the person of each of 9 training recordings of dvs_gest"
  with pytest.raises(ValueError, match=message):
    held_out.split("dvs_gesture", tmp_path, 9)
