"""Files of a folder or of an archive, by name, without unpacking to disk.

A zip or tar from elsewhere is read in memory only. Even so, one with members
that no honest archive of data has (absolute paths, '..', links, devices) is
refused as a whole: it was made to write where it should not.

An archive that lost members must not look like a smaller one. So a zip must
hold as many as its end says, and a tar must end as tars do, with two blocks of
zeros: `tarfile` takes a damaged header, other than the first, for the end.
"""

import contextlib
import itertools
import lzma
import os
import pathlib
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SUFFIXES = (".zip", *TAR_SUFFIXES)
FILES_LIMIT = 100_000  # Of a folder or archive; the largest here have 60,000.
MEMBER_LIMIT = 64 * 2**20  # Bytes of a file; a recording has about 0.1 MB.
_PIECE = 2**20  # Bytes read at a time.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZIP_END, _ZIP_END_SIZE = b"PK\5\6", 22  # Without the comment.
_TAR_BLOCK = 512
_DAMAGE = (
  EOFError,
  IndexError,
  OSError,
  OverflowError,
  RuntimeError,  # Encrypted members and unknown compressions among them.
  UnicodeError,
  lzma.LZMAError,
  struct.error,
  tarfile.TarError,
  zipfile.BadZipFile,
  zlib.error,
)

_Wanted = Callable[[str], bool]
_Files = Iterator[tuple[str, bytes]]


class ArchiveError(ValueError):
  """An archive or folder that can't be read or is refused; says why."""


@contextlib.contextmanager
def _blaming(where: str) -> Iterator[None]:
  """Damage in here is an ArchiveError that says where."""
  try:
    yield
  except _DAMAGE as error:
    raise ArchiveError(f"{where}: damaged: {error}") from error


def _check_count(where: pathlib.Path, count: int) -> None:
  if count > FILES_LIMIT:
    raise ArchiveError(
      f"{where}: expected at most {FILES_LIMIT} files and folders, got {count}"
    )


def _check_size(where: str, size: int) -> None:
  if not 0 <= size <= MEMBER_LIMIT:
    raise ArchiveError(
      f"{where}: refused: expected at most {MEMBER_LIMIT} bytes, got {size}"
    )


def _check_member(where: str, name: str, size: int, plain: bool) -> None:
  parts = re.split(r"[/\\]", name)
  if parts[0] == "" or ":" in parts[0] or ".." in parts:
    raise ArchiveError(
      f"{where}: refused: expected a path inside the archive, got {name!r}"
    )
  if not plain:
    raise ArchiveError(
      f"{where}: refused: expected a file or folder, got a link or device"
    )
  _check_size(where, size)


def _content(where: str, size: int, stream: IO) -> bytes:
  """A file's bytes, in pieces: its size may be a lie, and memory is dear."""
  pieces, count = [], 0
  while count <= size and (piece := stream.read(_PIECE)):
    pieces.append(piece)
    count += len(piece)
  if count != size:
    raise ArchiveError(
      f"{where}: damaged: expected {size} bytes, got"
      f" {'more' if count > size else count}"
    )
  return b"".join(pieces)


def _check_zip_count(path: pathlib.Path, count: int):
  """Whether members are as many as the end of the directory says."""
  with path.open("rb") as file:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _ZIP_END_SIZE - 2**16))
    tail = file.read()
  said = struct.unpack_from("<H", tail, tail.rfind(_ZIP_END) + 10)[0]
  # 65535 refers to another record; some writers count modulo 65536.
  if said not in (2**16 - 1, count % 2**16):
    raise ArchiveError(
      f"{path}: damaged: expected {said} members, as its end says, got {count}"
    )


def _zip_files(path: pathlib.Path, wanted: _Wanted) -> _Files:
  where = lambda i: f"{path}: member {i.filename!r} at byte {i.header_offset}"
  with zipfile.ZipFile(path) as archive:
    members = archive.infolist()
    _check_count(path, len(members))
    _check_zip_count(path, len(members))
    for info in members:
      kind = stat.S_IFMT(info.external_attr >> 16)
      plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
      _check_member(where(info), info.filename, info.file_size, plain)
      if info.compress_type not in _METHODS:
        raise ArchiveError(
          f"{where(info)}: refused: expected it stored or deflated, got"
          f" compression {info.compress_type}"
        )
      if info.is_dir() and info.file_size:
        raise ArchiveError(f"{where(info)}: damaged: a folder with content")
    for info in members:
      if not info.is_dir() and wanted(info.filename):
        with _blaming(where(info)), archive.open(info) as stream:
          content = _content(where(info), info.file_size, stream)
        yield info.filename, content


def _check_tar_end(path: pathlib.Path, archive: tarfile.TarFile, last: str):
  """Whether zeros follow where tarfile saw no further member."""
  at, stream = archive.offset, archive.fileobj
  stream.seek(at)
  count = 0
  while piece := stream.read(_PIECE):
    if rest := piece.lstrip(b"\0"):
      damaged = at + count + len(piece) - len(rest)
      raise ArchiveError(
        f"{path}: damaged: byte {damaged}: expected zeros up to the end, as"
        f" after {last} no member is at byte {at}"
      )
    count += len(piece)
  if count < 2 * _TAR_BLOCK:
    raise ArchiveError(
      f"{path}: cut: byte {at}, after {last}: expected a member, or"
      f" {2 * _TAR_BLOCK} zeros at the end, got {count}"
    )


def _tar_files(path: pathlib.Path, wanted: _Wanted) -> _Files:
  plain = path.suffix == ".tar"
  at = lambda byte: f"byte {byte}{'' if plain else ' of the unpacked data'}"
  with tarfile.open(path) as archive:
    last, count = "no member", 0
    while True:
      with _blaming(f"{path}: {at(archive.offset)}, after {last}"):
        info = archive.next()
      if info is None:
        break
      _check_count(path, count := count + 1)
      last = f"member {info.name!r}"
      where = f"{path}: {last} at {at(info.offset)}"
      _check_member(where, info.name, info.size, info.isreg() or info.isdir())
      if info.isreg() and wanted(info.name):
        with _blaming(where):
          content = _content(where, info.size, archive.extractfile(info))
        yield info.name, content
    _check_tar_end(path, archive, last)


def folder_files(path: pathlib.Path) -> list[pathlib.Path]:
  """The files of a folder, sorted.

  Raises:
    ArchiveError: more than `FILES_LIMIT` files and folders in it.
  """
  with os.scandir(path) as entries:
    names = [entry.name for entry in itertools.islice(entries, FILES_LIMIT)]
    _check_count(path, len(names) + sum(1 for _ in entries))
  return [file for name in sorted(names) if (file := path / name).is_file()]


def read_file(path: pathlib.Path) -> bytes:
  """A file's bytes.

  Raises:
    ArchiveError: more than `MEMBER_LIMIT`, or it grows or shrinks meanwhile.
    OSError: it can't be read.
  """
  with path.open("rb") as stream:
    size = os.fstat(stream.fileno()).st_size
    _check_size(str(path), size)
    return _content(str(path), size, stream)


def _folder_files(path: pathlib.Path, wanted: _Wanted) -> _Files:
  for file in folder_files(path):
    if wanted(file.name):
      yield str(file), read_file(file)


def files(path: str | os.PathLike, wanted: _Wanted) -> _Files:
  """Names and contents of the files that are wanted.

  Args:
    path: of a folder (its own files, sorted), or of a zip or tar whose name
      ends in one of `SUFFIXES` (all files, in the archive's order).
    wanted: told a name, whether to read it.

  Yields:
    The file's path, within the archive if it is one, and its bytes.

  Raises:
    ArchiveError: not readable, damaged or cut; more than `FILES_LIMIT` files;
      a file of more than `MEMBER_LIMIT` bytes; a member with an absolute path,
      '..', a link, a device, or in a zip another compression than deflate. It
      names the archive, the member and the byte where the member begins. A
      tar's end is looked at last, after its members have been given.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    reader = _folder_files
  else:
    reader = _zip_files if path.suffix == ".zip" else _tar_files
  try:
    yield from reader(path, wanted)
  except _DAMAGE as error:
    raise ArchiveError(f"{path}: cannot be read: {error}") from error
