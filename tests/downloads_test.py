"""Downloads from a site on this machine: what breaks off is taken up."""

import dataclasses
import hashlib
import http.server
import re
import resource
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from timedecode import temporary
from timedecode.datasets import downloads


@dataclasses.dataclass
class Site:
  """A web site on this machine; it can be told to behave badly."""

  url: str = ""
  files: dict = dataclasses.field(default_factory=dict)
  requests: list = dataclasses.field(default_factory=list)  # Name, range.
  ranges: bool = True
  cuts: int = 0  # Answers that end in the middle.
  stalls: int = 0  # Answers that wait in the middle, for `go`.
  go: threading.Event = dataclasses.field(default_factory=threading.Event)

  def add(self, name, content, unpacked=b""):
    self.files[name] = content
    digests = [hashlib.sha256(data).hexdigest() for data in (content, unpacked)]
    return downloads.File(self.url + name, len(content), *digests)

  def answer(self, handler):
    name = handler.path.rpartition("/")[2]
    wanted = re.match(r"bytes=(\d+)-$", handler.headers.get("Range", ""))
    begin = int(wanted[1]) if wanted else 0
    self.requests.append((name, begin))
    if name not in self.files:
      return handler.send_error(404)
    partial, size = begin and self.ranges, len(self.files[name])
    if partial and begin >= size:
      return handler.send_error(416)
    content = self.files[name][begin if partial else 0 :]
    handler.send_response(206 if partial else 200)
    if partial:
      about = f"bytes {begin}-{size - 1}/{size}"
      handler.send_header("Content-Range", about)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if self.cuts:
      self.cuts -= 1
      content = content[: len(content) // 2]
    elif self.stalls:
      self.stalls -= 1
      handler.wfile.write(content[: len(content) // 2])
      self.go.wait(60)
      return
    handler.wfile.write(content)


@pytest.fixture
def site(monkeypatch):
  monkeypatch.setenv("no_proxy", "*")
  result = Site()

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      result.answer(self)

    def log_message(self, *args):
      pass

  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    result.url = f"http://127.0.0.1:{server.server_port}/files/"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield result
    result.go.set()
    server.shutdown()
    thread.join()


CONTENT = np.random.default_rng(1).bytes(900_000)


def test_fetch(site, tmp_path, capsys):
  folder = tmp_path / "new" / "folder"
  path = downloads.fetch(site.add("a.gz", CONTENT), folder)
  assert path == folder / "a.gz" and path.read_bytes() == CONTENT
  assert list(folder.iterdir()) == [path] and site.requests == [("a.gz", 0)]
  assert "a.gz: 0.90 of 0.90 MB" in capsys.readouterr().err


def test_fetch_goes_on_where_the_connection_broke(site, tmp_path):
  site.cuts = 2
  path = downloads.fetch(site.add("a.gz", CONTENT), tmp_path)
  assert path.read_bytes() == CONTENT
  assert [begin for _, begin in site.requests] == [0, 450_000, 675_000]


def test_fetch_begins_anew_where_the_site_knows_no_ranges(site, tmp_path):
  site.cuts, site.ranges = 1, False
  path = downloads.fetch(site.add("a.gz", CONTENT), tmp_path)
  assert path.read_bytes() == CONTENT and len(site.requests) == 2


def _fetch_fails(file, folder, error, message):
  """Fails, and leaves an earlier file as it was and nothing else."""
  earlier = folder / file.name
  earlier.write_bytes(b"earlier")
  with pytest.raises(error, match=message):
    downloads.fetch(file, folder)
  assert list(folder.iterdir()) == [earlier]
  assert earlier.read_bytes() == b"earlier"


def test_fetch_rejects_other_content(site, tmp_path):
  file = site.add("a.gz", CONTENT)
  for content in (CONTENT[:-1] + b"x", CONTENT + b"x"):
    site.files["a.gz"] = content
    message = f"a.gz: expected 900000 bytes .*, got {len(content)} with"
    _fetch_fails(file, tmp_path, ValueError, message)


def test_fetch_gives_up(site, tmp_path):
  file = site.add("a.gz", CONTENT)
  site.files["a.gz"] = b""
  message = "a.gz: expected 900000 bytes, got 0: the connection ended"
  _fetch_fails(file, tmp_path, OSError, message)
  del site.files["a.gz"]
  _fetch_fails(file, tmp_path, OSError, "a.gz: .*, got 0: .*404")
  assert len(site.requests) == 6  # What is not there is asked for once.
  closed = file._replace(url="http://127.0.0.1:9/a.gz")
  _fetch_fails(closed, tmp_path, OSError, "127.0.0.1:9/a.gz: .*refused")


def limit_files(size):
  """From here on no file may grow beyond size: like a full disk."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_fetch_on_a_full_disk(site, tmp_path):
  file = site.add("a.gz", CONTENT)
  restore = limit_files(300_000)
  try:
    with pytest.raises(OSError, match="too large"):
      downloads.fetch(file, tmp_path)
  finally:
    restore()
  (part,) = tmp_path.iterdir()
  size = part.stat().st_size
  assert 0 < size <= 300_000
  path = downloads.fetch(file, tmp_path)
  assert path.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [path]
  assert site.requests == [("a.gz", 0), ("a.gz", size)]


PROCESS = """
import pathlib, sys
from timedecode.datasets import downloads

url, size, digest, folder = sys.argv[1:]
file = downloads.File(url, int(size), digest, "")
downloads.fetch(file, pathlib.Path(folder))
"""


def _start(file, folder):
  arguments = file.url, str(file.size), file.sha256, str(folder)
  return subprocess.Popen(
    [sys.executable, "-c", PROCESS, *arguments], stderr=subprocess.PIPE
  )


def _wait_for_parts(folder, count, size):
  for _ in range(3_000):
    parts = sorted(folder.glob(".*.part"))
    if len(parts) == count and all(p.stat().st_size >= size for p in parts):
      return parts
    time.sleep(0.01)
  raise AssertionError(f"no {count} files of {size} bytes: {parts}")


def test_what_a_killed_process_left_is_continued(site, tmp_path):
  file, site.stalls = site.add("a.gz", CONTENT), 1
  process = _start(file, tmp_path)
  # Blocks of 262,144 bytes: the rest of the half waits for the next block.
  _wait_for_parts(tmp_path, 1, 262_144)
  process.kill()
  process.communicate()
  path = downloads.fetch(file, tmp_path)
  assert path.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [path]
  assert site.requests == [("a.gz", 0), ("a.gz", 262_144)]


def test_what_a_running_process_writes_is_left_alone(site, tmp_path):
  file, site.stalls = site.add("a.gz", CONTENT), 1
  process = _start(file, tmp_path)
  (part,) = _wait_for_parts(tmp_path, 1, 262_144)
  path = downloads.fetch(file, tmp_path)
  assert path.read_bytes() == CONTENT and part.exists()
  assert site.requests == [("a.gz", 0)] * 2
  site.go.set()  # Its connection ends; it goes on by itself.
  assert process.wait(60) == 0
  process.communicate()
  assert path.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [path]


def test_a_failure_is_continued_in_the_same_process(site, tmp_path):
  file, site.cuts = site.add("a.gz", CONTENT), 1
  whole, answer = site.files["a.gz"], site.answer

  def once(handler):
    if site.requests:  # Before the answer: after it, the client goes on.
      site.files.pop("a.gz", None)
    answer(handler)

  site.answer = once
  with pytest.raises(OSError, match="a.gz: .*, got 450000: .*404"):
    downloads.fetch(file, tmp_path)
  site.answer, site.files["a.gz"] = answer, whole
  path = downloads.fetch(file, tmp_path)
  assert path.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [path]
  assert [begin for _, begin in site.requests] == [0, 450_000, 450_000]


def _leave(file, folder, content):
  kind = f"{file.sha256[:16]}.part"
  path = folder / file.name
  part = temporary.name_for(path, kind, temporary.NOBODY)
  part.write_bytes(content)
  return part


@pytest.mark.parametrize(
  "content, begins",
  [
    (b"x" + CONTENT[1:1000], [1000, 0]),
    (b"x" + CONTENT[1:], [0]),  # Nothing is missing: looked at, not asked for.
    (CONTENT + b"x", [0]),
    (CONTENT, []),
    (b"", [0]),
  ],
  ids=["wrong", "wrong, whole", "longer", "whole", "empty"],
)
def test_what_was_left_is_verified(site, tmp_path, content, begins):
  file = site.add("a.gz", CONTENT)
  _leave(file, tmp_path, content)
  path = downloads.fetch(file, tmp_path)
  assert path.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [path]
  assert [begin for _, begin in site.requests] == begins


def test_the_site_has_less_than_was_left(site, tmp_path):
  """It answers 416: what is there is discarded, what it has is fetched."""
  file = site.add("a.gz", CONTENT)
  site.files["a.gz"] = CONTENT[:500]
  _leave(file, tmp_path, CONTENT[:1000])
  with pytest.raises(
    ValueError, match="a.gz: expected 900000 .*, got 500 with"
  ):
    downloads.fetch(file, tmp_path)
  assert not list(tmp_path.iterdir())
  begins = [begin for _, begin in site.requests]
  assert begins == [1000, 0, 500]


def test_what_was_left_of_another_version_is_not_continued(site, tmp_path):
  file = site.add("a.gz", CONTENT)
  _leave(file._replace(sha256="0" * 64), tmp_path, CONTENT[:1000])
  path = downloads.fetch(file, tmp_path)
  assert path.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [path]
  assert site.requests == [("a.gz", 0)]
