"""Images as a `sources.Source`: encoded as spikes inside the step."""

from typing import Any

import jax
import jax.numpy as jnp

from timedecode import coding
from timedecode.datasets import augmentation, sources

CODINGS = ("latency", "rate")
TARGETS = ("image", "label")


def load(
  splits: Any,
  code: str = "latency",
  num_steps: int = 30,
  flat: bool = True,
  moves: augmentation.Moves = augmentation.Moves(),
  target: str = "image",
) -> sources.Source:
  """A source whose inputs are coded pixels.

  Args:
    splits: `datasets.Splits`.
    code: 'latency' or 'rate', see `coding`.
    num_steps: T.
    flat: inputs [T, B, 784] for dense layers, else [T, B, 28, 28].
    moves: how far `augment` moves training images.
    target: 'image', its values in [0, 1], float32 [B, 784]; or 'label'.

  Raises:
    ValueError: an unknown code or target, or moves out of range.
  """
  if code not in CODINGS:
    raise ValueError(f"code: expected one of {CODINGS}, got {code!r}")
  if target not in TARGETS:
    raise ValueError(f"target: expected one of {TARGETS}, got {target!r}")
  augmentation.check(moves, (28, 28))
  splits, name = splits[:3], splits.source
  rows = {
    split: sources.Rows(part.images, part.labels)
    for split, part in zip(sources.SPLITS, splits, strict=True)
  }

  def encode(image, key):
    values = image.astype(jnp.float32) / 255.0
    values = values.reshape(-1) if flat else values
    if code == "latency":
      spikes = coding.latency_encode(values, num_steps)
    else:
      # The other half of the key is of `augment`.
      spikes = coding.rate_encode(jax.random.split(key)[1], values, num_steps)
    return spikes, values.reshape(-1)

  def decode(rows, keys):
    inputs, values = jax.vmap(encode, out_axes=(1, 0))(rows.data, keys)
    targets = values if target == "image" else rows.labels
    return sources.Batch(inputs, targets, rows.labels)

  def move(image, key):
    return augmentation.moved_image(image, jax.random.split(key)[0], moves)

  def augment(rows, keys):
    return rows._replace(data=jax.vmap(move)(rows.data, keys))

  shape = (784,) if flat else (28, 28)
  source = sources.Source(name, rows, decode, shape, num_steps)
  return source._replace(augment=augment) if any(moves) else source
