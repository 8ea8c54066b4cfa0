"""MNIST-DVS from folders, archives and TFDS, written here and real."""

import gzip
import io
import json
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile

import downloads_test
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from timedecode.datasets import aedat, archives, events, mnist_dvs
from timedecode.datasets import mnist_dvs_files as files

HEADER = b"#!AER-DAT2.0\r\n# written by a test\r\n"
_SAMPLE = pathlib.Path(__file__).parents[2] / "shared/data/mnist_dvs"


def _recording(seed, num=300, until=2_300_000):
  rng = np.random.default_rng(seed)
  records = np.zeros((num, 2), ">u4")
  records[:, 0] = rng.integers(0, 2**15, num)
  records[:, 1] = np.sort(rng.integers(0, until, num)) + 77
  return HEADER + records.tobytes()


def _name(digit, number, scale=4, mark=""):
  base = f"mnist_{digit}_scale{scale:02}_{number:04}{mark}.aedat"
  return f"grabbed_data{digit}/scale{scale}/{base}"


def _whole(digits=(0, 3), numbers=(1, 2, 800, 801, 900, 901, 1000)):
  """Names and contents; the seed says which recording it is."""
  return {
    _name(digit, number): _recording(10_000 * digit + number)
    for digit in digits
    for number in numbers
  }


def _write_folder(folder, members):
  for name, data in members.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def _write_zip(path, members):
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in members.items():
      archive.writestr(name, data)


def _write_tar(path, members):
  mode = "w:" + {".gz": "gz", ".tgz": "gz", ".tar": ""}[path.suffix]
  with tarfile.open(path, mode) as archive:
    for name, data in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))


def _write(folder, kind, members):
  if kind == "folder":
    return _write_folder(folder, members)
  folder.mkdir(exist_ok=True)
  for digit in {name[12] for name in members}:
    path = folder / f"grabbed_data{digit}{kind}"
    own = {n: data for n, data in members.items() if n[12] == digit}
    (_write_zip if kind == ".zip" else _write_tar)(path, own)


def _slow(data, crop, dt_us, num_steps, merged):
  """Spikes [T, N] of a file, one event at a time."""
  x0, y0, width, height = crop
  signs = 1 if merged else 2
  out = np.zeros((num_steps, width * height * signs), np.uint8)
  seen = aedat.decode(data).events
  for x, y, polarity, time in zip(*(f.tolist() for f in seen), strict=True):
    step = (time - seen.timestamp[0]) // dt_us
    x, y = x - x0, y - y0
    if 0 <= x < width and 0 <= y < height and step < num_steps:
      index = (y * width + x) * signs + (0 if merged else polarity)
      out[step, index] = 1
  return out


@pytest.mark.parametrize("polarity", mnist_dvs.POLARITIES)
@pytest.mark.parametrize("crop", [mnist_dvs.CROP, (0, 10, 128, 100)])
def test_spikes_are_those_of_the_loop(tmp_path, polarity, crop):
  names = [_name(digit, number) for digit in (0, 3) for number in (1, 30)]
  members = {name: _recording(i, 3_000) for i, name in enumerate(names)}
  _write_folder(tmp_path, members)
  got = mnist_dvs.load(
    tmp_path, tmp_path / "cache", dt_ms=25, duration_s=1.5, crop=crop,
    polarity=polarity, digits=[3, 0],
  )  # fmt: skip
  assert got.labels.tolist() == [0, 3, 0, 3]
  assert got.numbers.tolist() == [1, 1, 30, 30]
  for spikes, digit, number in zip(*got[:3], strict=True):
    data = members[_name(digit, number)]
    want = _slow(data, crop, 25_000, 60, polarity == "merged")
    assert want.sum() > 40
    unpacked = np.unpackbits(spikes, axis=-1, bitorder="little")
    np.testing.assert_array_equal(unpacked[:, : want.shape[1]], want)
    assert not unpacked[:, want.shape[1] :].any()
  assert [field.dtype for field in got] == [
    np.uint8, *[np.int32] * 8, np.uint8
  ]  # fmt: skip


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz", ".tgz"])
def test_archives_give_what_folders_give(tmp_path, kind):
  members = _whole(numbers=(1, 2))
  extra = {
    _name(0, 5, scale=8): b"",
    "__MACOSX/grabbed_data0/scale4/._mnist_0_scale04_0001.aedat": b"x",
    "grabbed_data0/readme.txt": b"text",
  }
  _write(tmp_path / "a", "folder", members)
  _write(
    tmp_path / "b", kind, members | {k: extra[k] for k in list(extra)[::2]}
  )
  found = list(files.items(tmp_path / "b", 4, (0, 3)))
  assert [(i.digit, i.number) for i in found] == [
    (0, 1),
    (0, 2),
    (3, 1),
    (3, 2),
  ]
  a = mnist_dvs.load(tmp_path / "a", tmp_path / "c", digits=(0, 3))
  b = mnist_dvs.load(tmp_path / "b", tmp_path / "c", digits=(0, 3))
  for x, y in zip(a[:-1], b[:-1], strict=True):
    np.testing.assert_array_equal(x, y)
  assert a.unmatched.tobytes() == b"[]"
  told = json.loads(b.unmatched.tobytes())
  assert told == sorted(
    f"{tmp_path / 'b' / f'grabbed_data0{kind}'}: {name}"
    for name in list(extra)[::2]
    if "scale08" not in name
  )
  assert len(list((tmp_path / "c").iterdir())) == 2


def test_a_folder_comes_before_an_archive(tmp_path):
  _write(tmp_path, ".zip", _whole((0,), (1, 2)))
  _write(tmp_path, "folder", _whole((0,), (7,)))
  assert [i.number for i in files.items(tmp_path, 4, (0,))] == [7]
  (tmp_path / "grabbed_data0.tar").write_bytes(b"")
  assert [i.number for i in files.items(tmp_path, 4, (0,))] == [7]


def test_prepared_once_and_anew_after_a_change(tmp_path, monkeypatch):
  _write_folder(tmp_path, _whole((0,), (1, 2)))
  folder = tmp_path / "cache"
  first = mnist_dvs.load(tmp_path, folder, digits=(0,))
  decode = aedat.decode
  monkeypatch.setattr(aedat, "decode", lambda *_: 1 / 0)
  again = mnist_dvs.load(tmp_path, folder, digits=(0,))
  for x, y in zip(first, again, strict=True):
    np.testing.assert_array_equal(x, y)
  with pytest.raises(ZeroDivisionError):
    mnist_dvs.load(tmp_path, folder, digits=(0,), dt_ms=20)
  monkeypatch.setattr(aedat, "decode", decode)
  path = tmp_path / _name(0, 2)
  path.write_bytes(_recording(99))
  os.utime(path, ns=(1, 1))
  changed = mnist_dvs.load(tmp_path, folder, digits=(0,))
  assert (changed.spikes[0] == first.spikes[0]).all()
  assert (changed.spikes[1] != first.spikes[1]).any()


@pytest.mark.parametrize("kind", ["folder", ".zip"])
@pytest.mark.parametrize("change", ["content", "time", "new", "gone"])
def test_files_that_change_while_they_are_read_are_not_kept(
  tmp_path, monkeypatch, kind, change
):
  """After the key is made, and before the last file is read."""
  _write(tmp_path, kind, _whole((0,), (1, 2)))
  path = tmp_path / (_name(0, 1) if kind == "folder" else "grabbed_data0.zip")
  before = path.read_bytes()
  decode, calls = aedat.decode, []

  def changed(data, name):
    calls.append(name)
    if len(calls) == 1:
      if change == "content":
        path.write_bytes(before + b"\0" * 8)
      elif change == "time":
        os.utime(path, ns=(1, 1))
      elif change == "new":
        path.with_name("new.txt").write_bytes(b"")
      else:
        path.unlink()
    return decode(data, name)

  monkeypatch.setattr(aedat, "decode", changed)
  if change == "new" and kind == ".zip":  # Beside an archive it is no matter.
    assert len(_load(tmp_path).labels) == 2
    return
  message = f"{path.parent}.*changed while the data were read: expected "
  if change == "gone" and kind == ".zip":
    message = "expected a folder grabbed_data0/scale4 or an archive"
  with pytest.raises(ValueError, match=message):
    _load(tmp_path)
  assert not list(tmp_path.glob("c/*"))
  path.write_bytes(before)
  assert len(_load(tmp_path).labels) == 2


def test_split_goes_by_number(tmp_path):
  _write(tmp_path, ".zip", _whole())
  everything = mnist_dvs.load(tmp_path, tmp_path / "c", digits=(0, 3))
  parts = mnist_dvs.split(everything)
  want = ([1, 1, 2, 2, 800, 800], [801, 801, 900, 900], [901, 901, 1000, 1000])
  for part, numbers in zip(parts, want, strict=True):
    assert part.numbers.tolist() == numbers
    assert part.labels.tolist() == [0, 3] * (len(numbers) // 2)
    rows = np.isin(everything.numbers, numbers)
    np.testing.assert_array_equal(part.spikes, everything.spikes[rows])
  few = mnist_dvs.split(everything, 2, 801)
  assert [len(part.labels) for part in few] == [2, 4, 8]
  for bounds in ((0, 5), (6, 5)):
    with pytest.raises(ValueError, match="1 <= validation_from <= test_from"):
      mnist_dvs.split(everything, *bounds)


def test_what_is_left_out_is_named_and_counted(tmp_path):
  special = _recording(3) + b"\0\0\x80\0\0\x30\0\0" * 2
  late = HEADER + np.array([[2, 9], [2, 4]], ">u4").tobytes()
  members = _whole((0,), (1, 4)) | {
    _name(0, 2): b"",
    _name(0, 3): HEADER,
    _name(0, 5): special,
    _name(0, 6): late,
    _name(0, 1, mark="_qt1"): _recording(1),
  }
  _write_folder(tmp_path, members)
  got = mnist_dvs.load(tmp_path, tmp_path / "c", digits=(0,))
  assert got.numbers.tolist() == [1, 4, 5, 6]
  assert got.empty.tolist() == [[0, 2], [0, 3]] and got.cut.tolist() == [[0, 1]]
  assert got.special.tolist() == [0, 0, 2, 0]
  assert got.late.tolist() == [0, 0, 0, 1]
  assert mnist_dvs.describe(got).splitlines() == [
    "digit 0: 4 recordings, numbers 1..6 (994 of 1..1000 missing)",
    "left out, empty: 2: recordings 2 of digit 0, 3 of digit 0",
    "left out, cut: 1: recordings 1 of digit 0",
    "short, silent at the end: 1: recordings 6 of digit 0",
    "2 special events left out",
    "1 late events moved",
  ]


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar"])
def test_what_is_no_recording_or_twice_there_is_named(tmp_path, kind):
  one, two = _recording(1), _recording(2)
  folder = "grabbed_data0/scale4"
  members = {
    _name(0, 1): one,
    _name(0, 2): two,
    _name(0, 3): one,
    _name(0, 8): two,
    _name(0, 9): two,
    _name(0, 1, scale=8): one,
    f"{folder}/notes.txt": b"",
    f"{folder}/mnist_0_scale04_01.aedat": one,
  }
  if kind != ".zip":  # Whose names are always text.
    members[f"{folder}/caf\udce9.txt"] = b""
  _write(tmp_path, kind, members)
  got = mnist_dvs.load(tmp_path, tmp_path / "c", digits=(0,))
  assert got.numbers.tolist() == [1, 2, 3, 8, 9]
  want = [[0, 3, 0, 1], [0, 8, 0, 2], [0, 9, 0, 2]]
  assert got.repeated.tolist() == want
  equal, passed = mnist_dvs.describe(got).splitlines()[1:]
  assert equal == (
    "equal spikes: 3: 3 of digit 0 is 1 of digit 0, 8 of digit 0 is 2 of digit"
    " 0, 9 of digit 0 is 2 of digit 0"
  )
  assert passed.startswith("passed over, not named as a recording: ")
  assert "mnist_0_scale04_01.aedat, " in passed
  assert passed.endswith(f"{folder}/notes.txt")
  assert ("caf\\udce9.txt" in passed) == (kind != ".zip")
  assert "scale08" not in passed


def test_what_lies_in_a_wrong_folder_is_named(tmp_path):
  folder = tmp_path / "grabbed_data0/scale4"
  _write_folder(tmp_path, {_name(0, 1): _recording(1)})
  (folder / "mnist_0_scale08_0002.aedat").write_bytes(_recording(2))
  (folder / "more").mkdir()
  (folder / "more" / "mnist_0_scale04_0003.aedat").write_bytes(_recording(3))
  (folder / "two\nlines").write_bytes(b"")
  got = mnist_dvs.load(tmp_path, tmp_path / "c", digits=(0,))
  assert got.numbers.tolist() == [1]
  (passed,) = mnist_dvs.describe(got).splitlines()[1:]
  assert passed == (
    f"passed over, not named as a recording: 3:"
    f" {folder}/mnist_0_scale08_0002.aedat, {folder}/more/,"
    f" {folder}/two\\nlines"
  )


def test_recordings_without_a_spike_are_not_called_equal(tmp_path):
  outside = HEADER + np.array([[0, 9], [0, 2_900_000]], ">u4").tobytes()
  _write_folder(tmp_path, {_name(0, n): outside for n in (1, 2)})
  got = mnist_dvs.load(tmp_path, tmp_path / "c", digits=(0,))
  assert not got.spikes.any() and len(got.labels) == 2
  assert not len(got.repeated)


def test_short_recordings_are_listed(tmp_path):
  last = {1: 99_999, 2: 100_000, 3: 5, 4: 3_000_000}
  members = {
    _name(0, number): HEADER + np.array([[2, 7], [2, 7 + t]], ">u4").tobytes()
    for number, t in last.items()
  }
  _write_folder(tmp_path, members)
  got = _load(tmp_path, duration_s=0.1)
  assert got.numbers.tolist() == [1, 2, 3, 4]
  assert got.short.tolist() == [[0, 1], [0, 3]]
  line = "short, silent at the end: 2: recordings 1 of digit 0, 3 of digit 0"
  assert mnist_dvs.describe(got).splitlines()[1:2] == [line]
  assert not len(got.repeated)  # They have no spike in the window.
  many = got._replace(short=np.array([[0, number] for number in range(1, 41)]))
  assert mnist_dvs.describe(many).endswith("20 of digit 0, and 20 more")


def _load(folder, **options):
  return mnist_dvs.load(folder, folder / "c", **{"digits": (0,)} | options)


def test_missing_recordings_are_named(tmp_path):
  with pytest.raises(ValueError, match=f"{tmp_path}: digit 0: expected a fold"):
    _load(tmp_path)
  _write_folder(tmp_path, _whole((0,), (1,)))
  with pytest.raises(ValueError, match="digit 1: .*grabbed_data1/scale4"):
    _load(tmp_path, digits=range(10))
  with pytest.raises(ValueError, match="digit 0: .*grabbed_data0/scale8"):
    _load(tmp_path, scale=8)
  (tmp_path / "grabbed_data2/scale4").mkdir(parents=True)
  with pytest.raises(ValueError, match="recordings of digit 2 at scale 4, got"):
    _load(tmp_path, digits=(0, 2))
  _write_folder(tmp_path, {_name(3, 1, mark="_qt1"): _recording(0)})
  with pytest.raises(ValueError, match="with events, got none .*left out, cut"):
    _load(tmp_path, digits=(3,))
  assert not (tmp_path / "c").exists() or not list((tmp_path / "c").iterdir())


def test_misplaced_and_duplicated_recordings_are_named(tmp_path):
  first = _name(0, 1)
  for other, message in (
    ("copy/" + first, "two files of recording 1 of digit 0: .* and copy/grab"),
    (
      _name(3, 1),
      "mnist_3_scale04_0001.aedat: expected a recording of digit 0",
    ),
    (_name(0, 0), "mnist_0_scale04_0000.aedat: expected a number in 1..1000"),
    (_name(0, 1001), "_1001.aedat: expected a number in 1..1000"),
  ):
    _write_zip(tmp_path / "grabbed_data0.zip", {first: HEADER, other: HEADER})
    where = f"{tmp_path}/grabbed_data0.zip: "
    with pytest.raises(ValueError, match=f"^{where}.*{message}"):
      _load(tmp_path)
  (tmp_path / "grabbed_data0.tgz").write_bytes(b"")
  with pytest.raises(ValueError, match="digit 0: two archives"):
    _load(tmp_path)


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar"])
def test_a_bad_recording_is_named_with_its_byte(tmp_path, kind):
  members = _whole((0,), (1, 2)) | {_name(0, 3): _recording(0) + b"abc"}
  _write(tmp_path, kind, members)
  where = "grabbed_data0.*mnist_0_scale04_0003.aedat: byte 2435: .*got 3"
  with pytest.raises(ValueError, match=where):
    _load(tmp_path)


@pytest.mark.parametrize(
  "name",
  ["../evil", "/etc/evil", "a/../../evil", "C:/evil", "..\\evil", "\\evil"],
)
@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_members_that_point_outside_are_refused(tmp_path, kind, name):
  members = {_name(0, 1): _recording(0), name: b"x"}
  write = _write_zip if kind == ".zip" else _write_tar
  write(tmp_path / f"grabbed_data0{kind}", members)
  with pytest.raises(ValueError, match=r"grabbed_data0\..*refused: .*inside"):
    _load(tmp_path)


def test_links_and_devices_are_refused(tmp_path):
  for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
    path = tmp_path / "grabbed_data0.tar"
    with tarfile.open(path, "w") as archive:
      info = tarfile.TarInfo(_name(0, 1))
      info.type, info.linkname = kind, "/etc/passwd"
      archive.addfile(info)
    with pytest.raises(ValueError, match="refused: .*link or device"):
      _load(tmp_path)
  path.unlink()
  info = zipfile.ZipInfo(_name(0, 1))
  info.external_attr = (stat.S_IFLNK | 0o777) << 16
  with zipfile.ZipFile(tmp_path / "grabbed_data0.zip", "w") as archive:
    archive.writestr(info, "/etc/passwd")
  with pytest.raises(ValueError, match="refused: .*link or device"):
    _load(tmp_path)


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_huge_members_are_refused(tmp_path, kind, monkeypatch):
  monkeypatch.setattr(archives, "MEMBER_LIMIT", 1_000)
  _write(tmp_path, kind, _whole((0,), (1,)))
  with pytest.raises(ValueError, match="expected at most 1000 bytes, got 2435"):
    _load(tmp_path)


def test_zips_are_read_in_bounded_memory_whatever_their_sizes_say(tmp_path):
  path = tmp_path / "grabbed_data0.zip"
  _write_zip(path, {_name(0, 1): bytes(100 * 2**20)})
  whole = bytearray(path.read_bytes())
  struct.pack_into("<I", whole, whole.rfind(b"PK\1\2") + 24, 2_435)
  path.write_bytes(whole)
  del whole
  tracemalloc.start()
  with pytest.raises(ValueError, match="grabbed_data0.zip"):
    _load(tmp_path)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 16 * 2**20


def _damage(path, at, value=0xFF):
  whole = bytearray(path.read_bytes())
  whole[at] ^= value
  path.write_bytes(whole)


def test_a_damaged_member_is_named_with_its_byte(tmp_path):
  """Archive, member, and where in the archive the member begins."""
  names = [_name(0, number) for number in (1, 2)]
  path = tmp_path / "grabbed_data0.zip"
  _write_zip(path, {name: _recording(i) for i, name in enumerate(names)})
  whole = path.read_bytes()
  second = whole.index(b"PK\3\4", 4)
  # Its signature, its content (so the checksum), the first of the compressed.
  where = f"^{path}: member '{names[1]}' at byte {second}: damaged: "
  for at in (second, second + 300, second + 30 + len(names[1])):
    _damage(path, at)
    with pytest.raises(ValueError, match=where):
      _load(tmp_path)
    path.write_bytes(whole)
  path.unlink()
  # A tar that ends within the second member: 512, 2560 and 512 bytes later.
  for kind, unpacked in ((".tar", ""), (".tgz", " of the unpacked data")):
    path = tmp_path / f"grabbed_data0{kind}"
    _write_tar(path, {name: _recording(i) for i, name in enumerate(names)})
    whole = path.read_bytes()
    if kind == ".tgz":
      whole = gzip.compress(gzip.decompress(whole)[:4_000])[:-9]
    path.write_bytes(whole[:4_000])
    where = f"^{path}: member '{names[1]}' at byte 3072{unpacked}: damaged: "
    with pytest.raises(ValueError, match=where):
      _load(tmp_path)
    path.unlink()


def test_a_tar_that_ends_between_members_says_after_which(tmp_path):
  path = tmp_path / "grabbed_data0.tar"
  _write_tar(path, {_name(0, number): _recording(0) for number in (1, 2)})
  whole, last = path.read_bytes(), f"after member '{_name(0, 1)}'"
  path.write_bytes(whole[:3_100])  # In the second header.
  with pytest.raises(ValueError, match=f"{path}: .*{last} no member .* 3072"):
    _load(tmp_path)
  path.write_bytes(whole[:3_072])
  with pytest.raises(ValueError, match=f"{path}: cut: byte 3072, {last}: exp"):
    _load(tmp_path)
  path.unlink()
  path = tmp_path / "grabbed_data0.tgz"
  path.write_bytes(gzip.compress(whole[:3_100])[:-9])
  where = f"{path}: byte 3072 of the unpacked data, {last}: damaged: "
  with pytest.raises(ValueError, match=where):
    _load(tmp_path)


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar"])
def test_the_number_of_files_is_bounded(tmp_path, kind, monkeypatch):
  _write(tmp_path, kind, _whole((0,), (1, 2, 3)))
  monkeypatch.setattr(archives, "FILES_LIMIT", 3)
  assert len(_load(tmp_path).labels) == 3
  monkeypatch.setattr(archives, "FILES_LIMIT", 2)
  where = "grabbed_data0/scale4" if kind == "folder" else f"data0{kind}"
  message = f"{where}: expected at most 2 files and folders, got 3"
  with pytest.raises(ValueError, match=message):
    list(files.items(tmp_path, 4, (0,)))
  if kind == "folder":  # Before anything is read, for the cache's key.
    with pytest.raises(ValueError, match=message):
      _load(tmp_path)


def test_the_size_of_a_recording_in_a_folder_is_bounded(tmp_path, monkeypatch):
  _write_folder(tmp_path, _whole((0,), (1,)))
  monkeypatch.setattr(archives, "MEMBER_LIMIT", 2_434)
  message = f"{tmp_path / _name(0, 1)}: .* at most 2434 bytes, got 2435"
  with pytest.raises(ValueError, match=message):
    _load(tmp_path)
  with pytest.raises(ValueError, match=message):
    aedat.read(tmp_path / _name(0, 1))
  monkeypatch.setattr(archives, "MEMBER_LIMIT", 2_435)
  assert len(_load(tmp_path).labels) == 1


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, method):
  with zipfile.ZipFile(tmp_path / "grabbed_data0.zip", "w", method) as archive:
    archive.writestr(_name(0, 1), _recording(0))
  with pytest.raises(ValueError, match="refused: .*got compression 1"):
    _load(tmp_path)


def test_a_zip_whose_directory_lost_a_member_is_named(tmp_path):
  path = tmp_path / "grabbed_data0.zip"
  _write_zip(path, _whole((0,), (1, 2)))
  whole = bytearray(path.read_bytes())
  # The comment of the first entry is the second entry.
  second = len(whole) - 22 - whole.rfind(b"PK\1\2")
  struct.pack_into("<H", whole, whole.find(b"PK\1\2") + 32, second)
  path.write_bytes(whole)
  with pytest.raises(ValueError, match="data0.zip: .*expected 2 .* got 1"):
    _load(tmp_path)


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz"])
def test_cut_archives_are_named(tmp_path, kind):
  _write(tmp_path, kind, _whole((0,), (1, 2)))
  path = tmp_path / f"grabbed_data0{kind}"
  whole = path.read_bytes()
  # A plain tar's last blocks are zeros, of which two have to be there.
  needed = 2 * 3_072 + 1_023 if kind == ".tar" else len(whole) - 30
  blocks = range(512, needed, 512) if kind == ".tar" else ()
  for length in {*range(0, needed, 97), *blocks, needed}:
    path.write_bytes(whole[:length])
    with pytest.raises(ValueError, match="grabbed_data0"):
      _load(tmp_path)


@pytest.mark.parametrize("kind", [".tar", ".tgz"])
def test_a_tar_with_a_damaged_header_is_named_with_its_byte(tmp_path, kind):
  _write(tmp_path, ".tar", _whole((0,), (1, 2, 3)))
  plain = tmp_path / "grabbed_data0.tar"
  whole = bytearray(plain.read_bytes())
  header = 3_072  # Of the second: after 512 bytes and 2560 of content.
  whole[header + 3] ^= 1
  plain.unlink()
  path = tmp_path / f"grabbed_data0{kind}"
  path.write_bytes(gzip.compress(whole) if kind == ".tgz" else whole)
  with pytest.raises(ValueError, match=f"data0{kind}: damaged: byte {header}:"):
    _load(tmp_path)
  # Something behind the end: members that were appended the wrong way.
  whole[header + 3] ^= 1
  whole[-1] = 1
  path.write_bytes(gzip.compress(whole) if kind == ".tgz" else whole)
  with pytest.raises(ValueError, match=f"byte {len(whole) - 1}: .*zeros"):
    _load(tmp_path)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@hypothesis.settings(max_examples=150, deadline=None, database=None)
@hypothesis.given(data=strategies.data())
def test_damaged_archives_give_all_files_or_a_value_error(
  tmp_path_factory, suffix, data
):
  folder = tmp_path_factory.mktemp("fuzz", numbered=True)
  path = folder / f"archive{suffix}"
  members = {_name(0, 1): b"first" * 9, _name(0, 2): b"second" * 9}
  (_write_zip if suffix == ".zip" else _write_tar)(path, members)
  whole = bytearray(path.read_bytes())
  for _ in range(data.draw(strategies.integers(1, 4))):
    at = data.draw(strategies.integers(0, min(len(whole), 2_600) - 1))
    whole[at] = data.draw(strategies.integers(0, 255))
  path.write_bytes(whole)
  try:
    got = list(archives.files(path, lambda name: True))
  except archives.ArchiveError as error:
    assert str(error).startswith(str(path))
  else:
    assert len(got) == len(members)
  assert [p.name for p in folder.iterdir()] == [path.name]


@pytest.mark.parametrize(
  "options, message",
  [
    ({"scale": 5}, r"scale: expected one of \(4, 8, 16\), got 5"),
    ({"digits": ()}, "digits: expected some of 0..9"),
    ({"digits": (0, 10)}, "digits: expected some of 0..9"),
    ({"digits": (0, 0)}, "digits: expected each once"),
    ({"polarity": "on"}, "polarity: expected one of .* got 'on'"),
    ({"dt_ms": 0}, "dt_ms: expected a positive number, got 0"),
    ({"dt_ms": float("nan")}, "dt_ms: expected a positive number"),
    ({"duration_s": -1}, "duration_s: expected a positive number"),
    ({"dt_ms": 30}, "duration_s: expected a multiple of dt_ms = 30, got 2"),
    ({"dt_ms": 1e-4}, "dt_ms: expected whole microseconds, got 0.0001 ms"),
    ({"dt_ms": "10"}, "dt_ms: expected a positive number, got '10'"),
    ({"crop": (48, 48, 26)}, "crop: expected"),
    ({"crop": (48, 48, 26, 25.5)}, "crop: expected a whole number, got 25.5"),
    ({"crop": (48, -1, 26, 26)}, "crop: expected"),
    ({"crop": (48, 48, 26, 0)}, "crop: expected"),
    ({"crop": (103, 48, 26, 26)}, "crop: expected a part of 128x128"),
  ],
)
def test_bad_options_are_named(tmp_path, options, message):
  _write_folder(tmp_path, _whole((0,), (1,)))
  with pytest.raises(ValueError, match=message):
    _load(tmp_path, **options)


@pytest.fixture
def through_tfds():
  import tensorflow_datasets as tfds

  from timedecode.datasets import mnist_dvs_tfds

  tfds.disable_progress_bar()
  return mnist_dvs_tfds


@pytest.mark.parametrize("kind", ["folder", ".zip"])
def test_tfds_gives_raw_events_in_any_order(tmp_path, through_tfds, kind):
  members = _whole() | {_name(0, 3): b"", _name(0, 4, mark="_qt1"): HEADER}
  _write(tmp_path / "a", kind, members)
  got = through_tfds.load(tmp_path / "a", tmp_path / "b", digits=(3, 0))
  sizes = {name: len(source) for name, source in got.items()}
  assert sizes == {"train": 6, "validation": 4, "test": 4}
  for name, source in got.items():
    for index in reversed(range(len(source))):
      example = source[index]
      digit, number = example["label"], example["number"]
      assert number in through_tfds.SPLITS[name]
      want = aedat.decode(members.pop(_name(digit, number))).events
      seen = through_tfds.events_of(example)
      for field, expected in zip(seen, want, strict=True):
        np.testing.assert_array_equal(field, expected)
      a = events.bin_events(
        events.crop(seen, 48, 48, 26, 26), (26, 26, 2), 9, 9
      )
      assert a.shape == (9, 169)
  assert len(members) == 2
  assert "tensorflow" not in sys.modules


def test_tfds_needs_no_source_once_prepared(tmp_path, through_tfds):
  _write(tmp_path / "a", "folder", _whole((0,), (1, 901)))
  first = through_tfds.load(tmp_path / "a", tmp_path / "b", digits=(0,))
  assert sorted(first) == ["test", "train"]
  (tmp_path / "a" / _name(0, 1)).unlink()
  again = through_tfds.load(tmp_path / "a", tmp_path / "b", digits=(0,))
  np.testing.assert_array_equal(again["train"][0]["x"], first["train"][0]["x"])
  with pytest.raises(ValueError, match="digit 1: expected a folder"):
    through_tfds.load(tmp_path / "a", tmp_path / "b", digits=(0, 1))
  with pytest.raises(ValueError, match="none: digit 0: expected a folder"):
    through_tfds.load(tmp_path / "none", tmp_path / "b")


PREPARED = "mnist_dvs/scale4_digits0/1.0.0"


def _prepare(folder, through_tfds):
  return through_tfds.load(folder / "a", folder / "b", digits=(0,))


def _cut(path):
  path.write_bytes(path.read_bytes()[:2_000])


def _flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 255
  path.write_bytes(data)


@pytest.mark.parametrize(
  "name, damage",
  [
    ("dataset_info.json", pathlib.Path.unlink),
    ("dataset_info.json", lambda path: path.write_text('{"a')),
    ("mnist_dvs-test.array_record-00000-of-00001", pathlib.Path.unlink),
    ("mnist_dvs-test.array_record-00000-of-00001", _cut),
    ("mnist_dvs-train.array_record-00000-of-00001", _flip),
    ("mnist_dvs-train.array_record-00000-of-00001", "the test's"),
  ],
)
def test_damaged_tfds_folder_is_named(tmp_path, through_tfds, name, damage):
  _write(tmp_path / "a", "folder", _whole((0,), (1, 2, 901, 902)))
  _prepare(tmp_path, through_tfds)
  folder = tmp_path / "b" / PREPARED
  if callable(damage):
    damage(folder / name)
  else:
    shutil.copy(folder / name.replace("train", "test"), folder / name)
  with pytest.raises(ValueError, match=f"{folder}: half prepared or damaged"):
    for source in _prepare(tmp_path, through_tfds).values():
      list(source)
  shutil.rmtree(folder)
  assert len(list(_prepare(tmp_path, through_tfds)["train"])) == 2


def test_tfds_examples_are_a_sequence(tmp_path, through_tfds):
  _write(tmp_path / "a", "folder", _whole((0,), (1, 2, 3)))
  source = _prepare(tmp_path, through_tfds)["train"]
  numbers = lambda examples: [example["number"] for example in examples]
  assert numbers(source) == [1, 2, 3] and source[-1]["number"] == 3
  assert numbers(source.__getitems__([2, 0])) == [3, 1]
  with pytest.raises(IndexError):
    source[3]


def test_what_killed_runs_left_is_no_tfds_set(tmp_path, through_tfds):
  _write(tmp_path / "a", "folder", _whole((0,), (1,)))
  left = (tmp_path / "b" / PREPARED).with_name("incomplete.ABCDEF_1.0.0")
  left.mkdir(parents=True)
  (left / "mnist_dvs-train.array_record-00000-of-00001").write_bytes(b"half")
  assert len(_prepare(tmp_path, through_tfds)["train"]) == 1


def test_full_disk_leaves_no_tfds_set(tmp_path, through_tfds):
  _write(tmp_path / "a", "folder", _whole((0,), range(1, 20)))
  restore = downloads_test.limit_files(10_000)
  try:
    with pytest.raises((OSError, RuntimeError), match="too large"):
      _prepare(tmp_path, through_tfds)
  finally:
    restore()
  assert not list(tmp_path.rglob("*array_record*"))
  assert len(_prepare(tmp_path, through_tfds)["train"]) == 19


def test_another_process_that_was_faster(tmp_path, through_tfds, monkeypatch):
  import tensorflow_datasets as tfds

  _write(tmp_path / "a", "folder", _whole((0,), (1, 901)))
  slow = tfds.core.GeneratorBasedBuilder._download_and_prepare
  runs = []

  def overtaken(builder, **arguments):
    runs.append(builder)
    if len(runs) == 1:
      _prepare(tmp_path, through_tfds)
    slow(builder, **arguments)

  monkeypatch.setattr(
    tfds.core.GeneratorBasedBuilder, "_download_and_prepare", overtaken
  )
  got = _prepare(tmp_path, through_tfds)
  assert len(runs) == 2 and sorted(got) == ["test", "train"]
  assert got["test"][0]["number"] == 901
  assert not list(tmp_path.rglob("*incomplete*"))


PROCESS = """
import pathlib, sys, time
import tensorflow_datasets as tfds
from timedecode.datasets import mnist_dvs_tfds

tfds.disable_progress_bar()
folder = pathlib.Path(sys.argv[1])
print("ready", flush=True)
while not (folder / "go").exists():
  time.sleep(0.001)
got = mnist_dvs_tfds.load(folder / "a", folder / "b", digits=(0,))
print([example["number"] for example in got["train"]])
"""


def test_processes_that_prepare_at_once(tmp_path, through_tfds):
  _write(tmp_path / "a", "folder", _whole((0,), (1, 2, 800, 901)))
  command = [sys.executable, "-c", PROCESS, str(tmp_path)]
  processes = [
    subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(2)
  ]
  for process in processes:
    assert process.stdout.readline() == "ready\n"
  (tmp_path / "go").touch()
  for process in processes:
    assert process.stdout.read().splitlines()[-1] == "[1, 2, 800]"
    assert process.wait() == 0
  assert not list(tmp_path.rglob("*incomplete*"))
  assert len(_prepare(tmp_path, through_tfds)["test"]) == 1


@pytest.mark.parametrize("scale", files.SCALES)
def test_all_digits_at_any_scale(tmp_path, through_tfds, scale):
  members = {_name(d, 901 + d, scale): _recording(d) for d in range(10)}
  _write(tmp_path / "a", ".zip", members)
  source = through_tfds.load(tmp_path / "a", tmp_path / "b", scale=scale)
  assert list(source) == ["test"]
  labels = [source["test"][index]["label"] for index in range(10)]
  assert sorted(labels) == list(range(10))
  got = mnist_dvs.load(tmp_path / "a", tmp_path / "c", scale=scale)
  assert got.labels.tolist() == list(range(10))
  assert got.numbers.tolist() == list(range(901, 911))


def test_recordings_are_read_without_importing_tfds():
  code = (
    "import sys, timedecode.datasets.mnist_dvs;"
    "sys.exit('tensorflow_datasets' in sys.modules)"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not _SAMPLE.is_dir(), reason=f"{_SAMPLE} is not there")
def test_real_recordings(tmp_path, through_tfds):
  got = mnist_dvs.load(_SAMPLE, tmp_path, digits=(0,))
  assert got.spikes.shape == (40, 200, 169)
  assert got.numbers.tolist() == list(range(1, 41)) and not got.labels.any()
  assert 0.03 < np.unpackbits(got.spikes).mean() < 0.04
  assert [len(p.labels) for p in mnist_dvs.split(got, 31, 36)] == [30, 5, 5]
  with pytest.raises(ValueError, match="digit 1: expected a folder"):
    mnist_dvs.load(_SAMPLE, tmp_path)
  with pytest.raises(ValueError, match="left out, cut: 1"):
    mnist_dvs.load(_SAMPLE, tmp_path, digits=(0,), scale=16)
  sources = through_tfds.load(_SAMPLE, tmp_path / "tfds", digits=(0,))
  assert list(sources) == ["train"] and len(sources["train"]) == 40
  example = sources["train"][16]
  path = _SAMPLE / _name(0, example["number"])
  np.testing.assert_array_equal(
    example["timestamp"], aedat.read(path).events.timestamp
  )
