"""Pictures and recordings moved by a few pixels: variation in training."""

import jax
import jax.numpy as jnp


def shifted(picture: jax.Array, key: jax.Array, max_shift: int) -> jax.Array:
  """The picture moved by up to `max_shift` pixels each way, zeros moved in.

  Args:
    picture: [H, W, ...].
    key: of the offset, which is uniform.
    max_shift: at least 0.
  """
  offset = jax.random.randint(key, (2,), 0, 2 * max_shift + 1)
  others = picture.ndim - 2
  padded = jnp.pad(picture, (*[(max_shift, max_shift)] * 2, *[(0, 0)] * others))
  start = (*offset, *[0] * others)
  return jax.lax.dynamic_slice(padded, start, picture.shape)
