"""An ANN variational autoencoder with the same decoder, for comparison.

  python -m experiments.vae --config=experiments/configs/mnist_time.py \
      --workdir=DIR

One hidden layer of ReLU units as large as the configuration's first, a Gaussian
latent z of as many numbers as the decoder's view has, [T, N_y]:

  q(z | r) = N(mu(r), diag(sigma(r)^2)),  prior N(0, 1)
  loss = -log p(r | z) + kl_weight KL(q(z | r) || prior)                  (1)

It sees the pixels and no spikes. Budget, order and augmentation of the data,
optimiser, judge and figures are those of the configuration; the information is
the KL, in bits. Writes config.json (with kl_weight), metrics.jsonl of the
validation, summary.json and the reconstructions as `train` does.
Source: Kingma and Welling 2014.
"""

import json
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from flax import linen as nn

from experiments import (
  build,
  checks,
  decoding,
  finish,
  inputs,
  journal,
  loop,
  options,
  origin,
  vae_scoring,
  workdir,
)
from timedecode import bottleneck, precision, training
from timedecode.datasets import feed

KL_WEIGHT = flags.DEFINE_float("kl_weight", 1.0, "Of the KL term.", 0.0)


class Recognition(nn.Module):
  """q(z | r): pixels [784] -> mean and log variance, each [T, N_y]."""

  width: int
  shape: tuple[int, int]

  @nn.compact
  def __call__(self, pixels):
    """The two moments."""
    hidden = nn.relu(nn.Dense(self.width)(pixels))
    size = self.shape[0] * self.shape[1]
    moments = nn.Dense(2 * size)(hidden)
    return tuple(part.reshape(self.shape) for part in jnp.split(moments, 2))


def divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
  """KL(N(mean, variance) || N(0, 1)), summed, nats."""
  variance = jnp.exp(log_variance)
  return 0.5 * jnp.sum(variance + mean**2 - 1.0 - log_variance)


class Autoencoder(NamedTuple):
  """recognition and decoder: Flax modules; shape: of z."""

  recognition: nn.Module
  decoder: nn.Module
  shape: tuple[int, int]

  def init(self, key):
    """Parameters of both."""
    keys = jax.random.split(key)
    return training.ModelParams(
      self.recognition.init(keys[0], jnp.zeros(inputs.NUM_PIXELS)),
      self.decoder.init(keys[1], jnp.zeros(self.shape)),
    )

  def run(self, params, target, key):
    """(logits [784], distortion, KL) of one image and one sample of z."""
    mean, log_variance = self.recognition.apply(params.encoder, target)
    noise = jax.random.normal(key, self.shape)
    z = mean + jnp.exp(0.5 * log_variance) * noise
    logits = self.decoder.apply(params.decoder, z)
    distortion = bottleneck.bernoulli_distortion(logits, target)
    return logits, distortion, divergence(mean, log_variance)


def make(config) -> Autoencoder:
  """The autoencoder of a configuration; ValueError where it has none."""
  if config.data.target != "image" or not config.encoder.hidden:
    raise ValueError(
      "config: expected images as targets and a hidden layer for the"
      f" autoencoder, got data.target {config.data.target!r} and"
      f" encoder.hidden {config.encoder.hidden}"
    )
  ann = decoding.build_decoder(config, inputs.NUM_PIXELS)
  shape = config.num_steps, config.encoder.num_readout
  return Autoencoder(Recognition(config.encoder.hidden[0], shape), ann, shape)


def make_step(config, model, source, optimizer, kl_weight: float):
  """The compiled step; its images are moved as those of `loop.make_step`."""
  root = jax.random.split(jax.random.key(config.seed + 1))[0]

  def step(params, state, rows, index):
    key = jax.random.fold_in(root, index)
    keys = inputs.example_keys(key, len(rows.labels))
    halves = jax.vmap(jax.random.split)(keys)
    rows = source.augment(rows, halves[:, 0])
    targets = source.decode(rows, halves[:, 0]).targets

    def loss(params):
      _, distortion, kl = jax.vmap(model.run, (None, 0, 0))(
        params, targets, halves[:, 1]
      )
      return jnp.mean(distortion + kl_weight * kl)

    value, gradients = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state, value

  step = precision.in_precision(config.precision, step)
  return jax.jit(step, donate_argnums=(0, 1))


def train(config, source, kl_weight: float, validate, report=print, keep=None):
  """(parameters, seconds) after the steps of the configuration.

  Args:
    config: of the run.
    source: of the images.
    kl_weight: of the KL term.
    validate: ``params -> figures`` of the validation images.
    report: takes a line per evaluation.
    keep: takes the figures of an evaluation with their step.
  """
  model, optimizer = make(config), build.build_optimizer(config)
  params = jax.jit(model.init)(jax.random.key(config.seed))
  state, timer = optimizer.init(params), loop.Timer()
  step = make_step(config, model, source, optimizer, kl_weight)
  with feed.batches(
    source.rows("train"), config.batch_size, config.seed, 0, config.steps
  ) as batches:
    for index, batch in batches:
      params, state, value = step(params, state, batch, index)
      done = index + 1
      if done % config.eval_every == 0 or done == config.steps:
        if not np.isfinite(value):
          raise ValueError(f"the loss of step {done} is {float(value)}")
        timer.stop()
        figures = validate(params)
        report(progress_line(config, done, timer.seconds, value, figures))
        if keep:
          keep({"step": done, "train_loss": float(value), **figures})
        timer.start()
      elif not index:  # Compiled.
        jax.block_until_ready(value)
        timer.start()
  return params, timer.seconds


def progress_line(config, done, seconds, loss, figures) -> str:
  """As `progress.line`."""
  return (
    f"[vae] step {done}/{config.steps}"
    f"  {done * config.batch_size / max(seconds, 1e-9):,.0f} examples/s"
    f"  {seconds / done * (config.steps - done):4.0f} s left"
    f"  loss {float(loss):.1f} nats"
    f"  judge accuracy {figures['judge_accuracy']:.3f} (validation)"
  )


def run(config, folder: pathlib.Path, kl_weight: float = 1.0) -> dict:
  """The whole job; returns the summary that it writes."""
  checks.validate(config)
  made_with = origin.record()  # Files may change while it trains.
  model, source = make(config), inputs.load(config)
  with config.unlocked():
    config.name, config.view, config.baseline_view = "vae", "full", ""
    config.kl_weight = kl_weight  # Runs with others are other runs.
  workdir.claim(config, folder)
  judge_params = inputs.judge(config, source)
  evaluate = vae_scoring.make_evaluator(source, judge_params, model)
  key_eval = jax.random.split(jax.random.key(config.seed + 1))[1]
  validate = lambda p: evaluate(p, source.rows("validation"), key_eval)[0]
  rows, path = [], folder / "metrics.jsonl"

  def keep(row):
    rows.append(row)
    journal.write_rows(path, rows, print)

  params, seconds = train(config, source, kl_weight, validate, keep=keep)
  figures, pictures = evaluate(
    params, source.rows("test"), jax.random.key(config.seed + 2),
    config.eval_samples,
  )  # fmt: skip
  seen = config.steps * config.batch_size
  summary = {
    "task": config.name, "data_source": source.name,
    "split": finish.split_of(config, source).replace("of y", "of z"),
    "seed": config.seed, "steps": config.steps, "examples_seen": seen,
    "train_seconds": seconds,
    "examples_per_second": seen / max(seconds, 1e-9),
    "kl_weight": kl_weight, **figures, **made_with,
  }  # fmt: skip
  vae_scoring.draw(config, source, pictures, folder / "figures")
  (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
  print(f"test, {source.name}: ANN autoencoder: {figures}")
  return summary


def main(argv):
  """Parses the flags and turns errors of use into one line."""
  if len(argv) > 1 or not options.WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and no other arguments")
  folder = pathlib.Path(options.WORKDIR.value)
  try:
    run(options.CONFIG.value, folder, KL_WEIGHT.value)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main)
