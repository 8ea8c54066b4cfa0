"""The kernel, interpreted, against a scan of the neuron model; its lowering."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import lif_kernel, neurons, surrogate

DECAY = 0.65


def _reference(derivative):
  neuron = neurons.lif(derivative, DECAY)

  def run(currents, state):
    params = neurons.LIFParams(jnp.zeros(currents.shape[1:]))
    return jax.lax.scan(functools.partial(neuron.step, params), state, currents)

  return run


def _problem(num_steps, num_neurons, batch=()):
  """Currents, a state in the midst of spiking, cotangents of all outputs."""
  generator = np.random.default_rng(num_steps + num_neurons)
  draw = lambda *shape: jnp.asarray(generator.normal(size=shape), jnp.float32)
  whole, one = (*batch, num_steps, num_neurons), (*batch, num_neurons)
  fired = jnp.asarray(generator.random(one) < 0.3, jnp.float32)
  state = neurons.LIFState(-jnp.abs(draw(*one)), fired)
  cotangents = (
    neurons.LIFState(draw(*one), draw(*one)), (draw(*whole), draw(*whole))
  )  # fmt: skip
  return (draw(*whole), state), cotangents


def _close(ours, theirs):
  for found, want in zip(
    jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True
  ):
    assert np.linalg.norm(want) > 0
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(surrogate.SURROGATES))
@pytest.mark.parametrize("size", [(1, 40), (7, 128), (12, 300)])
def test_both_directions_are_those_of_the_scan(name, size):
  """Values, and the gradient by currents and by the state before."""
  derivative = surrogate.get(name)
  arguments, cotangents = _problem(*size)
  ours, back = jax.vjp(
    lif_kernel.make_run(derivative, DECAY, interpret=True), *arguments
  )
  theirs, want = jax.vjp(_reference(derivative), *arguments)
  assert 0 < float(jnp.mean(ours[1][0])) < 1
  _close(ours, theirs)
  _close(back(cotangents), want(cotangents))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_batch_is_one_population(axis):
  """Mapped over either axis, and with one state for all."""
  derivative = surrogate.get("triangular")
  (currents, state), (_, cotangents) = _problem(6, 5, batch=(4,))
  single = jax.tree.map(lambda leaf: leaf[0], state)
  currents = jnp.moveaxis(currents, 0, axis)

  def gradients(run):
    def outputs(currents, state):
      mapped = jax.vmap(run, in_axes=(axis, None))
      return mapped(currents, state)[1]

    found, back = jax.vjp(outputs, currents, single)
    return found, back(cotangents)

  ours = gradients(lif_kernel.make_run(derivative, DECAY, interpret=True))
  _close(ours, gradients(_reference(derivative)))


def test_a_batch_is_one_kernel():
  """And not one per example: the population is 4 x 5 neurons."""
  run = lif_kernel.make_run(surrogate.get("arctan"), DECAY, interpret=True)
  (currents, state), _ = _problem(6, 5, batch=(4,))
  traced = str(jax.make_jaxpr(jax.vmap(run))(currents, state))
  assert traced.count("pallas_call") == 1 and "f32[6,20]" in traced


def test_both_kernels_can_be_made_for_gpus():
  run = lif_kernel.make_run(surrogate.get("triangular"), DECAY)

  def loss(currents, state):
    _, (spikes, potential) = jax.vmap(run)(currents, state)
    return jnp.sum(spikes * potential)

  arguments, _ = _problem(6, 300, batch=(4,))
  target = "__gpu$xla.gpu.triton"
  allowed = [jax.export.DisabledSafetyCheck.custom_call(target)]
  made = jax.export.export(
    jax.jit(jax.grad(loss)), platforms=["cuda"], disabled_checks=allowed
  )(*arguments)
  assert made.mlir_module().count(f"custom_call @{target}") == 2


def test_currents_that_are_refused():
  run = lif_kernel.make_run(surrogate.get("boxcar"), DECAY, interpret=True)
  state = neurons.LIFState(jnp.zeros(3), jnp.zeros(3))
  with pytest.raises(ValueError, match=r"currents: expected \[T, N\] .*got"):
    run(jnp.zeros((2, 3, 3)), state)
  with pytest.raises(ValueError, match=r"T >= 1, got \(0, 3\)"):
    run(jnp.zeros((0, 3)), state)
