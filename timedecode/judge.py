"""The judge of image quality: LeNet-5, trained once on clean images.

Quality of reconstructions = the judge's accuracy on them, to be read beside
its accuracy on the clean images. It is trained on the clean training images
of the same source under random rotations, scalings and shifts, and cached
under a key of the data and of how it was trained.
Source: LeCun et al. 1998 (here with ReLU and max-pooling).
"""

import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from timedecode import checkpoint, datasets

VERSION = 1  # Part of the cache's key: change it whenever training changes.
ROTATION, LOG_SCALE, SHIFT = 0.2, 0.12, 2.5  # Radians, log units, pixels.
BATCH_SIZE = 64
LEARNING_RATE = 3e-3
EPOCHS = 40


class Judge(NamedTuple):
  """A trained judge.

  Attributes:
    params: of the network, for `predict` and `accuracy`.
    path: of the cache's file.
    cached: whether it was read from there.
  """

  params: Any
  path: pathlib.Path
  cached: bool


class LeNet5(nn.Module):
  """Convolutions of 6 and 16 channels, then 120, 84 and 10 units."""

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """Logits [10] of one image [28, 28] with values in [0, 1]."""
    if image.shape != (28, 28):
      raise ValueError(f"image: expected shape (28, 28), got {image.shape}")
    hidden = image[..., None]
    for channels, padding in ((6, "SAME"), (16, "VALID")):
      hidden = nn.relu(nn.Conv(channels, (5, 5), padding=padding)(hidden))
      height, width, _ = hidden.shape
      hidden = hidden.reshape(height // 2, 2, width // 2, 2, channels)
      hidden = jnp.max(hidden, axis=(1, 3))
    hidden = hidden.reshape(-1)
    for width in (120, 84):
      hidden = nn.relu(nn.Dense(width)(hidden))
    return nn.Dense(10)(hidden)


@jax.jit
def _init(key: jax.Array) -> Any:
  return LeNet5().init(key, jnp.zeros((28, 28)))


def shapes() -> Any:
  """Parameters as `jax.ShapeDtypeStruct`s: nothing is trained or loaded."""
  return jax.eval_shape(_init, jax.random.key(0))


def logits(params: Any, images: jax.Array) -> jax.Array:
  """Images [N, 28, 28] in [0, 1] -> logits [N, 10]."""
  return jax.vmap(functools.partial(LeNet5().apply, params))(images)


def predict(params: Any, images: jax.Array) -> jax.Array:
  """Images [N, 28, 28] in [0, 1] -> the most probable labels, int [N]."""
  return jnp.argmax(logits(params, images), axis=-1)


def accuracy(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
  """Share of images [N, 28, 28] that the judge takes for their labels [N]."""
  return jnp.mean(jax.jit(predict)(params, images) == labels)


def warp(image: jax.Array, key: jax.Array) -> jax.Array:
  """A random rotation, scaling and shift of one image [28, 28]; zeros enter."""
  angle, scale, *shift = jax.random.uniform(key, (4,), minval=-1.0) * jnp.array(
    [ROTATION, LOG_SCALE, SHIFT, SHIFT]
  )
  factor = jnp.exp(scale)
  cosine, sine = factor * jnp.cos(angle), factor * jnp.sin(angle)
  rows, columns = jnp.meshgrid(
    jnp.arange(28.0) - 13.5, jnp.arange(28.0) - 13.5, indexing="ij"
  )
  sources = [
    cosine * rows - sine * columns + 13.5 + shift[0],
    sine * rows + cosine * columns + 13.5 + shift[1],
  ]
  return jax.scipy.ndimage.map_coordinates(image, sources, order=1)


def _cross_entropy(params, images, labels):
  return jnp.mean(
    optax.softmax_cross_entropy_with_integer_labels(
      logits(params, images), labels
    )
  )


def train(
  images: np.ndarray,
  labels: np.ndarray,
  epochs: int = EPOCHS,
  seed: int = 0,
  report: Callable[[str], None] | None = None,
) -> Any:
  """Trains a judge from scratch with Adam under a cosine schedule.

  Args:
    images: uint8 [N, 28, 28].
    labels: int32 [N].
    epochs: passes over the images.
    seed: of parameters, order and warps.
    report: called with a line five times.

  Returns:
    The network's parameters.
  """
  num_steps = -(-epochs * len(images) // BATCH_SIZE)
  schedule = optax.cosine_onecycle_schedule(
    num_steps, LEARNING_RATE, pct_start=0.1
  )
  optimizer = optax.adamw(schedule, weight_decay=1e-3)
  pixels = jnp.asarray(images, jnp.float32) / 255.0
  targets = jnp.asarray(labels)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def update(params, state, indices, key):
    keys = jax.random.split(key, BATCH_SIZE)
    loss, gradients = jax.value_and_grad(_cross_entropy)(
      params, jax.vmap(warp)(pixels[indices], keys), targets[indices]
    )
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state, loss

  key_init, key_steps = jax.random.split(jax.random.key(seed))
  params = _init(key_init)
  state = optimizer.init(params)
  for index in range(num_steps):
    indices = datasets.batch_indices(len(images), BATCH_SIZE, seed, index)
    key = jax.random.fold_in(key_steps, index)
    params, state, loss = update(params, state, indices, key)
    if report and (index + 1) % max(num_steps // 5, 1) == 0:
      report(f"judge: step {index + 1}/{num_steps}  loss {float(loss):.3f}")
  return params


def cache_key(images: np.ndarray, labels: np.ndarray, epochs: int) -> str:
  """Hash of the data, of how the judge is trained, and of `VERSION`."""
  digest = hashlib.sha256()
  recipe = (VERSION, epochs, BATCH_SIZE, LEARNING_RATE)
  recipe += (ROTATION, LOG_SCALE, SHIFT)
  for part in (repr(recipe).encode(), images.tobytes(), labels.tobytes()):
    digest.update(part)
  return digest.hexdigest()[:16]


def load_or_train(
  data: Any,
  folder: pathlib.Path,
  epochs: int = EPOCHS,
  report: Callable[[str], None] = print,
) -> Judge:
  """The judge of these images, from the cache where it is there.

  Args:
    data: `datasets.Images`, the clean training images and their labels.
    folder: of the cache; a damaged file in it is reported and replaced, and
      one that cannot be written costs a training per run.
    epochs: passes over the images if it has to be trained.
    report: called with lines of progress.
  """
  path = folder / f"judge-{cache_key(*data, epochs)}.npz"
  template = jax.eval_shape(_init, jax.random.key(0))
  if path.exists():
    try:
      params, _ = checkpoint.load(path, template)
      return Judge(jax.tree.map(jnp.asarray, params), path, True)
    except checkpoint.CheckpointError as error:
      report(f"judge: {error}; training it again")
  report(f"judge: LeNet-5 on {len(data.images)} clean images, once")
  params = train(*data, epochs=epochs, report=report)
  try:
    checkpoint.save(path, params, {"version": VERSION, "epochs": epochs})
  except OSError as error:
    report(f"judge: not cached: {error}")
  return Judge(params, path, False)
