"""Tests of surrogate: the exact step and the derivatives behind it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import surrogate

POINTS = np.array(
  [-3.0, -1.0, -0.75, -0.5, -0.25, 0.0, 0.1, 0.5, 0.9, 1.0, 2.0], np.float32
)


def _sigmoid(x):
  return 1 / (1 + math.exp(-x))


TWINS = {
  "boxcar": lambda u: 1.0 if abs(u) < 0.5 else 0.0,
  "logistic": lambda u: 4 * _sigmoid(4 * u) * (1 - _sigmoid(4 * u)),
  "fast_sigmoid": lambda u: 1 / (1 + 10 * abs(u)) ** 2,
  "arctan": lambda u: 1 / (1 + (math.pi / 2 * 2 * u) ** 2),
  "triangular": lambda u: max(0.0, 1 - abs(u)),
}


def test_every_surrogate_has_a_twin():
  assert set(surrogate.SURROGATES) == set(TWINS)


@pytest.mark.parametrize("name", TWINS)
def test_values(name):
  expected = [TWINS[name](float(u)) for u in POINTS]
  found = surrogate.get(name)(jnp.asarray(POINTS))
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
  ("name", "scale", "area"),
  [
    ("boxcar", None, 1.0),
    ("triangular", None, 1.0),
    ("logistic", 1.0, 1.0),
    ("logistic", 8.0, 1.0),
    ("fast_sigmoid", 100.0, 0.02),
    ("arctan", 2.0, 1.0),
    ("arctan", 5.0, 0.4),
  ],
)
def test_area(name, scale, area):
  options = {} if scale is None else {"scale": scale}
  u = np.linspace(-200, 200, 2_000_001, dtype=np.float32)
  psi = np.asarray(surrogate.get(name, **options)(u), np.float64)
  assert psi.sum() * 2e-4 == pytest.approx(area, rel=5e-3)


def test_options_are_bound():
  found = surrogate.get("fast_sigmoid", scale=100.0)(jnp.float32(0.01))
  assert float(found) == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_spike_is_the_exact_step(dtype):
  u = jnp.array([-1e-6, -0.0, 0.0, 1e-6, -5.0, 7.0], dtype)
  spikes = surrogate.spike_function(surrogate.triangular)(u)
  assert spikes.dtype == dtype
  np.testing.assert_array_equal(spikes, [0, 1, 1, 1, 0, 1])


@pytest.mark.parametrize("name", TWINS)
def test_backward_is_the_cotangent_times_the_derivative(name):
  derivative = surrogate.get(name)
  u = jnp.asarray(POINTS)
  cotangent = jnp.arange(u.size, dtype=u.dtype) - 4
  _, pull = jax.vjp(jax.jit(surrogate.spike_function(derivative)), u)
  expected = [
    float(g) * TWINS[name](float(v)) for g, v in zip(cotangent, u, strict=True)
  ]
  np.testing.assert_allclose(pull(cotangent)[0], expected, rtol=1e-5, atol=1e-6)


def test_user_written_derivative_under_vmap():
  spike = surrogate.spike_function(lambda u: 3.0 * u)
  u = jnp.array([[-1.0, 2.0], [0.5, 0.0]])
  found = jax.vmap(jax.grad(lambda row: spike(row).sum()))(u)
  np.testing.assert_allclose(found, 3.0 * u)


def test_unknown_name_lists_the_options():
  with pytest.raises(ValueError, match="boxcar.*triangular.*'step'"):
    surrogate.get("step")


def test_unknown_option():
  with pytest.raises(ValueError, match="boxcar: expected none, got 'scale'"):
    surrogate.get("boxcar", scale=2.0)
  with pytest.raises(ValueError, match="expected scale, got 'slope'"):
    surrogate.get("arctan", slope=2.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_scale_must_be_positive(scale):
  with pytest.raises(ValueError, match="scale: expected a number > 0"):
    surrogate.get("logistic", scale=scale)
