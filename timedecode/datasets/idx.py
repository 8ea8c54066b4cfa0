"""IDX files, the format of MNIST: found, read, compared.

An IDX file is a big-endian header and the values: two zero bytes, the type
(8: unsigned bytes), the number of axes, then 4 bytes for the size of each
axis. Source: the description beside the files, yann.lecun.com/exdb/mnist.
Files come plain or packed with gzip; what they are is seen from their first
bytes, not from their name. Nothing is allocated before the sizes in the
header have been held against the size of the file, so a file from elsewhere
cannot fill the memory.
"""

import gzip
import hashlib
import math
import os
import pathlib
import stat
import struct
import zlib
from collections.abc import Iterable

import numpy as np

MAX_BYTES = 2**30  # Of values in a file; the images of MNIST have 47 million.
_DEFLATE = 1032  # Deflate, and so gzip, packs no better than 1 : 1032.
_GZIP = b"\x1f\x8b"
_KINDS = {1: "labels", 3: "images"}


def find(name: str, folders: Iterable[os.PathLike]) -> pathlib.Path | None:
  """A file in the first folder that has it, under any usual name.

  `train-images-idx3-ubyte.gz` may also be called `train-images-idx3-ubyte`,
  `train-images.idx3-ubyte.gz` or `train-images.idx3-ubyte`.
  """
  plain = name.removesuffix(".gz")
  dotted = plain.replace("-idx", ".idx")
  names = (name, plain, f"{dotted}.gz", dotted)
  paths = (pathlib.Path(folder, n) for folder in folders for n in names)
  return next(filter(pathlib.Path.is_file, paths), None)


def _read_exactly(path, file, size: int, at: int, what: str) -> np.ndarray:
  values = np.empty(size, np.uint8)
  got = 0
  try:
    while got < size and (n := file.readinto(values[got : got + 2**20].data)):
      got += n
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise ValueError(
      f"{path}: offset {at + got} of the unpacked data: damaged or truncated "
      f"gzip: {error}"
    ) from error
  if got < size and what:
    raise ValueError(
      f"{path}: offset {at + got}: truncated: expected {size} bytes of {what} "
      f"from offset {at}, got {got}"
    )
  return values[:got]


def _read_shape(path, file, num_axes: int, most: int) -> tuple[int, ...]:
  """Sizes from the header of a file of at most so many unpacked bytes."""
  magic = _read_exactly(path, file, 4, 0, "magic").tobytes()
  if magic != (expected := bytes((0, 0, 8, num_axes))):
    raise ValueError(
      f"{path}: offset 0: expected magic 0x{expected.hex()} "
      f"({_KINDS[num_axes]}), got 0x{magic.hex()}"
    )
  sizes = _read_exactly(path, file, 4 * num_axes, 4, "sizes").tobytes()
  shape = struct.unpack(f">{num_axes}I", sizes)
  if not 1 <= math.prod(shape) <= MAX_BYTES:
    raise ValueError(
      f"{path}: offset 4: sizes {shape}: expected 1 to {MAX_BYTES} bytes of "
      f"values, got {math.prod(shape)}"
    )
  if (whole := 4 + len(sizes) + math.prod(shape)) > most:
    raise ValueError(
      f"{path}: offset 4: sizes {shape}: truncated: expected {whole} bytes, "
      f"got a file that holds at most {most}"
    )
  return shape


def _read(path: str | os.PathLike, num_axes: int) -> np.ndarray:
  status = os.stat(path)
  if not stat.S_ISREG(status.st_mode):  # A pipe would wait for ever.
    kind = "directory" if stat.S_ISDIR(status.st_mode) else "special file"
    raise ValueError(f"{path}: expected an IDX file, got a {kind}")
  with open(path, "rb") as raw:
    packed = raw.read(2) == _GZIP
    raw.seek(0)
    file = gzip.GzipFile(fileobj=raw) if packed else raw
    most = status.st_size * (_DEFLATE if packed else 1)
    shape = _read_shape(path, file, num_axes, most)
    begin = 4 + 4 * num_axes
    values = _read_exactly(path, file, math.prod(shape), begin, "values")
    end = begin + len(values)
    # Reading on also makes gzip compare its checksum.
    if len(_read_exactly(path, file, 1, end, "")):
      raise ValueError(
        f"{path}: offset {end}: expected the end of the file, got more data"
      )
  return values.reshape(shape)


def read_images(path: str | os.PathLike) -> np.ndarray:
  """Images of an IDX file, plain or gzip: uint8 [N, H, W], 0..255.

  Raises:
    ValueError: a directory or special file, a wrong magic, sizes of zero,
      beyond `MAX_BYTES` or beyond what the file can hold, data that are
      truncated, damaged, or longer than the sizes say. It names the file and
      the offset in the unpacked data.
    OSError: the file is missing or cannot be read.
  """
  return _read(path, 3)


def read_labels(path: str | os.PathLike) -> np.ndarray:
  """Labels of an IDX file: int32 [N], 0..255; raises as `read_images`."""
  return _read(path, 1).astype(np.int32)


def read_pair(
  images: str | os.PathLike, labels: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray]:
  """Images uint8 [N, H, W] and their labels int32 [N] from two IDX files.

  Raises:
    ValueError: as `read_images`, or numbers of images and labels that differ.
    OSError: a file is missing or cannot be read.
  """
  pixels, digits = read_images(images), read_labels(labels)
  if len(pixels) != len(digits):
    raise ValueError(
      f"{labels}: offset 4: expected {len(pixels)} labels, as many as {images} "
      f"has images, got {len(digits)}"
    )
  return pixels, digits


def sha256(values: np.ndarray) -> str:
  """The SHA-256 of the plain IDX file that holds integers 0..255, in hex.

  Raises:
    ValueError: rank 0, another type, or values that no byte holds.
  """
  kept = np.ascontiguousarray(values).astype(np.uint8)
  if not np.ndim(values) or not np.array_equal(kept, values):
    raise ValueError("values: expected an array of integers 0..255")
  header = struct.pack(f">BBBB{kept.ndim}I", 0, 0, 8, kept.ndim, *kept.shape)
  result = hashlib.sha256(header)
  result.update(kept)
  return result.hexdigest()
