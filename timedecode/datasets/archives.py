"""Files of a folder or of an archive, by name, without unpacking to disk.

A zip or tar from elsewhere is read in memory only. Even so, one with members
that no honest archive of data has (absolute paths, '..', links, devices) is
refused as a whole: it was made to write where it should not.

An archive that lost members must not look like a smaller one. So a zip must
hold as many as its end says, and a tar must end as tars do, with two blocks of
zeros: `tarfile` takes a damaged header, other than the first, for the end.
"""

import hashlib
import lzma
import os
import pathlib
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SUFFIXES = (".zip", *TAR_SUFFIXES)
MEMBER_LIMIT = 64 * 2**20  # Bytes; a recording has about 0.1 MB.
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


def _check_member(path: pathlib.Path, name: str, size: int, plain: bool):
  parts = re.split(r"[/\\]", name)
  if parts[0] == "" or ":" in parts[0] or ".." in parts:
    raise ArchiveError(
      f"{path}: refused: member {name!r}: expected a path inside the archive"
    )
  if not plain:
    raise ArchiveError(
      f"{path}: refused: member {name!r}: expected a file or folder, got a"
      " link or device"
    )
  if not 0 <= size <= MEMBER_LIMIT:
    raise ArchiveError(
      f"{path}: refused: member {name!r}: expected at most {MEMBER_LIMIT}"
      f" bytes, got {size}"
    )


def _content(path: pathlib.Path, name: str, size: int, stream: IO) -> bytes:
  """A member's bytes, in pieces: its size may be a lie, and memory is dear."""
  pieces, count = [], 0
  while count <= size and (piece := stream.read(_PIECE)):
    pieces.append(piece)
    count += len(piece)
  if count != size:
    raise ArchiveError(
      f"{path}: damaged: member {name!r}: expected {size} bytes, got"
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
  with zipfile.ZipFile(path) as archive:
    members = archive.infolist()
    _check_zip_count(path, len(members))
    for info in members:
      kind = stat.S_IFMT(info.external_attr >> 16)
      plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
      _check_member(path, info.filename, info.file_size, plain)
      if info.compress_type not in _METHODS:
        raise ArchiveError(
          f"{path}: refused: member {info.filename!r}: expected it stored or"
          f" deflated, got compression {info.compress_type}"
        )
      if info.is_dir() and info.file_size:
        raise ArchiveError(
          f"{path}: damaged: member {info.filename!r}: a folder with content"
        )
    for info in members:
      if not info.is_dir() and wanted(info.filename):
        with archive.open(info) as stream:
          content = _content(path, info.filename, info.file_size, stream)
        yield info.filename, content


def _check_tar_end(path: pathlib.Path, archive: tarfile.TarFile):
  """Whether zeros follow where tarfile saw no further member."""
  at, stream = archive.offset, archive.fileobj
  stream.seek(at)
  count = 0
  while piece := stream.read(_PIECE):
    if rest := piece.lstrip(b"\0"):
      damaged = at + count + len(piece) - len(rest)
      raise ArchiveError(
        f"{path}: damaged: byte {damaged}: expected zeros up to the end, as"
        f" no member is at byte {at}"
      )
    count += len(piece)
  if count < 2 * _TAR_BLOCK:
    raise ArchiveError(
      f"{path}: cut: byte {at}: expected a member, or {2 * _TAR_BLOCK} zeros at"
      f" the end, got {count}"
    )


def _tar_files(path: pathlib.Path, wanted: _Wanted) -> _Files:
  with tarfile.open(path) as archive:
    for info in archive:
      plain = info.isreg() or info.isdir()
      _check_member(path, info.name, info.size, plain)
      if info.isreg() and wanted(info.name):
        stream = archive.extractfile(info)
        yield info.name, _content(path, info.name, info.size, stream)
    _check_tar_end(path, archive)


def _folder_files(path: pathlib.Path, wanted: _Wanted) -> _Files:
  for file in sorted(path.iterdir()):
    if file.is_file() and wanted(file.name):
      yield str(file), file.read_bytes()


def identity(paths: Iterable[pathlib.Path]) -> str:
  """A digest of files' names, sizes and times, not of their contents."""
  lines = []
  for path in sorted(paths):
    about, name = path.stat(), "/".join(path.parts[-2:])
    lines.append(f"{name} {about.st_size} {about.st_mtime_ns}")
  return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def files(path: str | os.PathLike, wanted: _Wanted) -> _Files:
  """Names and contents of the files that are wanted.

  Args:
    path: of a folder (its own files, sorted), or of a zip or tar whose name
      ends in one of `SUFFIXES` (all files, in the archive's order).
    wanted: told a name, whether to read it.

  Yields:
    The file's path, within the archive if it is one, and its bytes.

  Raises:
    ArchiveError: not readable, damaged or cut; a member with an absolute
      path, '..', a link, a device, more than `MEMBER_LIMIT` bytes, or in a zip
      another compression than deflate. A tar's end is looked at last, after
      its members have been given.
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
