"""Part of `vae`: figures of the autoencoder on a split, and its picture."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments import finish, inputs
from experiments.scoring import EVAL_BATCH
from timedecode import judge as judge_lib
from timedecode import metrics
from timedecode.datasets import sources


def make_batch_figures(source, judge_params, model):
  """Builds ``(params, Rows, key) -> (figures by image, pictures)``."""

  def batch_figures(params, rows, key):
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
      "distortion": distortion,
      "pixel_cross_entropy": distortion / inputs.NUM_PIXELS,
      "mean_squared_error": error,
      "psnr_db": jax.vmap(metrics.psnr)(pictures, originals),
      "information_bits_per_example": metrics.nats_to_bits(kl),
    }, pictures

  return jax.jit(batch_figures)


def make_evaluator(source, judge_params, model):
  """Builds ``evaluate(params, Rows, key, num_samples=1)``, compiled once.

  It returns the means over examples and samples of z, and the pictures of the
  last sample.
  """

  batch_figures = make_batch_figures(source, judge_params, model)

  def evaluate(params, rows, key, num_samples=1):
    sums, count = {}, len(rows.labels)
    for draw in range(num_samples):
      pictures = []
      for start in range(0, count, EVAL_BATCH):
        at = np.arange(start, start + EVAL_BATCH)  # Filled up with others.
        found, some = batch_figures(
          params, sources.gather(rows, at % count),
          jax.random.fold_in(jax.random.fold_in(key, draw), start),
        )  # fmt: skip
        for name, values in found.items():
          total = float(np.asarray(values)[at < count].sum(dtype=np.float64))
          sums[name] = sums.get(name, 0.0) + total
        pictures.append(np.asarray(some)[at < count])
    means = {k: v / count / num_samples for k, v in sums.items()}
    return means, np.concatenate(pictures)

  return evaluate


def draw(config, source, pictures, place: pathlib.Path) -> None:
  """A test image per class above what is decoded of one sample of z."""
  place.mkdir(exist_ok=True)
  rows = source.rows("test")
  chosen = np.unique(rows.labels, return_index=True)[1]
  batch = source.decode(
    jax.tree.map(jnp.asarray, sources.gather(rows, chosen)),
    inputs.example_keys(jax.random.key(config.seed + 3), len(chosen)),
  )
  finish.draw_reconstructions(
    config, batch, {"ANN autoencoder": pictures[chosen]},
    place / "reconstructions.png",
    f"autoencoder: test examples of {inputs.describe(config)}",
  )  # fmt: skip
