"""The end of a run: the test set, once, then the pictures and the summary."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build
from timedecode import judge as judge_lib
from timedecode import plots

LABELS = {
  "full": "learned time decoding",
  "window": "learned, last steps",
  "rate": "rate decoding",
  "first_spike": "first-spike decoding",
}


def judge_test(config, splits, judge_params, run):
  """Test figures with `eval_samples` samples of y; also reconstructions."""
  key = jax.random.key(config.seed + 2)
  return run.evaluate(
    judge_params, run.state.params, splits.test, key, config.eval_samples
  )


def clean_accuracy(judge_params, data) -> float:
  """The judge's accuracy on the clean images themselves."""
  images = np.asarray(data.images, np.float32) / 255.0
  return float(judge_lib.accuracy(judge_params, images, data.labels))


def summarise(config, splits, seconds, figures, baseline, clean, versions):
  """The summary of a run: what was done and how good it is."""
  seen = config.steps * config.batch_size
  return {
    "task": config.name,
    "data_source": splits.source,
    "split": f"test, {len(splits.test.images)} images,"
    f" {config.eval_samples} samples of y each",
    "seed": config.seed,
    "steps": config.steps,
    "examples_seen": seen,
    "train_seconds": seconds,
    "examples_per_second": seen / max(seconds, 1e-9),
    "judge_accuracy": figures["judge_accuracy"],
    "judge_clean_accuracy": clean,
    "pixel_cross_entropy": figures["pixel_cross_entropy"],
    "mean_squared_error": figures["mean_squared_error"],
    "psnr_db": figures["psnr_db"],
    "information_bits_per_example": figures["information_bits"],
    "information_bits_per_spike": figures["information_bits_per_spike"],
    "readout_spikes_per_example": figures["readout_spikes_per_example"],
    "hidden_rate": figures["hidden_rate"],
    "readout_rate": figures["readout_rate"],
    "baseline_view": config.baseline_view or None,
    "baseline_judge_accuracy": baseline and baseline["judge_accuracy"],
    "baseline_pixel_cross_entropy": baseline
    and baseline["pixel_cross_entropy"],
    "versions": versions,
  }


def finish(config, splits, judge_params, runs, folder, versions) -> dict:
  """Judges every trained model on the test set, draws, and sums up.

  Args:
    config: of the run.
    splits: `datasets.Splits`.
    judge_params: of the judge.
    runs: view -> `loop.Run`, the learned one first.
    folder: of the results.
    versions: package -> version, for the summary.
  """
  figures, decoded = {}, {}
  for view, run in runs.items():
    figures[view], decoded[view] = judge_test(config, splits, judge_params, run)
  clean = clean_accuracy(judge_params, splits.test)
  summary = summarise(
    config, splits, runs[config.view].seconds, figures[config.view],
    figures.get(config.baseline_view), clean, versions,
  )  # fmt: skip
  draw(config, splits, runs, decoded, folder / "figures")
  (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
  for view, found in figures.items():
    print(
      f"test, {splits.source}: {LABELS[view]}: judge accuracy"
      f" {found['judge_accuracy']:.3f} (on clean images {clean:.3f}),"
      f" distortion {found['pixel_cross_entropy']:.4f} nats/pixel,"
      f" squared error {found['mean_squared_error']:.4f},"
      f" information {found['information_bits']:.1f} bits/example,"
      f" {found['readout_spikes_per_example']:.1f} spikes/example"
    )
  return summary


def draw(config, splits, runs, decoded, place: pathlib.Path) -> None:
  """Reconstructions of ten digits, a raster and the learning curves."""
  place.mkdir(exist_ok=True)
  chosen = [int(np.argmax(splits.test.labels == digit)) for digit in range(10)]
  originals = splits.test.images[chosen] / 255.0
  rows = {LABELS[view]: found[chosen] for view, found in decoded.items()}
  name = f"{config.name}, {config.encoder.num_readout} readout neurons"
  title = f"{name}: test images of {splits.source}, one sample of y each"
  plots.reconstructions(place / "reconstructions.png", originals, rows, title)
  curves = {LABELS[view]: run.rows for view, run in runs.items()}
  plots.learning_curves(
    place / "learning_curves.png",
    curves,
    f"{name}: {len(splits.validation.images)} validation images of"
    f" {splits.source}",
  )
  title = f"{name}: a test image of {splits.source}, one sample of y"
  run = runs[config.view]
  draw_raster(config, splits, run, chosen[3], place / "raster.png", title)


def draw_raster(config, splits, run, index, path, title) -> None:
  """All spikes of one test image."""
  model, params = run.built.model, run.state.params
  keys = build.example_keys(jax.random.key(config.seed + 3), 1)
  images = splits.test.images[index : index + 1]
  inputs, target = build.encode_images(config, images, keys)
  sample = jax.jit(model.encoder.sample)(params.encoder, inputs[:, 0], keys[0])
  outputs = model.decode(params.decoder, model.view(sample.spikes))
  flat = lambda spikes: np.asarray(spikes).reshape(len(spikes), -1)
  plots.raster(
    path,
    flat(inputs[:, 0]),
    [flat(hidden) for hidden in sample.hidden],
    np.asarray(sample.spikes),
    np.asarray(target[0]).reshape(28, 28),
    np.asarray(jax.nn.sigmoid(jnp.asarray(outputs))).reshape(28, 28),
    title,
  )
