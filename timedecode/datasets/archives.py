"""Files of a folder or of an archive, by name, without unpacking to disk.

A zip or tar from elsewhere is read in memory only. Even so, one with members
that no honest archive of data has (absolute paths, '..', links, devices) is
refused as a whole: it was made to write where it should not.
"""

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

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SUFFIXES = (".zip", *TAR_SUFFIXES)
MEMBER_LIMIT = 64 * 2**20  # Bytes; a recording has about 0.1 MB.
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
  if size > MEMBER_LIMIT:
    raise ArchiveError(
      f"{path}: refused: member {name!r}: expected at most {MEMBER_LIMIT}"
      f" bytes, got {size}"
    )


def _zip_files(path: pathlib.Path, wanted: _Wanted) -> _Files:
  with zipfile.ZipFile(path) as archive:
    members = archive.infolist()
    for info in members:
      kind = stat.S_IFMT(info.external_attr >> 16)
      plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
      _check_member(path, info.filename, info.file_size, plain)
    for info in members:
      if not info.is_dir() and wanted(info.filename):
        yield info.filename, archive.read(info)


def _tar_files(path: pathlib.Path, wanted: _Wanted) -> _Files:
  with tarfile.open(path) as archive:
    for info in archive:
      plain = info.isreg() or info.isdir()
      _check_member(path, info.name, info.size, plain)
      if info.isreg() and wanted(info.name):
        yield info.name, archive.extractfile(info).read()


def _folder_files(path: pathlib.Path, wanted: _Wanted) -> _Files:
  for file in sorted(path.iterdir()):
    if file.is_file() and wanted(file.name):
      yield str(file), file.read_bytes()


def files(path: str | os.PathLike, wanted: _Wanted) -> _Files:
  """Names and contents of the files that are wanted.

  Args:
    path: of a folder (its own files, sorted), or of a zip or tar whose name
      ends in one of `SUFFIXES` (all files, in the archive's order).
    wanted: told a name, whether to read it.

  Yields:
    The file's path, within the archive if it is one, and its bytes.

  Raises:
    ArchiveError: not readable or damaged; a member with an absolute path,
      '..', a link, a device or more than `MEMBER_LIMIT` bytes. A tar that was
      cut between two members can't be told from a whole one.
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
