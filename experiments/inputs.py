"""What a configuration is trained on: its source, and what is asked of it."""

import json
import math
import os
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from experiments.configs import base
from timedecode import collectives, datasets
from timedecode import judge as judge_lib
from timedecode.datasets import (
  augmentation,
  coded_images,
  recordings,
  simulator,
  sources,
)
from timedecode.datasets.options import OF

NUM_PIXELS = 784
SOURCES = (*datasets.SOURCES, *recordings.NAMES)
_TONIC = OF["download"]
# Which sources a field of `config.data` is for.
_OF = {
  "data_dir": ("mnist_5k_official", "mnist", "mnist_dvs", *_TONIC),
  **dict.fromkeys(("split_seed", "coding"), datasets.SOURCES),
  "dt_ms": recordings.NAMES,
  **OF,
  "download": ("mnist", *_TONIC),
}
TARGETS = ("image", *recordings.TARGETS)


class Task(NamedTuple):
  """What a model is asked, known before any data is read.

  Attributes:
    input_shape: of one step's input.
    num_outputs: N_r of the decoder.
    distortion: a name of `bottleneck.DISTORTIONS`.
    metric: the figure that matters: 'judge_accuracy' of pictures, 'accuracy'
      of labels.
  """

  input_shape: tuple[int, ...]
  num_outputs: int
  distortion: str
  metric: str


def is_coded(config) -> bool:
  """Whether the inputs are coded images, and not recordings."""
  return config.data.source in datasets.SOURCES


def options(config) -> recordings.Options:
  """How recordings are binned; their duration is that of all steps."""
  choices = config.data
  return recordings.Options(
    dt_ms=choices.dt_ms,
    duration_s=config.num_steps * choices.dt_ms / 1e3,
    scale=choices.scale,
    polarity=choices.polarity,
    digits=tuple(choices.digits),
    bounds=tuple(choices.bounds),
    crop=tuple(choices.crop),
    tfds_dir=os.path.expanduser(choices.tfds_dir),
    simulated=tuple(choices.simulated),
    simulator=simulator.Settings(**choices.simulator),
    simulator_seed=choices.simulator_seed,
    download=choices.download,
  )


def _plain(value: Any) -> str:
  """The same for a tuple and a list, as files have it."""
  value = value.to_dict() if isinstance(value, ConfigDict) else value
  return json.dumps(value, sort_keys=True)


def _check_of_source(config) -> None:
  """Refuses fields that the source makes no use of, unless at their default."""
  defaults = base.get_config().data
  for name, of in _OF.items():
    given, default = config.data[name], defaults[name]
    if config.data.source not in of and _plain(given) != _plain(default):
      raise ValueError(
        f"config.data.{name}: is of {', '.join(of)}, not of"
        f" {config.data.source}"
      )


def check(config) -> None:
  """Raises ValueError for choices that don't go together."""
  choices = config.data
  _check_of_source(config)
  known = recordings.TARGETS if "mnist" in choices.source else ("label",)
  known = coded_images.TARGETS if is_coded(config) else known
  if choices.target not in known:
    raise ValueError(
      f"config.data.target: expected one of {', '.join(known)} for the source"
      f" {choices.source}, got {choices.target!r}"
    )
  if not is_coded(config):
    try:
      recordings.resolve(choices.source, options(config))
    except ValueError as error:
      raise ValueError(f"config.data: {error}") from error
    for name in ("max_shift", "max_rotation", "max_zoom"):
      if choices[name] and choices.source == "shd":
        raise ValueError(
          f"config.data.{name}: expected 0 for shd, which has no pixels, got"
          f" {choices[name]}"
        )
  side = max(sensor_shape(config)[:2])
  if choices.max_shift > side:
    raise ValueError(
      f"config.data.max_shift: expected at most {side} pixels, got"
      f" {choices.max_shift}"
    )


def sensor_shape(config) -> tuple[int, ...]:
  """Shape of one step of the input before any flattening."""
  if is_coded(config):
    return (28, 28)
  return recordings.shape_of(config.data.source, options(config))


def task(config) -> Task:
  """The task of a configuration."""
  shape, classes = sensor_shape(config), 10
  if not is_coded(config):
    classes = recordings.num_classes(config.data.source)
  if config.encoder.kind == "dense":
    shape = (math.prod(shape),)
  if config.data.target == "label":
    return Task(shape, classes, "categorical", "accuracy")
  return Task(shape, NUM_PIXELS, "bernoulli", "judge_accuracy")


def load(config) -> sources.Source:
  """The source that a configuration names.

  Raises:
    ValueError: data that are missing or damaged, a missing package, or a
      download that failed.
  """
  try:
    return _load(config)
  except (OSError, ImportError, RuntimeError) as error:
    told = " ".join(str(error).split())
    raise ValueError(f"config.data.source {config.data.source}: {told}") from (
      error
    )


def _load(config) -> sources.Source:
  choices, flat = config.data, config.encoder.kind == "dense"
  folder = os.path.expanduser(choices.data_dir)
  moves = augmentation.Moves(
    choices.max_shift, choices.max_rotation, choices.max_zoom
  )
  if is_coded(config):
    splits = datasets.load(
      choices.source, choices.split_seed, folder, choices.download
    )
    return coded_images.load(
      splits, choices.coding, config.num_steps, flat, moves,
      choices.target,
    )  # fmt: skip
  return recordings.load(
    choices.source, folder or None, options(config), choices.target, flat,
    moves,
  )  # fmt: skip


def describe(config) -> str:
  """The source's name, and whether it is simulated."""
  name = config.data.source
  return f"{name} (simulated)" if name in recordings.SIMULATED else name


def judge(config, source: sources.Source) -> Any:
  """Parameters of the judge of pictures, from the cache; None for labels.

  It is trained on the clean training images of the source, for recordings on
  those of 'mnist_5k'.
  """
  if config.data.target == "label":
    return None
  data = datasets.Images(*source.rows("train"))
  if not is_coded(config):
    data = datasets.load("mnist_5k").train
  folder = datasets.cache_folder()
  return judge_lib.load_or_train(data, folder, config.judge_epochs).params


def judge_shapes(config) -> Any:
  """Of what `judge` returns; nothing is trained or loaded."""
  return None if config.data.target == "label" else judge_lib.shapes()


def training_key(seed: int) -> jax.Array:
  """Root of a run's random numbers in training."""
  return jax.random.split(jax.random.key(seed + 1))[0]


def validation_key(seed: int) -> jax.Array:
  """Of its evaluations on validation."""
  return jax.random.split(jax.random.key(seed + 1))[1]


def test_key(seed: int) -> jax.Array:
  """Of its figures on the test set."""
  return jax.random.key(seed + 2)


def example_keys(
  key: jax.Array, batch_size: int, axis_name: str | None = None
) -> jax.Array:
  """One key per place in the global batch, for a device's part of it."""
  places = collectives.places(batch_size, axis_name)
  return jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
