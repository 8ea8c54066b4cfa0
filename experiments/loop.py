"""From a configuration to a trained model and its evaluation."""

import functools
import json
import math
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from timedecode import (
  bottleneck,
  checkpoint,
  coding,
  datasets,
  decoder,
  encoder,
  estimators,
  metrics,
  neurons,
  readout,
  surrogate,
  synapses,
  training,
)
from timedecode import judge as judge_lib

NUM_PIXELS = 784
EVAL_BATCH = 200
CHOICES = {
  "estimator": tuple(estimators.ESTIMATORS),
  "credit": ("bptt",),
  "prior": ("independent",),
  "decoder": ("linear", "mlp", "conv"),
  "view": ("full", "window", "rate", "first_spike"),
  "baseline_view": ("", "full", "window", "rate", "first_spike"),
  "data.coding": ("latency", "rate"),
  "encoder.kind": ("dense", "convolutional"),
  "encoder.gain": ("unit", "published"),
  "optimizer.name": ("adam", "sgd"),
}
AT_LEAST = {
  "seed": 0, "steps": 1, "batch_size": 1, "num_steps": 2, "num_samples": 1,
  "window": 1, "decoder_width": 0, "eval_every": 1, "eval_samples": 1,
  "data.split_seed": 0, "data.max_shift": 0, "encoder.num_readout": 1,
  "optimizer.max_norm": 0,
}  # fmt: skip


class NonFiniteLossError(RuntimeError):
  """The loss of a training step was infinite or not a number."""


def _field(config, name):
  return functools.reduce(lambda c, part: c[part], name.split("."), config)


def validate(config) -> None:
  """Raises ValueError that names the first field out of its range."""
  for name, choices in CHOICES.items():
    if _field(config, name) not in choices:
      raise ValueError(
        f"config.{name}: expected one of {', '.join(map(repr, choices))}, got"
        f" {_field(config, name)!r}"
      )
  for name, least in AT_LEAST.items():
    value = _field(config, name)
    if not math.isfinite(value) or value < least:
      raise ValueError(f"config.{name}: expected >= {least}, got {value}")
  bottleneck.check_beta(config.beta)
  bottleneck.check_prior_rate(config.prior_rate)
  for name in ("optimizer.learning_rate", "encoder.weight_scale"):
    value = _field(config, name)
    if not (math.isfinite(value) and value > 0):
      raise ValueError(f"config.{name}: expected > 0, got {value}")
  if not 0 <= config.optimizer.final_fraction <= 1:
    raise ValueError(
      "config.optimizer.final_fraction: expected a number in [0, 1], got"
      f" {config.optimizer.final_fraction}"
    )
  if "window" in (config.view, config.baseline_view) and (
    config.window > config.num_steps
  ):
    raise ValueError(
      f"config.window: expected at most num_steps = {config.num_steps}, got"
      f" {config.window}"
    )
  surrogate.get(config.encoder.surrogate)
  estimators.ESTIMATORS[config.estimator](config.num_samples)


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
    shape, layers, choices.num_readout, lateral=choices.lateral
  )


def build(config, view: str):
  """Model, flax decoder and optimiser for one view of the spikes."""
  snn = build_encoder(config)
  options = {}
  if config.decoder == "mlp":
    options["width"] = config.decoder_width or None
  ann = decoder.make(config.decoder, NUM_PIXELS, **options)
  view_options = {"length": config.window} if view == "window" else {}
  losses = functools.partial(
    bottleneck.vdib,
    beta=config.beta,
    prior=bottleneck.independent_prior(config.prior_rate),
  )
  model = training.Model(
    snn, ann.apply, readout.view(view, **view_options), losses
  )
  return model, ann, build_optimizer(config)


def build_optimizer(config) -> optax.GradientTransformation:
  """Adam or SGD with cosine decay and optional clipping."""
  choices = config.optimizer
  schedule = optax.cosine_decay_schedule(
    choices.learning_rate, config.steps, choices.final_fraction
  )
  rule = {"adam": optax.adam, "sgd": optax.sgd}[choices.name](schedule)
  if choices.max_norm:
    rule = optax.chain(optax.clip_by_global_norm(choices.max_norm), rule)
  return rule


def init_state(config, model, ann, optimizer) -> training.TrainState:
  """Parameters from the seed, at step 0."""
  key_encoder, key_decoder = jax.random.split(jax.random.key(config.seed))
  silent = jnp.zeros((config.num_steps, config.encoder.num_readout))
  params = training.ModelParams(
    model.encoder.init(key_encoder),
    ann.init(key_decoder, model.view(silent)),
  )
  return training.init_state(params, optimizer)


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


def make_step(config, model, optimizer):
  """The compiled step: (state, all images, indices, root key, diagnose)."""
  estimator = estimators.ESTIMATORS[config.estimator](config.num_samples)
  train_step = training.make_train_step(model, estimator, optimizer)

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state, images, indices, key, diagnose):
    keys = example_keys(jax.random.fold_in(key, state.step), len(indices))
    halves = jax.vmap(jax.random.split)(keys)
    inputs, targets = encode_images(
      config, images[indices], halves[:, 0], config.data.max_shift
    )
    return train_step(state, inputs, targets, halves[:, 1], diagnose)

  return step


def make_evaluator(config, model, judge_params, num_samples):
  """``evaluate(params, Images, key) -> (figures, reconstructions)``."""
  eval_step = training.make_eval_step(model, num_samples)

  @jax.jit
  def evaluate_batch(params, images, labels, key):
    keys = example_keys(key, len(images))
    halves = jax.vmap(jax.random.split)(keys)
    inputs, targets = encode_images(config, images, halves[:, 0])
    result = eval_step(params, inputs, targets, halves[:, 1])
    pictures = jax.nn.sigmoid(result.outputs).reshape(
      num_samples, len(images), 28, 28
    )
    originals = targets.reshape(-1, 28, 28)
    pairwise = lambda f: jax.vmap(jax.vmap(f), (0, None))(pictures, originals)
    guesses = jax.vmap(judge_lib.predict, (None, 0))(judge_params, pictures)
    figures = {
      "judge_accuracy": guesses == labels,
      "distortion": result.losses.distortion,
      "information": result.losses.information,
      "readout_spikes_per_example": jnp.sum(result.spikes, axis=(0, 3)),
      "readout_rate": jnp.mean(result.spikes, axis=(0, 3)),
      "mean_squared_error": pairwise(metrics.mean_squared_error_32),
      "psnr_db": pairwise(metrics.psnr),
      "readout_entropy": result.losses.entropy,
    }
    figures = {
      name: jnp.mean(value.astype(jnp.float32), axis=0)
      for name, value in figures.items()
    }
    rates = jnp.broadcast_to(jnp.mean(result.hidden_rates), (len(images),))
    return figures | {"hidden_rate": rates}, pictures[0]

  def evaluate(params, data, key):
    sums, pictures, count = {}, [], len(data.images)
    for start in range(0, count, EVAL_BATCH):
      images = data.images[start : start + EVAL_BATCH]
      labels = data.labels[start : start + EVAL_BATCH]
      fill = EVAL_BATCH - len(images)
      images = np.pad(images, ((0, fill), (0, 0), (0, 0)))
      figures, decoded = evaluate_batch(
        params,
        images,
        np.pad(labels, (0, fill)),
        jax.random.fold_in(key, start),
      )
      kept = EVAL_BATCH - fill
      for name, value in figures.items():
        sums[name] = sums.get(name, 0.0) + float(np.sum(value[:kept]))
      pictures.append(np.asarray(decoded[:kept]))
    return in_bits(
      {name: value / count for name, value in sums.items()}
    ), np.concatenate(pictures)

  return evaluate


def in_bits(figures: dict[str, float]) -> dict[str, float]:
  """Adds what people read: bits per example and per spike, nats per pixel."""
  bits = metrics.nats_to_bits(figures.pop("information"))
  spikes = figures["readout_spikes_per_example"]
  return figures | {
    "information_bits": float(bits),
    "information_bits_per_spike": float(bits / spikes) if spikes else None,
    "pixel_cross_entropy": figures["distortion"] / NUM_PIXELS,
  }


class Timer:
  """Seconds of training, without evaluations and the first compilation."""

  def __init__(self):
    self.seconds = 0.0
    self._since = None

  def start(self):
    self._since = time.perf_counter()

  def stop(self):
    if self._since is not None:
      self.seconds += time.perf_counter() - self._since
    self._since = None


def _check_finite(step, metrics, last, folder):
  """Stops at a non-finite loss; the last finite metrics are kept on disk."""
  if np.isfinite(metrics.loss):
    return
  path = folder / "non_finite.json"
  _write_json(path, {"step": step, "last_finite": last})
  raise NonFiniteLossError(
    f"the loss of step {step} is {float(metrics.loss)}; the last finite metrics"
    f" are in {path}, and the checkpoint there is of the last evaluation."
    " Try a smaller optimizer.learning_rate."
  )


def describe(metrics_) -> dict:
  """Metrics of a step as plain numbers, information in bits."""
  diagnostics = metrics_.diagnostics
  row = {
    "train_loss": float(metrics_.loss),
    "train_distortion": float(metrics_.distortion),
    "train_information_bits": float(metrics.nats_to_bits(metrics_.information)),
    "train_readout_rate": float(metrics_.readout_rate),
    "train_readout_entropy_bits": float(metrics.nats_to_bits(metrics_.entropy)),
  }
  for name, value in diagnostics._asdict().items():
    row[name] = [float(v) for v in value]
  return row


def _write_json(path: pathlib.Path, value) -> None:
  temporary = path.with_suffix(".partial")
  temporary.write_text(json.dumps(value, indent=2) + "\n")
  temporary.replace(path)


def read_rows(path: pathlib.Path) -> list[dict]:
  """The lines of a metrics file; [] where there is none."""
  if not path.exists():
    return []
  return [json.loads(line) for line in path.read_text().splitlines()]


def train(config, view, splits, judge_params, folder, report=print):
  """Trains one model, or continues it from `folder`'s checkpoint.

  Returns the final state, its model, and the seconds of training.
  """
  model, ann, optimizer = build(config, view)
  state = init_state(config, model, ann, optimizer)
  timer, rows = Timer(), []
  path, lines = folder / "checkpoint", folder / "metrics.jsonl"
  if path.exists():
    state, meta = checkpoint.load(path, state)
    timer.seconds = meta["train_seconds"]
    rows = [r for r in read_rows(lines) if r["step"] <= int(state.step)]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report(f"[{view}] continues from step {int(state.step)} of {path}")
  step_function = make_step(config, model, optimizer)
  evaluate = make_evaluator(config, model, judge_params, 1)
  images = jnp.asarray(splits.train.images)
  key_train, key_eval = jax.random.split(jax.random.key(config.seed + 1))
  pending, last = None, rows[-1] if rows else None
  first = int(state.step)
  for step in range(first, config.steps):
    indices = datasets.batch_indices(
      len(images), config.batch_size, config.seed, step
    )
    now = (step + 1) % config.eval_every == 0 or step + 1 == config.steps
    state, metrics_ = step_function(state, images, indices, key_train, now)
    if pending is not None:
      _check_finite(step, pending, last, folder)
    pending = metrics_
    if step == first:
      jax.block_until_ready(metrics_)
      timer.start()
    if now:
      _check_finite(step + 1, metrics_, last, folder)
      timer.stop()
      figures, _ = evaluate(state.params, splits.validation, key_eval)
      last = _row(config, splits.source, step + 1, timer, metrics_, figures)
      with lines.open("a") as file:
        file.write(json.dumps(last) + "\n")
      checkpoint.save(path, state, {
        "view": view, "step": step + 1, "seed": config.seed,
        "train_seconds": timer.seconds,
      })  # fmt: skip
      report(progress_line(config, view, last))
      pending = None
      timer.start()
  return state, model, timer.seconds


def _row(config, source, step, timer, metrics_, figures):
  seen = step * config.batch_size
  return {
    "step": step, "examples_seen": seen, "train_seconds": timer.seconds,
    "examples_per_second": seen / max(timer.seconds, 1e-9),
    "data_source": source, "split": "validation",
  } | figures | describe(metrics_)  # fmt: skip


def progress_line(config, view, row) -> str:
  """What a person wants to see while it runs."""
  left = (config.steps - row["step"]) * row["train_seconds"] / row["step"]
  return (
    f"[{view}] step {row['step']}/{config.steps}"
    f"  {row['examples_per_second']:,.0f} examples/s  {left:4.0f} s left"
    f"  distortion {row['distortion']:.1f} nats"
    f"  information {row['information_bits']:.1f} bits"
    f"  judge accuracy {row['judge_accuracy']:.3f} (validation)"
  )
