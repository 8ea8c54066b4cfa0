"""Simulated recordings of the images of 'mnist_5k', made once and kept."""

import functools
import hashlib

import jax
import numpy as np

from timedecode import datasets
from timedecode.datasets import cache, packing, simulator, sources

_AT_ONCE = 50  # Recordings.
_VERSION = 1  # Part of the cache's key.


@functools.cache
def _simulator(duration_s, dt_ms, settings):
  """``(keys [B], images [B, 28, 28]) -> uint8 [B, T, 169]``, compiled once."""
  one = lambda key, image: simulator.mnist_dvs_sim(
    key, image, settings, duration_s, dt_ms
  )
  return jax.jit(jax.vmap(one))


def simulate(
  images: np.ndarray,
  seed: int,
  duration_s: float = 2.0,
  dt_ms: float = 10.0,
  settings: simulator.Settings = simulator.Settings(),
) -> np.ndarray:
  """Simulated recordings of images uint8 [M, 28, 28]: uint8 [M, T, 169].

  Recording i is of image i and of key ``fold_in(key(seed), i)``.
  """
  many = _simulator(duration_s, dt_ms, settings)
  keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(
    np.arange(len(images))
  )
  parts, size = [], min(_AT_ONCE, len(images))
  for start in range(0, len(images), size):
    begin = min(start, len(images) - size)  # One shape: compiled once.
    rows = slice(begin, begin + size)
    parts.append(np.asarray(many(keys[rows], images[rows]))[start - begin :])
  return np.concatenate(parts)


def _check(digits, counts):
  """All mistakes, before any recording is made."""
  for name, part, count in zip(sources.SPLITS, digits[:3], counts, strict=True):
    if not 1 <= count <= len(part.images):
      raise ValueError(
        f"simulated: expected 1..{len(part.images)} recordings for {name}, got"
        f" {count}"
      )


def load(
  counts: tuple[int, int, int] = (3600, 400, 1000),
  duration_s: float = 2.0,
  dt_ms: float = 10.0,
  settings: simulator.Settings = simulator.Settings(),
  seed: int = 0,
) -> dict[str, sources.Rows]:
  """Split -> rows of simulated recordings, from the cache where they are.

  Args:
    counts: recordings per split, of the first images of each.
    duration_s: of a recording.
    dt_ms: of a step.
    settings: of the simulator.
    seed: other seeds, other recordings of the same images.

  Raises:
    ValueError: more recordings than images, a setting out of its range, or
      times that are no multiples.
  """
  digits, splits = datasets.load("mnist_5k"), {}
  _check(digits, counts)
  simulator.check(settings, duration_s, dt_ms)
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
      "settings": list(settings), "seed": seed, "jax": jax.__version__,
      "backend": jax.default_backend(),
      "version": _VERSION,
    }  # fmt: skip
    of_split = len(sources.SPLITS) * seed + index
    make = lambda images=images, seed=of_split: {
      "spikes": simulate(images, seed, duration_s, dt_ms, settings)
    }
    found = cache.arrays(datasets.cache_folder(), key, template, make)
    splits[name] = sources.Rows(found["spikes"], part.labels[:count])
  return splits
