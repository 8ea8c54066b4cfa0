"""Figures of a model on a split: distortion, information, judgement."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build
from timedecode import judge as judge_lib
from timedecode import metrics, training

EVAL_BATCH = 200


def make_evaluator(config, model, judge_params, num_samples):
  """``evaluate(params, Images, key) -> (figures, reconstructions)``."""
  eval_step = training.make_eval_step(model, num_samples)

  @jax.jit
  def evaluate_batch(params, images, labels, key):
    keys = build.example_keys(key, len(images))
    halves = jax.vmap(jax.random.split)(keys)
    inputs, targets = build.encode_images(config, images, halves[:, 0])
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
    "pixel_cross_entropy": figures["distortion"] / build.NUM_PIXELS,
  }
