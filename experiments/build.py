"""From a configuration to a model: networks, rules, optimiser, inputs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments import decoding, inputs
from timedecode import (
  bottleneck,
  credit,
  encoder,
  estimation,
  estimators,
  microbatches,
  neurons,
  online_final,
  parallel,
  priors,
  published,
  surrogate,
  synapses,
  training,
)

# Fields that change no program, if it takes them as arguments.
NUMBERS = (
  "beta", "prior_rate", "optimizer.learning_rate",
  "optimizer.encoder_learning_rate",
)  # fmt: skip


def axis_name(config) -> str | None:
  """Of the devices, where means over them are the step's own."""
  return parallel.AXIS if config.parallel == "pmap" else None


def layout(config) -> parallel.Layout:
  """Which devices share a batch; ValueError if they can't."""
  found = parallel.layout(config.parallel, config.num_devices or None)
  found.check(config.batch_size)
  microbatches.check(
    config.num_microbatches, config.batch_size // len(found.devices)
  )
  return found


def simple_estimator(config) -> estimation.Estimator:
  """Any estimator that needs no model to be built."""
  options = {}
  if config.estimator == "score_function":
    options["baseline"] = config.baseline
    options["axis_name"] = axis_name(config)
  if config.estimator == "relaxed":
    options["temperature"] = optax.exponential_decay(
      config.temperature,
      config.steps,
      config.final_temperature / config.temperature,
    )
  return estimators.ESTIMATORS[config.estimator](config.num_samples, **options)


def build_estimator(config, model) -> estimation.Estimator:
  """How gradients pass the random spikes."""
  if config.online_chunk:
    if config.estimator == "score_function" and config.baseline != "samples":
      raise ValueError(
        "config.baseline: expected 'samples' for online gradients, got"
        f" {config.baseline!r}"
      )
    return online_final.make_estimator(
      model, config.online_chunk, config.estimator, config.num_samples
    )
  if config.estimator != "published":
    return simple_estimator(config)
  return published.published_rule(
    model.encoder, config.repairs, config.batch_size, axis_name(config)
  )


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
  layer = {"dense": encoder.dense, "convolutional": encoder.convolutional}
  layers = [layer[choices.kind](size, **options) for size in choices.hidden]
  if choices.event_driven:
    first, *_ = choices.hidden
    layers[0] = encoder.dense(first, **options, event_driven=True)
  return encoder.make_encoder(
    inputs.task(config).input_shape, layers, choices.num_readout,
    lateral=choices.lateral, credit=build_credit(config),
    remat_every=config.remat_every,
  )  # fmt: skip


class Built(NamedTuple):
  """What a configuration asks for.

  Attributes:
    model: `training.Model`.
    ann: the Flax decoder, for its parameters.
    optimizer: optax transformation over `training.ModelParams`.
    estimator: `estimation.Estimator`.
    init: ``(key) -> training.TrainState`` at step 0.
    precision: of large products in training steps, see `timedecode.precision`.
    num_microbatches: of a batch, see `timedecode.microbatches`.
  """

  model: training.Model
  ann: Any
  optimizer: optax.GradientTransformation
  estimator: estimation.Estimator
  init: Callable[[jax.Array], training.TrainState]
  precision: str = "float32"
  num_microbatches: int = 1


def for_view(config, view: str):
  """The configuration with what the baseline has of its own."""
  if view != config.baseline_view:
    return config
  config = config.copy_and_resolve_references()
  config.view_scale = config.baseline_view_scale
  if config.baseline_learning_rate:
    choices = config.optimizer
    choices.learning_rate = config.baseline_learning_rate
    choices.encoder_learning_rate = config.baseline_encoder_learning_rate
  return config


def with_numbers(config, numbers: dict[str, jax.Array]):
  """The configuration with fields of `NUMBERS` that a program is given.

  What is built of it inside of the program depends on them as on any argument.
  """
  config = config.copy_and_resolve_references()
  with config.ignore_type():
    config.update_from_flattened_dict(numbers)
  return config


def build(config, view: str) -> Built:
  """All parts for one view of the spikes."""
  config = for_view(config, view)
  snn, task = build_encoder(config), inputs.task(config)
  ann = decoding.build_decoder(config, task.num_outputs)
  losses = functools.partial(
    bottleneck.vdib,
    beta=config.beta,
    distortion=bottleneck.DISTORTIONS[task.distortion],
    closed_form=config.information == "closed_form",
  )
  model = training.Model(
    snn, ann.apply, decoding.build_view(config, view), losses,
    build_prior(config), decoding.build_channel(config),
  )  # fmt: skip
  rule = build_estimator(config, model)
  estimation.check_divisible(rule, config.num_microbatches)
  parts = model, ann, build_optimizer(config), rule
  return Built(
    *parts,
    _make_init(config, *parts),
    config.precision,
    config.num_microbatches,
  )


def _rule(config, name, learning_rate):
  """One rule with the schedule of the configuration."""
  choices = config.optimizer
  warmup = round(choices.warmup_fraction * config.steps)
  start = 0.0 if choices.warmup_fraction else learning_rate
  schedule = optax.join_schedules(
    [
      optax.linear_schedule(start, learning_rate, warmup),
      optax.cosine_decay_schedule(
        learning_rate, config.steps - warmup, choices.final_fraction
      ),
    ],
    [warmup],
  )
  if name == "frozen":
    return optax.set_to_zero()
  return {"adam": optax.adam, "sgd": optax.sgd}[name](schedule)


def _same_rate(config) -> bool:
  """Whether the encoder learns at the rate of the rest."""
  rate = config.optimizer.encoder_learning_rate
  return not isinstance(rate, jax.Array) and not rate


def build_optimizer(config) -> optax.GradientTransformation:
  """Adam or SGD with warm-up, cosine decay and optional clipping."""
  choices = config.optimizer
  rule = _rule(config, choices.name, choices.learning_rate)
  rate, same = choices.encoder_learning_rate, _same_rate(config)
  if choices.encoder_name or not same:
    name = choices.encoder_name or choices.name
    rate = choices.learning_rate if same else rate
    rule = optax.multi_transform(
      {"encoder": _rule(config, name, rate), "rest": rule},
      training.ModelParams("encoder", "rest", "rest"),
    )
  if choices.max_norm:
    rule = optax.chain(optax.clip_by_global_norm(choices.max_norm), rule)
  return rule


def _make_init(config, model, ann, optimizer, estimator):
  """``init(key) -> training.TrainState`` at step 0, compiled once."""

  @jax.jit
  def init(key):
    key_encoder, key_decoder = jax.random.split(key)
    silent = jnp.zeros((config.num_steps, config.encoder.num_readout))
    params = training.ModelParams(
      model.encoder.init(key_encoder),
      ann.init(key_decoder, model.view(silent)),
      model.prior.init(config.encoder.num_readout),
    )
    return training.init_state(params, optimizer, estimator)

  return init


def init_state(config, built: Built) -> training.TrainState:
  """Parameters from the seed, at step 0."""
  return built.init(jax.random.key(config.seed))
