"""Figures of a model on a split: distortion, information, judgement."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build, inputs, interruptions
from timedecode import judge as judge_lib
from timedecode import metrics, training
from timedecode.datasets import sources

EVAL_BATCH = 200


def _judge_pictures(judge_params, outputs, batch):
  """Figures of pictures [B, 784], by example; and the pictures."""
  pictures = jax.nn.sigmoid(outputs).reshape(-1, 28, 28)
  originals = batch.targets.reshape(-1, 28, 28)
  right = lambda images: judge_lib.predict(judge_params, images) == batch.labels
  return {
    "judge_accuracy": right(pictures),
    "judge_clean_accuracy": right(originals),
    "mean_squared_error": jax.vmap(metrics.mean_squared_error_32)(
      pictures, originals
    ),
    "psnr_db": jax.vmap(metrics.psnr)(pictures, originals),
  }, pictures


def _judge_labels(judge_params, outputs, batch):
  """Figures of logits [B, classes], by example; and the labels they give."""
  del judge_params
  decided = jnp.argmax(outputs, axis=-1)
  return {"accuracy": decided == batch.labels}, decided


def pure_evaluator(config, view, source, channel=None):
  """Builds ``evaluate_batch(judge_params, params, rows, key, strength)``.

  It returns figures by example, name -> [B], and what was decoded: pictures
  [B, 28, 28] or labels [B]. Not compiled. Arguments are those of
  `make_evaluator`.
  """
  kept = config.copy_and_resolve_references()
  kept.remat_every = 0  # Keeps the hidden spikes, whose rate it reports.
  model, task = build.build(kept, view).model, inputs.task(config)
  judge = {"judge_accuracy": _judge_pictures, "accuracy": _judge_labels}

  def evaluate_batch(judge_params, params, rows, key, strength):
    keys = inputs.example_keys(key, len(rows.labels))
    halves = jax.vmap(jax.random.split)(keys)
    batch = source.decode(rows, halves[:, 0])
    heard = model
    if channel is not None:
      heard = model._replace(
        channel=lambda spikes, key: channel(spikes, key, strength)
      )
    result = training.make_eval_step(heard)(
      params, batch.inputs, batch.targets, halves[:, 1]
    )
    judged, decoded = judge[task.metric](judge_params, result.outputs[0], batch)
    spikes = result.spikes[:, 0]
    return judged | {
      "distortion": result.losses.distortion[0],
      "information": result.losses.information[0],
      "readout_entropy": result.losses.entropy[0],
      "readout_spikes_per_example": jnp.sum(spikes, axis=(0, 2)),
      "readout_rate": jnp.mean(spikes, axis=(0, 2)),
      "hidden_rate": jnp.broadcast_to(
        jnp.mean(result.hidden_rates), rows.labels.shape
      ),
    }, decoded

  return evaluate_batch


def mean_figures(figures_of_batch, rows):
  """Means over examples of figures that come batch by batch.

  Args:
    figures_of_batch: ``(rows of a batch, its start) -> (name -> [..., B],
      anything)``.
    rows: of the split.

  Returns:
    name -> mean [...], float64, and a list of (anything, which of its batch's
    examples count): the last batch is filled up with others.

  Raises:
    InterruptedEvaluationError: the process was asked to end.
  """
  sums, others, count = {}, [], len(rows.labels)
  for start in range(0, count, EVAL_BATCH):
    interruptions.check_evaluation()
    at = np.arange(start, start + EVAL_BATCH)
    figures, other = figures_of_batch(sources.gather(rows, at % count), start)
    real = at < count
    for name, value in figures.items():
      total = np.asarray(value)[..., real].sum(-1, dtype=np.float64)
      sums[name] = sums.get(name, 0.0) + total / count
    others.append((other, real))
  return sums, others


def make_evaluator(config, view, source, channel=None):
  """Builds ``evaluate(judge_params, params, Rows, key, num_samples=1,
  strength=0.0)``.

  It returns the means over examples and over `num_samples` samples of y, and
  what was decoded of the first: pictures [N, 28, 28] or labels [N]. Compiled
  once.

  Args:
    config: of the model.
    view: what its decoder sees.
    source: whose rows are evaluated.
    channel: ``(spikes, key, strength) -> spikes that arrive``, in place of the
      configuration's.
  """
  task = inputs.task(config)
  evaluate_batch = jax.jit(pure_evaluator(config, view, source, channel))

  def evaluate_once(judge_params, params, rows, key, strength):
    sums, decoded = mean_figures(
      lambda batch, start: evaluate_batch(
        judge_params, params, batch, jax.random.fold_in(key, start), strength
      ),
      rows,
    )
    return sums, np.concatenate([np.asarray(d)[real] for d, real in decoded])

  def evaluate(judge_params, params, rows, key, num_samples=1, strength=0.0):
    results = [
      evaluate_once(
        judge_params, params, rows, jax.random.fold_in(key, index), strength
      )
      for index in range(num_samples)
    ]
    means = {
      name: float(np.mean([figures[name] for figures, _ in results]))
      for name in results[0][0]
    }
    return in_bits(means, task.num_outputs), results[0][1]

  return evaluate


def in_bits(figures: dict[str, float], num_outputs: int) -> dict[str, float]:
  """Adds what people read: bits per example and per spike, nats per pixel."""
  figures = dict(figures)
  bits = metrics.nats_to_bits(figures.pop("information"))
  spikes = figures["readout_spikes_per_example"]
  entropy = metrics.nats_to_bits(figures.pop("readout_entropy"))
  figures |= {
    "readout_entropy_bits": entropy,
    "information_bits": float(bits),
    "information_bits_per_spike": float(bits / spikes) if spikes else None,
  }
  if num_outputs == inputs.NUM_PIXELS:
    figures["pixel_cross_entropy"] = figures["distortion"] / num_outputs
  return figures
