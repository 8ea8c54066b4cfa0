"""The benchmark's reference against JAX's own differentiation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import reference, worker, workloads

SIZES = {
  kind: workloads.Workload("x", kind, 12, 3, widths)
  for kind, widths in (
    ("training", (40, 24, 7)), ("layer", (9,)), ("latency", (40, 24, 7)),
    ("dense", (40, 40)),
  )
}  # fmt: skip
EVERY = [
  reference.Semantics(*options)
  for options in itertools.product(
    (False, True), (False, True), (0, 1), (1.0, 3.0), (1.0, 10.0),
    (False, True),
  )
]  # fmt: skip


def _neuron(semantics):
  """A scan whose spikes have the surrogate as a straight-through term."""

  @jax.custom_jvp
  def spike(u):
    return (u > 0).astype(u.dtype)

  @spike.defjvp
  def _(primals, tangents):
    (u,), (du,) = primals, tangents
    psi = semantics.peak / (1 + 25 * jnp.abs(u)) ** 2
    return spike(u), psi * du

  def run(currents):
    def step(carry, current):
      v, s = carry
      s = jax.lax.stop_gradient(s) if semantics.detached else s
      v = 0.9 * (v - s) if semantics.reset_decays else 0.9 * v - s
      v = v + current / semantics.gain
      s = spike(v - 1.0)
      return (v, s), s

    rest = jnp.zeros(currents.shape[1:], currents.dtype)
    spikes = jax.lax.scan(step, (rest, rest), currents)[1]
    late = jnp.zeros_like(spikes[: semantics.delay])
    return jnp.concatenate([late, spikes])[: len(spikes)]

  return run


def _loss(size, given, semantics):
  """Of the weights (of the currents of a layer alone), in their own units."""
  neuron = _neuron(semantics)

  def run(weights):
    train = given.inputs.astype(np.float64)
    for matrix in weights:
      matrix = matrix.T if semantics.outputs_first else matrix
      train = neuron(train @ matrix)
    return train

  def loss(weights):
    spikes = neuron(weights[0]) if size.kind == "layer" else run(weights)
    if size.kind != "training":
      return jnp.vdot(spikes, given.cotangents)
    chosen = jax.nn.log_softmax(spikes.sum(0))
    return -jnp.mean(chosen[np.arange(size.batch), given.targets])

  return loss


@pytest.mark.parametrize("kind", ["training", "layer", "dense"])
def test_gradients_are_those_of_autodiff(kind):
  size = SIZES[kind]
  given = workloads.arrays(size)
  with jax.enable_x64(True):
    for semantics in EVERY:
      of = (given.inputs,) if kind == "layer" else given.weights
      weights = [semantics.gain * np.asarray(m, np.float64) for m in of]
      if semantics.outputs_first and kind != "layer":
        weights = [matrix.T for matrix in weights]
      loss, wanted = jax.value_and_grad(_loss(size, given, semantics))(weights)
      found = reference.outcome(kind, given, semantics)
      if kind != "layer":
        assert found.loss == pytest.approx(float(loss), rel=1e-9)
      for gradient, right in zip(found.gradients, wanted, strict=True):
        scale = np.abs(right).max()
        np.testing.assert_allclose(gradient, right, atol=1e-9 * scale)


def test_a_membrane_by_hand():
  """0.6, 1.14 fires; then 0.9 v + I - s, or 0.9 (v - s) + I."""
  currents = np.array([[0.6], [0.6], [0.6], [0.0]])
  for decays, third in ((False, 0.626), (True, 0.726)):
    semantics = reference.Semantics(reset_decays=decays)
    spikes, u = reference.forward(currents, semantics)
    assert spikes[:, 0].tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(u[:3, 0] + 1, [0.6, 1.14, third])
    late, _ = reference.forward(currents, semantics._replace(delay=1))
    assert late[:, 0].tolist() == [0, 0, 1, 0]


def test_the_counts_of_one_example():
  given = workloads.arrays(SIZES["latency"])
  found = reference.outcome("latency", given, reference.Semantics())
  layers = given.inputs
  for matrix in given.weights:
    layers, _ = reference.forward(layers @ matrix, reference.Semantics())
  np.testing.assert_array_equal(found.outputs, layers.sum(0))
  assert found.outputs.sum() > 0


def test_a_wrong_result_is_seen():
  given = workloads.arrays(SIZES["training"])
  right = reference.outcome("training", given, reference.Semantics())
  assert worker.compare(right, right) == 0.0
  first, second = right.gradients
  for wrong, name in (
    (right._replace(gradients=(first, 1.01 * second)), "gradient 1"),
    (right._replace(gradients=(first.T, second)), "gradient 0: expected shape"),
    (right._replace(gradients=(first * np.nan, second)), "gradient 0"),
    (right._replace(loss=right.loss + 0.01), "loss"),
  ):
    with pytest.raises(worker.WrongResult, match=name):
      worker.compare(wrong, right)
  # The term of the reset alone, and the step of delay alone.
  for other in (
    reference.Semantics(detached=True), reference.Semantics(delay=1),
    reference.Semantics(reset_decays=True), reference.Semantics(peak=1.01),
  ):  # fmt: skip
    with pytest.raises(worker.WrongResult):
      worker.compare(reference.outcome("training", given, other), right)
