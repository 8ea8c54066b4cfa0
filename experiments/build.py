"""From a configuration to a model: checks, networks, optimiser, inputs."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from timedecode import (
  bottleneck,
  coding,
  credit,
  datasets,
  decoder,
  encoder,
  estimators,
  neurons,
  priors,
  published,
  readout,
  surrogate,
  synapses,
  training,
)

NUM_PIXELS = 784
CHOICES = {
  "estimator": (*estimators.ESTIMATORS, "published"),
  "baseline": estimators.BASELINES,
  "credit": tuple(credit.CREDITS),
  "information": ("closed_form", "sampled"),
  "prior": tuple(priors.PRIORS),
  "decoder": ("linear", "mlp", "conv"),
  "view": ("full", "window", "rate", "first_spike"),
  "baseline_view": ("", "full", "window", "rate", "first_spike"),
  "data.source": datasets.SOURCES,
  "data.coding": ("latency", "rate"),
  "encoder.kind": ("dense", "convolutional"),
  "encoder.gain": ("unit", "published"),
  "optimizer.name": ("adam", "sgd"),
  "optimizer.encoder_name": ("", "adam", "sgd", "frozen"),
}
AT_LEAST = {
  "seed": 0, "steps": 1, "batch_size": 1, "num_steps": 2, "num_samples": 1,
  "window": 1, "decoder_width": 0, "eval_every": 1, "eval_samples": 1,
  "data.split_seed": 0, "data.max_shift": 0, "encoder.num_readout": 1,
  "optimizer.max_norm": 0, "judge_epochs": 1, "remat_every": 0,
  "optimizer.encoder_learning_rate": 0, "prior_length": 1,
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
  bottleneck.check_beta(config.beta)
  _positive(config)
  build_prior(config)
  for name in ("optimizer.final_fraction", "optimizer.warmup_fraction"):
    if not 0 <= field(config, name) <= 1:
      raise ValueError(
        f"config.{name}: expected a number in [0, 1], got {field(config, name)}"
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
  if config.estimator == "published":
    _check_published(config)
  else:
    _simple_estimator(config)


def _positive(config):
  for name in (
    "optimizer.learning_rate", "encoder.weight_scale", "temperature",
    "final_temperature",
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


def _simple_estimator(config) -> estimators.Estimator:
  """Any estimator that needs no model to be built."""
  options = {}
  if config.estimator == "score_function":
    options["baseline"] = config.baseline
  if config.estimator == "relaxed":
    options["temperature"] = optax.exponential_decay(
      config.temperature,
      config.steps,
      config.final_temperature / config.temperature,
    )
  return estimators.ESTIMATORS[config.estimator](config.num_samples, **options)


def build_estimator(config, model) -> estimators.Estimator:
  """How gradients pass the random spikes."""
  if config.estimator != "published":
    return _simple_estimator(config)
  return published.published_rule(model, config.repairs, config.batch_size)


def build_prior(config) -> priors.Prior:
  """q(y_t | past)."""
  options = {"length": config.prior_length} if config.prior == "glm" else {}
  return priors.PRIORS[config.prior](config.prior_rate, **options)


def build_credit(config) -> credit.Credit:
  """How errors reach the hidden layers."""
  if config.credit == "feedback" and config.estimator == "published":
    return published.feedback(config.repairs)
  return credit.CREDITS[config.credit]()


def build_encoder(config) -> encoder.Encoder:
  """The encoding SNN that a configuration asks for."""
  choices = config.encoder
  options = dict(
    neuron=neurons.lif(surrogate.get(choices.surrogate)),
    synapse=synapses.lif_filter(gain=choices.gain),
    weight_scale=choices.weight_scale,
  )
  if choices.kind == "dense":
    layers = [encoder.dense(size, **options) for size in choices.hidden]
    shape = (NUM_PIXELS,)
  else:
    layers = [encoder.convolutional(size, **options) for size in choices.hidden]
    shape = (28, 28)
  return encoder.make_encoder(
    shape, layers, choices.num_readout, lateral=choices.lateral,
    credit=build_credit(config), remat_every=config.remat_every,
  )  # fmt: skip


class Built(NamedTuple):
  """What a configuration asks for.

  Attributes:
    model: `training.Model`.
    ann: the Flax decoder, for its parameters.
    optimizer: optax transformation over `training.ModelParams`.
    estimator: `estimators.Estimator`.
  """

  model: training.Model
  ann: Any
  optimizer: optax.GradientTransformation
  estimator: estimators.Estimator


def build(config, view: str) -> Built:
  """All parts for one view of the spikes."""
  snn = build_encoder(config)
  options = {}
  if config.decoder == "mlp":
    options["width"] = config.decoder_width or None
  ann = decoder.make(config.decoder, NUM_PIXELS, **options)
  view_options = {"length": config.window} if view == "window" else {}
  losses = functools.partial(
    bottleneck.vdib,
    beta=config.beta,
    closed_form=config.information == "closed_form",
  )
  model = training.Model(
    snn, ann.apply, readout.view(view, **view_options), losses,
    build_prior(config),
  )  # fmt: skip
  estimator = build_estimator(config, model)
  return Built(model, ann, build_optimizer(config), estimator)


def _rule(config, name, learning_rate):
  """One rule with the schedule of the configuration."""
  choices = config.optimizer
  schedule = optax.warmup_cosine_decay_schedule(
    init_value=0.0 if choices.warmup_fraction else learning_rate,
    peak_value=learning_rate,
    warmup_steps=round(choices.warmup_fraction * config.steps),
    decay_steps=config.steps,
    end_value=learning_rate * choices.final_fraction,
  )
  if name == "frozen":
    return optax.set_to_zero()
  return {"adam": optax.adam, "sgd": optax.sgd}[name](schedule)


def build_optimizer(config) -> optax.GradientTransformation:
  """Adam or SGD with warm-up, cosine decay and optional clipping."""
  choices = config.optimizer
  rule = _rule(config, choices.name, choices.learning_rate)
  if choices.encoder_name or choices.encoder_learning_rate:
    name = choices.encoder_name or choices.name
    rate = choices.encoder_learning_rate or choices.learning_rate
    rule = optax.multi_transform(
      {"encoder": _rule(config, name, rate), "rest": rule},
      training.ModelParams("encoder", "rest", "rest"),
    )
  if choices.max_norm:
    rule = optax.chain(optax.clip_by_global_norm(choices.max_norm), rule)
  return rule


def init_state(config, built: Built) -> training.TrainState:
  """Parameters from the seed, at step 0."""

  @jax.jit
  def init(key):
    key_encoder, key_decoder = jax.random.split(key)
    silent = jnp.zeros((config.num_steps, config.encoder.num_readout))
    params = training.ModelParams(
      built.model.encoder.init(key_encoder),
      built.ann.init(key_decoder, built.model.view(silent)),
      built.model.prior.init(config.encoder.num_readout),
    )
    return training.init_state(params, built.optimizer, built.estimator)

  return init(jax.random.key(config.seed))


def _shift(image, key, max_shift):
  """The image moved by up to `max_shift` pixels each way, zeros moved in."""
  offset = jax.random.randint(key, (2,), 0, 2 * max_shift + 1)
  padded = jnp.pad(image, max_shift)
  return jax.lax.dynamic_slice(padded, tuple(offset), image.shape)


def encode_images(config, images, keys, max_shift=0):
  """Images uint8 [B, 28, 28] -> spikes [T, B, ...], targets [B, 784]."""

  def one(image, key):
    key_shift, key_code = jax.random.split(key)
    values = image.astype(jnp.float32) / 255.0
    if max_shift:
      values = _shift(values, key_shift, max_shift)
    if config.encoder.kind == "dense":
      values = values.reshape(-1)
    if config.data.coding == "latency":
      spikes = coding.latency_encode(values, config.num_steps)
    else:
      spikes = coding.rate_encode(key_code, values, config.num_steps)
    return spikes, values.reshape(-1)

  return jax.vmap(one, out_axes=(1, 0))(images, keys)


def example_keys(key, batch_size):
  """One key per position in the global batch."""
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(batch_size))
