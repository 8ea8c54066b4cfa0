"""MNIST through TFDS: small files of the same form, real ones, and harm."""

import gzip
import json
import pathlib
import shutil
import struct
import subprocess
import sys

import downloads_test
import idx_test
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums

from timedecode.datasets import idx, mnist_tfds

REAL, real, site = idx_test.REAL, idx_test.real, downloads_test.site
COUNTS = {"train": 20, "test": 12}
NAMES = {
  "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
  "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@pytest.fixture(autouse=True)
def quiet():
  tfds.disable_progress_bar()


def _arrays(split):
  random = np.random.default_rng(COUNTS[split])
  images = random.integers(0, 256, (COUNTS[split], 28, 28), np.uint8)
  return images, np.arange(COUNTS[split], dtype=np.int32) % 10


WANT = (*_arrays("train"), *_arrays("test"))


def _plain(values):
  header = struct.pack(f">{values.ndim}I", *values.shape)
  magic = bytes((0, 0, 8, values.ndim))
  return magic + header + values.astype(np.uint8).tobytes()


class Small:
  """Files like MNIST's on a site, and the configuration that expects them."""

  def __init__(self, site):
    self.plain = {}
    splits = {}
    for split, names in NAMES.items():
      files = []
      for name, values in zip(names, _arrays(split), strict=True):
        self.plain[name] = _plain(values)
        packed = gzip.compress(self.plain[name])
        files.append(site.add(name + ".gz", packed, self.plain[name]))
      splits[split] = mnist_tfds.Split(*files, COUNTS[split])
    self.full = mnist_tfds.Config("small", splits=splits)
    self.test = mnist_tfds.Config("small_t", splits={"test": splits["test"]})

  def write(self, folder, splits=("train", "test"), rename=lambda name: name):
    folder.mkdir(parents=True, exist_ok=True)
    for name in sum((NAMES[split] for split in splits), ()):
      path, data = folder / rename(name), self.plain[name]
      path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def small(site):
  return Small(site)


def _assert_equal(got, want):
  assert len(got) == len(want)
  for a, b in zip(got, want, strict=True):
    np.testing.assert_array_equal(a, b, strict=True)


def _tree(folder):
  return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_what_is_official_is_what_tfds_registers():
  registered = checksums.load_url_infos(
    tfds.core.tfds_path() / "url_checksums" / "mnist.txt"
  )
  files = [f for s in mnist_tfds.FULL.splits.values() for f in s[:2]]
  assert {(f.url, f.size, f.sha256) for f in files} == {
    (url, int(info.size), info.checksum) for url, info in registered.items()
  }
  assert mnist_tfds.TRAIN.count == 60000 and mnist_tfds.TEST.count == 10000


@pytest.mark.parametrize(
  "rename",
  [
    lambda name: name + ".gz",
    lambda name: name,
    lambda name: name.replace("-idx", ".idx"),
  ],
  ids=["packed", "plain", "dotted"],
)
def test_loads_the_files_of_users_and_writes_nothing(small, tmp_path, rename):
  small.write(tmp_path, rename=rename)
  before = _tree(tmp_path)
  _assert_equal(mnist_tfds.load_mnist(tmp_path, config=small.full), WANT)
  assert _tree(tmp_path) == before and len(before) == 4


def test_prepared_set_has_random_access(small, tmp_path, site):
  small.write(tmp_path / "mine")
  data_dir = tmp_path / "data"
  builder = mnist_tfds.prepare(
    data_dir, manual_dir=tmp_path / "mine", config=small.full
  )
  shutil.rmtree(tmp_path / "mine")
  source = builder.as_data_source("train")
  assert len(source) == 20
  for i in (19, 3, 7, 3):
    assert source[i]["label"] == i % 10
    np.testing.assert_array_equal(source[i]["image"], WANT[0][i], strict=True)
  _assert_equal(mnist_tfds.load_mnist(data_dir, config=small.full), WANT)
  again = mnist_tfds.prepare(data_dir, config=small.full)
  assert again.as_data_source("test")[11]["label"] == 1
  assert not site.requests and "tensorflow" not in sys.modules


def test_builder_by_itself_uses_the_manual_folder(small, tmp_path):
  small.write(tmp_path / "downloads" / "manual")
  builder = mnist_tfds.MnistIdx(data_dir=tmp_path, config=small.full)
  builder.download_and_prepare(file_format="array_record")
  _assert_equal(mnist_tfds.load_mnist(tmp_path, config=small.full), WANT)


def test_missing_files_are_named_and_not_fetched(small, tmp_path, site):
  small.write(tmp_path, ["test"])
  message = (
    r"no train-images-idx3-ubyte.gz \(split 'train'\), train-labels-idx1-ubyte"
    r".gz \(split 'train'\)\. .* python -c 'from .*load_mnist\(\"/.*\", "
    r"download=True\)'"
  )
  for function in (mnist_tfds.load_mnist, mnist_tfds.prepare):
    with pytest.raises(FileNotFoundError, match=message):
      function(tmp_path, config=small.full)
  with pytest.raises(FileNotFoundError, match="t10k-labels.*split 'test'"):
    mnist_tfds.load_test(tmp_path / "absent")
  assert not site.requests and len(_tree(tmp_path)) == 2
  # The test images are enough for what needs them alone.
  split = small.full.splits["test"]
  _assert_equal(mnist_tfds.load_test(tmp_path, split=split), WANT[2:])
  mnist_tfds.prepare(tmp_path, config=small.test)
  _assert_equal(mnist_tfds.load_mnist(tmp_path, config=small.test), WANT[2:])


def test_refuses_another_set_of_the_same_names(small, tmp_path):
  small.write(tmp_path)
  path = tmp_path / NAMES["train"][0]
  content = bytearray(path.read_bytes())
  content[5000] ^= 1
  path.write_bytes(content)
  message = "train-images-idx3.*expected the contents of .* another data set"
  for function in (mnist_tfds.load_mnist, mnist_tfds.prepare):
    with pytest.raises(ValueError, match=message):
      function(tmp_path, config=small.full)
  path.write_bytes(content[:-1])
  with pytest.raises(ValueError, match="idx3-ubyte: offset 4: .*truncated"):
    mnist_tfds.prepare(tmp_path, config=small.full)
  assert not list(tmp_path.rglob("*array_record*"))


def test_downloads_when_told_to(small, tmp_path, site, capsys):
  small.write(tmp_path, ["test"])
  site.cuts = 1
  got = mnist_tfds.load_mnist(tmp_path, True, config=small.full)
  _assert_equal(got, WANT)
  image, label = (f"{name}.gz" for name in NAMES["train"])
  assert [name for name, _ in site.requests] == [image, image, label]
  assert f"{image}: 0.0" in capsys.readouterr().err
  assert sorted(p.name for p in (tmp_path / "downloads/manual").iterdir()) == [
    image, label
  ]  # fmt: skip
  _assert_equal(mnist_tfds.load_mnist(tmp_path, True, config=small.full), WANT)
  assert len(site.requests) == 3


def test_download_that_fails_is_taken_up_file_by_file(small, tmp_path, site):
  name = NAMES["test"][0] + ".gz"
  whole, site.files[name] = site.files[name], b"something else"
  with pytest.raises((OSError, ValueError), match=f"{name}: expected"):
    mnist_tfds.load_mnist(tmp_path, True, config=small.full)
  assert not list(tmp_path.rglob("*array_record*"))
  kept = tmp_path / "downloads" / "manual"
  assert len(_tree(kept)) == 2  # Both files of the training split.
  site.files[name] = whole
  site.requests.clear()
  got = mnist_tfds.load_mnist(tmp_path, True, config=small.full)
  _assert_equal(got, WANT)
  assert [file for file, _ in site.requests] == [
    n + ".gz" for n in NAMES["test"]
  ]


def test_what_killed_runs_left_is_no_set(small, tmp_path):
  small.write(tmp_path)
  left = tmp_path / "mnist_idx" / "small" / "incomplete.ABCDEF_1.0.0"
  left.mkdir(parents=True)
  (left / "mnist_idx-train.array_record-00000-of-00001").write_bytes(b"half")
  mnist_tfds.prepare(tmp_path, config=small.full)
  _assert_equal(mnist_tfds.load_mnist(tmp_path, config=small.full), WANT)


def _cut(path):
  path.write_bytes(path.read_bytes()[:30000])


@pytest.mark.parametrize(
  "name, damage",
  [
    ("dataset_info.json", pathlib.Path.unlink),
    ("dataset_info.json", lambda path: path.write_text('{"a')),
    ("mnist_idx-test.array_record-00000-of-00001", pathlib.Path.unlink),
    ("mnist_idx-test.array_record-00000-of-00001", _cut),
    ("mnist_idx-train.array_record-00000-of-00001", "the test's"),
  ],
)
def test_half_prepared_folder_is_named(small, tmp_path, name, damage):
  small.write(tmp_path)
  mnist_tfds.prepare(tmp_path, config=small.full)
  folder = tmp_path / "mnist_idx" / "small" / "1.0.0"
  if callable(damage):
    damage(folder / name)
  else:
    shutil.copy(folder / name.replace("train", "test"), folder / name)
  with pytest.raises(ValueError, match=f"{folder}: half prepared or damaged"):
    mnist_tfds.load_mnist(tmp_path, config=small.full)
  shutil.rmtree(folder)
  mnist_tfds.prepare(tmp_path, config=small.full)
  _assert_equal(mnist_tfds.load_mnist(tmp_path, config=small.full), WANT)


def test_full_disk_leaves_no_set(small, tmp_path):
  small.write(tmp_path)
  restore = downloads_test.limit_files(10_000)
  try:
    with pytest.raises((OSError, RuntimeError), match="too large"):
      mnist_tfds.prepare(tmp_path, config=small.full)
  finally:
    restore()
  assert not list(tmp_path.rglob("*array_record*"))
  mnist_tfds.prepare(tmp_path, config=small.full)
  _assert_equal(mnist_tfds.load_mnist(tmp_path, config=small.full), WANT)


def test_another_process_that_was_faster(small, tmp_path, monkeypatch):
  small.write(tmp_path)
  slow = tfds.core.GeneratorBasedBuilder._download_and_prepare
  runs = []

  def overtaken(builder, **arguments):
    runs.append(builder)
    if len(runs) == 1:
      mnist_tfds.prepare(tmp_path, config=small.full)
    slow(builder, **arguments)

  monkeypatch.setattr(
    tfds.core.GeneratorBasedBuilder, "_download_and_prepare", overtaken
  )
  builder = mnist_tfds.prepare(tmp_path, config=small.full)
  assert len(runs) == 2 and len(builder.as_data_source("train")) == 20
  assert not list(tmp_path.rglob("*incomplete*"))
  _assert_equal(mnist_tfds.load_mnist(tmp_path, config=small.full), WANT)


PROCESS = """
import json, pathlib, sys, time
import tensorflow_datasets as tfds
from timedecode.datasets import downloads, mnist_tfds

tfds.disable_progress_bar()
splits = json.load(sys.stdin)
for name, (*files, count) in splits.items():
  splits[name] = mnist_tfds.Split(*(downloads.File(*f) for f in files), count)
config = mnist_tfds.Config("small", splits=splits)
print("ready", flush=True)
while not pathlib.Path(sys.argv[1], "go").exists():
  time.sleep(0.001)
arrays = mnist_tfds.load_mnist(sys.argv[1], True, config=config)
print([int(a.sum(dtype="int64")) for a in arrays])
"""


def test_processes_that_prepare_at_once(small, tmp_path):
  command = [sys.executable, "-c", PROCESS, str(tmp_path)]
  pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
  processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
  for process in processes:
    process.stdin.write(json.dumps(small.full.splits))
    process.stdin.close()
  for process in processes:
    assert process.stdout.readline() == "ready\n"
  (tmp_path / "go").touch()
  sums = str([int(a.sum(dtype=np.int64)) for a in WANT])
  for process in processes:
    assert process.stdout.read().splitlines()[-1] == sums
    assert process.wait() == 0
  _assert_equal(mnist_tfds.load_mnist(tmp_path, config=small.full), WANT)
  files = [path for path in tmp_path.rglob("*") if path.is_file()]
  assert not [path for path in files if "incomplete" in str(path)]
  assert not [path for path in files if path.suffix == ".part"]


@real
def test_real_test_set(tmp_path):
  images, labels = mnist_tfds.load_test(REAL)
  want = idx.read_pair(
    REAL / "t10k-images-idx3-ubyte.gz", REAL / "t10k-labels-idx1-ubyte.gz"
  )
  _assert_equal((images, labels), want)
  builder = mnist_tfds.prepare(
    tmp_path, manual_dir=REAL, config=mnist_tfds.TEST_ONLY
  )
  source = builder.as_data_source("test")
  for i in np.random.default_rng(0).integers(0, 10000, 200).tolist():
    assert source[i]["label"] == labels[i]
    np.testing.assert_array_equal(source[i]["image"], images[i])
  got = mnist_tfds.load_mnist(tmp_path, config=mnist_tfds.TEST_ONLY)
  _assert_equal(got, want)


@real
def test_real_folder_without_training_images_says_so():
  message = r"mnist: no train-images-idx3-ubyte.gz \(split 'train'\)\. Put"
  with pytest.raises(FileNotFoundError, match=message):
    mnist_tfds.load_mnist(REAL)
