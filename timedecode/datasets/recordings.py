"""Binned recordings by name, real and simulated, as a `sources.Source`.

  mnist_dvs      moving digits before an event camera, original archives
  mnist_dvs_sim  what a simulator makes of the images of 'mnist_5k'
  nmnist, dvs_gesture, shd   through tonic

Whatever is slow is done once and kept in the cache folder.
"""

import os

import numpy as np

from timedecode import datasets
from timedecode.datasets import (
  augmentation,
  mnist_dvs,
  simulated,
  simulator,
  sources,
)
from timedecode.datasets.options import NAMES, Options, resolve

SIMULATED = ("mnist_dvs_sim",)
TARGETS = ("label", "prototype", "random")


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
    tfds_dir=options.tfds_dir,
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
  return splits, mnist_dvs.describe(found)


def _load_tonic(name, data_dir, options):
  from timedecode.datasets import held_out, tonic_sources

  load = lambda split: sources.Rows(*tonic_sources.load(
    name, data_dir, split, options.dt_ms, 1e3 * options.duration_s,
    download=options.download, cache_dir=datasets.cache_folder(),
  ))  # fmt: skip
  train, test = load("train"), load("test")
  chosen, remark = held_out.split(name, data_dir, len(train.labels))
  splits = {
    "train": sources.gather(train, ~chosen),
    "validation": sources.gather(train, chosen),
    "test": test,
  }
  return splits, remark


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
  moves: augmentation.Moves = augmentation.Moves(),
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
    moves: how far training recordings are moved; not at all for shd.

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
  options, remarks = resolve(name, options), ""
  if name == "mnist_dvs":
    splits, remarks = _load_mnist_dvs(data_dir, options)
  elif name == "mnist_dvs_sim":
    splits = simulated.load(
      options.simulated, options.duration_s, options.dt_ms,
      options.simulator, options.simulator_seed,
    )  # fmt: skip
  else:
    splits, remarks = _load_tonic(name, data_dir, options)
  shape = shape_of(name, options)
  source = sources.recordings(
    name, splits, shape, _targets(target), flat, moves
  )
  return source._replace(remarks=remarks)
