"""Sets that TFDS keeps as array_record files: prepared once, whole or absent.

What the builders of this folder share; it works without TensorFlow.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import tensorflow_datasets as tfds


def folder_of(data_dir, kind: type, config) -> pathlib.Path:
  """Where TFDS keeps what a builder of this kind has prepared."""
  folder = pathlib.Path(data_dir).expanduser()
  return folder / kind.name / config.name / str(kind.VERSION)


@contextlib.contextmanager
def blaming(folder: pathlib.Path) -> Iterator[None]:
  """Any error in here is a ValueError that names the prepared folder."""
  try:
    yield
  except Exception as error:  # TFDS and array_record raise all kinds.
    message = f"{folder}: half prepared or damaged, delete this folder: {error}"
    raise ValueError(message) from error


def prepare_once(data_dir, kind: type, config, manual_dir: str | os.PathLike):
  """A builder whose set is there as array_record files, prepared if need be.

  The set appears whole or not at all, whatever is interrupted or runs beside;
  of several processes the first one's is kept.
  """
  folder = folder_of(data_dir, kind, config)
  make = lambda: kind(data_dir=folder.parents[2], config=config)
  if not folder.exists():
    choice = {"manual_dir": manual_dir, "try_download_gcs": False}
    try:
      make().download_and_prepare(
        download_config=tfds.download.DownloadConfig(**choice),
        file_format="array_record",
      )
    except OSError:
      if not folder.exists():  # Else another process was faster.
        raise
  with blaming(folder):
    return make()
