"""Spikes as bits: 8 per byte on disk and on the device.

A binned train is 0 or 1, so a byte holds 8 neurons of a step, the first in
the lowest bit. `pack` runs once, on the host; `unpack` inside a compiled step.
"""

import jax
import jax.numpy as jnp
import numpy as np


def packed_size(num_neurons: int) -> int:
  """Bytes that a step of `num_neurons` takes."""
  return -(-num_neurons // 8)


def pack(spikes: np.ndarray) -> np.ndarray:
  """Spikes [..., N], 0 or 1 -> uint8 [..., ceil(N / 8)].

  Raises:
    ValueError: rank 0, or values other than 0 and 1.
  """
  spikes = np.asarray(spikes)
  if spikes.ndim < 1:
    raise ValueError(f"spikes: expected shape [..., N], got {spikes.shape}")
  if not ((spikes == 0) | (spikes == 1)).all():
    raise ValueError("spikes: expected 0 and 1 only, got other values")
  return np.packbits(spikes.astype(bool), axis=-1, bitorder="little")


def unpack(packed: jax.Array, num_neurons: int) -> jax.Array:
  """uint8 [..., ceil(N / 8)] -> float32 spikes [..., N].

  Args:
    packed: from `pack`.
    num_neurons: N.

  Raises:
    ValueError: another dtype, or a last axis that doesn't hold N neurons.
  """
  if packed.dtype != jnp.uint8:
    raise ValueError(f"packed: expected dtype uint8, got {packed.dtype}")
  if not packed.ndim or packed.shape[-1] != packed_size(num_neurons):
    raise ValueError(
      f"packed: expected shape [..., {packed_size(num_neurons)}] for"
      f" {num_neurons} neurons, got {packed.shape}"
    )
  places = jnp.arange(8, dtype=jnp.uint8)
  bits = jax.lax.shift_right_logical(
    packed[..., None], jnp.broadcast_to(places, (*packed.shape, 8))
  )
  bits = (bits & jnp.uint8(1)).reshape(*packed.shape[:-1], -1)
  return bits[..., :num_neurons].astype(jnp.float32)
