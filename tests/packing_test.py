"""Bits of spikes, there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode.datasets import packing


def test_first_neuron_is_the_lowest_bit():
  spikes = np.zeros((2, 10))
  spikes[0, 0] = spikes[0, 3] = spikes[1, 9] = 1
  want = np.array([[0b00001001, 0], [0, 0b10]], np.uint8)
  np.testing.assert_array_equal(packing.pack(spikes), want)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1352])
def test_unpacking_inverts_packing(size):
  spikes = np.random.default_rng(size).random((3, 5, size)) < 0.3
  packed = packing.pack(spikes)
  assert packed.shape == (3, 5, packing.packed_size(size))
  unpack = jax.jit(packing.unpack, static_argnums=1)
  back = unpack(jnp.asarray(packed), size)
  assert back.dtype == jnp.float32
  np.testing.assert_array_equal(back, spikes.astype(np.float32))


def test_all_of_mnist_dvs_fits_on_a_device():
  """10,000 recordings of 2 s in steps of 10 ms, with a twentieth in hand."""
  assert packing.packed_size(1352) * 200 * 10_000 <= 340e6


def test_rejects():
  with pytest.raises(ValueError, match="0 and 1 only"):
    packing.pack(np.array([0.0, 0.5]))
  with pytest.raises(ValueError, match=r"shape \[..., N\]"):
    packing.pack(np.float32(1))
  with pytest.raises(ValueError, match="dtype uint8"):
    packing.unpack(jnp.zeros((3, 2)), 10)
  with pytest.raises(ValueError, match=r"\[..., 2\] for 10 neurons"):
    packing.unpack(jnp.zeros((3, 3), jnp.uint8), 10)
