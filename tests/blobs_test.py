"""Drifting blobs: twin, patterns, targets, closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode.datasets import blobs


def _twin(draws, ring):
  """Loops over time and blobs in float64: neurons [S, K], v, A, z [S, K]."""
  theta_0, eta, xi = (np.asarray(field, np.float64) for field in draws)
  num_steps, num_blobs = eta.shape
  edges = -np.pi + 2 * np.pi * np.arange(20) / 20
  out = np.zeros((4, num_steps, num_blobs))
  for k in range(num_blobs):
    v, a, theta = 1.0, 0.5, theta_0[k]
    for t in range(num_steps):
      if t:
        theta = theta + v
        v = 0.9 * v - 0.14 * eta[t, k]
        a = 0.99 * a + 0.01 * eta[t, k]
      z = a * (theta + 0.45 * xi[t, k])
      z = np.arctan2(np.sin(z), np.cos(z))
      distance = np.abs(edges - z)
      if ring:
        distance = np.minimum(distance, 2 * np.pi - distance)
      out[:, t, k] = np.argmin(distance), v, a, z
  return out


@pytest.mark.parametrize("ring", [False, True])
def test_twin(ring):
  draws = blobs.draw(jax.random.key(1), 300, 3)
  path = blobs.move(draws)
  neurons, v, a, z = _twin(draws, ring)
  np.testing.assert_allclose(path.velocity, v, atol=1e-5)
  np.testing.assert_allclose(path.amplitude, a, atol=1e-6)
  turn = np.asarray(path.position) - z
  turn -= 2 * np.pi * np.round(turn / (2 * np.pi))
  np.testing.assert_allclose(turn, 0, atol=2e-5)
  # Beside the middle of two edges, where rounding decides.
  place = (z + np.pi) * 10 / np.pi
  clear = np.abs(place % 1 - 0.5) > 1e-3
  assert clear.mean() > 0.99
  got = np.asarray(blobs.nearest_neuron(path.position, ring))
  np.testing.assert_array_equal(got[clear], neurons[clear])


def test_line_and_ring_differ_only_in_the_last_half_bin():
  step = 2 * np.pi / 20
  z = jnp.array([-np.pi, -np.pi + 0.49 * step, 0.0, np.pi - 0.51 * step,
                 np.pi - 0.49 * step], jnp.float32)  # fmt: skip
  np.testing.assert_array_equal(blobs.nearest_neuron(z), [0, 0, 10, 19, 19])
  np.testing.assert_array_equal(
    blobs.nearest_neuron(z, ring=True), [0, 0, 10, 19, 0]
  )


def test_patterns_are_a_bijection():
  every = np.asarray(blobs.pattern(jnp.arange(blobs.NUM_PATTERNS)))
  assert len(np.unique(every, axis=0)) == 210
  assert sorted(np.unique(every.sum(1), return_counts=True)[1]) == [20, 190]
  for index, row in enumerate(every):
    active = np.flatnonzero(row)
    pair = active[0], active[-1]
    assert int(blobs.pattern_index(*map(jnp.int32, pair))) == index
    assert int(blobs.pattern_index(*map(jnp.int32, pair[::-1]))) == index


@pytest.mark.parametrize("delta", [-7, 0, 5])
def test_targets_are_the_patterns_delta_steps_away(delta):
  key, num_steps = jax.random.key(4), 40
  x, targets = blobs.drifting_blobs(key, num_steps, delta)
  assert x.shape == (num_steps, 20) and x.dtype == jnp.float32
  assert targets.shape == (num_steps,) and targets.dtype == jnp.int32
  neurons = blobs.nearest_neuron(
    blobs.move(blobs.draw(key, num_steps + abs(delta))).position
  )
  longer = np.zeros((num_steps + abs(delta), 20), np.float32)
  for t, active in enumerate(np.asarray(neurons)):
    longer[t, active] = 1
  first = max(0, -delta)
  np.testing.assert_array_equal(x, longer[first : first + num_steps])
  np.testing.assert_array_equal(
    blobs.pattern(targets), longer[first + delta :][:num_steps]
  )


def test_batch_is_single_and_key_decides():
  keys = jax.random.split(jax.random.key(0), 5)
  make = jax.jit(lambda key: blobs.drifting_blobs(key, 30, delta=2))
  batch = jax.jit(jax.vmap(make))(keys)
  for i, key in enumerate(keys):
    for got, want in zip(batch, make(key), strict=True):
      np.testing.assert_array_equal(got[i], want)
  assert not np.array_equal(batch[0][0], batch[0][1])


def test_velocity_and_amplitude_have_their_closed_forms():
  num, last = 20_000, 60
  path = jax.jit(lambda key: blobs.move(blobs.draw(key, last + 1, num)))(
    jax.random.key(2)
  )
  v, a = np.asarray(path.velocity), np.asarray(path.amplitude)
  for t in (1, 10, last):
    for series, decay, noise, start in (
      (v, 0.9, 0.14, 1),
      (a, 0.99, 0.01, 0.5),
    ):
      variance = noise**2 * (1 - decay ** (2 * t)) / (1 - decay**2)
      error = np.sqrt(variance / num)
      assert abs(series[t].mean() - start * decay**t) < 4 * error
      assert abs(series[t].var() / variance - 1) < 4 * np.sqrt(2 / num)
  # One eta moves both, in opposite directions.
  shared = -0.14 * 0.01 * (1 - (0.9 * 0.99) ** last) / (1 - 0.9 * 0.99)
  both = np.cov(v[last], a[last])
  error = np.sqrt((both[0, 0] * both[1, 1] + shared**2) / num)
  assert abs(both[0, 1] - shared) < 4 * error


def test_long_trains_stay_stationary():
  path = jax.jit(lambda key: blobs.move(blobs.draw(key, 3_000, 400)))(
    jax.random.key(3)
  )
  for series, decay, noise in (
    (path.velocity, 0.9, 0.14), (path.amplitude, 0.99, 0.01),
  ):  # fmt: skip
    late = np.asarray(series)[1_000:]
    # Of 400 series, each long against 1 / (1 - decay) steps.
    deviation = noise / np.sqrt(1 - decay**2)
    np.testing.assert_allclose(late.std(), deviation, rtol=0.02)
    lagged = np.corrcoef(late[:-5].ravel(), late[5:].ravel())[0, 1]
    np.testing.assert_allclose(lagged, decay**5, atol=0.01)
  z = np.asarray(path.position)
  assert z.min() >= -np.pi and z.max() <= np.float32(np.pi)


def test_theta_zero_is_uniform():
  theta = np.asarray(blobs.draw(jax.random.key(6), 1, 20_000).theta)
  assert -np.pi <= theta.min() < -3.1 and 3.1 < theta.max() < np.pi
  np.testing.assert_allclose(theta.var(), np.pi**2 / 3, rtol=0.03)


def test_rejects():
  key = jax.random.key(0)
  with pytest.raises(ValueError, match="num_steps: expected at least 1, got 0"):
    blobs.drifting_blobs(key, 0)
  with pytest.raises(ValueError, match="num_steps: expected a whole number"):
    blobs.drifting_blobs(key, 2.5)
  with pytest.raises(ValueError, match="delta: expected a whole number"):
    blobs.drifting_blobs(key, 10, delta=0.5)
