"""Binned recordings by name, real and simulated, as a `sources.Source`.

  mnist_dvs      moving digits before an event camera, original archives
  mnist_dvs_sim  what a simulator makes of the images of 'mnist_5k'
  nmnist, dvs_gesture, shd   through tonic

Whatever is slow is done once and kept in the cache folder.
"""

import math
import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from timedecode import datasets
from timedecode.datasets import mnist_dvs, simulated, simulator, sources

NAMES = ("mnist_dvs", "mnist_dvs_sim", "nmnist", "dvs_gesture", "shd")
DURATIONS = (2.0, 2.0, 0.3, 2.0, 1.4)  # Seconds, where none are given.
# Which sources an option is for; the others refuse it.
OF = {
  **dict.fromkeys(("scale", "polarity", "crop", "digits", "bounds"), NAMES[:1]),
  "simulated": NAMES[1:2],
  "download": NAMES[2:],
}
SIMULATED = ("mnist_dvs_sim",)
TARGETS = ("label", "prototype", "random")
_VALIDATION_EVERY = 10  # Of tonic's training recordings, one in so many.


class Options(NamedTuple):
  """How recordings are binned, and which are taken.

  Attributes:
    dt_ms: milliseconds per step.
    duration_s: seconds kept of a recording, a whole number of steps; None:
      the source's of `DURATIONS`, rounded to one.
    scale: of mnist_dvs: 4, 8 or 16.
    polarity: of mnist_dvs: 'both' or 'merged'.
    crop: of mnist_dvs: leftmost column, uppermost row, width, height.
    digits: of mnist_dvs.
    bounds: of mnist_dvs: first numbers of validation and test recordings.
    simulated: of mnist_dvs_sim: recordings per split, at most the images.
    download: of tonic's sources: fetch what is missing.
  """

  dt_ms: float = 10.0
  duration_s: float | None = None
  scale: int = 4
  polarity: str = "both"
  crop: tuple[int, int, int, int] = mnist_dvs.CROP
  digits: Iterable[int] = range(10)
  bounds: tuple[int, int] = (mnist_dvs.VALIDATION_FROM, mnist_dvs.TEST_FROM)
  simulated: tuple[int, int, int] = (3600, 400, 1000)
  download: bool = False


def resolve(name: str, options: Options) -> Options:
  """The options with the source's own duration where none is given.

  Raises:
    ValueError: an option that isn't of this source differs from its default.
  """
  options = options._replace(digits=tuple(options.digits))
  for option, names in OF.items():
    given, default = getattr(options, option), getattr(Options(), option)
    if name not in names and not np.array_equal(given, default):
      raise ValueError(f"{option}: is of {', '.join(names)}, not of {name}")
  if options.duration_s is not None:
    return options
  seconds, dt_ms = DURATIONS[NAMES.index(name)], options.dt_ms
  if 1e-3 <= dt_ms < math.inf:  # Others are refused where they are used.
    seconds = max(1, round(1e3 * seconds / dt_ms)) * dt_ms / 1e3
  return options._replace(duration_s=seconds)


def shape_of(name: str, options: Options = Options()) -> tuple[int, int, int]:
  """(height, width, polarities) of one step, without reading anything."""
  if name == "mnist_dvs_sim":
    return simulator.SIDE, simulator.SIDE, 2
  if name == "mnist_dvs":
    polarities = 2 if options.polarity == "both" else 1
    return options.crop[3], options.crop[2], polarities
  from timedecode.datasets import tonic_sources

  return tonic_sources.SOURCES[name].shape


def num_classes(name: str) -> int:
  """Labels are below this."""
  if "mnist" in name:
    return 10
  from timedecode.datasets import tonic_sources

  return tonic_sources.SOURCES[name].num_classes


def _load_mnist_dvs(data_dir, options):
  found = mnist_dvs.load(
    data_dir, datasets.cache_folder(), dt_ms=options.dt_ms,
    duration_s=options.duration_s, scale=options.scale,
    polarity=options.polarity, crop=options.crop, digits=options.digits,
  )  # fmt: skip
  parts = mnist_dvs.split(found, *options.bounds)
  splits = {
    name: sources.Rows(part.spikes, part.labels)
    for name, part in zip(sources.SPLITS, parts, strict=True)
  }
  if empty := [name for name, rows in splits.items() if not len(rows.labels)]:
    raise ValueError(
      f"{data_dir}: bounds {tuple(options.bounds)}: expected recordings for"
      f" {', '.join(empty)}, got none ({mnist_dvs.describe(found)})"
    )
  return splits


def _load_tonic(name, data_dir, options):
  from timedecode.datasets import tonic_sources

  load = lambda split: sources.Rows(*tonic_sources.load(
    name, data_dir, split, options.dt_ms, 1e3 * options.duration_s,
    download=options.download, cache_dir=datasets.cache_folder(),
  ))  # fmt: skip
  train, test = load("train"), load("test")
  count = len(train.labels)  # Files may be sorted by class: a random tenth.
  chosen = datasets.epoch_order(count, 0, 0)[: -(-count // _VALIDATION_EVERY)]
  held_out = np.isin(np.arange(count), chosen)
  return {
    "train": sources.gather(train, ~held_out),
    "validation": sources.gather(train, held_out),
    "test": test,
  }


def _targets(kind):
  """Pictures are of MNIST's training images, as 'mnist_5k' has them.

  A prototype is the first image of its digit in MNIST's own order, whatever
  split it falls into here; random ones are of the training split.
  """
  if kind == "label":
    return sources.label_targets
  if kind == "random":
    train = datasets.load("mnist_5k").train
    of_class = [train.images[train.labels == digit] for digit in range(10)]
    return sources.random_targets(np.stack(of_class).reshape(10, -1, 784))
  images, labels = datasets.mnist.load_5k(datasets.cache_folder())
  first = [np.flatnonzero(labels == digit)[0] for digit in range(10)]
  return sources.prototype_targets(images[first].reshape(10, 784) / 255.0)


def load(
  name: str,
  data_dir: str | os.PathLike | None = None,
  options: Options = Options(),
  target: str = "label",
  flat: bool = True,
) -> sources.Source:
  """A source of recordings.

  Args:
    name: one of `NAMES`.
    data_dir: where the originals lie; not needed by mnist_dvs_sim.
    options: `Options`.
    target: 'label', or for digits 'prototype' (one picture per class, float
      [784] in [0, 1]: the first of MNIST's training images of the digit, in
      MNIST's order) or 'random' (a random picture of the class).
    flat: inputs [T, B, N], else [T, B, height, width, polarities].

  Raises:
    ValueError: an unknown name or target, options that don't fit or are of
      another source, a split without recordings, damaged files (named).
    FileNotFoundError, ImportError: see `tonic_sources.load`.
  """
  if name not in NAMES:
    raise ValueError(
      f"source: expected one of {', '.join(NAMES)}, got {name!r}"
    )
  if target not in TARGETS or (target != "label" and "mnist" not in name):
    raise ValueError(
      f"target: expected label, or for digits prototype or random, got"
      f" {target!r} for {name}"
    )
  if data_dir is None and name != "mnist_dvs_sim":
    raise ValueError(f"data_dir: expected the folder of {name}, got none")
  options = resolve(name, options)
  if name == "mnist_dvs":
    splits = _load_mnist_dvs(data_dir, options)
  elif name == "mnist_dvs_sim":
    splits = simulated.load(
      options.simulated, options.duration_s, options.dt_ms
    )
  else:
    splits = _load_tonic(name, data_dir, options)
  shape = shape_of(name, options)
  return sources.recordings(name, splits, shape, _targets(target), flat)
