"""Images and recordings moved, turned and zoomed: variation in training.

  out[p] = in[c + (1 + z) R(a) (p - c) + s],  zeros beyond the edges       (1)

with the centre c, an angle a, a zoom z and a shift s of each example, all of
them uniform. A recording is varied as a whole: all steps in the same way.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Moves(NamedTuple):
  """How far examples are moved, each way; 0: not at all.

  Attributes:
    shift: pixels in rows and columns, an integer.
    rotation: degrees, at most 180.
    zoom: share of the size, at most 0.99.
  """

  shift: int = 0
  rotation: float = 0.0
  zoom: float = 0.0


def check(moves: Moves, shape: tuple[int, ...]) -> None:
  """Raises ValueError for moves out of range or of what has no pixels."""
  has_pixels = len(shape) >= 2
  side = max(shape[:2]) if has_pixels else 0
  for name, most in (("shift", side), ("rotation", 180), ("zoom", 0.99)):
    value = getattr(moves, name)
    if not 0 <= value <= most or (value and not has_pixels):
      raise ValueError(
        f"moves.{name}: expected a number in [0, {most}], and 0 for what has no"
        f" height and width, got {value} for steps of shape {shape}"
      )
  if moves.shift != int(moves.shift):
    raise ValueError(f"moves.shift: expected an integer, got {moves.shift}")


def places(key: jax.Array, moves: Moves, height: int, width: int) -> jax.Array:
  """Where each pixel is taken from, equation (1): row and column [2, H, W]."""
  offset = jax.random.randint(key, (2,), 0, 2 * moves.shift + 1) - moves.shift
  centre = np.array([(height - 1) / 2, (width - 1) / 2], np.float32)
  pixels = np.indices((height, width)).reshape(2, -1) - centre[:, None]
  pixels = jnp.asarray(pixels, jnp.float32)
  if moves.rotation or moves.zoom:
    pixels = _turned(pixels, jax.random.fold_in(key, 1), moves)
  return (pixels + (centre + offset)[:, None]).reshape(2, height, width)


def _turned(pixels, key, moves):
  """Equation (1) about the centre, of places [2, P] relative to it."""
  drawn = jax.random.uniform(key, (2,), minval=-1.0)
  angle, zoom = drawn * jnp.array([np.radians(moves.rotation), moves.zoom])
  cosine, sine = (1 + zoom) * jnp.cos(angle), (1 + zoom) * jnp.sin(angle)
  # A product is done once; XLA would compute a sum anew wherever it is used.
  matrix = jnp.array([[cosine, -sine], [sine, cosine]])
  return jnp.matmul(matrix, pixels, precision="highest")


def _nearest(at: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The pixel nearest to each place and whether there is one, each [H W]."""
  height, width = at.shape[1:]
  rows, columns = jnp.round(at).astype(jnp.int32).reshape(2, -1)
  inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
  return jnp.where(inside, rows * width + columns, 0), inside


def moved_image(image: jax.Array, key: jax.Array, moves: Moves) -> jax.Array:
  """An image uint8 [H, W] moved; interpolated linearly between pixels."""
  at = places(key, moves, *image.shape)
  if moves.rotation or moves.zoom:
    values = jax.scipy.ndimage.map_coordinates(
      image.astype(jnp.float32), list(at), order=1
    )
    return jnp.round(values).astype(image.dtype)
  pixels, inside = _nearest(at)
  return (image.reshape(-1)[pixels] * inside).reshape(image.shape)


def moved_bits(
  packed: jax.Array, key: jax.Array, moves: Moves, shape: tuple[int, ...]
) -> jax.Array:
  """A recording of packed bits moved; each pixel takes the nearest one.

  Args:
    packed: uint8 [T, ceil(N / 8)], see `packing`; bits are picked out of it as
      they are, which is faster than to unpack all first.
    key: of what is drawn.
    moves: `Moves`, in range (see `check`).
    shape: of one step, (H, W, ...) with N numbers.

  Returns:
    The same shape and type.
  """
  pixels, inside = _nearest(places(key, moves, *shape[:2]))
  others = math.prod(shape[2:])
  numbers = (pixels[:, None] * others + jnp.arange(others)[None]).reshape(-1)
  places_in_byte = (numbers & 7).astype(jnp.uint8)
  kept = jnp.repeat(inside, others).astype(jnp.uint8)

  def step(row):
    return row[numbers >> 3] >> places_in_byte & kept

  return jnp.packbits(jax.vmap(step)(packed), axis=-1, bitorder="little")
