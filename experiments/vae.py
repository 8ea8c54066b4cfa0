"""An ANN variational autoencoder with the same decoder, for comparison.

  python -m experiments.vae --config=experiments/configs/mnist_time.py \
      --workdir=DIR

One hidden layer of ReLU units as large as the configuration's first, a Gaussian
latent z of as many numbers as the decoder's view has, [T, N_y]:

  q(z | r) = N(mu(r), diag(sigma(r)^2)),  prior N(0, 1)
  loss = -log p(r | z) + kl_weight KL(q(z | r) || prior)                  (1)

It sees the pixels and no spikes. Budget, order and augmentation of the data,
optimiser, judge and figures are those of the configuration; the information is
the KL, in bits. Writes config.json and summary.json as `train` does.
Source: Kingma and Welling 2014.
"""

import functools
import json
import pathlib
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from flax import linen as nn

from experiments import build, checks, finish, inputs, options, workdir
from experiments.scoring import EVAL_BATCH
from timedecode import bottleneck, decoder, metrics, training
from timedecode import judge as judge_lib
from timedecode.datasets import feed, sources

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
  options_ = {}
  if config.decoder == "mlp":
    options_["width"] = config.decoder_width or None
  ann = decoder.make(config.decoder, inputs.NUM_PIXELS, **options_)
  shape = config.num_steps, config.encoder.num_readout
  return Autoencoder(Recognition(config.encoder.hidden[0], shape), ann, shape)


def train(config, source, kl_weight: float, report=print):
  """(autoencoder, parameters, seconds) after the steps of the configuration."""
  model = make(config)
  optimizer = build.build_optimizer(config)
  key_init, key_steps = jax.random.split(jax.random.key(config.seed))
  params = jax.jit(model.init)(key_init)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state, rows, index):
    key = jax.random.fold_in(key_steps, index)
    keys = inputs.example_keys(key, len(rows.labels))
    rows = source.augment(rows, keys)
    targets = source.decode(rows, keys).targets

    def loss(params):
      _, distortion, kl = jax.vmap(model.run, (None, 0, 0))(
        params, targets, keys
      )
      return jnp.mean(distortion + kl_weight * kl)

    value, gradients = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state, value

  state, start = optimizer.init(params), time.perf_counter()
  rows = source.rows("train")
  with feed.batches(
    rows, config.batch_size, config.seed, 0, config.steps
  ) as batches:
    for index, batch in batches:
      params, state, value = step(params, state, batch, index)
      if (index + 1) % config.eval_every == 0 or index + 1 == config.steps:
        spent, done = time.perf_counter() - start, index + 1
        if not np.isfinite(value):
          raise ValueError(f"the loss of step {done} is {float(value)}")
        report(
          f"[vae] step {done}/{config.steps}"
          f"  {done * config.batch_size / spent:,.0f} examples/s"
          f"  {spent / done * (config.steps - done):4.0f} s left"
          f"  loss {float(value):.1f} nats"
        )
  return model, params, time.perf_counter() - start


def evaluate(config, source, judge_params, model, params) -> dict:
  """Means over the test images and `eval_samples` samples of z."""
  rows = source.rows("test")

  @jax.jit
  def batch_figures(rows, key):
    keys = inputs.example_keys(key, len(rows.labels))
    targets = source.decode(rows, keys).targets
    logits, distortion, kl = jax.vmap(model.run, (None, 0, 0))(
      params, targets, keys
    )
    pictures = jax.nn.sigmoid(logits).reshape(-1, 28, 28)
    originals = targets.reshape(-1, 28, 28)
    seen = lambda images: judge_lib.predict(judge_params, images) == rows.labels
    error = jax.vmap(metrics.mean_squared_error_32)(pictures, originals)
    return {
      "judge_accuracy": seen(pictures),
      "judge_clean_accuracy": seen(originals),
      "mean_squared_error": error,
      "pixel_cross_entropy": distortion / inputs.NUM_PIXELS,
      "psnr_db": jax.vmap(metrics.psnr)(pictures, originals),
      "information_bits_per_example": metrics.nats_to_bits(kl),
    }

  sums, count = {}, len(rows.labels)
  for draw in range(config.eval_samples):
    for start in range(0, count, EVAL_BATCH):
      at = np.arange(start, start + EVAL_BATCH)
      key = jax.random.fold_in(jax.random.key(config.seed + 2), draw)
      found = batch_figures(
        sources.gather(rows, at % count), jax.random.fold_in(key, start)
      )
      for name, values in found.items():
        total = float(np.asarray(values)[at < count].sum(dtype=np.float64))
        sums[name] = sums.get(name, 0.0) + total
  return {k: v / count / config.eval_samples for k, v in sums.items()}


def run(config, folder: pathlib.Path, kl_weight: float = 1.0) -> dict:
  """The whole job; returns the summary that it writes."""
  checks.validate(config)
  make(config)
  source = inputs.load(config)
  config.name, config.view, config.baseline_view = "vae", "full", ""
  workdir.claim(config, folder)
  judge_params = inputs.judge(config, source)
  model, params, seconds = train(config, source, kl_weight)
  figures = evaluate(config, source, judge_params, model, params)
  seen = config.steps * config.batch_size
  summary = {
    "task": config.name, "data_source": source.name,
    "split": finish.split_of(config, source), "seed": config.seed,
    "steps": config.steps, "examples_seen": seen, "train_seconds": seconds,
    "kl_weight": kl_weight, **figures, "versions": workdir.versions(),
  }  # fmt: skip
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
