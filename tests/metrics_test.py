"""Figures of image quality against NumPy and known values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import bottleneck, metrics

RNG = np.random.default_rng(0)
IMAGE, OTHER = RNG.random((2, 28, 28)).astype(np.float32)


def test_cross_entropy_equals_the_definition_and_the_distortion():
  logits = RNG.normal(size=(28, 28)).astype(np.float32) * 3
  p = 1 / (1 + np.exp(-logits.astype(np.float64)))
  want = -np.sum(IMAGE * np.log(p) + (1 - IMAGE) * np.log(1 - p))
  np.testing.assert_allclose(
    metrics.pixel_cross_entropy(logits, IMAGE), want, rtol=1e-5
  )
  np.testing.assert_allclose(
    bottleneck.bernoulli_distortion(jnp.asarray(logits), jnp.asarray(IMAGE)),
    want, rtol=1e-5,
  )  # fmt: skip


def test_cross_entropy_of_extreme_logits():
  logits = jnp.array([1e4, -1e4, 1e4])
  target = jnp.array([1.0, 0.0, 0.0])
  assert float(metrics.pixel_cross_entropy(logits, target)) == 1e4


def _bilinear_32(image):
  """Half-pixel centres, edges repeated: 28 -> 32, one axis after the other."""
  positions = (np.arange(32) + 0.5) * 28 / 32 - 0.5
  low = np.floor(positions).astype(int)
  share = positions - low
  matrix = np.zeros((32, 28))
  for i in range(32):
    matrix[i, np.clip(low[i], 0, 27)] += 1 - share[i]
    matrix[i, np.clip(low[i] + 1, 0, 27)] += share[i]
  return matrix @ image @ matrix.T


def test_mean_squared_error_equals_numpy():
  want = np.mean((2 * _bilinear_32(IMAGE) - 2 * _bilinear_32(OTHER)) ** 2)
  np.testing.assert_allclose(
    metrics.mean_squared_error_32(IMAGE, OTHER), want, rtol=1e-4
  )
  black, white = np.zeros((28, 28)), np.ones((28, 28))
  np.testing.assert_allclose(
    metrics.mean_squared_error_32(black, white), 4.0, rtol=1e-6
  )


def test_psnr():
  want = -10 * np.log10(np.mean((IMAGE - OTHER) ** 2))
  np.testing.assert_allclose(metrics.psnr(IMAGE, OTHER), want, rtol=1e-5)
  np.testing.assert_allclose(
    metrics.psnr(np.full((28, 28), 0.1), np.zeros((28, 28))), 20.0, rtol=1e-5
  )
  assert np.isinf(metrics.psnr(IMAGE, IMAGE))


def test_bits():
  assert metrics.nats_to_bits(np.log(8.0)) == pytest.approx(3.0)


def test_wrong_shapes_are_refused():
  with pytest.raises(ValueError, match="target: expected the logits' shape"):
    metrics.pixel_cross_entropy(IMAGE, OTHER[0])
  for function in (metrics.psnr, metrics.mean_squared_error_32):
    with pytest.raises(ValueError, match=r"reconstruction: expected .*28"):
      jax.eval_shape(function, IMAGE[:27], OTHER)
