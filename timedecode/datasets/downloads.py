"""Downloads of known files, which go on where they broke off."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import sys
import urllib.error
import urllib.request
from typing import BinaryIO, NamedTuple

from timedecode import temporary

_ATTEMPTS = 5  # Connections in a row that may bring nothing.
_TIMEOUT = 30  # Seconds without a byte.
_BROKEN = (urllib.error.URLError, ConnectionError, TimeoutError)


class File(NamedTuple):
  """A packed file on the web: url, size in bytes, its SHA-256, and as
  contents the SHA-256 of the plain file."""

  url: str
  size: int
  sha256: str
  contents: str

  @property
  def name(self) -> str:
    """The last part of the url."""
    return self.url.rpartition("/")[2]


def _receive(file: File, out: BinaryIO) -> None:
  """Appends what `out` lacks, and tells standard error how far it is."""
  request = urllib.request.Request(file.url)
  if out.tell():
    request.add_header("Range", f"bytes={out.tell()}-")
  with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
    if out.tell() and response.status != http.client.PARTIAL_CONTENT:
      out.seek(out.truncate(0))  # A server that always sends everything.
    while out.tell() <= file.size and (block := response.read(2**18)):
      out.write(block)
      done = f"{file.name}: {out.tell() / 1e6:.2f} of {file.size / 1e6:.2f} MB"
      print(done, end="\r", file=sys.stderr, flush=True)
  print(file=sys.stderr)


def _receive_all(file: File, out: BinaryIO) -> None:
  failures = 0
  while (begin := out.tell()) < file.size:
    error = "the connection ended"
    try:
      _receive(file, out)
    except (*_BROKEN, http.client.HTTPException) as caught:
      error = caught
    refused = isinstance(error, urllib.error.HTTPError)
    if refused and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
      return  # The site has no more: the checksum will tell.
    failures = 0 if out.tell() > begin else failures + 1
    if failures == _ATTEMPTS or refused:
      raise OSError(
        f"{file.url}: expected {file.size} bytes, got {out.tell()}: {error}"
      )


def _complete(file: File, out: BinaryIO) -> None:
  """Adds what is missing; what was there and is wrong is fetched anew."""
  begun = out.seek(0, os.SEEK_END)
  while True:
    _receive_all(file, out)
    size = out.tell()
    out.seek(0)
    digest = hashlib.file_digest(out, "sha256").hexdigest()
    if digest == file.sha256:
      return
    if not begun:
      raise ValueError(
        f"{file.url}: expected {file.size} bytes with SHA-256 "
        f"{file.sha256}, got {size} with {digest}"
      )
    begun = out.seek(out.truncate(0))


def _leave(partial: pathlib.Path, path: pathlib.Path, kind: str) -> None:
  """Leaves what has come for the next process; nothing if nothing came."""
  with contextlib.suppress(FileNotFoundError):
    if partial.stat().st_size:
      partial.rename(temporary.name_for(path, kind, temporary.NOBODY))
    else:
      partial.unlink()


def fetch(file: File, folder: pathlib.Path) -> pathlib.Path:
  """Downloads a file: afterwards it is whole and verified, or absent.

  A connection that breaks is taken up where it broke, and so is a download
  that failed or was killed, by the next process: what came of it lies beside
  the file, `.<name>.<...>.<first digits of the checksum>.part`. Any number of
  processes may do this at once: each writes its own file and moves it there,
  and one that is left is taken up by one of them, see `timedecode.temporary`.

  Args:
    file: what to download.
    folder: where to; made if missing.

  Returns:
    The file's path.

  Raises:
    OSError: no connection, or nothing can be written; what came is kept.
    ValueError: what came has another size or checksum; it is not kept.
  """
  folder.mkdir(parents=True, exist_ok=True)
  path, kind = folder / file.name, f"{file.sha256[:16]}.part"
  taken = temporary.take(path, kind)
  partial = taken or temporary.name_for(path, kind)
  try:
    with open(partial, "rb+" if taken else "xb+") as out:
      _complete(file, out)
      os.fsync(out.fileno())
    temporary.move(partial, path)
  except ValueError:
    partial.unlink(missing_ok=True)
    raise
  finally:
    _leave(partial, path, kind)
  return path
