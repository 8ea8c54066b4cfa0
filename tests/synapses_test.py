"""Tests of synapses: kernels, stateful filters, overlap-add."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import synapses

SUMS = [1, 0.916, 1.239, 1.856, 2.499, 3.495, 4.441, 3.232]
PRINTED = {
  0: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  1: [0.5, 0.416, 0, 0, 0, 0, 0, 0, 0, 0],
  3: [0, 0.584, 0.930, 0.335, 0.007, 0, 0, 0, 0, 0],
  7: [0, 0, 0, 0, 0, 0.118, 0.434, 0.742, 0.938, 1],
}
FEEDBACK = [1, 0.945, 0.866, 0.793, 0.728, 0.671, 0.620, 0.576, 0.536, 0.5]


def _raised_cosines(num_kernels, length, mu):
  logs = [math.log(l + length / 10) for l in range(length)]
  spacing = (logs[-1] - logs[0]) / max(num_kernels - 1, 1)
  rows = []
  for k in range(num_kernels):
    phases = [
      (n - logs[0] - k * spacing) * mu * math.pi / spacing for n in logs
    ]
    rows.append(
      [(math.cos(max(-math.pi, min(math.pi, p))) + 1) / 2 for p in phases]
    )
  return rows


def _filter_and_sum(kernels, products, pending):
  """Equation (4) by loops: drive and pending for the steps after."""
  num_steps, num_kernels, size = products.shape
  length = kernels.shape[1]
  total = np.zeros((num_steps + length - 1, size))
  for lag in range(length - 1):
    total[lag] += pending[lag]
  for t in range(num_steps):
    for k in range(num_kernels):
      for lag in range(length):
        total[t + lag] += kernels[k, lag] * products[t, k]
  return total[:num_steps], total[num_steps:]


def _lif_loop(x, b, a, gain_current, gain_membrane):
  q, p, out = np.zeros(x.shape[1:]), np.zeros(x.shape[1:]), []
  for row in x:
    p = a * p + gain_membrane * q
    q = b * q + gain_current * row
    out.append(p)
  return np.array(out), q, p


def test_raised_cosines_have_the_printed_values():
  kernels = synapses.raised_cosine_kernels()
  assert kernels.shape == (8, 10) and kernels.dtype == np.float32
  for k, row in PRINTED.items():
    np.testing.assert_allclose(kernels[k], row, rtol=0, atol=1e-3)
  np.testing.assert_allclose(kernels.sum(axis=1), SUMS, rtol=0, atol=1e-3)
  np.testing.assert_allclose(
    synapses.raised_cosine_kernels(1)[0], FEEDBACK, rtol=0, atol=1e-3
  )


@pytest.mark.parametrize(
  ("num_kernels", "length", "mu"), [(8, 10, 0.5), (1, 10, 0.5), (5, 23, 0.9)]
)
def test_raised_cosines_follow_the_formula(num_kernels, length, mu):
  np.testing.assert_allclose(
    synapses.raised_cosine_kernels(num_kernels, length, mu),
    _raised_cosines(num_kernels, length, mu),
    rtol=1e-6,
    atol=1e-7,
  )


def test_one_kernel_of_one_step_is_the_identity():
  np.testing.assert_array_equal(synapses.raised_cosine_kernels(1, 1), [[1.0]])


def test_raised_cosines_reject():
  with pytest.raises(ValueError, match="num_kernels: .*>= 1, got 0"):
    synapses.raised_cosine_kernels(0, 10)
  with pytest.raises(ValueError, match="length: .*>= 1, got 0"):
    synapses.raised_cosine_kernels(8, 0)
  with pytest.raises(ValueError, match="length: .*>= 2 for 8 kernels, got 1"):
    synapses.raised_cosine_kernels(8, 1)
  with pytest.raises(ValueError, match="mu: expected a number > 0, got 0.0"):
    synapses.raised_cosine_kernels(8, 10, 0.0)


def test_exponential_kernel():
  found = synapses.exponential_kernel(0.5, 4)
  np.testing.assert_allclose(found, [1, 0.5, 0.25, 0.125])
  np.testing.assert_array_equal(synapses.exponential_kernel(0, 3), [1, 0, 0])
  with pytest.raises(ValueError, match="decay: .*got 1"):
    synapses.exponential_kernel(1, 4)
  with pytest.raises(ValueError, match="length: .*got 0"):
    synapses.exponential_kernel(0.5, 0)


@pytest.mark.parametrize("gain", ["unit", "published"])
def test_lif_filter_matches_the_loop(gain):
  b, a = 0.7, 0.95
  power = 1 if gain == "unit" else -1
  x = np.random.default_rng(0).random((40, 2, 3)).astype(np.float32)
  expected, q, p = _lif_loop(x, b, a, (1 - b) ** power, (1 - a) ** power)
  synapse = synapses.lif_filter(b, a, gain)
  state, found = jax.jit(synapse.run)(synapse.initial_state((2, 3)), x)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(state.current, q, rtol=1e-4)
  np.testing.assert_allclose(state.membrane, p, rtol=1e-4)


@pytest.mark.parametrize(
  ("gain", "level"), [("unit", 1), ("published", 4444.4)]
)
def test_lif_filter_steady_state(gain, level):
  synapse = synapses.lif_filter(gain=gain)
  _, found = synapse.run(synapse.initial_state((1,)), jnp.ones((300, 1)))
  assert float(found[-1, 0]) == pytest.approx(level, rel=1e-4)


def test_lif_filter_impulse_response_and_causality():
  b, a = 0.85, 0.9
  synapse = synapses.lif_filter(b, a)

  def output(x):
    return synapse.run(synapse.initial_state(()), x)[1]

  found = np.asarray(jax.jacrev(output)(jnp.zeros(12)))
  for t in range(12):
    for s in range(12):
      n = t - s
      expected = (1 - a) * (1 - b) * (a**n - b**n) / (a - b) if n > 0 else 0.0
      assert found[t, s] == pytest.approx(expected, rel=1e-4, abs=0.0)


def test_lif_filter_in_chunks_and_steps_is_the_whole():
  x = np.random.default_rng(1).random((30, 4)).astype(np.float32)
  synapse = synapses.lif_filter()
  start = synapse.initial_state((4,))
  end, whole = synapse.run(start, x)
  middle, first = synapse.run(start, x[:11])
  last, second = synapse.run(middle, x[11:])
  np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-6)
  np.testing.assert_allclose(last.current, end.current, rtol=1e-6)
  np.testing.assert_allclose(last.membrane, end.membrane, rtol=1e-6)
  _, single = synapse.step(middle, x[11])
  np.testing.assert_allclose(single, whole[11], rtol=1e-6)


def test_lif_filter_rejects():
  with pytest.raises(ValueError, match="decay_current: .*got 1.0"):
    synapses.lif_filter(decay_current=1.0)
  with pytest.raises(ValueError, match="decay_membrane: .*got -0.1"):
    synapses.lif_filter(decay_membrane=-0.1)
  with pytest.raises(ValueError, match="gain: .*unit or published, got 'big'"):
    synapses.lif_filter(gain="big")
  synapse = synapses.lif_filter()
  with pytest.raises(ValueError, match=r"x: expected shape .*got \(5, 3\)"):
    synapse.run(synapse.initial_state((4,)), jnp.zeros((5, 3)))


@pytest.mark.parametrize("shape", [(9,), (9, 2), (3, 2, 2), (20, 2, 1)])
def test_causal_filter_matches_the_loop(shape):
  rng = np.random.default_rng(2)
  kernels = rng.normal(size=(3, 5)).astype(np.float32)
  x = rng.normal(size=shape).astype(np.float32)
  expected = np.zeros((shape[0], 3, *shape[1:]))
  for t in range(shape[0]):
    for k in range(3):
      for lag in range(min(5, t + 1)):
        expected[t, k] += kernels[k, lag] * x[t - lag]
  found = synapses.causal_filter(kernels, x)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_causal_filter_rejects():
  with pytest.raises(ValueError, match=r"kernels: .*got \(5,\)"):
    synapses.causal_filter(np.ones(5), np.ones((4, 2)))
  with pytest.raises(ValueError, match=r"x: .*got \(\)"):
    synapses.causal_filter(np.ones((1, 5)), np.float32(1))


@pytest.mark.parametrize(
  ("num_steps", "length"),
  [
    (1, 10),
    (4, 10),
    (30, 1),
    (64, 10),
    (65, 40),
    (65, 500),
    (70, 64),
    (96, 10),
    (107, 1),
  ],
)
def test_overlap_add_batched_matches_the_loop(num_steps, length):
  rng = np.random.default_rng(num_steps)
  kernels = rng.normal(size=(3, length)).astype(np.float32)
  products = rng.normal(size=(2, num_steps, 3, 2)).astype(np.float32)
  pending = rng.normal(size=(2, length - 1, 2)).astype(np.float32)
  run = jax.jit(jax.vmap(lambda x, p: synapses.overlap_add(kernels, x, p)))
  found = run(products, pending)
  for i in range(2):
    expected = _filter_and_sum(kernels, products[i], pending[i])
    for f, e in zip(found, expected, strict=True):
      np.testing.assert_allclose(f[i], e, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cuts", [[1, 2, 50], [64], [70, 71], [40, 110]])
def test_overlap_add_in_chunks_is_the_whole(cuts):
  rng = np.random.default_rng(3)
  kernels = synapses.raised_cosine_kernels()
  products = rng.normal(size=(120, 8, 4)).astype(np.float32)
  pending = jnp.zeros((9, 4))
  whole, end = synapses.overlap_add(kernels, products, pending)
  parts = []
  for chunk in np.split(products, cuts):
    part, pending = synapses.overlap_add(kernels, chunk, pending)
    parts.append(part)
  np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(pending, end, rtol=1e-4, atol=1e-5)


def test_overlap_add_is_the_summed_causal_filter_of_weighted_spikes():
  rng = np.random.default_rng(4)
  kernels = synapses.raised_cosine_kernels()
  spikes = rng.integers(0, 2, (50, 6)).astype(np.float32)
  weights = rng.normal(size=(8, 6, 3)).astype(np.float32)
  filtered = synapses.causal_filter(kernels, spikes)
  expected = np.einsum("tki,kio->to", filtered, weights)
  found, _ = synapses.overlap_add(
    kernels, np.einsum("ti,kio->tko", spikes, weights), jnp.zeros((9, 3))
  )
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_steps", [12, 70])
def test_overlap_add_gradient_is_the_kernel_and_causal(num_steps):
  kernels = synapses.raised_cosine_kernels(2, 5)

  def drive(products):
    return synapses.overlap_add(kernels, products, jnp.zeros((4, 1)))[0][:, 0]

  found = np.asarray(jax.jacrev(drive)(jnp.zeros((num_steps, 2, 1))))[..., 0]
  expected = np.zeros((num_steps, num_steps, 2))
  for s in range(num_steps):
    for lag in range(min(5, num_steps - s)):
      expected[s + lag, s] = kernels[:, lag]
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)


def test_overlap_add_rejects():
  kernels = np.ones((2, 4), np.float32)
  products, pending = jnp.zeros((5, 2, 3)), jnp.zeros((3, 3))
  with pytest.raises(ValueError, match=r"kernels: .*got \(4,\)"):
    synapses.overlap_add(kernels[0], products, pending)
  with pytest.raises(ValueError, match=r"products: .*got \(5, 3, 3\)"):
    synapses.overlap_add(kernels, jnp.zeros((5, 3, 3)), pending)
  with pytest.raises(ValueError, match=r"products: .*T >= 1, got \(0, 2, 3\)"):
    synapses.overlap_add(kernels, products[:0], pending)
  with pytest.raises(ValueError, match=r"pending: .*\(3, 3\), got \(4, 3\)"):
    synapses.overlap_add(kernels, products, jnp.zeros((4, 3)))
  with pytest.raises(ValueError, match="kernels: .*traced"):
    jax.jit(synapses.overlap_add)(kernels, products, pending)
