"""The stochastic threshold and its kernels against a scan of JAX's own."""

import jax
import jax.numpy as jnp
import kernels
import numpy as np
import pytest

from timedecode import glm, glm_kernel, glm_recurrence, lif_kernel

KERNEL = np.linspace(1.0, 0.1, 10).astype(np.float32) ** 2
SAMPLERS = {
  "bernoulli": glm.bernoulli,
  "straight_through": glm.bernoulli_straight_through,
  "expected": glm.expected,
  "concrete": glm.concrete(0.5),
}
TILING = lif_kernel.Tiling(32, 1, 4)


def _reference(sampler):
  """`glm.readout` with a carry, which is the plain scan."""

  def run(drive, bias, feedback, history, uniforms):
    params = glm.GLMParams(jnp.zeros(()), feedback, bias)
    return glm.readout(
      params, KERNEL, history, drive, uniforms, sampler, lambda past: past
    )[1]

  return run


def _problem(num_steps, count):
  generator = np.random.default_rng(num_steps + count)
  draw = lambda *shape: jnp.asarray(generator.normal(size=shape), jnp.float32)
  history = jnp.asarray(generator.random((10, count)) < 0.4, jnp.float32)
  uniforms = jnp.asarray(generator.random((num_steps, count)), jnp.float32)
  whole = num_steps, count
  arguments = draw(*whole), draw(count), -jnp.abs(draw(count)), history
  return (*arguments, uniforms), (draw(*whole), draw(*whole))


def _close(ours, theirs):
  for found, want in zip(ours, theirs, strict=True):
    assert np.linalg.norm(want) > 0 and found.shape == want.shape
    np.testing.assert_allclose(found, want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("size", [(1, 3), (4, 40), (25, 33)])
def test_the_scan_is_that_of_autodiff(name, size):
  """Also of trains that are shorter than the kernel."""
  arguments, cotangents = _problem(*size)
  run = glm_recurrence.make_run(KERNEL, SAMPLERS[name])
  ours, back = jax.vjp(run, *arguments)
  theirs, want = jax.vjp(_reference(SAMPLERS[name]), *arguments)
  _close(ours, theirs)
  _close(back(cotangents)[:4], want(cotangents)[:4])


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("size", [(1, 3), (4, 40), (25, 33)])
def test_the_kernels_are_those_of_autodiff(name, size):
  arguments, cotangents = _problem(*size)
  drive, bias, feedback, history, uniforms = arguments
  ours = glm_kernel.forward(KERNEL, SAMPLERS[name], False, TILING, True)
  (spikes, logits), want = jax.vjp(_reference(SAMPLERS[name]), *arguments)
  _close(ours(*arguments), (spikes, logits))
  back = glm_kernel.backward(KERNEL, SAMPLERS[name], TILING, True)
  found = back(logits, feedback, uniforms, *cotangents)
  _close(found, want(cotangents)[:1])


@pytest.mark.parametrize("cuts", [[1, 2], [3, 40], [10]])
def test_a_train_in_chunks_is_the_whole_to_the_last_bit(cuts):
  (drive, bias, feedback, history, uniforms), _ = _problem(60, 7)
  run = jax.jit(glm_recurrence.make_run(KERNEL, glm.bernoulli))
  whole = run(drive, bias, feedback, history, uniforms)
  assert 0.1 < whole[0].mean() < 0.9
  parts = []
  for some, drawn in zip(
    np.split(drive, cuts), np.split(uniforms, cuts), strict=True
  ):
    parts.append(run(some, bias, feedback, history, drawn))
    history = glm_recurrence.history_after(history, parts[-1][0])
  for found, expected in zip(zip(*parts, strict=True), whole, strict=True):
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_the_backward_kernel_of_a_batch():
  """Three examples with one set of weights are one grid."""
  sampler = SAMPLERS["straight_through"]
  (drive, bias, feedback, history, uniforms), cotangents = _problem(7, 40)
  given = bias, feedback, history, uniforms
  drives = jnp.stack([drive, -drive, drive / 2])
  run = jax.vmap(_reference(sampler), (0, None, None, None, None))
  (_, logits), want = jax.vjp(lambda drives: run(drives, *given), drives)
  every = [jnp.stack([c, c / 2, -c]) for c in cotangents]
  back = glm_kernel.backward(KERNEL, sampler, TILING, True)
  mapped = jax.vmap(back, (0, None, None, 0, 0))
  _close(mapped(logits, feedback, uniforms, *every), want(tuple(every)))


@pytest.mark.parametrize("size", [(1, 3), (7, 40), (30, 256)])
def test_the_kernel_draws_the_uniforms_of_jax(size):
  """Spikes bit for bit, one key and a batch of them."""
  (drive, bias, feedback, history, _), _ = _problem(*size)
  run = glm_kernel.forward(KERNEL, glm.bernoulli, True, TILING, True)
  plain = glm_recurrence.make_run(KERNEL, glm.bernoulli)
  keys = jax.random.split(jax.random.key(7), 3)
  given = drive, bias, feedback, history
  axes = (None, None, None, None, 0)
  ours = jax.vmap(run, axes)(*given, jax.random.key_data(keys))
  uniforms = jax.vmap(lambda key: jax.random.uniform(key, drive.shape))(keys)
  theirs = jax.vmap(plain, axes)(*given, uniforms)
  assert len(np.unique(theirs[0].sum(axis=(1, 2)))) > 1 or drive.size < 10
  np.testing.assert_array_equal(ours[0], theirs[0])
  index = jnp.arange(drive.size, dtype=jnp.uint32)
  words = tuple(jax.random.key_data(keys)[0])
  found = glm_kernel.uniform(words, index).reshape(drive.shape)
  np.testing.assert_array_equal(found, uniforms[0])


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_key_stands_for_its_uniforms(impl):
  """Values and gradients."""
  (drive, bias, feedback, history, _), _ = _problem(12, 20)
  key = jax.random.key(3, impl=impl)
  run = glm_recurrence.make_run(KERNEL, glm.bernoulli_straight_through)
  given = drive, bias, feedback, history

  def both(source):
    found, back = jax.vjp(lambda *a: run(*a, source), *given)
    return *found, *back((drive, jnp.sin(drive)))

  uniforms = jax.random.uniform(key, drive.shape)
  for found, want in zip(both(key), both(uniforms), strict=True):
    assert np.linalg.norm(want) > 0
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("name", SAMPLERS)
def test_gpus_get_two_kernels(name):
  arguments, _ = _problem(6, 30)
  run = glm_recurrence.make_run(KERNEL, SAMPLERS[name])

  def gradient(drives, *rest):
    mapped = jax.vmap(run, (0, None, None, None, None))
    return jax.grad(lambda d: sum(jnp.sum(a) for a in mapped(d, *rest)))(drives)

  given = jnp.stack([arguments[0]] * 4), *arguments[1:]
  assert kernels.count(gradient, "cuda", *given) == 2
  assert kernels.count(gradient, "cpu", *given) == 0


def test_a_key_stands_for_the_same_where_64_bits_are_the_default():
  (drive, bias, feedback, history, _), _ = _problem(12, 20)
  run = glm_recurrence.make_run(KERNEL, glm.bernoulli)
  given, key = (drive, bias, feedback, history), jax.random.key(3)
  wanted = run(*given, key)[0]
  with jax.enable_x64(True):
    found = run(*given, key)[0]
  np.testing.assert_array_equal(found, wanted)


def test_gpus_get_one_kernel_that_draws():
  (drive, bias, feedback, history, _), _ = _problem(6, 30)
  sample = glm_recurrence.make_run(KERNEL, glm.bernoulli)
  given = drive, bias, feedback, history, jax.random.key(0)
  assert kernels.count(sample, "cuda", *given) == 1
  assert kernels.count(sample, "cpu", *given) == 0
