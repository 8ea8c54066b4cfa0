"""Decoders against values computed by hand in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from timedecode import decoder

VIEW = np.random.default_rng(0).random((6, 9)).astype(np.float32)


def _run(name, view=VIEW, num_outputs=4, **options):
  module = decoder.make(name, num_outputs, **options)
  variables = module.init(jax.random.key(0), view)
  # Biases start at zero; move every parameter so that a test sees them all.
  leaves, structure = jax.tree.flatten(variables)
  rng = np.random.default_rng(1)
  leaves = [leaf + 0.1 * rng.standard_normal(leaf.shape) for leaf in leaves]
  leaves = [np.asarray(leaf, np.float32) for leaf in leaves]
  variables = jax.tree.unflatten(structure, leaves)
  return np.asarray(module.apply(variables, view)), variables["params"]


def test_linear_is_an_affine_map():
  got, params = _run("linear")
  want = VIEW.reshape(-1) @ params["output"]["kernel"].T
  np.testing.assert_allclose(got, want + params["output"]["bias"], rtol=1e-5)


@pytest.mark.parametrize("width", [None, 5])
def test_mlp_has_one_relu_layer(width):
  got, params = _run("mlp", width=width)
  hidden = VIEW.reshape(-1) @ params["hidden"]["kernel"].T
  hidden = hidden + params["hidden"]["bias"]
  assert hidden.size == (width or VIEW.size // 2) and (hidden < 0).any()
  want = np.maximum(hidden, 0) @ params["output"]["kernel"].T
  np.testing.assert_allclose(got, want + params["output"]["bias"], rtol=1e-4)


def _convolve(signal, kernel, bias):
  """Kernel 3, stride 2, zero padding 1: [N, C] -> [ceil(N / 2), C']."""
  padded = np.pad(signal, ((1, 1), (0, 0)))
  result = []
  for start in range(0, len(signal), 2):
    patch = padded[start : start + 3]
    result.append(np.einsum("kc,kcd->d", patch, kernel) + bias)
  return np.stack(result)


@pytest.mark.parametrize("channels", [(None, 20), (2, 3)])
def test_conv_equals_loops(channels):
  got, params = _run("conv", channels=channels)
  first = _convolve(VIEW.T, params["first"]["kernel"], params["first"]["bias"])
  assert first.shape == (5, channels[0] or 3) and (first < 0).any()
  second = _convolve(
    first, params["second"]["kernel"], params["second"]["bias"]
  )
  assert (second < 0).any()
  hidden = np.maximum(second, 0).reshape(-1)
  want = hidden @ params["output"]["kernel"].T + params["output"]["bias"]
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_published_sizes():
  """Method section 4: the mlp has 32.5 million parameters on MNIST."""
  view = jax.ShapeDtypeStruct((30, 256), np.float32)
  module = decoder.make("mlp", 784)
  shapes = jax.eval_shape(module.init, jax.random.key(0), view)
  count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
  assert count == 7680 * 3840 + 3840 + 3840 * 784 + 784


def test_bad_choices_are_refused():
  with pytest.raises(ValueError, match="name: expected one of"):
    decoder.make("transformer", 3)
  with pytest.raises(ValueError, match="options of 'linear': expected"):
    decoder.make("linear", 3, width=4)
  with pytest.raises(ValueError, match="num_outputs: expected at least 1"):
    decoder.make("mlp", 0)
  with pytest.raises(ValueError, match="width: expected at least 1, got 0"):
    _run("mlp", width=0)
  with pytest.raises(ValueError, match="channels: expected 2 numbers"):
    _run("conv", channels=(1, 2, 3))
  with pytest.raises(ValueError, match=r"view: expected shape \[D, N\]"):
    _run("linear", view=VIEW[None])


def test_affine_starts_and_computes_as_dense():
  x = jnp.asarray(VIEW.reshape(-1))
  affine, dense = decoder.Affine(5), nn.Dense(5)
  params = affine.init(jax.random.key(3), x)["params"]
  twin = dense.init(jax.random.key(3), x)["params"]
  np.testing.assert_array_equal(params["kernel"], twin["kernel"].T)
  np.testing.assert_allclose(
    affine.apply({"params": params}, x),
    dense.apply({"params": twin}, x),
    rtol=1e-5,
    atol=1e-6,
  )
