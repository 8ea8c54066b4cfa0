"""Simulated recordings of the images of 'mnist_5k', made once and kept."""

import functools
import hashlib
import math

import jax
import numpy as np

from timedecode import datasets
from timedecode.datasets import cache, packing, simulator, sources

_AT_ONCE = 50  # Recordings.
_VERSION = 1  # Part of the cache's key.


@functools.cache
def _simulator(duration_s, dt_ms):
  """``(keys [B], images [B, 28, 28]) -> uint8 [B, T, 169]``, compiled once."""
  one = lambda key, image: simulator.mnist_dvs_sim(
    key, image, duration_s=duration_s, bin_ms=dt_ms
  )
  return jax.jit(jax.vmap(one))


def simulate(
  images: np.ndarray, seed: int, duration_s: float = 2.0, dt_ms: float = 10.0
) -> np.ndarray:
  """Simulated recordings of images uint8 [M, 28, 28]: uint8 [M, T, 169].

  Recording i is of image i and of key ``fold_in(key(seed), i)``.
  """
  many = _simulator(duration_s, dt_ms)
  keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(
    np.arange(len(images))
  )
  parts, size = [], min(_AT_ONCE, len(images))
  for start in range(0, len(images), size):
    begin = min(start, len(images) - size)  # One shape: compiled once.
    rows = slice(begin, begin + size)
    parts.append(np.asarray(many(keys[rows], images[rows]))[start - begin :])
  return np.concatenate(parts)


def _check(digits, counts, duration_s, dt_ms):
  """All mistakes, before any recording is made."""
  for name, part, count in zip(sources.SPLITS, digits[:3], counts, strict=True):
    if not 1 <= count <= len(part.images):
      raise ValueError(
        f"simulated: expected 1..{len(part.images)} recordings for {name}, got"
        f" {count}"
      )
  for name, value in (("dt_ms", dt_ms), ("duration_s", duration_s)):
    if not (math.isfinite(value) and value > 0):
      raise ValueError(f"{name}: expected a positive number, got {value}")


def load(
  counts: tuple[int, int, int] = (3600, 400, 1000),
  duration_s: float = 2.0,
  dt_ms: float = 10.0,
) -> dict[str, sources.Rows]:
  """Split -> rows of simulated recordings, from the cache where they are.

  Args:
    counts: recordings per split, of the first images of each.
    duration_s: of a recording.
    dt_ms: of a step.

  Raises:
    ValueError: more recordings than images, or times that aren't positive.
  """
  digits, splits = datasets.load("mnist_5k"), {}
  _check(digits, counts, duration_s, dt_ms)
  steps = round(duration_s * 1e3 / dt_ms)
  width = packing.packed_size(simulator.NUM_NEURONS)
  for index, name in enumerate(sources.SPLITS):
    part, count = digits[index], counts[index]
    template = {"spikes": np.zeros((count, steps, width), np.uint8)}
    images = part.images[:count]
    key = {
      "source": "mnist_dvs_sim", "split": name, "count": count,
      "images": hashlib.sha256(images.tobytes()).hexdigest(),
      "keys": jax.config.jax_default_prng_impl,
      "dt_ms": dt_ms, "duration_s": duration_s,
      "settings": list(simulator.Settings()), "version": _VERSION,
    }  # fmt: skip
    make = lambda images=images, seed=index: {
      "spikes": simulate(images, seed, duration_s, dt_ms)
    }
    found = cache.arrays(datasets.cache_folder(), key, template, make)
    splits[name] = sources.Rows(found["spikes"], part.labels[:count])
  return splits
