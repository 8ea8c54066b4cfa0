"""MNIST in full, 60,000 and 10,000 images, through TFDS without TensorFlow.

TFDS' own MNIST needs TensorFlow; the builder here does not. From the four IDX
files as users have them, packed or plain (`idx.find`), it makes array_record
files, which are read in any order. Whatever is read is held against the digest
of its contents, so files of the same names that hold something else
(Fashion-MNIST) are refused. Nothing is downloaded without `download=True`.

Two configurations in two folders, because TFDS never adds a split to a
folder: "full" has both splits, "test_only" needs the t10k files alone. URLs,
sizes and checksums are those that TFDS 4.9 has for its own MNIST; the digests
of the unpacked files are widely published.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from timedecode.datasets import downloads, idx, tfds_files

_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"


class Split(NamedTuple):
  """Files of images uint8 [count, 28, 28] and of labels [count]."""

  images: downloads.File
  labels: downloads.File
  count: int


TRAIN = Split(
  downloads.File(_URL + "train-images-idx3-ubyte.gz", 9912422,
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
  downloads.File(_URL + "train-labels-idx1-ubyte.gz", 28881,
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
  60000)  # fmt: skip
TEST = Split(
  downloads.File(_URL + "t10k-images-idx3-ubyte.gz", 1648877,
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
  downloads.File(_URL + "t10k-labels-idx1-ubyte.gz", 4542,
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
  10000)  # fmt: skip


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
  """A configuration of the builder: its splits by name."""

  splits: Mapping[str, Split] = dataclasses.field(default_factory=dict)


FULL = Config("full", splits={"train": TRAIN, "test": TEST})
TEST_ONLY = Config("test_only", splits={"test": TEST})


def _folders(data_dir: str | os.PathLike) -> list[pathlib.Path]:
  """Where IDX files are looked for; downloads go to the last."""
  data_dir = pathlib.Path(data_dir).expanduser()
  return [data_dir, data_dir / "downloads" / "manual"]


def _locate(splits, folders, download: bool) -> dict[str, list[pathlib.Path]]:
  """Paths of images and labels per split, or an error that says what to do."""
  files = [(name, f) for name, split in splits.items() for f in split[:2]]
  missing = [(s, f) for s, f in files if idx.find(f.name, folders) is None]
  if missing and not download:
    names = ", ".join(f"{f.name} (split {s!r})" for s, f in missing)
    raise FileNotFoundError(
      f"{folders[0]}: no {names}. Put them there, packed or plain, or download"
      f" {sum(f.size for _, f in missing) / 1e6:.1f} MB: python -c 'from "
      "timedecode.datasets import mnist_tfds as m; m.load_mnist("
      f'"{folders[-1].parents[1]}", download=True)\'. The t10k files alone are '
      "enough for load_test and TEST_ONLY."
    )
  for _, file in missing:
    downloads.fetch(file, folders[-1])
  return {
    name: [idx.find(file.name, folders) for file in split[:2]]
    for name, split in splits.items()
  }


def _verified(where, split: Split, images, labels):
  for file, values in ((split.images, images), (split.labels, labels)):
    if (digest := idx.sha256(values)) != file.contents:
      raise ValueError(
        f"{where}: expected the contents of {file.name}, {split.count} "
        f"examples with SHA-256 {file.contents}, got {len(values)} with "
        f"{digest}: damaged, or another data set"
      )
  return images, labels


def _read(paths, split: Split) -> tuple[np.ndarray, np.ndarray]:
  return _verified(" and ".join(map(str, paths)), split, *idx.read_pair(*paths))


class MnistIdx(tfds.core.GeneratorBasedBuilder):
  """MNIST from IDX files: image uint8 [28, 28], label 0..9, in file order.

  Used by itself it looks in TFDS' manual_dir and downloads nothing.
  """

  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [FULL, TEST_ONLY]
  MANUAL_DOWNLOAD_INSTRUCTIONS = f"The IDX files of {_URL}"

  def _info(self) -> tfds.core.DatasetInfo:
    image = tfds.features.Tensor(
      shape=(28, 28), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
    )
    label = tfds.features.ClassLabel(num_classes=10)
    return tfds.core.DatasetInfo(
      builder=self,
      description="MNIST, read from its IDX files without TensorFlow.",
      features=tfds.features.FeaturesDict({"image": image, "label": label}),
      supervised_keys=("image", "label"),
      disable_shuffling=True,  # Examples keep the order of the files.
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    splits = self.builder_config.splits
    folders = [dl_manager.manual_dir, *_folders(self.data_dir_root)]
    paths = _locate(splits, folders, download=False)
    arrays = {name: _read(paths[name], split) for name, split in splits.items()}
    return {n: self._generate_examples(*pair) for n, pair in arrays.items()}

  def _generate_examples(self, images, labels) -> Iterator[tuple[int, dict]]:
    for i, image in enumerate(images):
      yield i, {"image": image, "label": int(labels[i])}


def prepare(
  data_dir: str | os.PathLike,
  *,
  manual_dir: str | os.PathLike | None = None,
  download: bool = False,
  config: Config = FULL,
) -> MnistIdx:
  """Prepares MNIST as array_record files, see `tfds_files.prepare_once`.

  Args:
    data_dir: of TFDS; the set goes to `mnist_idx` in it.
    manual_dir: where IDX files are looked for before data_dir itself and its
      `downloads/manual`.
    download: fetch missing files, 11.6 MB in all, into `downloads/manual`.
    config: `FULL`, `TEST_ONLY`, or an own one.

  Returns:
    The builder; its `as_data_source(split)` has random access.

  Raises:
    FileNotFoundError: files are missing; it says which, and what to do.
    ValueError: a file or a prepared folder that is damaged or not MNIST.
    OSError, RuntimeError: nothing can be fetched, or written.
  """
  folder = tfds_files.folder_of(data_dir, MnistIdx, config)
  manual = pathlib.Path(manual_dir or data_dir).expanduser()
  if not folder.exists():
    places = _folders(data_dir)
    if not manual.is_dir() or not any(manual.iterdir()):
      manual = places[0]  # TFDS wants one with something in it.
    _locate(config.splits, [manual, *places], download)
  builder = tfds_files.prepare_once(data_dir, MnistIdx, config, manual)
  with tfds_files.blaming(folder):
    for name, split in config.splits.items():
      if (count := len(builder.as_data_source(name))) != split.count:
        raise ValueError(f"{name}: expected {split.count}, got {count}")
  return builder


def _load_prepared(source, split: Split) -> tuple[np.ndarray, np.ndarray]:
  examples = source.__getitems__(list(range(split.count)))
  images = np.stack([example["image"] for example in examples])
  labels = np.array([example["label"] for example in examples], np.int32)
  return _verified("its examples", split, images, labels)


def load_mnist(
  data_dir: str | os.PathLike, download: bool = False, *, config: Config = FULL
) -> tuple[np.ndarray, ...]:
  """All of MNIST in memory: from the prepared set where there is one,
  otherwise from the IDX files where they lie, without writing anything.

  Args:
    data_dir: a folder with the IDX files, or one that `prepare` was given.
    download: `prepare` the set if it isn't, downloading what is missing.
    config: as for `prepare`.

  Returns:
    Training images uint8 [60000, 28, 28], 0..255, and labels int32 [60000],
    then the 10,000 of the test, all in the files' order. Raises as `prepare`.
  """
  folder = tfds_files.folder_of(data_dir, MnistIdx, config)
  splits = config.splits.items()
  if download or folder.exists():
    builder = prepare(data_dir, download=download, config=config)
    with tfds_files.blaming(folder):
      pairs = [_load_prepared(builder.as_data_source(n), s) for n, s in splits]
  else:
    paths = _locate(config.splits, _folders(data_dir), download=False)
    pairs = [_read(paths[name], split) for name, split in splits]
  return sum(pairs, ())


def load_test(
  data_dir: str | os.PathLike, *, split: Split = TEST
) -> tuple[np.ndarray, np.ndarray]:
  """The official test images from their two IDX files alone.

  Images uint8 [10000, 28, 28], 0..255, and labels int32 [10000], out of
  data_dir or its `downloads/manual`. Raises as `prepare`.
  """
  paths = _locate({"test": split}, _folders(data_dir), download=False)["test"]
  return _read(paths, split)
