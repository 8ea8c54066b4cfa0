"""Figures of a model on a split: distortion, information, judgement."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build
from timedecode import judge as judge_lib
from timedecode import metrics, training

EVAL_BATCH = 200


def make_evaluator(config, view):
  """Builds ``evaluate(judge_params, params, Images, key, num_samples=1)``.

  It returns the means over examples and over `num_samples` samples of y, and
  the reconstructions of the first, [N, 28, 28]; compiled once.
  """
  kept = config.copy_and_resolve_references()
  kept.remat_every = 0  # Keeps the hidden spikes, whose rate it reports.
  eval_step = training.make_eval_step(build.build(kept, view).model)

  @jax.jit
  def evaluate_batch(judge_params, params, images, labels, key):
    keys = build.example_keys(key, len(images))
    halves = jax.vmap(jax.random.split)(keys)
    inputs, targets = build.encode_images(config, images, halves[:, 0])
    result = eval_step(params, inputs, targets, halves[:, 1])
    pictures = jax.nn.sigmoid(result.outputs[0]).reshape(-1, 28, 28)
    originals = targets.reshape(-1, 28, 28)
    spikes = result.spikes[:, 0]
    rates = jnp.broadcast_to(jnp.mean(result.hidden_rates), labels.shape)
    figures = {
      "judge_accuracy": judge_lib.predict(judge_params, pictures) == labels,
      "distortion": result.losses.distortion[0],
      "information": result.losses.information[0],
      "readout_entropy": result.losses.entropy[0],
      "readout_spikes_per_example": jnp.sum(spikes, axis=(0, 2)),
      "readout_rate": jnp.mean(spikes, axis=(0, 2)),
      "mean_squared_error": jax.vmap(metrics.mean_squared_error_32)(
        pictures, originals
      ),
      "psnr_db": jax.vmap(metrics.psnr)(pictures, originals),
      "hidden_rate": rates,
    }
    return figures, pictures

  def evaluate_once(judge_params, params, data, key):
    sums, pictures, count = {}, [], len(data.images)
    for start in range(0, count, EVAL_BATCH):
      images = data.images[start : start + EVAL_BATCH]
      labels = data.labels[start : start + EVAL_BATCH]
      kept, fill = len(images), EVAL_BATCH - len(images)
      figures, decoded = evaluate_batch(
        judge_params,
        params,
        np.pad(images, ((0, fill), (0, 0), (0, 0))),
        np.pad(labels, (0, fill)),
        jax.random.fold_in(key, start),
      )
      for name, value in figures.items():
        total = float(np.asarray(value)[:kept].sum(dtype=np.float64))
        sums[name] = sums.get(name, 0.0) + total / count
      pictures.append(np.asarray(decoded[:kept]))
    return sums, np.concatenate(pictures)

  def evaluate(judge_params, params, data, key, num_samples=1):
    results = [
      evaluate_once(judge_params, params, data, jax.random.fold_in(key, index))
      for index in range(num_samples)
    ]
    means = {
      name: float(np.mean([figures[name] for figures, _ in results]))
      for name in results[0][0]
    }
    return in_bits(means), results[0][1]

  return evaluate


def in_bits(figures: dict[str, float]) -> dict[str, float]:
  """Adds what people read: bits per example and per spike, nats per pixel."""
  figures = dict(figures)
  bits = metrics.nats_to_bits(figures.pop("information"))
  spikes = figures["readout_spikes_per_example"]
  entropy = metrics.nats_to_bits(figures.pop("readout_entropy"))
  return figures | {
    "readout_entropy_bits": entropy,
    "information_bits": float(bits),
    "information_bits_per_spike": float(bits / spikes) if spikes else None,
    "pixel_cross_entropy": figures["distortion"] / build.NUM_PIXELS,
  }
