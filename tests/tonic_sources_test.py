"""Sets that tonic reads: small ones written here, and one real recording."""

import pathlib
import shutil
import sys

import h5py
import numpy as np
import pytest
import tonic

from timedecode.datasets import events, packing, tonic_sources

REAL = pathlib.Path(__file__).parents[2] / "shared/data/nmnist"
REAL /= "sample_nmnist.bin"
real = pytest.mark.skipif(
  not REAL.exists(), reason=f"no real N-MNIST recording at {REAL}"
)


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
  """tonic's way to the web is closed; what it wanted is in the error."""

  def refuse(url, *args, **kwargs):
    raise RuntimeError(f"a test wanted {url}")

  monkeypatch.setattr(tonic.dataset, "download_and_extract_archive", refuse)


def _set_bits(trains, num_neurons):
  """{(recording, step, neuron)} of the bits that are set."""
  bits = np.unpackbits(trains, axis=-1, bitorder="little")
  assert not bits[..., num_neurons:].any()
  return set(map(tuple, np.argwhere(bits).tolist()))


def _nmnist_bytes(recording):
  return b"".join(
    bytes((x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255))
    for x, y, t, p in recording
  )


def write_nmnist(folder, recordings, split="Test"):
  for (digit, name), recording in recordings.items():
    path = folder / "NMNIST" / split / str(digit) / f"{name}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_nmnist_bytes(recording))


def write_gesture(folder, recordings, split="ibmGestureTest", dtype=np.int64):
  for (user, label), rows in recordings.items():
    path = folder / "DVSGesture" / split / user / f"{label}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(rows, dtype).reshape(-1, 4), allow_pickle=False)


def write_shd(folder, recordings, labels, split="test", times="f4"):
  path = folder / "SHD" / f"shd_{split}.h5"
  path.parent.mkdir(parents=True, exist_ok=True)
  with h5py.File(path, "w") as file:
    for name, column, dtype in (("times", 0, times), ("units", 1, "i8")):
      group = file.require_group("spikes")
      kind = h5py.vlen_dtype(np.dtype(dtype))
      data = group.create_dataset(name, (len(recordings),), dtype=kind)
      for i, recording in enumerate(recordings):
        data[i] = np.array([event[column] for event in recording], dtype)
    file["labels"] = np.array(labels, np.uint16)
    file["extra/keys"] = np.array([b"zero", b"one"])
    file["extra/speaker"] = np.zeros(len(labels), np.uint16)
  return path


def test_nmnist(tmp_path):
  recordings = {
    (3, "00002"): [(0, 0, 0, 0), (33, 33, 19999, 1), (33, 33, 19000, 1)],
    (3, "00010"): [],
    (0, "00005"): [(5, 7, 10000, 0), (1, 2, 9999, 1), (9, 9, 30000, 1)],
  }
  write_nmnist(tmp_path, recordings)
  trains, labels = tonic_sources.load("nmnist", tmp_path, "test", 10, 30)
  assert trains.shape == (3, 3, 289) and trains.dtype == np.uint8
  assert labels.tolist() == [0, 3, 3] and labels.dtype == np.int32
  assert _set_bits(trains, 2312) == {
    (0, 1, (7 * 34 + 5) * 2),
    (0, 0, (2 * 34 + 1) * 2 + 1),  # The event at 30 ms is past the end.
    (1, 0, 0),
    (1, 1, 2311),
  }  # The third recording is empty.
  unpacked = np.asarray(packing.unpack(trains, 2312))
  assert unpacked.sum() == 4 and unpacked[1, 1, 2311] == 1


def test_dvs_gesture(tmp_path):
  """Rows x, y, p and t in ms, from the first event; 4x4 pixels a neuron."""
  recordings = {
    ("user02_led", 10): [(127, 124, 1, 500), (126, 127, 1, 500)],
    ("user02_led", 2): [],
    ("user01_lab", 7): [(0, 3, 0, 7), (4, 3, 1, 26), (8, 0, 0, 27)],
  }
  write_gesture(tmp_path, recordings)
  trains, labels = tonic_sources.load("dvs_gesture", tmp_path, "test", 5, 20)
  assert trains.shape == (3, 4, 256)
  assert labels.tolist() == [7, 10, 2]
  assert _set_bits(trains, 2048) == {
    (0, 0, 0),
    (0, 3, 1 * 2 + 1),  # 19 ms after the first; the one at 20 ms is cut off.
    (1, 0, (31 * 32 + 31) * 2 + 1),
  }


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "u4", "f2", "f4", "u8"])
def test_gestures_with_times_of_any_type(tmp_path, dtype):
  """In the file's type a thousand times 250 ms might not be right."""
  rows = [(0, 3, 0, 5), (4, 3, 1, 100), (127, 124, 1, 250)]
  dtype = np.dtype(dtype)
  write_gesture(tmp_path, {("user01_lab", 7): rows}, dtype=dtype)
  trains, _ = tonic_sources.load("dvs_gesture", tmp_path, "test", 5, 250)
  want = {(0, 0, 0), (0, 19, 3), (0, 49, (31 * 32 + 31) * 2 + 1)}
  assert _set_bits(trains, 2048) == want


def test_kept_and_made_anew_after_a_change(tmp_path, monkeypatch):
  write_nmnist(tmp_path, {(3, "1"): [(0, 0, 0, 0)], (4, "1"): []})
  load = lambda dt_ms=10, split="test": tonic_sources.load(
    "nmnist", tmp_path, split, dt_ms, 30, cache_dir=tmp_path / "cache"
  )
  first, read = load(), tonic_sources._read
  monkeypatch.setattr(tonic_sources, "_read", lambda *_: 1 / 0)
  for a, b in zip(first, load(), strict=True):
    np.testing.assert_array_equal(a, b, strict=True)
  with pytest.raises(ValueError, match="division by zero"):
    load(dt_ms=5)
  write_nmnist(tmp_path, {(3, "1"): [(0, 0, 0, 0)], (4, "1"): []}, "Train")
  with pytest.raises(ValueError, match="division by zero"):
    load(split="train")
  monkeypatch.setattr(tonic_sources, "_read", read)
  write_nmnist(tmp_path, {(4, "1"): [(1, 0, 0, 0)]})
  changed, labels = load()
  assert _set_bits(changed, 2312) == {(0, 0, 0), (1, 0, 2)}
  assert labels.tolist() == [3, 4]


@pytest.mark.parametrize("times", ["f4", "f2"])
def test_shd(tmp_path, times):
  """The real file has its times as float16."""
  recordings = [[(0.0126, 699), (0.2002, 3)], [], [(0.031, 0), (1.5, 9)]]
  write_shd(tmp_path, recordings, [19, 4, 0], split="train", times=times)
  trains, labels = tonic_sources.load("shd", tmp_path, "train", 2.5, 250)
  assert trains.shape == (3, 100, 88)
  assert labels.tolist() == [19, 4, 0]
  got = _set_bits(trains, 700)
  # 12.6 and 200.2 ms stay in steps 5 and 80 as float16, which has 1 in 2048.
  assert got == {(0, 5, 699), (0, 80, 3), (2, 12, 0)}


@real
def test_real_nmnist_recording(tmp_path):
  """Against another reading of the bytes, bit for bit."""
  path = tmp_path / "NMNIST" / "Train" / "4" / "00001.bin"
  path.parent.mkdir(parents=True, exist_ok=True)
  shutil.copy(REAL, path)
  trains, labels = tonic_sources.load("nmnist", tmp_path, "train", 5, 300)
  raw = np.fromfile(REAL, np.uint8).reshape(-1, 5).astype(np.int64)
  time = ((raw[:, 2] & 127) << 16) | (raw[:, 3] << 8) | raw[:, 4]
  assert raw[:, :2].max() <= 33 and (np.diff(time) >= 0).all()
  step = time // 5000
  neuron = (raw[:, 1] * 34 + raw[:, 0]) * 2 + (raw[:, 2] >> 7)
  want = {
    (0, *pair) for pair in np.stack([step, neuron], 1)[step < 60].tolist()
  }
  assert len(raw) == 4325 and labels.tolist() == [4]
  assert _set_bits(trains, 2312) == want


def test_binning_is_that_of_events(tmp_path):
  random = np.random.default_rng(0)
  columns = random.integers(0, (34, 34, 2**20, 2), (500, 4))
  write_nmnist(tmp_path, {(1, "a"): columns.tolist()})
  trains, _ = tonic_sources.load("nmnist", tmp_path, "test", 20, 400)
  x, y, t, p = columns.T
  want = events.bin_events(
    events.Events(x, y, p, t), (34, 34, 2), 20000, 20, start_us=0
  )
  np.testing.assert_array_equal(trains[0], want)


@pytest.mark.parametrize(
  "name, where",
  [
    ("nmnist", r"NMNIST/Test/\*/\*.bin"),
    ("dvs_gesture", r"DVSGesture/ibmGestureTest/\*/\*.npy"),
    ("shd", "SHD/shd_test.h5"),
  ],
)
def test_nothing_is_downloaded_unasked(tmp_path, name, where):
  with pytest.raises(FileNotFoundError, match=f"{where}: .*download=True"):
    tonic_sources.load(name, tmp_path, "test", 10, 100)
  assert not list(tmp_path.iterdir())
  with pytest.raises(RuntimeError, match="a test wanted http"):
    tonic_sources.load(name, tmp_path, "test", 10, 100, download=True)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"name": "mnist"}, "name: expected one of .*'shd'.*, got 'mnist'"),
    ({"split": "valid"}, "split: expected 'train' or 'test', got 'valid'"),
    ({"dt_ms": 0}, "dt_ms: expected a positive number, got 0"),
    ({"dt_ms": float("nan")}, "dt_ms: expected a positive number, got nan"),
    ({"dt_ms": 0.0005}, "dt_ms: expected whole microseconds, got 0.0005 ms"),
    ({"dt_ms": 0.0015}, "dt_ms: expected whole microseconds"),
    ({"duration_ms": -1}, "duration_ms: expected a positive number, got -1"),
    ({"duration_ms": 5}, "duration_ms: expected a multiple of dt_ms = 10"),
    ({"duration_ms": 105}, "duration_ms: .*, got 105"),
  ],
)
def test_rejects_arguments(tmp_path, change, message):
  arguments = dict(
    name="nmnist", data_dir=tmp_path, split="test", dt_ms=10, duration_ms=100
  )
  with pytest.raises(ValueError, match=message):
    tonic_sources.load(**(arguments | change))


def _rejects(name, folder, message):
  with pytest.raises(ValueError, match=message):
    tonic_sources.load(name, folder, "test", 10, 100)


def test_rejects_damaged_nmnist(tmp_path):
  write_nmnist(tmp_path, {(2, "a"): [(1, 1, 5, 0)] * 3})
  path = tmp_path / "NMNIST" / "Test" / "2" / "a.bin"
  path.write_bytes(path.read_bytes()[:-1])
  _rejects("nmnist", tmp_path, "2/a.bin: .*expected 5 bytes per.*got 14 bytes")
  write_nmnist(tmp_path, {(2, "a"): [(34, 1, 5, 0)]})
  _rejects("nmnist", tmp_path, r"2/a.bin: .*events.x: expected 0\.\.33, got 34")
  path.parent.rename(path.parent.with_name("two"))
  _rejects("nmnist", tmp_path, "NMNIST/Test: tonic cannot open it: .*'o'")


def test_rejects_damaged_gestures(tmp_path):
  # tonic would make 0 of 65536.
  for row in (
    [128, 0, 1, 5], [0, -1, 1, 5], [0, 65536, 1, 5], [0, 0, 1, -5],
    [0, 0, 2, 5], [0, 0, 1, 2**50],
  ):  # fmt: skip
    write_gesture(tmp_path, {("user01_lab", 0): [row]})
    _rejects(
      "dvs_gesture", tmp_path, r"user01_lab/0.npy: .*x and y in 0\.\.127"
    )
  path = tmp_path / "DVSGesture" / "ibmGestureTest" / "user01_lab" / "0.npy"
  for values in (np.zeros((4, 3)), np.zeros(4), np.zeros((1, 4), "S3")):
    np.save(path, values)
    _rejects(
      "dvs_gesture", tmp_path, r"0.npy: recording 0: expected .*\[E, 4\]"
    )
  path.write_bytes(path.read_bytes()[:150])
  _rejects("dvs_gesture", tmp_path, "0.npy: recording 0: ")
  path.rename(path.with_name("11.npy"))
  write_gesture(tmp_path, {("user01_lab", 11): [[1, 1, 1, 5]]})
  _rejects(
    "dvs_gesture", tmp_path, r"11.npy: .*label: expected 0\.\.10, got 11"
  )


class Trap:
  """An object whose unpickling leaves a trace."""

  def __reduce__(self):
    return exec, ("import sys; sys.trap_was_sprung = True",)


def test_no_recording_is_unpickled(tmp_path):
  folder = tmp_path / "DVSGesture" / "ibmGestureTest" / "user01_lab"
  folder.mkdir(parents=True)
  np.save(folder / "0.npy", np.array([Trap()], object), allow_pickle=True)
  _rejects("dvs_gesture", tmp_path, "0.npy: .*allow_pickle=False")
  assert not hasattr(sys, "trap_was_sprung")


def test_rejects_damaged_shd(tmp_path):
  path = write_shd(tmp_path, [[(0.01, 700)]], [0])
  _rejects("shd", tmp_path, r"shd_test.h5: .*events.x: .*0\.\.699, got 700")
  shutil.rmtree(path.parent)
  write_shd(tmp_path, [[(0.01, 7)]], [20])
  _rejects("shd", tmp_path, r"shd_test.h5: .*label: expected 0\.\.19, got 20")
  shutil.rmtree(path.parent)
  write_shd(tmp_path, [[(float("nan"), 7)]], [2])
  _rejects("shd", tmp_path, "shd_test.h5: .*times from 0 on")
  with h5py.File(path, "a") as file:
    del file["extra/keys"]
  _rejects("shd", tmp_path, "shd_test.h5: tonic cannot open it")
  path.write_bytes(path.read_bytes()[:1000])
  _rejects("shd", tmp_path, "shd_test.h5: tonic cannot open it")


def test_without_tonic_the_error_names_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tonic", None)
  with pytest.raises(ImportError, match=r"pip install timedecode\[tonic\]"):
    tonic_sources.load("shd", tmp_path, "test", 10, 100)
