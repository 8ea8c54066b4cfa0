"""The end of a run: the test set, once, then the pictures and the summary."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments import loop
from timedecode import judge as judge_lib
from timedecode import plots

LABELS = {
  "full": "learned time decoding",
  "window": "learned, last steps",
  "rate": "rate decoding",
  "first_spike": "first-spike decoding",
}


def judge_test(config, splits, judge_params, model, params):
  """Test figures with `eval_samples` samples of y; also reconstructions."""
  evaluate = loop.make_evaluator(
    config, model, judge_params, config.eval_samples
  )
  return evaluate(params, splits.test, jax.random.key(config.seed + 2))


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


def finish(config, splits, judge_params, trained, folder, versions) -> dict:
  """Judges every trained model on the test set, draws, and sums up.

  Args:
    trained: view -> (state, model, seconds), the first one learned.
  """
  figures, decoded = {}, {}
  for view, (state, model, _) in trained.items():
    figures[view], decoded[view] = judge_test(
      config, splits, judge_params, model, state.params
    )
  clean = clean_accuracy(judge_params, splits.test)
  summary = summarise(
    config, splits, trained[config.view][2], figures[config.view],
    figures.get(config.baseline_view), clean, versions,
  )  # fmt: skip
  draw(config, splits, trained, decoded, folder)
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


def draw(config, splits, trained, decoded, folder: pathlib.Path) -> None:
  """Reconstructions of ten digits, a raster and the learning curves."""
  place = folder / "figures"
  place.mkdir(exist_ok=True)
  chosen = [int(np.argmax(splits.test.labels == digit)) for digit in range(10)]
  originals = splits.test.images[chosen] / 255.0
  rows = {LABELS[view]: found[chosen] for view, found in decoded.items()}
  title = (
    f"{config.name}: test images of {splits.source},"
    f" {config.encoder.num_readout} readout neurons, one sample of y"
  )
  plots.reconstructions(place / "reconstructions.png", originals, rows, title)
  curves = {
    LABELS[view]: loop.read_rows(
      (folder / "baseline" if view == config.baseline_view else folder)
      / "metrics.jsonl"
    )
    for view in trained
  }
  plots.learning_curves(place / "learning_curves.png", curves, title)
  draw_raster(config, splits, trained[config.view], chosen[3], place, title)


def draw_raster(config, splits, trained, index, place, title) -> None:
  """All spikes of one test image."""
  state, model, _ = trained
  keys = loop.example_keys(jax.random.key(config.seed + 3), 1)
  images = splits.test.images[index : index + 1]
  inputs, target = loop.encode_images(config, images, keys)
  sample = jax.jit(model.encoder.sample)(
    state.params.encoder, inputs[:, 0], keys[0]
  )
  outputs = model.decode(state.params.decoder, model.view(sample.spikes))
  flat = lambda spikes: np.asarray(spikes).reshape(len(spikes), -1)
  plots.raster(
    place / "raster.png",
    flat(inputs[:, 0]),
    [flat(hidden) for hidden in sample.hidden],
    np.asarray(sample.spikes),
    np.asarray(target[0]).reshape(28, 28),
    np.asarray(jax.nn.sigmoid(jnp.asarray(outputs))).reshape(28, 28),
    title,
  )
