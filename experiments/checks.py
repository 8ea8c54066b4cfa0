"""What the fields of a configuration may be."""

import functools
import math

from experiments import build, inputs
from timedecode import (
  bottleneck,
  channel,
  credit,
  estimators,
  microbatches,
  parallel,
  precision,
  priors,
  published,
  surrogate,
)

CHOICES = {
  "parallel": parallel.KINDS,
  "estimator": (*estimators.ESTIMATORS, "published"),
  "baseline": estimators.BASELINES,
  "credit": tuple(credit.CREDITS),
  "information": ("closed_form", "sampled"),
  "prior": tuple(priors.PRIORS),
  "decoder": ("linear", "mlp", "conv"),
  "view": ("full", "window", "rate", "first_spike"),
  "baseline_view": ("", "full", "window", "rate", "first_spike"),
  "non_finite": ("stop", "skip"),
  "precision": precision.PRECISIONS,
  "data.source": inputs.SOURCES,
  "data.target": inputs.TARGETS,
  "data.scale": (4, 8, 16),
  "data.polarity": ("both", "merged"),
  "data.coding": ("latency", "rate"),
  "encoder.kind": ("dense", "convolutional"),
  "encoder.gain": ("unit", "published"),
  "optimizer.name": ("adam", "sgd"),
  "optimizer.encoder_name": ("", "adam", "sgd", "frozen"),
}
SEEDS = 2**32 - 10  # The largest; a run's keys are of some numbers from it on.
AT_LEAST = {
  "seed": 0, "num_devices": 0, "steps": 1, "batch_size": 1, "num_steps": 2,
  "num_microbatches": 1,
  "num_samples": 1,
  "window": 1, "decoder_width": 0, "decoder_channels": 0,
  "eval_every": 1, "eval_samples": 1,
  "data.split_seed": 0, "data.device_bytes": 0, "data.max_shift": 0,
  "encoder.num_readout": 1,
  "optimizer.max_norm": 0, "judge_epochs": 1, "remat_every": 0,
  "optimizer.encoder_learning_rate": 0, "prior_length": 1,
  "online_chunk": 0, "checkpoint_seconds": 0, "view_scale": 0,
  "baseline_view_scale": 0,
  "baseline_learning_rate": 0, "baseline_encoder_learning_rate": 0,
}  # fmt: skip

AT_MOST = {
  "optimizer.final_fraction": 1, "optimizer.warmup_fraction": 1,
  "data.max_rotation": 180, "data.max_zoom": 0.99,
}  # fmt: skip


def field(config, name: str):
  """The value of a field by its dotted name."""
  return functools.reduce(lambda c, part: c[part], name.split("."), config)


def validate(config) -> None:
  """Raises ValueError that names the first field out of its range."""
  for name, choices in CHOICES.items():
    if field(config, name) not in choices:
      raise ValueError(
        f"config.{name}: expected one of {', '.join(map(repr, choices))}, got"
        f" {field(config, name)!r}"
      )
  for name, least in AT_LEAST.items():
    value = field(config, name)
    if not math.isfinite(value) or value < least:
      raise ValueError(f"config.{name}: expected >= {least}, got {value}")
  if config.seed > SEEDS:  # Keys of larger ones are those of smaller ones.
    raise ValueError(f"config.seed: expected <= {SEEDS}, got {config.seed}")
  bottleneck.check_beta(config.beta)
  channel.check_flip(config.channel_flip)
  _positive(config)
  inputs.check(config)
  build.build_prior(config)
  for name, most in AT_MOST.items():
    if not 0 <= field(config, name) <= most:
      raise ValueError(
        f"config.{name}: expected a number in [0, {most}], got"
        f" {field(config, name)}"
      )
  if config.baseline_view == config.view:
    raise ValueError(
      f"config.baseline_view: expected another view than view, got"
      f" {config.view!r} for both"
    )
  if "window" in (config.view, config.baseline_view) and (
    config.window > config.num_steps
  ):
    raise ValueError(
      f"config.window: expected at most num_steps = {config.num_steps}, got"
      f" {config.window}"
    )
  surrogate.get(config.encoder.surrogate)
  _check_combinations(config)
  if config.estimator == "published":
    _check_published(config)
  else:
    build.simple_estimator(config)


def _check_combinations(config):
  if config.num_devices > 1 and config.parallel == "none":
    raise ValueError(
      "config.num_devices: expected 0 or 1 with parallel = 'none', got"
      f" {config.num_devices}"
    )
  parts = config.num_devices or 1
  if config.batch_size % parts:
    raise ValueError(
      f"config.batch_size: expected a multiple of num_devices = {parts}, got"
      f" {config.batch_size}"
    )
  microbatches.check(config.num_microbatches, config.batch_size // parts)
  choices = config.encoder
  if choices.event_driven and (choices.kind, bool(choices.hidden)) != (
    "dense", True,
  ):  # fmt: skip
    raise ValueError(
      "config.encoder.event_driven: expected False without a dense first"
      " layer, got True"
    )
  if choices.event_driven and config.online_chunk:
    raise ValueError(
      "config.encoder.event_driven: expected False with online_chunk, got True"
    )
  batch = config.estimator == "score_function" and config.baseline == "batch"
  if batch and config.batch_size < 2:
    raise ValueError(
      "config.batch_size: expected >= 2 for the baseline 'batch', got"
      f" {config.batch_size}"
    )
  if config.online_chunk and config.remat_every:
    raise ValueError(
      "config.remat_every: expected 0 with online_chunk, which stores nothing"
      f" to compute again, got {config.remat_every}"
    )
  if config.online_chunk and config.channel_flip:
    raise ValueError(
      "config.channel_flip: expected 0 with online_chunk, got"
      f" {config.channel_flip}"
    )


def _positive(config):
  for name in (
    "optimizer.learning_rate", "encoder.weight_scale", "temperature",
    "final_temperature", "data.dt_ms",
  ):  # fmt: skip
    value = field(config, name)
    if not (math.isfinite(value) and value > 0):
      raise ValueError(f"config.{name}: expected > 0, got {value}")


def _check_published(config):
  published.check_repairs(config.repairs)
  if config.information != "sampled":
    raise ValueError(
      "config.information: expected 'sampled' for the estimator 'published',"
      f" whose signal it is, got {config.information!r}"
    )
  if config.num_samples != 1:
    raise ValueError(
      "config.num_samples: expected 1 for the estimator 'published', got"
      f" {config.num_samples}"
    )
  if config.remat_every:
    raise ValueError(
      "config.remat_every: expected 0 for the estimator 'published', got"
      f" {config.remat_every}"
    )
