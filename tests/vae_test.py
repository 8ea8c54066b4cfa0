"""The ANN autoencoder: its KL in closed form, its training, its figures."""

import itertools
import json

import binaries
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import inputs, report_runs, vae, vae_scoring
from experiments.configs import smoke
from timedecode import judge
from timedecode.datasets import sources


def _tiny(**fields):
  config = smoke.get_config()
  config.update({"steps": 30, "eval_every": 10, "eval_samples": 2,
                 "baseline_view": "", "decoder_width": 16})  # fmt: skip
  config.encoder.num_readout = 2
  config.update(fields)
  return config


def test_divergence_is_that_of_samples():
  """KL = E[log q - log p], by 400,000 samples."""
  mean, log_variance = np.array([[0.5, -1.0]]), np.array([[-1.0, 0.4]])
  scale = np.exp(0.5 * log_variance)
  noise = np.random.default_rng(0).normal(size=(400_000, 1, 2))
  z = mean + scale * noise
  log_q = -0.5 * noise**2 - np.log(scale)
  ratios = (log_q + 0.5 * z**2).sum((1, 2))
  found = vae.divergence(jnp.asarray(mean), jnp.asarray(log_variance))
  error = ratios.std() / np.sqrt(len(ratios))
  assert abs(float(found) - ratios.mean()) < 4 * error and error < 0.01
  assert float(vae.divergence(jnp.zeros((3, 2)), jnp.zeros((3, 2)))) == 0.0


def test_it_learns_and_its_summary_is_right(tmp_path):
  config = _tiny()
  lines, validation = [], lambda params: {"judge_accuracy": 0.5}
  source, model = inputs.load(config), vae.make(config)
  params, _ = vae.train(config, source, 1.0, validation, lines.append)
  assert "examples/s" in lines[0] and "accuracy 0.500 (vali" in lines[0]
  losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
  assert losses[-1] < 0.9 * losses[0] and "step 30/30" in lines[-1]
  summary = vae.run(_tiny(), tmp_path / "run")
  kept = json.loads((tmp_path / "run" / "summary.json").read_text())
  assert kept == json.loads(json.dumps(summary))
  assert binaries.names_a_commit(kept)
  # All images, by the moments, and by another sample of z each.
  r = source.rows("test").data.reshape(-1, 784) / np.float32(255)
  found = jax.vmap(model.recognition.apply, (None, 0))(params.encoder, r)
  mean, log_variance = (np.asarray(part, np.float64) for part in found)
  kl = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum((1, 2))
  noise = np.random.default_rng(0).normal(size=mean.shape)
  z = np.float32(mean + np.exp(0.5 * log_variance) * noise)
  decode = jax.vmap(model.decoder.apply, (None, 0))
  logits = np.asarray(decode(params.decoder, z), np.float64)
  cross = np.mean(np.logaddexp(0, logits) - r * logits)
  bits = summary["information_bits_per_example"]
  assert bits == pytest.approx(kl.mean() / np.log(2), rel=1e-4)
  assert summary["pixel_cross_entropy"] == pytest.approx(cross, rel=0.02)


def test_figures_are_those_of_each_image():
  """All of them, on 5 images, one at a time in NumPy, to 1e-4."""
  config = _tiny()
  source, model = inputs.load(config), vae.make(config)
  judge_params = binaries.judge_params(config)
  params = model.init(jax.random.key(3))
  rows, key = sources.gather(source.rows("test"), slice(5)), jax.random.key(4)
  evaluate = vae_scoring.make_evaluator(source, judge_params, model)
  figures, pictures = evaluate(params, rows, key, 2)
  cross, bits, error, right = [], [], [], []
  for draw, i in itertools.product(range(2), range(5)):
    r = rows.data[i].reshape(784) / np.float32(255)
    moments = model.recognition.apply(params.encoder, r)
    mean, log_variance = (np.asarray(m, np.float64) for m in moments)
    batch_key = jax.random.fold_in(jax.random.fold_in(key, draw), 0)
    noise = jax.random.normal(jax.random.fold_in(batch_key, i), mean.shape)
    z = np.float32(mean + np.exp(0.5 * log_variance) * noise)
    logits = np.asarray(model.decoder.apply(params.decoder, z), np.float64)
    cross.append(np.mean(np.logaddexp(0, logits) - r * logits))
    kl = 0.5 * np.sum(np.exp(log_variance) + mean**2 - 1 - log_variance)
    bits.append(kl / np.log(2))
    picture = 1 / (1 + np.exp(-logits))
    error.append(10 * np.log10(1 / np.mean((picture - r) ** 2)))
    picture = np.float32(picture).reshape(1, 28, 28)
    right.append(judge.predict(judge_params, picture)[0] == rows.labels[i])
    if draw:
      np.testing.assert_allclose(pictures[i], picture[0], atol=1e-5)
  for name, value in (
    ("pixel_cross_entropy", cross), ("information_bits_per_example", bits),
    ("psnr_db", error), ("judge_accuracy", right),
  ):  # fmt: skip
    assert figures[name] == pytest.approx(np.mean(value), rel=1e-4)


def test_a_folder_is_of_one_weight(tmp_path):
  config = _tiny(steps=1, eval_every=1, eval_samples=1)
  copy = config.copy_and_resolve_references()
  summary = vae.run(config, tmp_path / "run", 0.5)
  (found,), problems = report_runs.gather([tmp_path / "run"])
  assert not problems and found.settings["kl_weight"] == 0.5
  assert found.summary == json.loads(json.dumps(summary))
  assert (tmp_path / "run/figures/reconstructions.png").stat().st_size > 9000
  with pytest.raises(ValueError, match="differs in kl_weight"):
    vae.run(copy, tmp_path / "run", 0.25)


def test_it_is_for_images():
  config = _tiny()
  config.data.target = "label"
  with pytest.raises(ValueError, match="expected images as targets"):
    vae.make(config)
