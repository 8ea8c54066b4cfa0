"""How fast recordings are read and binned, and what they take.

  python -m experiments.benchmark_events [--events=8000000]

Files are made in memory: an AEDAT 2.0 file in the order of time, one whose
clock wraps, and one with late events, read by `aedat.decode`; and recordings
of the size of MNIST-DVS' (70,000 events, 13,000 of them in the window), cropped
and binned to packed bits. Prints a table and JSON.
"""

import json
import time

import numpy as np
from absl import app, flags

from timedecode.datasets import aedat, events, mnist_dvs, packing

EVENTS = flags.DEFINE_integer("events", 8_000_000, "Of the large file.", 1000)
REPEATS = flags.DEFINE_integer("repeats", 7, "Calls that are timed.", 3)

LARGEST = 2**32
RECORDING, DURATION_US, SIDE = 70_000, 2_000_000, 26


def _file(timestamps: np.ndarray, seed: int) -> bytes:
  """An AEDAT 2.0 file with random pixels."""
  generator = np.random.default_rng(seed)
  records = np.empty((len(timestamps), 2), ">u4")
  records[:, 0] = generator.integers(0, 2**15, len(timestamps))
  records[:, 1] = timestamps % LARGEST
  return b"#!AER-DAT2.0\r\n" + records.tobytes()


def files(size: int) -> dict[str, bytes]:
  """Kind of a file -> its bytes."""
  steps = np.random.default_rng(0).integers(0, 3, size)
  ordered = np.cumsum(steps)
  late = ordered.copy()
  late[1000::1000] -= 50  # Of every thousand one, 50 us late.
  return {
    "in order": _file(ordered, 1),
    "clock wraps": _file(ordered + LARGEST - ordered[-1] // 2, 2),
    "late events": _file(np.maximum(late, 0), 3),
  }


def seconds(function, *arguments) -> float:
  """Median of repeated calls."""
  times = []
  for _ in range(REPEATS.value + 1):
    start = time.perf_counter()
    function(*arguments)
    times.append(time.perf_counter() - start)
  return float(np.median(times[1:]))


def _window(found: events.Events) -> events.Events:
  return events.crop(found, *mnist_dvs.CROP)


def measure() -> dict:
  """Rates of reading, times of binning, and the size of the whole set."""
  result = {"events": EVENTS.value}
  for kind, data in files(EVENTS.value).items():
    taken = seconds(aedat.decode, data)
    result[f"million events/s, {kind}"] = EVENTS.value / taken / 1e6
  timestamps = np.sort(
    np.random.default_rng(4).integers(0, DURATION_US, RECORDING)
  )
  recording = _file(timestamps, 5)
  found = aedat.decode(recording).events
  # Random pixels would rarely fall into the window: move 13,000 there.
  chosen = np.random.default_rng(6).choice(RECORDING, 13_000, replace=False)
  for field in (found.x, found.y):
    field[chosen] = mnist_dvs.CROP[0] + field[chosen] % SIDE
  inside = _window(found)
  result["recording, ms to read"] = 1e3 * seconds(aedat.decode, recording)
  result["recording, ms to crop"] = 1e3 * seconds(_window, found)
  for dt_ms in (10, 25):
    steps = DURATION_US // (1000 * dt_ms)
    taken = seconds(
      events.bin_events, inside, (SIDE, SIDE, 2), 1000 * dt_ms, steps, 0
    )
    result[f"recording, ms to bin at {dt_ms} ms"] = 1e3 * taken
  bits = packing.packed_size(SIDE * SIDE * 2)
  result["MB of 10,000 recordings at 10 ms"] = bits * 200 * 10_000 / 1e6
  return result


# What the pipeline is to reach: name -> (limit, whether at least or at most).
TARGETS = {
  "million events/s, in order": (30.0, "at least"),
  "million events/s, clock wraps": (30.0, "at least"),
  "million events/s, late events": (30.0, "at least"),
  "recording, ms to bin at 10 ms": (2.0, "at most"),
  "recording, ms to bin at 25 ms": (2.0, "at most"),
  "MB of 10,000 recordings at 10 ms": (340.0, "at most"),
}


def verdict(name: str, value: float) -> str:
  """The target of a figure and whether it is met, or nothing."""
  if name not in TARGETS:
    return ""
  limit, kind = TARGETS[name]
  met = value >= limit if kind == "at least" else value <= limit
  return f"{kind} {limit:g}: {'met' if met else 'MISSED'}"


def main(argv):
  """Measures and prints."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  found = measure()
  print("| | | target |\n|---|---|---|")
  for name, value in found.items():
    text = f"{value:,}" if name == "events" else f"{value:,.3g}"
    print(f"| {name} | {text} | {verdict(name, value)} |")
  print(json.dumps(found))


if __name__ == "__main__":
  app.run(main)
