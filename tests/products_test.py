"""Products of trains against NumPy, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import platforms, products


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


@pytest.mark.parametrize("rows, part", [(512, 256), (480, 240), (509, 509)])
def test_one_example_in_parts(monkeypatch, rows, part):
  """Values, both derivatives, mapped over examples, in float64 beside it."""
  monkeypatch.setattr(products, "_LARGE", 1000)
  draw = np.random.default_rng(rows).normal
  matrix, vectors = draw(size=(rows, 3)), draw(size=(4, 3))
  by_matrix, by_vectors = draw(size=(rows, 3)), draw(size=(4, 3))
  cotangent = draw(size=(4, rows))
  single = lambda *arrays: [jnp.asarray(a, jnp.float32) for a in arrays]
  run = jax.vmap(products.matrix_vector, (None, 0))
  given = single(matrix, vectors)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
  found, moved = jax.jvp(run, given, single(by_matrix, by_vectors))
  close(found, vectors @ matrix.T)
  close(moved, vectors @ by_matrix.T + by_vectors @ matrix.T)
  _, back = jax.vjp(run, *given)
  gradients = back(*single(cotangent))
  close(gradients[0], cotangent.T @ vectors)
  close(gradients[1], cotangent @ matrix)
  sums = str(jax.make_jaxpr(lambda c: back(c)[1])(*single(cotangent)))
  assert (f"f32[4,{rows // part},3]" in sums) == (part < rows)
  assert ("reduce_sum" in sums) == (part < rows)
  assert products._part(np.ones((rows, 1))) == rows  # Small ones are not.


def test_one_example_for_a_gpu_is_in_one():
  """Chosen by platform, also where gradients are taken of it."""
  long = jnp.ones((512, 8192))
  loss = lambda vector: products.matrix_vector(long, vector).sum()
  with platforms.tracing_for_cuda():
    traced = str(jax.make_jaxpr(jax.grad(loss))(jnp.ones(8192)))
  assert "platform_index" in traced and "f32[2,256,8192]" in traced
  np.testing.assert_array_equal(jax.grad(loss)(jnp.ones(8192)), 512.0)
