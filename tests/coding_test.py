"""Tests of coding: rate and latency codes and the check of their input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import coding


def _latency_loop(values, num_steps):
  values = np.asarray(values, np.float32)
  spikes = np.zeros((num_steps, *values.shape))
  for index, value in np.ndenumerate(values):
    if value > 0:
      step = num_steps - int(np.round(value * np.float32(num_steps - 1)))
      if step < num_steps:
        spikes[(step, *index)] = 1
  return spikes


def test_rate_code_extremes_are_certain():
  values = jnp.array([[0.0, 1.0], [1.0, 0.0]])
  spikes = coding.rate_encode(jax.random.key(0), values, 500)
  assert spikes.shape == (500, 2, 2) and spikes.dtype == jnp.float32
  np.testing.assert_array_equal(spikes, np.broadcast_to(values, (500, 2, 2)))


def test_rate_code_has_the_right_rates_and_is_independent_over_steps():
  values = np.array([0.05, 0.3, 0.5, 0.9], np.float32)
  num_steps = 40_000
  spikes = np.asarray(coding.rate_encode(jax.random.key(1), values, num_steps))
  assert set(np.unique(spikes)) == {0.0, 1.0}
  error = np.sqrt(values * (1 - values) / num_steps)
  assert (np.abs(spikes.mean(0) - values) < 4 * error).all()
  deviations = spikes - values
  covariance = (deviations[1:] * deviations[:-1]).mean(0)
  bound = 4 * values * (1 - values) / np.sqrt(num_steps)
  assert (np.abs(covariance) < bound).all()


def test_rate_code_of_a_constant_image_differs_between_pixels_and_keys():
  values = jnp.full((28, 28), 0.5)
  first = np.asarray(coding.rate_encode(jax.random.key(2), values, 30))
  second = np.asarray(coding.rate_encode(jax.random.key(3), values, 30))
  again = np.asarray(coding.rate_encode(jax.random.key(2), values, 30))
  np.testing.assert_array_equal(first, again)
  assert 0.45 < (first != second).mean() < 0.55
  assert 0.45 < (first[:, 0, 0][:, None, None] != first).mean() < 0.55


def test_latency_code_matches_the_loop():
  values = np.random.default_rng(0).random((7, 9)).astype(np.float32)
  values[0, :3] = 0
  for num_steps in (2, 3, 30):
    found = coding.latency_encode(values, num_steps)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, _latency_loop(values, num_steps))


def test_latency_code_edges():
  # T = 11: steps of 0.1. 1 -> step 1; 0.1 -> step 10, the last; 0.04 rounds
  # to 0 and stays silent; 0.25 -> 2.5 rounds to the even 2 -> step 9.
  values = jnp.array([1.0, 0.1, 0.04, 0.0, 0.25])
  found = np.asarray(coding.latency_encode(values, 11))
  np.testing.assert_array_equal(found.sum(0), [1, 1, 0, 0, 1])
  np.testing.assert_array_equal(found.argmax(0)[[0, 1, 4]], [1, 10, 9])
  assert found[0].sum() == 0


@pytest.mark.parametrize(("value", "step"), [(0.0, None), (0.5, 16), (1.0, 1)])
def test_latency_code_of_a_constant_image_is_synchronous(value, step):
  found = np.asarray(coding.latency_encode(jnp.full((4, 4), value), 30))
  expected = np.zeros((30, 4, 4))
  if step is not None:
    expected[step] = 1
  np.testing.assert_array_equal(found, expected)


def test_codes_under_jit_and_vmap_agree_with_the_plain_call():
  values = np.random.default_rng(1).random((5, 6)).astype(np.float32)
  keys = jax.random.split(jax.random.key(4), 5)
  rate = jax.jit(jax.vmap(lambda k, v: coding.rate_encode(k, v, 8)))
  latency = jax.jit(jax.vmap(lambda v: coding.latency_encode(v, 8)))
  rates, latencies = rate(keys, values), latency(values)
  for i in range(5):
    np.testing.assert_array_equal(
      rates[i], coding.rate_encode(keys[i], values[i], 8)
    )
    np.testing.assert_array_equal(
      latencies[i], coding.latency_encode(values[i], 8)
    )


ENCODERS = {
  "rate": lambda values, steps: coding.rate_encode(
    jax.random.key(0), values, steps
  ),
  "latency": coding.latency_encode,
}


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize(
  ("values", "num_steps", "message"),
  [
    ([0.5], 1, "num_steps: expected an integer >= 2, got 1"),
    ([0.5], 2.0, "num_steps: expected an integer >= 2, got 2.0"),
    (0.5, 5, r"values: expected rank >= 1, got shape \(\)"),
    ([0, 1], 5, "values: expected floating point in .*, got int"),
    ([0.5, 1.5], 5, r"values: expected values in \[0, 1\], got .*max 1.5"),
    ([-0.5, 1.0], 5, r"values: expected values in \[0, 1\], got min -0.5"),
    ([0.5, np.nan], 5, "values: .*got 1 NaN"),
    (np.zeros((0, 3)), 5, r"values: .*got shape \(0, 3\)"),
  ],
)
def test_encoders_reject(encode, values, num_steps, message):
  with pytest.raises(ValueError, match=message):
    encode(values, num_steps)
  if not isinstance(values, list):
    return
  with pytest.raises(ValueError, match=message):
    encode(jnp.asarray(values), num_steps)


def test_traced_values_are_checked_for_type_only():
  encode = jax.jit(lambda v: coding.latency_encode(v, 5))
  with pytest.raises(ValueError, match="floating point"):
    encode(jnp.array([0, 255], jnp.uint8))
  np.testing.assert_array_equal(
    encode(jnp.array([-3.0, 9.0])), np.zeros((5, 2))
  )


def test_validate_values():
  assert coding.validate_values(np.array([0.0, 1.0])) is None
  with pytest.raises(ValueError, match="pixels: .*got min 0.25, max 2.0"):
    coding.validate_values(np.array([0.25, 2.0]), "pixels")
  with pytest.raises(ValueError, match="pixels: .*max inf"):
    coding.validate_values(np.array([0.25, np.inf]), "pixels")
  with pytest.raises(ValueError, match="pixels: .*2 NaN"):
    coding.validate_values(np.array([np.nan, np.nan, 5.0]), "pixels")
  with pytest.raises(ValueError, match=r"pixels: .*shape \(0,\)"):
    coding.validate_values(np.array([]), "pixels")
