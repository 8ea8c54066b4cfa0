"""The recurrence and its kernels against a scan that JAX differentiates."""

import re

import jax
import jax.numpy as jnp
import kernels
import numpy as np
import pytest

from timedecode import lif_kernel, lif_recurrence, neurons, platforms, surrogate

DECAY = 0.65
NEURONS = {False: neurons.lif, True: neurons.leaky}
TILINGS = [lif_kernel.Tiling(32, 1, 1), lif_kernel.Tiling(64, 2, 4)]


def _reference(derivative, leaky):
  """A scan of the neuron's step, differentiated by JAX."""
  neuron = NEURONS[leaky](derivative, DECAY)
  state_type = neurons.LeakyState if leaky else neurons.LIFState

  def run(current, bias, state, before):
    params, first = neurons.LIFParams(bias), state_type(state, before)
    after, outputs = jax.lax.scan(
      lambda state, drive: neuron.step(params, state, drive), first, current
    )
    return *outputs, after[0]

  return run


def _interpreted(derivative, leaky, tiling=None):
  """Both kernels by the interpreter, on one flat population."""
  forward = lif_kernel.forward(DECAY, leaky, tiling, interpret=True)
  backward = lif_kernel.backward(DECAY, leaky, derivative, tiling, True)

  def gradients(potential, cotangents):
    d_spikes, d_potential, d_after = cotangents
    return backward(potential, d_after, d_spikes, d_potential)

  return forward, gradients


def _problem(num_steps, shape):
  """Currents, bias, a state in the midst of spiking; cotangents."""
  generator = np.random.default_rng(num_steps + sum(shape))
  draw = lambda *shape: jnp.asarray(generator.normal(size=shape), jnp.float32)
  fired = jnp.asarray(generator.random(shape) < 0.3, jnp.float32)
  arguments = draw(num_steps, *shape), draw(*shape) / 2, draw(*shape), fired
  cotangents = draw(num_steps, *shape), draw(num_steps, *shape), draw(*shape)
  return arguments, cotangents


def _close(ours, theirs, tolerance=1e-5):
  for found, want in zip(ours, theirs, strict=True):
    assert np.linalg.norm(want) > 0 and found.shape == want.shape
    np.testing.assert_allclose(found, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("name", sorted(surrogate.SURROGATES))
@pytest.mark.parametrize("shape", [(1, 40), (7, 8, 5), (12, 300)])
def test_the_scans_are_those_of_autodiff(name, leaky, shape):
  """Values, and the gradients by currents, bias and the state before."""
  derivative = surrogate.get(name)
  arguments, cotangents = _problem(shape[0], shape[1:])
  run = lif_recurrence.make_run(derivative, DECAY, leaky)
  ours, back = jax.vjp(run, *arguments)
  theirs, want = jax.vjp(_reference(derivative, leaky), *arguments)
  assert 0 < float(jnp.mean(ours[0])) < 1
  _close(ours, theirs)
  _close(back(cotangents), want(cotangents))


@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("name", sorted(surrogate.SURROGATES))
@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("size", [(1, 40), (7, 128), (12, 300)])
def test_the_kernels_are_those_of_autodiff(name, leaky, tiling, size):
  derivative = surrogate.get(name)
  arguments, cotangents = _problem(size[0], size[1:])
  forward, backward = _interpreted(derivative, leaky, tiling)
  theirs, want = jax.vjp(_reference(derivative, leaky), *arguments)
  _close(forward(*arguments), theirs)
  _close(backward(theirs[1], cotangents), want(cotangents))


@pytest.mark.parametrize("given", [(0,), (0, 1), (2,), (1, 2)])
def test_outputs_without_cotangents(given):
  """Losses of some of spikes, potentials and the state after."""
  derivative = surrogate.get("arctan")
  arguments, cotangents = _problem(6, (9,))

  def loss(run, *arguments):
    found = run(*arguments)
    return sum(jnp.sum(found[k] * cotangents[k]) for k in given)

  every = (1, 2, 3, 4)
  run = lif_recurrence.make_run(derivative, DECAY, True)
  ours = jax.grad(loss, every)(run, *arguments)
  theirs = jax.grad(loss, every)(_reference(derivative, True), *arguments)
  _close(ours, theirs)


def test_the_kernel_without_cotangents_of_potentials():
  derivative = surrogate.get("triangular")
  arguments, (d_spikes, _, d_after) = _problem(6, (70,))
  forward = lif_kernel.forward(DECAY, False, interpret=True)
  backward = lif_kernel.backward(DECAY, False, derivative, interpret=True)
  _, potential, _ = forward(*arguments)
  _, back = jax.vjp(_reference(derivative, False), *arguments)
  want = back((d_spikes, jnp.zeros_like(potential), d_after))
  _close(backward(potential, d_after, d_spikes), want)


@pytest.mark.parametrize("axes", [(0, None), (1, None), (1, 0)])
def test_a_batch_is_one_kernel(axes):
  """Mapped once, or twice: one grid, and nobody is mixed up."""
  derivative = surrogate.get("triangular")
  forward, _ = _interpreted(derivative, True)
  run, reference = forward, _reference(derivative, True)
  draw = np.random.default_rng(3).normal
  current = jnp.asarray(draw(size=(4, 4, 6, 5)), jnp.float32)
  bias, state = jnp.full(5, -0.1), jnp.asarray(draw(size=5), jnp.float32)
  arguments = current, bias, state, jnp.zeros(5)
  for axis in axes:
    if axis is None:
      current = current[0]
      arguments = current, *arguments[1:]
      continue
    run = jax.vmap(run, (axis, None, None, None))
    reference = jax.vmap(reference, (axis, None, None, None))
  _close(run(*arguments), reference(*arguments))
  assert str(jax.make_jaxpr(run)(*arguments)).count("pallas_call") == 1


@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("size", [(6, 5), (5,)])
def test_examples_and_members_are_mapped(leaky, size):
  """Over examples, and those over members with biases of their own."""
  derivative = surrogate.get("arctan")
  draw = np.random.default_rng(4).normal
  single = lambda *shape: jnp.asarray(draw(size=shape), jnp.float32)
  current, bias, state = single(3, 4, 7, *size), single(3, *size), single(*size)
  cotangents = single(3, 4, 7, *size), single(3, 4, 7, *size)

  def gradients(run):
    examples = jax.vmap(run, (0, None, None, None))
    members = jax.vmap(examples, (0, 0, None, None))

    def loss(*arguments):
      spikes, potential, _ = members(*arguments, jnp.zeros(size))
      return jnp.vdot(spikes, cotangents[0]) + jnp.vdot(
        potential, cotangents[1]
      )

    return (
      *members(current, bias, state, jnp.zeros(size)),
      *jax.grad(loss, (0, 1, 2))(current, bias, state),
    )

  ours = gradients(lif_recurrence.make_run(derivative, DECAY, leaky))
  _close(ours, gradients(_reference(derivative, leaky)), 1e-4)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", sorted(surrogate.SURROGATES))
def test_no_loop_copies_its_train(name, mapped):
  """A value that XLA computes twice would have the train copied each step."""
  run = lif_recurrence.make_run(surrogate.get(name), DECAY, True)
  if mapped:
    run = jax.vmap(run, (0, None, None, None))
  rest, shape = jnp.zeros(300), (4, 50) if mapped else (50,)

  def step(weights, rows, cotangents):
    spikes = lambda current: run(current, rest - 1, rest, rest)[0]
    loss = lambda current: jnp.vdot(spikes(current), cotangents)
    return jax.value_and_grad(loss)(rows @ weights)

  arguments = jnp.ones((8, 300)), jnp.ones((*shape, 8)), jnp.ones((*shape, 300))
  text = jax.jit(step).lower(*arguments).compile().as_text()
  parts = [part for part in text.split("\n\n") if "dynamic-update" in part]
  train = re.compile(r"= f32\[50,(4,)?300\]\S* copy\(")
  bodies = [part for part in parts if re.match(r"\s*%(wide\.)?region", part)]
  assert len(bodies) == 2 and not any(map(train.search, bodies)), text
  # One where the last step's cheap derivative is taken, before the loop.
  (entry,) = (part for part in parts if part.lstrip().startswith("ENTRY"))
  assert mapped or len(train.findall(entry)) <= 1, entry


@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("name", sorted(surrogate.SURROGATES))
def test_gpus_get_two_kernels(name, leaky):
  """Both directions, for a batch, and none of them on other devices."""
  run = lif_recurrence.make_run(surrogate.get(name), DECAY, leaky)
  current = jnp.ones((4, 6, 300))
  state = jnp.zeros(300)

  def loss(current):
    mapped = jax.vmap(run, (0, None, None, None))
    return jnp.sum(mapped(current, state, state, state)[0])

  assert kernels.count(jax.grad(loss), "cuda", current) == 2
  assert kernels.count(jax.grad(loss), "cpu", current) == 0


def test_arrays_of_two_types_are_one():
  """bfloat16 currents with a float32 state: all in float32."""
  run = lif_recurrence.make_run(surrogate.get("triangular"), DECAY, True)
  (current, *rest), (cotangent, _, _) = _problem(6, (9,))
  half = current.astype(jnp.bfloat16)
  found, back = jax.vjp(lambda current: run(current, *rest)[0], half)
  wanted = run(half.astype(jnp.float32), *rest)[0]
  assert found.dtype == jnp.float32
  np.testing.assert_array_equal(found, wanted)
  assert back(cotangent)[0].dtype == jnp.bfloat16


def test_a_train_without_steps_is_refused():
  run = lif_recurrence.make_run(surrogate.get("triangular"), DECAY, True)
  with pytest.raises(
    ValueError, match=r"current: expected .*T >= 1, got T = 0"
  ):
    run(jnp.zeros((0, 3)), *[jnp.zeros(3)] * 3)


def test_what_a_compiler_partitions_has_no_kernels():
  """And what was traced before without them has them when it is exported."""
  run = lif_recurrence.make_run(surrogate.get("triangular"), DECAY, True)
  state = [jnp.zeros(3)] * 3
  traced = jax.jit(lambda current: run(current, *state)[0])
  traced(jnp.ones((4, 3)))
  assert kernels.count(traced, "cuda", jnp.ones((4, 3))) == 1
  plain = platforms.without_kernels(lambda current: run(current, *state)[0])
  assert kernels.count(plain, "cuda", jnp.ones((4, 3))) == 0
