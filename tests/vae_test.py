"""The ANN autoencoder: its KL in closed form, its training, its figures."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import inputs, vae
from experiments.configs import smoke


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
  lines = []
  source = inputs.load(config)
  model, params, _ = vae.train(config, source, 1.0, lines.append)
  losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
  assert losses[-1] < 0.9 * losses[0] and "step 30/30" in lines[-1]
  summary = vae.run(_tiny(), tmp_path / "run")
  kept = json.loads((tmp_path / "run" / "summary.json").read_text())
  assert kept == json.loads(json.dumps(summary))
  rows, cross, kl = source.rows("test"), [], []
  for i in range(40):  # One image at a time, by the moments alone.
    r = jnp.asarray(rows.data[i].reshape(784) / 255.0, jnp.float32)
    mean, log_variance = model.recognition.apply(params.encoder, r)
    kl.append(float(vae.divergence(mean, log_variance)) / np.log(2))
    noise = np.random.default_rng(i).normal(size=(20, *mean.shape))
    z = np.asarray(mean) + np.exp(0.5 * np.asarray(log_variance)) * noise
    z = z.astype(np.float32)
    logits = np.asarray(
      jax.vmap(model.decoder.apply, (None, 0))(params.decoder, z), np.float64
    )
    cross.append(np.mean(np.logaddexp(0, logits) - np.asarray(r) * logits))
  assert summary["pixel_cross_entropy"] == pytest.approx(
    np.mean(cross), rel=0.1
  )
  bits = summary["information_bits_per_example"]
  assert bits == pytest.approx(np.mean(kl), rel=0.1)


def test_it_is_for_images():
  config = _tiny()
  config.data.target = "label"
  with pytest.raises(ValueError, match="expected images as targets"):
    vae.make(config)
