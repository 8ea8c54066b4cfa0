"""AEDAT 2.0: written here, read back; every damage is named or counted."""

import pathlib
import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from timedecode.datasets import aedat, events

HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# created\r\n"
_SAMPLE = pathlib.Path(__file__).parents[2] / "shared/data/mnist_dvs"


def encode(x, y, polarity, timestamp, header=HEADER):
  """A file with the events; the writer that the tests of readers use."""
  records = [
    struct.pack(">II", (b << 8) | ((127 - a) << 1) | (1 - p), t % 2**32)
    for a, b, p, t in zip(x, y, polarity, timestamp, strict=True)
  ]
  return header + b"".join(records)


def _raw(*records, header=HEADER):
  return header + b"".join(struct.pack(">II", *record) for record in records)


def _random(num, seed=0):
  rng = np.random.default_rng(seed)
  xs, ys = rng.integers(0, 128, (2, num))
  times = np.sort(rng.integers(0, 2**31, num))
  return xs.tolist(), ys.tolist(), rng.integers(0, 2, num).tolist(), times


def _slow(data):
  at = data.rindex(b"\n", 0, len(HEADER)) + 1
  out = []
  for begin in range(at, len(data), 8):
    address, stamp = struct.unpack(">II", data[begin : begin + 8])
    x, y = 127 - ((address >> 1) & 127), (address >> 8) & 127
    out.append((x, y, 1 - (address & 1), stamp))
  return out


@pytest.mark.parametrize("num", [0, 1, 2, 5_000, 2**15, 2**15 + 1, 70_000])
def test_round_trip(num):
  written = _random(num)
  data = encode(*written)
  got = aedat.decode(data)
  assert got[1:] == (0, 0)
  for field, want in zip(got.events, written, strict=True):
    np.testing.assert_array_equal(field, want)
  if num <= 5_000:
    assert list(zip(*(f.tolist() for f in got.events), strict=True)) == _slow(
      data
    )
  kinds = [field.dtype for field in got.events]
  assert kinds == [np.int16, np.int16, np.uint8, np.int64]


def test_address_by_hand():
  # Row 3, stored column 5 (so 122), bit 0 clear: ON.
  got = aedat.decode(_raw((0x030A, 7), (0x030B, 9))).events
  assert [f.tolist() for f in got] == [[122] * 2, [3] * 2, [1, 0], [7, 9]]


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
def test_headers(ending):
  header = (
    b"#!AER-DAT2.0" + ending + "# d\xe9j\xe0 vu\t#".encode("latin1") + ending
  )
  got = aedat.decode(_raw((1, 2), header=header)).events
  assert got.timestamp.tolist() == [2]


def test_times_run_over_32_bits():
  stamps = [2**31 - 1, 2**31, 2**32 - 5, 2**32 + 3, 2**33 - 1, 2**33 + 2]
  stamps[4:4] = [2**32 + 2**31]
  got = aedat.decode(encode([1] * 7, [2] * 7, [1] * 7, stamps))
  assert got.events.timestamp.tolist() == stamps and got.late == 0


def test_late_events_are_moved_and_counted():
  over = 2**32
  stamps = [
    over - 2000,
    over - 1,
    over + 900,
    over - 50,
    over + 900,
    over + 901,
  ]
  got = aedat.decode(encode(range(6), [0] * 6, [1] * 6, stamps))
  assert got.events.timestamp.tolist() == sorted(stamps)
  assert got.events.x.tolist() == [0, 3, 1, 2, 4, 5]
  assert got.late == 1
  small = aedat.decode(encode([1, 2], [0, 0], [1, 1], [0, -7]))
  assert small.events.timestamp.tolist() == [-7, 0]


@pytest.mark.parametrize("back", [1_001, 50_000, 2**31])
def test_a_step_back_is_named_at_its_byte(back):
  data = encode([1] * 3, [1] * 3, [1] * 3, [10, 2**31, 2**31 - back])
  where = len(HEADER) + 16
  if back == 2**31:  # A pause of 36 minutes, which reads as a step back.
    data = encode([1] * 3, [1] * 3, [1] * 3, [0, 5, 5 + 2**31])
  with pytest.raises(ValueError, match=f"^a.b: byte {where}: .*us before"):
    aedat.decode(data, "a.b")


def test_special_events_are_left_out_and_counted():
  got = aedat.decode(_raw((0x8000, 1), (2, 2), (0x8000_0004, 3), (0xFFFF, 4)))
  assert got.special == 3 and got.late == 0
  assert got.events.timestamp.tolist() == [2]


@pytest.mark.parametrize("bit", [16, 23, 30])
def test_addresses_outside_the_array_are_named(bit):
  num = 2**15 + 9
  data = bytearray(encode([1] * num, [1] * num, [1] * num, range(num)))
  at = len(HEADER) + 8 * (num - 2)
  data[at : at + 4] = struct.pack(">I", 1 << bit)
  with pytest.raises(ValueError, match=f"^f: byte {at}: .* bits 16-30 zero"):
    aedat.decode(bytes(data), "f")


@pytest.mark.parametrize(
  "data, message",
  [
    (b"", "byte 0: expected an AEDAT 2.0 file, got an empty one"),
    (b"\0\0\x43\x90\0\0\0\0", "byte 0: expected the line '#!AER-DAT2.0'"),
    (b"#!AER-DAT3.1\r\n", "byte 0: .* got b'#!AER-DAT3.1'"),
    (b"#!AER-DAT1.0\r\n", "byte 0: .* got b'#!AER-DAT1.0'"),
    (b"# created\r\n", "byte 0: .* got b'# created'"),
    (b"#!AER-DAT2.0", "byte 0: expected a header line of text"),
    (b"#!AER-DAT2.0\r\n# no end", "byte 14: expected a header line of text"),
    (b"#!AER-DAT2.0\r\n#\0\0\0\0\0\0\0\n", "byte 14: expected a header line"),
    (HEADER + b"\0" * 11, f"byte {len(HEADER) + 8}: .* of 8 bytes, got 3"),
  ],
)
def test_bad_files_are_named(tmp_path, data, message):
  with pytest.raises(ValueError, match=f"^name: {message}"):
    aedat.decode(data, "name")
  path = tmp_path / "file.aedat"
  path.write_bytes(data)
  with pytest.raises(ValueError, match=f"file.aedat: {message}"):
    aedat.read(path)


def test_what_is_no_file_is_named(tmp_path):
  with pytest.raises(ValueError, match=f"{tmp_path}: .*got a folder"):
    aedat.read(tmp_path)
  with pytest.raises(ValueError, match="none: .*got no file"):
    aedat.read(tmp_path / "none")


def test_a_header_alone_is_an_empty_recording():
  assert [len(field) for field in aedat.decode(HEADER).events] == [0] * 4


def _check_bounds(data):
  try:
    got = aedat.decode(data, "fuzz")
  except ValueError as error:
    assert str(error).startswith("fuzz: byte ")
    return
  seen = got.events
  assert len({len(field) for field in seen}) == 1
  assert not len(seen.x) or (min(seen.x.min(), seen.y.min()) >= 0)
  assert not len(seen.x) or (max(seen.x.max(), seen.y.max()) <= 127)
  assert set(np.unique(seen.polarity)) <= {0, 1}
  assert (np.diff(seen.timestamp) >= 0).all()
  assert len(seen.x) + got.special <= len(data) // 8


_RECORDS = strategies.lists(
  strategies.tuples(
    strategies.integers(0, 2**15 - 1)
    | strategies.sampled_from([0x8000, 0x8000_0001, 0xFFFF, 0x1_0000]),
    strategies.integers(0, 700) | strategies.integers(2**32 - 500, 2**32 - 1),
  ),
  max_size=20,
)


@hypothesis.settings(max_examples=300, deadline=None, database=None)
@hypothesis.given(strategies.binary(max_size=80))
def test_any_bytes_give_events_within_bounds_or_a_value_error(data):
  for prefix in (b"", b"#!AER-DAT2.0\r\n", HEADER):
    _check_bounds(prefix + data)


def _slow_records(records):
  """The rules of the module, one record at a time; None: an error."""
  out, special, late, latest, now = [], 0, 0, None, None
  for address, stamp in records:
    if address & 0x7FFF_0000:
      return None
    step = 0 if now is None else (stamp - now + 2**31) % 2**32 - 2**31
    now = stamp if now is None else now + step
    latest = now if latest is None else max(latest, now)
    if latest - now > 1_000:
      return None
    late += now < latest
    if address & 0x8000_8000:
      special += 1
    else:
      x, y = 127 - (address >> 1 & 127), address >> 8
      out.append((x, y, 1 - (address & 1), now))
  return sorted(out, key=lambda event: event[3]), special, late


@hypothesis.settings(max_examples=400, deadline=None, database=None)
@hypothesis.given(_RECORDS)
def test_any_records_are_read_as_a_loop_would(records):
  data, want = _raw(*records), _slow_records(records)
  _check_bounds(data)
  if want is None:
    with pytest.raises(ValueError, match="^data: byte "):
      aedat.decode(data)
  else:
    got = aedat.decode(data)
    rows = zip(*(field.tolist() for field in got.events), strict=True)
    assert (list(rows), got.special, got.late) == want


def test_a_large_file():
  num = 2_000_000
  rng = np.random.default_rng(0)
  records = np.zeros((num, 2), ">u4")
  records[:, 0] = rng.integers(0, 2**15, num)
  records[:, 1] = np.cumsum(rng.integers(0, 50, num))
  got = aedat.decode(HEADER + records.tobytes())
  np.testing.assert_array_equal(got.events.timestamp, records[:, 1])
  np.testing.assert_array_equal(got.events.y, records[:, 0] >> 8)
  x, polarity = 127 - (records[:, 0] >> 1 & 127), records[:, 0] & 1
  np.testing.assert_array_equal(got.events.x, x)
  np.testing.assert_array_equal(got.events.polarity, 1 - polarity)


@pytest.mark.skipif(not _SAMPLE.is_dir(), reason=f"{_SAMPLE} is not there")
def test_real_recordings():
  files = sorted(_SAMPLE.glob("grabbed_data0/scale*/*.aedat"))
  assert len(files) == 42
  counts, share = [], []
  for path in files:
    got = aedat.read(path)
    assert (got.special, got.late) == (0, 0)
    assert 8 * len(got.events.x) + 216 == path.stat().st_size
    assert got.events.timestamp[0] == 0
    if "scale04" in path.name:
      inside = events.crop(got.events, 48, 48, 26, 26)
      bins = events.bin_events(inside, (26, 26, 2), 10_000, 200, 0)
      counts.append(len(inside.x))
      assert len(inside.x) > 0.7 * len(got.events.x)  # On 4 % of the pixels.
      share.append(np.unpackbits(bins).mean())
  assert 12_000 < np.mean(counts) < 14_500
  assert 0.03 < np.mean(share) < 0.04
  data = files[0].read_bytes()
  begin = len(data) - 8 * 700
  want = [
    struct.unpack(">II", data[i : i + 8])[1] for i in range(begin, len(data), 8)
  ]
  assert aedat.decode(data).events.timestamp[-700:].tolist() == want


def _independent(data):
  """x, y, polarity, time by bit fields of the format alone, in NumPy."""
  begin = 0
  while data[begin : begin + 1] == b"#":
    begin = data.index(b"\n", begin) + 1
  words = np.frombuffer(data[begin:], ">u4").astype(np.int64)
  address, time = words[0::2], words[1::2]
  column = address // 2 % 128
  return 127 - column, address // 256 % 128, 1 - address % 2, time


@pytest.mark.skipif(not _SAMPLE.is_dir(), reason=f"{_SAMPLE} is not there")
def test_real_recordings_equal_an_independent_reading():
  files = sorted(_SAMPLE.rglob("*.aedat"))
  total = 0
  for path in files:
    got, want = aedat.read(path).events, _independent(path.read_bytes())
    for name, field, expected in zip(got._fields, got, want, strict=True):
      np.testing.assert_array_equal(field, expected, f"{path}: {name}")
    total += len(got.x)
  assert len(files) == 42 and total > 600_000
