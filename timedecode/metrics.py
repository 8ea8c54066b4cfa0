"""How good a reconstruction is: numbers for one example each.

Images are [28, 28] with values in [0, 1]; batch with ``jax.vmap``.
"""

import math

import jax
import jax.numpy as jnp


def _check_images(reconstruction: jax.Array, target: jax.Array) -> None:
  for name, image in (("reconstruction", reconstruction), ("target", target)):
    if image.shape != (28, 28):
      raise ValueError(f"{name}: expected shape (28, 28), got {image.shape}")


def pixel_cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
  """Cross-entropy of Bernoulli pixels, in nats, summed over the pixels.

  Args:
    logits: any shape; sigma(logit) is the pixel's probability of being 1.
    target: the same shape, values in [0, 1].

  Returns:
    sum(-t log sigma(l) - (1 - t) log(1 - sigma(l))), a scalar. It is finite
    for every finite logit.
  """
  if logits.shape != target.shape:
    raise ValueError(
      f"target: expected the logits' shape {logits.shape}, got {target.shape}"
    )
  return jnp.sum(
    jnp.maximum(logits, 0)
    - logits * target
    + jnp.log1p(jnp.exp(-jnp.abs(logits)))
  )


def mean_squared_error_32(
  reconstruction: jax.Array, target: jax.Array
) -> jax.Array:
  """Mean squared error as the literature on spiking autoencoders has it.

  Both images are resized to 32x32 (bilinear) and mapped to [-1, 1]; the mean
  is over the 1,024 pixels. FSVAE (2022) and ESVAE (2023) report this number.

  Args:
    reconstruction: [28, 28] in [0, 1].
    target: [28, 28] in [0, 1].

  Returns:
    A scalar in [0, 4].
  """
  _check_images(reconstruction, target)

  def field(image):
    return 2 * jax.image.resize(image, (32, 32), "bilinear") - 1

  return jnp.mean((field(reconstruction) - field(target)) ** 2)


def psnr(reconstruction: jax.Array, target: jax.Array) -> jax.Array:
  """Peak signal-to-noise ratio in dB for a peak of 1.

  Args:
    reconstruction: [28, 28] in [0, 1].
    target: [28, 28] in [0, 1].

  Returns:
    -10 log10(mean squared error over the 784 pixels), a scalar; infinity
    where the images are equal, so average the error and not the ratio over
    images that may match exactly.
  """
  _check_images(reconstruction, target)
  return -10 * jnp.log10(jnp.mean((reconstruction - target) ** 2))


def nats_to_bits(nats):
  """Converts information from nats to bits: nats / ln 2."""
  return nats / math.log(2)
