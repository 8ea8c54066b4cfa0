"""Simulated recordings against real ones of MNIST-DVS: digit 0, scale 4.

  python -m experiments.simulator --data_dir=DIR

The real ones are files mnist_0_scale04_*.aedat anywhere in the folder, in the
order of their names, from --first to --last; the simulator was calibrated on
1..20. Simulated are as many of the training images of digit 0 in
`datasets.load()`, the same numbers. Prints a table of what both look like in
the window of 26x26 pixels during 2 s, and how fast recordings are made;
--output writes the same as JSON.
"""

import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from timedecode import datasets
from timedecode.datasets import aedat, events, simulator

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the recordings.")
OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")
FIRST = flags.DEFINE_integer("first", 21, "First recording, from 1.", 1)
LAST = flags.DEFINE_integer("last", 40, "Last recording.", 1)

PATTERN = "mnist_0_scale04_*.aedat"
DURATION_US, BIN_US, CORNER = 2_000_000, 10_000, 48
TOLERANCE = 0.25
STATISTICS = (
  "events", "set bits at 10 ms, share", "ON events, share",
  "gap of 10 %, ms", "gap of 50 %, ms", "gap of 90 %, ms", "pixels reached",
  "pixels and polarities reached",
)  # fmt: skip
TIMED_BATCH = 32


def statistics(recording: events.Events) -> list[float]:
  """The values of `STATISTICS` for events in the window, from 0 to 2 s.

  Gaps are times between one event and the next of the same pixel and polarity.
  """
  x, y, polarity, timestamp = (
    np.asarray(field, np.int64) for field in recording
  )
  if not timestamp.size:
    raise ValueError("a recording has no event in the window")
  side = simulator.SIDE
  shape = side, side, 2
  packed = events.bin_events(
    recording, shape, BIN_US, DURATION_US // BIN_US, start_us=0
  )
  neuron = (y * side + x) * 2 + polarity
  order = np.lexsort((timestamp, neuron))
  gaps = np.diff(timestamp[order])[np.diff(neuron[order]) == 0]
  quantiles = np.quantile(gaps / 1e3, (0.1, 0.5, 0.9)) if gaps.size else [0] * 3
  set_bits = np.unpackbits(packed).sum()
  return [
    float(value)
    for value in (
      timestamp.size,
      set_bits / (len(packed) * simulator.NUM_NEURONS),
      polarity.mean(),
      *quantiles,
      np.unique(neuron // 2).size,
      np.unique(neuron).size,
    )
  ]


def real_statistics(folder: pathlib.Path, first: int, last: int) -> np.ndarray:
  """Statistics of recordings first..last, [recordings, statistics]."""
  if not folder.is_dir():
    raise ValueError(f"data_dir: expected a folder, got {str(folder)!r}")
  if first > last:
    raise ValueError(f"first: expected at most last = {last}, got {first}")
  paths = sorted(folder.rglob(PATTERN))
  if len(paths) < last:
    raise ValueError(
      f"data_dir: expected at least {last} recordings {PATTERN} in {folder},"
      f" got {len(paths)}"
    )
  rows = []
  for path in paths[first - 1 : last]:
    whole = aedat.read(path).events
    if not whole.timestamp.size or np.ptp(whole.timestamp) < DURATION_US:
      raise ValueError(f"{path}: expected a recording of 2 s or more")
    whole = whole._replace(timestamp=whole.timestamp - whole.timestamp[0])
    kept = events.crop(whole, CORNER, CORNER, simulator.SIDE, simulator.SIDE)
    early = kept.timestamp < DURATION_US
    rows.append(statistics(events.Events(*(field[early] for field in kept))))
  return np.array(rows)


def images_of_zero(first: int, last: int) -> np.ndarray:
  """Training images first..last of digit 0, uint8 [n, 28, 28]."""
  train = datasets.load().train
  images = train.images[train.labels == 0]
  if last > len(images):
    raise ValueError(f"last: expected at most {len(images)}, got {last}")
  return images[first - 1 : last]


def simulated_statistics(first: int, last: int) -> np.ndarray:
  """The same of as many simulated recordings, from all of their events."""
  settings, side = simulator.Settings(), simulator.SIDE
  images = jnp.asarray(images_of_zero(first, last))
  keys = jax.random.split(jax.random.key(first), len(images))
  one = lambda key, image: simulator.mnist_dvs_sim(
    key, image, settings, DURATION_US / 1e6, settings.step_ms
  )
  rows = []
  for packed in np.asarray(jax.jit(jax.vmap(one))(keys, images)):
    step, neuron = np.nonzero(np.unpackbits(packed, -1, bitorder="little"))
    timestamp = (step * settings.step_ms * 1e3).astype(np.int64)
    pixel, polarity = np.divmod(neuron, 2)
    y, x = np.divmod(pixel, side)
    rows.append(statistics(events.Events(x, y, polarity, timestamp)))
  return np.array(rows)


def recordings_per_second(repeats: int = 5) -> float:
  """Recordings of 2 s in bins of 10 ms, made in one call after compilation."""
  images = jnp.asarray(images_of_zero(1, TIMED_BATCH))
  keys = jax.random.split(jax.random.key(0), TIMED_BATCH)
  run = jax.jit(jax.vmap(simulator.mnist_dvs_sim))
  times = []
  for _ in range(repeats + 1):
    start = time.perf_counter()
    jax.block_until_ready(run(keys, images))
    times.append(time.perf_counter() - start)
  return TIMED_BATCH / float(np.median(times[1:]))


def compare(real: np.ndarray, simulated: np.ndarray) -> list[dict]:
  """A row per statistic: means, spreads, ratio, within the tolerance."""
  rows = []
  for name, a, b in zip(STATISTICS, real.T, simulated.T, strict=True):
    ratio = b.mean() / a.mean()
    rows.append({
      "statistic": name,
      "real_mean": float(a.mean()), "real_spread": float(a.std()),
      "simulated_mean": float(b.mean()), "simulated_spread": float(b.std()),
      "ratio": float(ratio),
      "within_tolerance": bool(abs(ratio - 1) <= TOLERANCE),
    })  # fmt: skip
  return rows


def table(rows: list[dict]) -> str:
  """Markdown."""
  lines = [
    "| mean ± standard deviation | real | simulated | ratio | within 25 % |",
    "|---|---|---|---|---|",
  ]
  for row in rows:
    cells = [
      f"{row[f'{kind}_mean']:,.4g} ± {row[f'{kind}_spread']:.2g}"
      if row["real_mean"] < 1000
      else f"{row[f'{kind}_mean']:,.0f} ± {row[f'{kind}_spread']:,.0f}"
      for kind in ("real", "simulated")
    ]
    near = "yes" if row["within_tolerance"] else "no"
    cells = [row["statistic"], *cells, f"{row['ratio']:.2f}", near]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def main(argv):
  """Parses the flags, compares, and turns errors of use into one line."""
  if len(argv) > 1 or not DATA_DIR.value:
    raise app.UsageError("expected --data_dir=DIR and no other arguments")
  first, last = FIRST.value, LAST.value
  try:
    real = real_statistics(pathlib.Path(DATA_DIR.value), first, last)
    rows = compare(real, simulated_statistics(first, last))
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  speed = recordings_per_second()
  print(f"Digit 0, recordings {first} to {last}, and as many simulated ones:\n")
  print(table(rows))
  print(f"\n{speed:.0f} simulated recordings of 2 s per second")
  if OUTPUT.value:
    result = {
      "recordings": [first, last],
      "statistics": rows,
      "simulated_recordings_per_second": speed,
      "settings": simulator.Settings()._asdict(),
    }
    text = json.dumps(result, indent=2) + "\n"
    try:
      pathlib.Path(OUTPUT.value).write_text(text)
    except OSError as error:
      raise SystemExit(f"error: output: {error}") from error


if __name__ == "__main__":
  app.run(main)
