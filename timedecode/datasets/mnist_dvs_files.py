"""The files of MNIST-DVS, found and read, in folders or archives.

The original set is ten zips, `grabbed_data<digit>.zip`, each with

  grabbed_data<digit>/scale4/mnist_<digit>_scale04_<number>.aedat

and the same for the scales 8 and 16, numbers 1..1000. Files named
`..._qt<n>.aedat` are the beginnings of recordings (those seen last 0.2 s).
"""

import os
import pathlib
import re
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from timedecode.datasets import aedat, archives, identity
from timedecode.datasets.arguments import whole, wholes
from timedecode.datasets.events import Events

SCALES = (4, 8, 16)
NUM_RECORDINGS = 1_000  # Of a digit.
_NAME = re.compile(r"mnist_(\d)_scale(\d\d)_(\d{4})(_qt\d+)?\.aedat")


class Item(NamedTuple):
  """One file: digit; number 1..1000; its name; whether a cut; its content."""

  digit: int
  number: int
  name: str
  cut: bool
  recording: aedat.Recording


def check_selection(scale: int, digits: Iterable[int]) -> tuple[int, ...]:
  """The digits, sorted; raises ValueError for an unknown scale or digit."""
  if whole("scale", scale) not in SCALES:
    raise ValueError(f"scale: expected one of {SCALES}, got {scale!r}")
  digits = wholes("digits", digits)
  if not digits or not set(digits) <= set(range(10)):
    raise ValueError(f"digits: expected some of 0..9, got {digits}")
  if len(set(digits)) < len(digits):
    raise ValueError(f"digits: expected each once, got {digits}")
  return tuple(sorted(digits))


def _source(data_dir: pathlib.Path, digit: int, scale: int) -> pathlib.Path:
  """The folder of a digit's recordings, or its archive."""
  stem = f"grabbed_data{digit}"
  folder = data_dir / stem / f"scale{scale}"
  if folder.is_dir():
    return folder
  found = [data_dir / (stem + suffix) for suffix in archives.SUFFIXES]
  found = [path for path in found if path.is_file()]
  if len(found) > 1:
    raise ValueError(f"{data_dir}: digit {digit}: two archives: {found}")
  if not found:
    raise ValueError(
      f"{data_dir}: digit {digit}: expected a folder {stem}/scale{scale} or an"
      f" archive {stem}.zip (or .tar), got neither; other digits are chosen by"
      " `digits`"
    )
  return found[0]


def _where(source: pathlib.Path, name: str) -> str:
  """A file for errors: its path, or the archive and the member."""
  if source.is_dir():
    return str(source / pathlib.Path(name).name)
  return f"{source}: {name}"


def _last(name: str) -> str:
  return pathlib.PurePosixPath(name).name


def _parse(
  source: pathlib.Path, name: str, digit: int, scale: int
) -> tuple[int, str] | None:
  """Number, and the mark of a cut or ''; None for other files or scales."""
  match = _NAME.fullmatch(_last(name))
  if match is None or int(match[2]) != scale:
    return None
  number = int(match[3])
  if int(match[1]) != digit:
    raise ValueError(
      f"{_where(source, name)}: expected a recording of digit {digit}, got"
      f" digit {match[1]}"
    )
  if not 1 <= number <= NUM_RECORDINGS:
    raise ValueError(
      f"{_where(source, name)}: expected a number in 1..{NUM_RECORDINGS}, got"
      f" {number}"
    )
  return number, match[4] or ""


def _decode(data: bytes, name: str) -> aedat.Recording:
  if data:
    return aedat.decode(data, name)
  nothing = (np.zeros(0, d) for d in (np.int16, np.int16, np.uint8, np.int64))
  return aedat.Recording(Events(*nothing), 0, 0)


def _read(
  source: pathlib.Path,
  digit: int,
  scale: int,
  numbers: Container[int],
  seen: dict[tuple[int, str], str],
  others: list[str],
) -> Iterator[Item]:
  """Items of the numbers; fills `seen` and `others` with all names."""

  def wanted(name):
    found = _parse(source, name, digit, scale)
    if found is None:
      if source.is_dir() or not _NAME.fullmatch(_last(name)):
        others.append(_where(source, name))
      return False
    if found in seen:
      raise ValueError(
        f"{source}: two files of recording {found[0]} of digit {digit}:"
        f" {seen[found]} and {name}"
      )
    seen[found] = name
    return found[0] in numbers

  if source.is_dir():
    others += sorted(f"{path}/" for path in source.iterdir() if path.is_dir())
  for name, data in archives.files(source, wanted):
    number, mark = _parse(source, name, digit, scale)
    where = _where(source, name)
    yield Item(digit, number, where, bool(mark), _decode(data, where))
  if not seen:
    raise ValueError(
      f"{source}: expected recordings of digit {digit} at scale {scale},"
      " got none"
    )


def items(
  data_dir: str | os.PathLike,
  scale: int = 4,
  digits: Iterable[int] = range(10),
  numbers: Container[int] = range(1, NUM_RECORDINGS + 1),
  others: list[str] | None = None,
) -> Iterator[Item]:
  """Every file of the chosen recordings, cuts and empty ones included.

  Args:
    data_dir: holds `grabbed_data<digit>`, folders or archives; where both
      are there, the folder is read.
    scale: 4, 8 or 16, the size at which the digits were shown.
    digits: which, each once.
    numbers: which recordings of each digit; other files aren't read.
    others: gets the names of what is passed over, because it isn't named as a
      recording of this scale: files, and folders with a slash at the end. In
      archives recordings of other scales belong there and aren't named.

  Yields:
    `Item`s, digit after digit; an empty file as a recording of 0 events.

  Raises:
    ValueError: an unknown scale or digit; a digit with no source, two
      archives or no file of this scale; two files of one recording; a file
      in another digit's place; what `archives.files` and `aedat.decode` raise.
  """
  others = [] if others is None else others
  for digit in check_selection(scale, digits):
    source = _source(pathlib.Path(data_dir), digit, scale)
    yield from _read(source, digit, scale, numbers, {}, others)


def present(
  data_dir: str | os.PathLike, scale: int, digits: Iterable[int]
) -> list[int]:
  """Numbers, ascending, that any of the digits has, cuts apart.

  Reads names only. Raises as `items` does.
  """
  seen = {}
  for digit in check_selection(scale, digits):
    source, of_digit = _source(pathlib.Path(data_dir), digit, scale), {}
    list(_read(source, digit, scale, (), of_digit, []))
    seen |= of_digit
  return sorted({number for number, mark in seen if not mark})


def snapshot(
  data_dir: str | os.PathLike, scale: int, digits: Iterable[int]
) -> identity.Snapshot:
  """The files that `items` reads, and what lies beside them, for a cache."""
  paths = []
  for digit in digits:
    source = _source(pathlib.Path(data_dir), digit, scale)
    paths += archives.folder_files(source) if source.is_dir() else [source]
  return identity.snapshot(paths)
