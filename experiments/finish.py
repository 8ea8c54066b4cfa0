"""The end of a run: the test set, once, then the pictures and the summary."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments import files, inputs
from timedecode import plots
from timedecode.datasets import sources

LABELS = {
  "full": "learned time decoding",
  "window": "learned, last steps",
  "rate": "rate decoding",
  "first_spike": "first-spike decoding",
}


FIGURES = (  # Of the summary, where the task has them.
  "judge_accuracy", "judge_clean_accuracy", "accuracy", "distortion",
  "pixel_cross_entropy", "mean_squared_error", "psnr_db",
)  # fmt: skip


def judge_test(config, source, judge_params, run):
  """Test figures with `eval_samples` samples of y; also what was decoded."""
  key = inputs.test_key(config.seed)
  return run.evaluate(
    judge_params, run.state.params, source.rows("test"), key,
    config.eval_samples,
  )  # fmt: skip


def split_of(config, source) -> str:
  """What the figures of a summary are of."""
  return (
    f"test, {source.size('test')} examples,"
    f" {config.eval_samples} samples of y each"
  )


def summarise(config, source, seconds, figures, baseline, made_with):
  """The summary of a run: what was done and how good it is."""
  seen = config.steps * config.batch_size
  kept = {name: figures[name] for name in FIGURES if name in figures}
  return {
    "task": config.name,
    "data_source": source.name,
    "split": split_of(config, source),
    "seed": config.seed,
    "steps": config.steps,
    "examples_seen": seen,
    "train_seconds": seconds,
    "examples_per_second": seen / max(seconds, 1e-9),
    **kept,
    "information_bits_per_example": figures["information_bits"],
    "information_bits_per_spike": figures["information_bits_per_spike"],
    "readout_spikes_per_example": figures["readout_spikes_per_example"],
    "hidden_rate": figures["hidden_rate"],
    "readout_rate": figures["readout_rate"],
    "baseline_view": config.baseline_view or None,
    **{
      f"baseline_{name}": baseline and baseline[name]
      for name in ("judge_accuracy", "accuracy", "pixel_cross_entropy")
      if name in figures
    },
    **made_with,
  }


def finish(config, source, judge_params, runs, folder, made_with) -> dict:
  """Judges every trained model on the test set, draws, and sums up.

  Args:
    config: of the run.
    source: `sources.Source`.
    judge_params: of the judge, None for labels.
    runs: view -> `loop.Run`, the learned one first.
    folder: of the results.
    made_with: `origin.record` of the run, for the summary.
  """
  figures, decoded = {}, {}
  for view, run in runs.items():
    figures[view], decoded[view] = judge_test(config, source, judge_params, run)
  summary = summarise(
    config, source, runs[config.view].seconds, figures[config.view],
    figures.get(config.baseline_view), made_with,
  )  # fmt: skip
  for view, found in figures.items():
    print(f"test, {inputs.describe(config)}: {LABELS[view]}: {in_words(found)}")
  text = json.dumps(summary, indent=2) + "\n"
  files.replace_text(folder / "summary.json", text)
  draw(config, source, runs, decoded, folder / "figures")
  return summary


def in_words(figures: dict) -> str:
  """What a person wants to read of a test."""
  if "accuracy" in figures:
    quality = (
      f"accuracy {figures['accuracy']:.3f},"
      f" distortion {figures['distortion']:.3f} nats"
    )
  else:
    quality = (
      f"judge accuracy {figures['judge_accuracy']:.3f} (on clean images"
      f" {figures['judge_clean_accuracy']:.3f}),"
      f" distortion {figures['pixel_cross_entropy']:.4f} nats/pixel,"
      f" squared error {figures['mean_squared_error']:.4f}"
    )
  return (
    f"{quality}, information {figures['information_bits']:.1f} bits/example,"
    f" {figures['readout_spikes_per_example']:.1f} spikes/example"
  )


def draw(config, source, runs, decoded, place: pathlib.Path) -> None:
  """Reconstructions of a test example per class, a raster, learning curves."""
  place.mkdir(exist_ok=True)
  metric, name = inputs.task(config).metric, inputs.describe(config)
  rows = source.rows("test")
  chosen = np.unique(rows.labels, return_index=True)[1]
  title = f"{config.name}, {config.encoder.num_readout} readout neurons"
  batch = jax.jit(source.decode)(
    jax.tree.map(jnp.asarray, sources.gather(rows, chosen)),
    inputs.example_keys(jax.random.key(config.seed + 3), len(chosen)),
  )
  if metric == "judge_accuracy":
    draw_reconstructions(
      config, batch, {LABELS[v]: d[chosen] for v, d in decoded.items()},
      place / "reconstructions.png",
      f"{title}: test examples of {name}, one sample of y each",
    )  # fmt: skip
  plots.learning_curves(
    place / "learning_curves.png",
    {LABELS[view]: run.rows for view, run in runs.items()},
    f"{title}: {source.size('validation')} validation examples of {name}",
    metric,
  )
  draw_raster(
    config, batch, runs[config.view], min(3, len(chosen) - 1),
    place / "raster.png", f"{title}: a test example of {name}, one sample of y",
  )  # fmt: skip


def draw_reconstructions(config, batch, decoded, path, title) -> None:
  """Originals, or events summed over time above targets, and the decoded."""
  targets = np.asarray(batch.targets).reshape(-1, 28, 28)
  if inputs.is_coded(config):
    plots.reconstructions(path, {"original": targets} | decoded, title)
    return
  height, width = inputs.sensor_shape(config)[:2]
  events = np.asarray(jnp.sum(batch.inputs, axis=0))
  events = events.reshape(len(targets), height, width, -1).sum(-1)
  events /= np.maximum(events.max((1, 2), keepdims=True), 1)
  named = {"summed events": events, "target": targets}
  plots.reconstructions(path, named | decoded, title)


def draw_raster(config, batch, run, index, path, title) -> None:
  """All spikes of one example, and what is decoded of them."""
  model, params = run.built.model, run.state.params
  key = jax.random.key(config.seed + 3)
  x = batch.inputs[:, index]
  sample = jax.jit(model.encoder.sample)(params.encoder, x, key)
  outputs = model.decode(params.decoder, model.view(sample.spikes))
  flat = lambda spikes: np.asarray(spikes).reshape(len(spikes), -1)
  pictures = {}
  if inputs.task(config).metric == "judge_accuracy":
    name = "original" if inputs.is_coded(config) else "target"
    pictures = {
      name: np.asarray(batch.targets[index]).reshape(28, 28),
      "reconstruction": np.asarray(jax.nn.sigmoid(outputs)).reshape(28, 28),
    }
  hidden = [flat(spikes) for spikes in sample.hidden]
  plots.raster(path, flat(x), hidden, flat(sample.spikes), pictures, title)
