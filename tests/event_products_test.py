"""Sums over spikes against NumPy's products, in values and gradients."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import benchmark_sparsity
from experiments.bench import machine
from timedecode import event_products, platforms


def _train(shape, rates=0.2, seed=0):
  """Spikes with a rate for each row, values but 0 and 1 among them."""
  draw = np.random.default_rng(seed).random
  fired = draw(shape) < np.broadcast_to(rates, (*shape[:-1], 1))
  return (fired * np.where(draw(shape) < 0.1, 2.0, 1.0)).astype(np.float32)


def _normal(*shape, seed=1):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def _double(fired):
  return (fired != 0).astype(np.float64)


@pytest.mark.parametrize(
  "shape, rates",
  [
    ((7, 5), 0.3),
    ((5,), 0.5),
    ((3, 4, 70), np.linspace(0, 1, 12).reshape(3, 4, 1)),  # Empty to full.
    ((6, 2, 64), 0.0),
    ((1281, 33), 0.1),  # More rows than are gone through at once.
    ((40, 32, 64), 0.1),  # As many.
    ((2, 3, 2600), 0.05),  # And more inputs.
    ((50, 90), np.where(np.arange(50) == 7, 1.0, 0.1)[:, None]),  # A busy row.
  ],
)
def test_values_and_gradients(shape, rates):
  """As products of zeros and ones, in float64 beside them."""
  train, weights = _train(shape, rates), _normal(shape[-1], 6)
  errors = _normal(*shape[:-1], 6, seed=2)

  @jax.jit
  def both(weights, train, errors):
    run = lambda w: event_products.over_train(w, train)
    found, back = jax.vjp(run, weights)
    return found, back(errors)[0], jax.jvp(run, (weights,), (2 * weights,))[1]

  found, slope, moved = both(weights, train, errors)
  rows = _double(train).reshape(-1, shape[-1])
  _close(found, (rows @ weights).reshape(*shape[:-1], 6))
  _close(slope, rows.T @ errors.reshape(-1, 6))
  _close(moved, 2 * found)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 0, 5)])
def test_empty_axes(shape):
  train, weights = jnp.ones(shape), jnp.ones((shape[-1], 4))
  total = lambda w: jnp.sum(event_products.over_train(w, train))
  assert event_products.over_train(weights, train).shape == (*shape[:-1], 4)
  assert total(weights) == 0 and not jax.grad(total)(weights).any()


@pytest.mark.parametrize("kind", [bool, np.int8, jnp.bfloat16])
def test_spikes_of_any_type(kind):
  train, weights = _train((5, 40)), _normal(40, 3)
  found = event_products.over_train(weights, jnp.asarray(train, kind))
  _close(found, _double(train) @ weights)
  slope = jax.grad(
    lambda w: jnp.sum(event_products.over_train(w, jnp.asarray(train, kind)))
  )(weights)
  _close(slope, _double(train).sum(0)[:, None] * np.ones(3))


def test_half_precision_is_summed_in_single():
  """1,200 ones in bfloat16 would stay at 256."""
  train, weights = jnp.ones((2, 1200)), jnp.ones((1200, 3), jnp.bfloat16)
  found = event_products.over_train(weights, train)
  assert found.dtype == jnp.bfloat16 and (found == 1200).all()


def test_what_is_not_finite_stays_where_it_is_used():
  """Neither what fills lists up nor other rows' weights reach a sum."""
  train, weights = _train((6, 40)), _normal(40, 3)
  train[:3, 5], train[3:, 5] = 0.0, 1.0
  weights[5] = np.nan
  found = np.asarray(event_products.over_train(weights, train))
  assert np.isfinite(found[:3]).all() and np.isnan(found[3:]).all()
  errors = np.where(np.arange(6)[:, None] == 4, np.inf, np.ones((6, 3)))
  back = jax.vjp(lambda w: event_products.over_train(w, train), weights)[1]
  slope = np.asarray(back(jnp.asarray(errors, jnp.float32))[0])
  np.testing.assert_array_equal(np.isinf(slope[:, 0]), train[4] != 0)


def test_gradients_by_the_train_are_those_of_a_product():
  train, weights, errors = _train((5, 40)), _normal(40, 3), _normal(5, 3)
  _, back = jax.vjp(event_products.over_train, weights, train)
  by_weights, by_train = back(errors)
  _close(by_weights, _double(train).T @ errors)
  _close(by_train, errors @ weights.T)


def test_second_derivatives():
  """Of a quadratic: those of its matrix."""
  train, weights = _train((5, 40)), _normal(40, 3)
  loss = lambda w: jnp.sum(event_products.over_train(w, train) ** 2)
  norm = lambda w: jnp.sum(jax.grad(loss)(w) ** 2)
  square = _double(train).T @ _double(train)
  _close(jax.grad(norm)(weights), 8 * square @ square @ weights)


def test_a_batch_is_one_train_and_has_one_gradient():
  """The mapped train is summed whole: no gradient for each example."""
  train, weights = _train((5, 4, 40)), _normal(40, 3)
  errors = _normal(5, 4, 3, seed=2)

  def loss(weights):
    run = jax.vmap(event_products.over_train, (None, 1), 1)
    return jnp.sum(run(weights, train) * errors)

  rows = _double(train).reshape(-1, 40)
  _close(jax.grad(loss)(weights), rows.T @ errors.reshape(-1, 3))
  assert "[4,40,3]" not in str(jax.make_jaxpr(jax.grad(loss))(weights))


def test_gradients_of_examples_apart():
  train, weights = _train((4, 5, 40)), _normal(40, 3)
  errors = _normal(4, 5, 3, seed=2)
  loss = lambda w, x, e: jnp.sum(event_products.over_train(w, x) * e)
  found = jax.vmap(jax.grad(loss), (None, 0, 0))(weights, train, errors)
  _close(found, np.einsum("btn,btm->bnm", _double(train), errors))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_weights_of_several_members(axis):
  """As in a sweep, with trains that they share or have of their own."""
  weights = _normal(4, 40, 3)
  train = _train((4, 4, 40) if axis is not None else (4, 40))
  run = jax.vmap(event_products.over_train, (0, axis))
  given = {None: "tn", 0: "stn", 1: "tsn"}[axis]
  expected = np.einsum(f"{given},snm->stm", _double(train), weights)
  _close(run(weights, train), expected)
  total = lambda w: jnp.sum(run(w, train) ** 2)
  slope = np.einsum(f"{given},stm->snm", _double(train), 2 * expected)
  _close(jax.grad(total)(weights), slope)
  single = lambda w, x: jnp.sum(event_products.over_train(w, x) ** 2)
  _close(jax.vmap(jax.grad(single), (0, axis))(weights, train), slope)
  members = jax.make_jaxpr(jax.vmap(jax.grad(single), (0, axis)))
  assert "event_gradient[divided=False members=1]" in str(
    members(weights, train)
  )


def test_in_a_scan_that_is_computed_again():
  """Pieces of a train, as long trains are differentiated."""
  train, weights = _train((6, 5, 40)), _normal(40, 3)

  def loss(weights):
    @jax.checkpoint
    def piece(total, part):
      return total + jnp.sum(
        event_products.over_train(weights, part) ** 2
      ), None

    return jax.lax.scan(piece, 0.0, train)[0]

  rows = _double(train).reshape(-1, 40)
  _close(jax.grad(loss)(weights), 2 * rows.T @ (rows @ weights))


def test_what_a_compiler_partitions_is_dense():
  """And what is for other devices than CPUs; the values are the same."""
  train, weights = _train((3, 40)), _normal(40, 3)
  slope = jax.grad(lambda w: jnp.sum(event_products.over_train(w, train) ** 2))
  dense = platforms.without_kernels(slope)
  rows = _double(train)
  _close(jax.jit(dense)(weights), 2 * rows.T @ (rows @ weights))
  plain = jax.jit(dense).lower(weights).as_text()
  assert plain.count("stablehlo.dot_general") == 2 and "while" not in plain
  here = jax.jit(slope).lower(weights).compile().as_text()
  assert " dot(" not in here and " while(" in here
  cuda = jax.export.export(jax.jit(slope), platforms=["cuda"])(weights)
  assert cuda.mlir_module().count("stablehlo.dot_general") == 2
  assert "while" not in cuda.mlir_module()


def test_sums_count_as_the_products_that_they_stand_for():
  train, weights = _train((7, 40)), _normal(40, 3)

  def flops(run):
    slope = jax.grad(lambda w: jnp.sum(run(w, train) ** 2))
    return machine.product_flops(jax.make_jaxpr(slope)(weights).jaxpr)

  product = lambda weights, train: train @ weights
  assert flops(event_products.over_train) == flops(product) == 4 * 7 * 40 * 3


def test_what_is_refused():
  train, weights = jnp.ones((2, 5)), jnp.ones((5, 3))
  with pytest.raises(ValueError, match=r"weights: expected .*\[5, N\], got"):
    event_products.over_train(weights.T, train)


def test_the_benchmark_compares_what_is_equal(capsys, monkeypatch):
  flags.FLAGS.mark_as_parsed()
  small = flagsaver.flagsaver(
    (benchmark_sparsity.RATES, ["0.1", "0.5"]),
    (benchmark_sparsity.SHAPE, ["4", "3", "40"]),
    (benchmark_sparsity.OUTPUTS, 5), (benchmark_sparsity.CALLS, 3),
  )  # fmt: skip
  with small:
    benchmark_sparsity.main(["benchmark"])
    *lines, last = capsys.readouterr().out.strip().split("\n")
    rows = json.loads(last)
    assert [row["rate"] for row in rows] == [0.1, 0.5]
    assert all(row["product_ms"] > 0 < row["events_ms"] for row in rows)
    assert lines[2].startswith("| 10% |") and lines[3].startswith("| 50% |")
    wrong = lambda weights, train: 2.0 * (train @ weights)
    monkeypatch.setattr(event_products, "over_train", wrong)
    with pytest.raises(RuntimeError, match=r"rate 0.1: products and sums diff"):
      benchmark_sparsity.measure(0.1)
