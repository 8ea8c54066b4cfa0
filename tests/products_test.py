"""Products of trains against NumPy, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import products


@pytest.mark.parametrize("shape", [(6, 4, 5), (7, 5), (3, 3, 5), (5,)])
def test_values_and_gradients(shape):
  """Of an even and an odd number of rows, in float64 beside it."""
  draw = np.random.default_rng(sum(shape)).normal
  weights, train = draw(size=(3, 5)), draw(size=shape)
  cotangent = draw(size=(*shape[:-1], 3))
  given = jnp.asarray(weights, jnp.float32), jnp.asarray(train, jnp.float32)
  found, back = jax.vjp(products.over_train, *given)
  by_weights, by_train = back(jnp.asarray(cotangent, jnp.float32))
  np.testing.assert_allclose(found, train @ weights.T, rtol=1e-5, atol=1e-5)
  rows = cotangent.reshape(-1, 3).T @ train.reshape(-1, 5)
  np.testing.assert_allclose(by_weights, rows, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(
    by_train, cotangent @ weights, rtol=1e-5, atol=1e-5
  )


def test_weights_that_are_refused():
  with pytest.raises(ValueError, match=r"weights: expected .*\[N, 5\], got"):
    products.over_train(jnp.ones((5, 3)), jnp.ones((2, 5)))
