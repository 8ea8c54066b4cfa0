"""IDX files: real ones, ones written here, every way to be wrong."""

import gzip
import os
import pathlib
import struct
import tracemalloc

import numpy as np
import pytest

from timedecode.datasets import idx

REAL = pathlib.Path(__file__).parents[2] / "shared" / "data" / "mnist"
real = pytest.mark.skipif(
  not (REAL / "t10k-images-idx3-ubyte.gz").exists(),
  reason=f"no real MNIST files in {REAL}",
)

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 4), np.uint8)
LABELS = np.array([3, 0, 255, 7, 9], np.uint8)


def _idx(values, sizes=None, magic=None):
  sizes = values.shape if sizes is None else sizes
  magic = bytes((0, 0, 8, values.ndim)) if magic is None else magic
  return magic + struct.pack(f">{len(sizes)}I", *sizes) + values.tobytes()


def _write(path, content, packed=False):
  path.write_bytes(gzip.compress(content) if packed else content)
  return path


@pytest.mark.parametrize("packed", [False, True])
def test_reads_what_was_written_whatever_the_name(tmp_path, packed):
  images = _write(tmp_path / "images", _idx(IMAGES), packed)
  labels = _write(tmp_path / "labels.gz", _idx(LABELS), packed)
  got, digits = idx.read_pair(images, str(labels))
  np.testing.assert_array_equal(got, IMAGES, strict=True)
  np.testing.assert_array_equal(digits, LABELS.astype(np.int32), strict=True)


@real
def test_real_test_images():
  images, labels = idx.read_pair(
    REAL / "t10k-images-idx3-ubyte.gz", REAL / "t10k-labels-idx1-ubyte.gz"
  )
  assert images.shape == (10000, 28, 28) and images.dtype == np.uint8
  # Mean 0.1325 and deviation 0.3105 of the test images are widely known.
  assert abs(images.mean() / 255 - 0.1325) < 5e-5
  assert abs(images.std() / 255 - 0.3105) < 5e-5
  assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
  counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
  assert np.bincount(labels).tolist() == counts
  with gzip.open(REAL / "t10k-images-idx3-ubyte.gz") as file:
    file.seek(16 + 1234 * 784 + 10 * 28)
    assert images[1234, 10].tobytes() == file.read(28)


@real
def test_real_training_labels():
  labels = idx.read_labels(REAL / "train-labels-idx1-ubyte.gz")
  counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
  assert np.bincount(labels).tolist() == counts
  assert labels[:6].tolist() == [5, 0, 4, 1, 9, 2]


BAD = {
  "empty": (b"", "offset 0: truncated: expected 4 bytes of magic"),
  "short magic": (b"\0\0\x08", "offset 3: truncated: .* from offset 0, got 3"),
  "labels": (_idx(LABELS), r"offset 0: expected magic 0x00000803 \(images\), "
             "got 0x00000801"),
  "floats": (_idx(IMAGES, magic=b"\0\0\x0d\x03"), "got 0x00000d03"),
  "short sizes": (_idx(IMAGES)[:9], "offset 9: truncated: .*bytes of sizes"),
  "no image": (_idx(IMAGES[:0]), r"sizes \(0, 3, 4\): expected 1 to"),
  "flat": (_idx(IMAGES, sizes=(5, 0, 4)), r"sizes \(5, 0, 4\): .* got 0"),
  "huge": (_idx(IMAGES, sizes=(2**32 - 1,) * 3), f"expected 1 to {2**30} b"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_rejects_headers(tmp_path, name, packed):
  content, message = BAD[name]
  path = _write(tmp_path / "bad-file", content, packed)
  with pytest.raises(ValueError, match=f"bad-file: .*{message}"):
    idx.read_images(path)


def test_rejects_truncated_data(tmp_path):
  plain = _write(tmp_path / "plain", _idx(IMAGES)[:-1])
  with pytest.raises(
    ValueError, match="plain: offset 4: .*expected 76 .* most 75"
  ):
    idx.read_images(plain)
  # A packed file that is whole but holds too little.
  short = _write(tmp_path / "short", _idx(IMAGES)[:-1], packed=True)
  with pytest.raises(ValueError, match="short: offset 75: trunc.*60 .*got 59"):
    idx.read_images(short)
  # One that was cut; 20 bytes of gzip still unpack to nothing.
  packed = gzip.compress(_idx(IMAGES))
  for size in (20, len(packed) - 9, len(packed) - 1):
    cut = _write(tmp_path / "cut", packed[:size])
    with pytest.raises(ValueError, match="cut: offset .*truncated gzip"):
      idx.read_images(cut)


def test_rejects_data_after_the_end(tmp_path):
  for packed in (False, True):
    path = _write(tmp_path / "long", _idx(LABELS) + b"x", packed)
    with pytest.raises(ValueError, match="long: offset 13: expected the end"):
      idx.read_labels(path)
  path = _write(tmp_path / "tail", gzip.compress(_idx(LABELS)) + b"tail")
  with pytest.raises(ValueError, match="tail: offset 13 .*gzip"):
    idx.read_labels(path)


def test_rejects_damaged_gzip(tmp_path):
  packed = bytearray(gzip.compress(_idx(IMAGES)))
  packed[-6] ^= 1  # The checksum.
  path = _write(tmp_path / "crc", bytes(packed))
  with pytest.raises(ValueError, match="crc: offset 76 .*CRC"):
    idx.read_images(path)


def test_rejects_what_is_no_file(tmp_path):
  with pytest.raises(ValueError, match=f"{tmp_path}: .*got a directory"):
    idx.read_images(tmp_path)
  os.mkfifo(tmp_path / "pipe")
  with pytest.raises(ValueError, match="pipe: .*got a special file"):
    idx.read_images(tmp_path / "pipe")
  with pytest.raises(FileNotFoundError, match="absent"):
    idx.read_images(tmp_path / "absent")


def test_a_header_cannot_fill_the_memory(tmp_path):
  """A gigabyte is promised by 100 bytes: refused before it is allocated."""
  content = _idx(IMAGES, sizes=(2**20, 32, 32))
  tracemalloc.start()
  try:
    for packed in (False, True):
      path = _write(tmp_path / "promise", content, packed)
      with pytest.raises(ValueError, match="offset 4: .*truncated: expected"):
        idx.read_images(path)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 2**20


def test_rejects_pairs_of_different_length(tmp_path):
  images = _write(tmp_path / "images", _idx(IMAGES))
  labels = _write(tmp_path / "labels", _idx(LABELS[:4]))
  with pytest.raises(ValueError, match="labels: .*expected 5 labels.*got 4"):
    idx.read_pair(images, labels)


@real
def test_digest_is_that_of_the_plain_file():
  """The published digest of the unpacked t10k-labels-idx1-ubyte."""
  labels = idx.read_labels(REAL / "t10k-labels-idx1-ubyte.gz")
  published = "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
  assert idx.sha256(labels) == published


@pytest.mark.parametrize(
  "values", [[0.5], [256], [-1], 7], ids=["half", "256", "-1", "rank 0"]
)
def test_digest_rejects(values):
  with pytest.raises(ValueError, match=r"expected an array of integers 0\.\."):
    idx.sha256(np.array(values))


def test_find_knows_the_usual_names(tmp_path):
  name = "t10k-images-idx3-ubyte.gz"
  first, second = tmp_path / "first", tmp_path / "second"
  assert idx.find(name, [first, second]) is None
  for folder, spelling in [
    (second, "t10k-images.idx3-ubyte"),
    (second, "t10k-images.idx3-ubyte.gz"),
    (first, "t10k-images-idx3-ubyte"),
    (first, name),
  ]:
    folder.mkdir(exist_ok=True)
    (folder / spelling).touch()
    assert idx.find(name, [first, second]) == folder / spelling
  (first / "other-idx1").mkdir()
  assert idx.find("other-idx1.gz", [first]) is None
