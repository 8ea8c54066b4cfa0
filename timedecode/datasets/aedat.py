"""Reads AEDAT 2.0, the files of the 128x128 dynamic vision sensor.

Header lines begin with '#' and end with CR LF or LF, the first being
'#!AER-DAT2.0'; then come records of 8 bytes, two big-endian uint32: address
and timestamp in microseconds. Bits of an address:

  0      1 for an OFF event; `Events.polarity` is its opposite, 1 = ON
  1-7    127 - x: columns are stored mirrored
  8-14   y
  15, 31 a special event (synchronisation), which has no pixel
  16-30  0

What is tolerated is counted in `Recording`: special events are left out, and
events up to 1 ms late are moved to their place in time. Timestamps that run
over 2^32 are continued: a step of less than 2^31 in either direction is taken
as it is modulo 2^32, so a pause of 36 minutes or more reads as a step back. A
header without events is a recording of 0 events. All else is an error.
"""

import os
import pathlib
import re
from typing import NamedTuple

import numpy as np

from timedecode.datasets import archives
from timedecode.datasets.events import Events

WIDTH = HEIGHT = 128
LATE_LIMIT_US = 1_000
_MAGIC = b"#!AER-DAT2.0"
_LINE = re.compile(rb"#[\t\x20-\x7e\x80-\xff]*\r?\n")
_RECORD = 8  # Bytes.
_SPECIAL = 0x8000_8000
_PIXEL = 0x7FFF
_CHUNK = 2**15  # Records that stay in the processor's cache.


class Recording(NamedTuple):
  """What a file holds.

  events: x and y int16 in 0..127, polarity uint8, timestamp int64, ascending.
  special: events without a pixel, left out.
  late: events that came after a later one, moved to their place.
  """

  events: Events
  special: int
  late: int


def _header_size(data: bytes, name: str) -> int:
  """Offset of the first record."""
  if not data:
    raise ValueError(
      f"{name}: byte 0: expected an AEDAT 2.0 file, got an empty one"
    )
  start = data[:64].split(b"\n", 1)[0].rstrip(b"\r")
  if start != _MAGIC:
    raise ValueError(
      f"{name}: byte 0: expected the line {_MAGIC.decode()!r}, got {start!r}"
    )
  offset = 0
  while data[offset : offset + 1] == b"#":
    line = _LINE.match(data, offset)
    if line is None:
      raise ValueError(
        f"{name}: byte {offset}: expected a header line of text, got"
        f" {data[offset : offset + 16]!r}"
      )
    offset = line.end()
  return offset


def _check_addresses(address: np.ndarray, name: str, offset: int) -> None:
  bad = np.flatnonzero(address & ~np.uint32(_SPECIAL | _PIXEL))
  if bad.size:
    raise ValueError(
      f"{name}: byte {offset + _RECORD * bad[0]}: expected an address with"
      f" bits 16-30 zero, got {address[bad[0]]:#010x}"
    )


def _unwrap(raw: np.ndarray, name: str, offset: int) -> tuple[np.ndarray, int]:
  """Timestamps int64 continued over 2^32, in the file's order; late events."""
  step = np.diff(raw.astype(np.uint32)).view(np.int32)  # Modulo 2^32.
  time = np.empty(len(raw), np.int64)
  time[:1] = raw[:1]
  np.cumsum(step, dtype=np.int64, out=time[1:])
  time[1:] += time[:1]
  if step.min() >= 0:
    return time, 0
  lag = np.maximum.accumulate(time) - time
  bad = np.flatnonzero(lag > LATE_LIMIT_US)
  if bad.size:
    raise ValueError(
      f"{name}: byte {offset + _RECORD * bad[0]}: expected a timestamp at most"
      f" {LATE_LIMIT_US} us before an earlier record's, got one"
      f" {lag[bad[0]]} us before"
    )
  return time, int(np.count_nonzero(lag))


def _steps_forward(time: np.ndarray) -> bool:
  step = np.diff(time)
  return not step.size or bool(step.min() >= 0 and step.max() < 2**31)


def _fields(records: np.ndarray, name: str, offset: int):
  """Events in the file's order, which are special, and if time ascends."""
  num = len(records)
  events = Events(
    np.empty(num, np.int16),
    np.empty(num, np.int16),
    np.empty(num, np.uint8),
    np.empty(num, np.int64),
  )
  special, ascending = [], True
  for begin in range(0, num, _CHUNK):
    part = slice(begin, begin + _CHUNK)
    address = records[part, 0].astype(np.uint32)
    if address.max() > _PIXEL:
      _check_addresses(address, name, offset + _RECORD * begin)
      special.append(begin + np.flatnonzero(address & np.uint32(_SPECIAL)))
    pixel = (address & np.uint32(_PIXEL)).astype(np.int16)
    np.subtract(127, (pixel >> 1) & 127, out=events.x[part])
    np.right_shift(pixel, 8, out=events.y[part])
    events.polarity[part] = ~pixel & 1
    events.timestamp[part] = records[part, 1]
    seen = slice(max(begin - 1, 0), begin + _CHUNK)
    ascending = ascending and _steps_forward(events.timestamp[seen])
  return events, np.concatenate([np.zeros(0, int), *special]), ascending


def decode(data: bytes, name: str = "data") -> Recording:
  """Decodes the contents of a file.

  Args:
    data: the whole file.
    name: of the file, for errors.

  Returns:
    A `Recording`; its events own their memory.

  Raises:
    ValueError: empty, no header or one of another format or version, a part
      of a record at the end, address bits 16-30 set, or an event more than
      `LATE_LIMIT_US` late. Names the file and the byte.
  """
  offset = _header_size(data, name)
  rest = (len(data) - offset) % _RECORD
  if rest:
    raise ValueError(
      f"{name}: byte {len(data) - rest}: expected a record of {_RECORD} bytes,"
      f" got {rest}"
    )
  records = np.frombuffer(data, ">u4", offset=offset).reshape(-1, 2)
  events, special, ascending = _fields(records, name, offset)
  late = 0
  if not ascending:
    time, late = _unwrap(records[:, 1], name, offset)
    events = events._replace(timestamp=time)
  if special.size:
    events = Events(*(np.delete(field, special) for field in events))
  if late:
    order = np.argsort(events.timestamp, kind="stable")
    events = Events(*(field[order] for field in events))
  return Recording(events, special.size, late)


def read(path: str | os.PathLike) -> Recording:
  """Reads a file; see `decode`.

  Raises:
    ValueError: as `decode`; also a folder, no file, one that can't be read or
      has more than `archives.MEMBER_LIMIT` bytes.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    kind = "a folder" if path.is_dir() else "no file"
    raise ValueError(f"{path}: expected an AEDAT 2.0 file, got {kind}")
  try:
    data = archives.read_file(path)
  except OSError as error:
    raise ValueError(f"{path}: cannot be read: {error}") from error
  return decode(data, str(path))
