"""MNIST-DVS through TFDS, its raw events in array_record, without TensorFlow.

An example is a recording: x, y, polarity and timestamp of all its events on
128x128 pixels, its label and its number. Splits go by number as in
`mnist_dvs`: train 1..800, validation 801..900, test 901..1000 of each digit;
one without recordings is left out, as are cuts and recordings without events.
Importing this module imports tensorflow_datasets, which takes a second.
"""

import dataclasses
import operator
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from timedecode.datasets import aedat, identity, mnist_dvs, tfds_files
from timedecode.datasets import mnist_dvs_files as files
from timedecode.datasets.events import Events

SPLITS = {
  "train": range(1, mnist_dvs.VALIDATION_FROM),
  "validation": range(mnist_dvs.VALIDATION_FROM, mnist_dvs.TEST_FROM),
  "test": range(mnist_dvs.TEST_FROM, files.NUM_RECORDINGS + 1),
}
_FIELDS = {
  "x": np.uint8,
  "y": np.uint8,
  "polarity": np.uint8,
  "timestamp": np.int64,
}


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
  """Which recordings: the scale, 4, 8 or 16, and the digits."""

  scale: int = 4
  digits: tuple[int, ...] = tuple(range(10))


def config(scale: int = 4, digits: Iterable[int] = range(10)) -> Config:
  """The configuration of a selection; its name tells selections apart.

  Raises:
    ValueError: an unknown scale or digit.
  """
  digits = files.check_selection(scale, digits)
  name = f"scale{scale}"
  if len(digits) < 10:
    name += "_digits" + "".join(map(str, digits))
  return Config(name=name, scale=scale, digits=digits)


class MnistDvs(tfds.core.GeneratorBasedBuilder):
  """Builder of MNIST-DVS from the folders or archives in the manual_dir."""

  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [config(scale) for scale in files.SCALES]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "grabbed_data<digit>.zip of MNIST-DVS, or the folders in them."
  )

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      name: tfds.features.Tensor(shape=(None,), dtype=dtype, encoding="bytes")
      for name, dtype in _FIELDS.items()
    }
    features["label"] = tfds.features.Scalar(np.int32)
    features["number"] = tfds.features.Scalar(np.int32)
    return tfds.core.DatasetInfo(
      builder=self,
      description="MNIST-DVS, raw events of 128x128 pixels.",
      features=tfds.features.FeaturesDict(features),
      supervised_keys=None,
      homepage="http://www2.imse-cnm.csic.es/caviar/MNISTDVS.html",
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    folder, chosen = dl_manager.manual_dir, self.builder_config
    numbers = files.present(folder, chosen.scale, chosen.digits)
    return {
      name: self._generate_examples(folder, part)
      for name, part in SPLITS.items()
      if not set(part).isdisjoint(numbers)
    }

  def _generate_examples(self, folder, part) -> Iterator[tuple[int, dict]]:
    chosen = self.builder_config
    for item in files.items(folder, chosen.scale, chosen.digits, part):
      events = item.recording.events
      if item.cut or not len(events.x):
        print(f"{item.name}: left out, a cut or empty", file=sys.stderr)
        continue
      example = events._asdict() | {"label": item.digit, "number": item.number}
      for name, dtype in _FIELDS.items():
        example[name] = example[name].astype(dtype)
      yield item.digit * (files.NUM_RECORDINGS + 1) + item.number, example


def events_of(example: Mapping[str, Any]) -> Events:
  """The `Events` of an example, for `events.crop` and `events.bin_events`."""
  return Events(*(example[name] for name in Events._fields))


def items(prepared: Mapping[str, Sequence]) -> Iterator[files.Item]:
  """The recordings that `load` returns, as `mnist_dvs_files.items` has them."""
  for split, examples in prepared.items():
    for example in examples:
      found = aedat.Recording(events_of(example), 0, 0)
      digit, number = int(example["label"]), int(example["number"])
      name = f"{split}: recording {number} of digit {digit}"
      yield files.Item(digit, number, name, False, found)


def snapshot(
  tfds_dir: str | os.PathLike, scale: int, digits: Iterable[int]
) -> identity.Snapshot:
  """The prepared files, for a cache."""
  folder = tfds_files.folder_of(tfds_dir, MnistDvs, config(scale, digits))
  return identity.snapshot(p for p in folder.iterdir() if p.is_file())


class Recordings(Sequence):
  """The examples of a split; damage is found where it is read, and named."""

  def __init__(self, source: Sequence, split: str, folder: pathlib.Path):
    self._source, self._split, self._folder = source, split, folder

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict[str, Any]:
    index = range(len(self))[operator.index(index)]
    return self.__getitems__([index])[0]

  def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
    """Several at once."""
    with tfds_files.blaming(self._folder):
      found = self._source.__getitems__(indices)
      for example in found:
        if (number := int(example["number"])) not in SPLITS[self._split]:
          raise ValueError(f"{self._split}: got recording {number}")
      return found


def load(
  data_dir: str | os.PathLike,
  tfds_dir: str | os.PathLike,
  *,
  scale: int = 4,
  digits: Iterable[int] = range(10),
) -> dict[str, Recordings]:
  """Recordings of raw events, prepared once, then read in any order.

  What was prepared in `tfds_dir` is used again, whatever `data_dir` holds by
  then: choose another folder, or delete it, after a change. Several processes
  may call this at once.

  Args:
    data_dir: holds `grabbed_data<digit>`, folders or archives.
    tfds_dir: of the prepared files; TFDS adds folders of its own.
    scale: 4, 8 or 16.
    digits: which, each once.

  Returns:
    By split ('train', 'validation', 'test', those with recordings) a sequence
    of dicts: x, y, polarity uint8 [E], timestamp int64 [E], label and number
    integers.

  Raises:
    ValueError: what `mnist_dvs_files.items` raises, or prepared files that are
      damaged, here or where an example is read.
  """
  chosen = config(scale, digits)
  # TFDS takes its own object for a registered one alone.
  chosen = MnistDvs.builder_configs.get(chosen.name, chosen)
  folder = tfds_files.folder_of(tfds_dir, MnistDvs, chosen)
  # TFDS would tell of a folder that isn't there by an AssertionError.
  if not folder.exists():
    files.present(data_dir, scale, chosen.digits)
  builder = tfds_files.prepare_once(tfds_dir, MnistDvs, chosen, data_dir)
  with tfds_files.blaming(folder):
    if not builder.info.splits:
      raise ValueError("expected a split, got none")
    return {
      name: Recordings(builder.as_data_source(name), name, folder)
      for name in builder.info.splits
    }
