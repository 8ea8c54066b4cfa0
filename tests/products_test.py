"""Products of trains against NumPy, values and gradients, however batched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import platforms, products


def _single(*arrays):
  return [jnp.asarray(array, jnp.float32) for array in arrays]


def _close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(params=["plain", "few", "many"])
def way(request, monkeypatch):
  """Which rows and weights are large, so that each way is taken in small."""
  few, many, large = {
    "plain": (0, 1000, 1000), "few": (1000, 1000, 1), "many": (0, 1, 1000),
  }[request.param]  # fmt: skip
  monkeypatch.setattr(products, "_FEW", few)
  monkeypatch.setattr(products, "_MANY", many)
  monkeypatch.setattr(products, "_LARGE", large)
  jax.clear_caches()  # Of products of the same shapes, in another way.
  yield request.param
  jax.clear_caches()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(6, 4, 5), (7, 5), (3, 3, 5), (5,)])
def test_values_and_gradients(way, shape, axis):
  """Of an even and an odd number of rows, in float64 beside it."""
  draw = np.random.default_rng(sum(shape)).normal
  weights, train = draw(size=(3, 5)), draw(size=shape)
  cotangent = draw(size=(*shape[:-1], 3))
  stored = weights if axis else weights.T
  run = lambda w, x: products.over_train(w, x, axis)
  found, back = jax.vjp(run, *_single(stored, train))
  by_weights, by_train = back(*_single(cotangent))
  _close(found, train @ weights.T)
  rows = cotangent.reshape(-1, 3).T @ train.reshape(-1, 5)
  _close(by_weights, rows if axis else rows.T)
  _close(by_train, cotangent @ weights)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_examples_mapped_over(way, axis, place):
  """One product, wherever the examples lie, and one gradient of the weights."""
  draw = np.random.default_rng(place).normal
  weights, trains = draw(size=(3, 5)), draw(size=(4, 6, 5))
  cotangent = draw(size=(4, 6, 3))
  stored = weights if axis else weights.T
  run = jax.vmap(lambda w, x: products.over_train(w, x, axis), (None, place), 1)
  given = _single(stored, np.moveaxis(trains, 0, place))
  found, back = jax.vjp(run, *given)
  _close(found, np.moveaxis(trains @ weights.T, 0, 1))
  told = _single(np.moveaxis(cotangent, 0, 1))
  by_weights, by_trains = back(*told)
  rows = cotangent.reshape(-1, 3).T @ trains.reshape(-1, 5)
  _close(by_weights, rows if axis else rows.T)
  _close(by_trains, np.moveaxis(cotangent @ weights, 0, place))
  text = str(jax.make_jaxpr(lambda c: back(c)[0])(*told))
  assert text.count("train_gradient[") == 1 and "f32[4,3,5]" not in text


def test_a_gradient_and_weights_for_each_example(way):
  draw = np.random.default_rng(7).normal
  weights, trains = draw(size=(4, 3, 5)), draw(size=(4, 6, 5))
  found = jax.vmap(products.over_train)(*_single(weights, trains))
  _close(found, trains @ weights.swapaxes(1, 2))
  loss = lambda w, x: jnp.sum(products.over_train(w, x) ** 2) / 2
  each = jax.vmap(jax.grad(loss, (0, 1)), (None, 0))
  by_weights, by_train = each(*_single(weights[0], trains))
  out = trains @ weights[0].T
  _close(by_weights, out.swapaxes(1, 2) @ trains)
  _close(by_train, out @ weights[0])
  own = jax.vmap(jax.grad(lambda w, x: jax.vmap(loss, (None, 0))(w, x).sum()))
  members = np.stack([trains, 2 * trains])
  _close(
    own(*_single(weights[:2], members)),
    np.einsum("mbto,mbti->moi", members @ weights[:2, None].swapaxes(2, 3),
              members),
  )  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
def test_derivatives_forward_and_of_second_order(way, axis):
  draw = np.random.default_rng(8).normal
  weights, train = draw(size=(3, 5)), draw(size=(6, 5))
  by_weights, by_train = draw(size=(3, 5)), draw(size=(6, 5))
  turn = lambda w: w if axis else w.T
  run = lambda w, x: products.over_train(w, x, axis)
  _, moved = jax.jvp(
    run, _single(turn(weights), train), _single(turn(by_weights), by_train)
  )
  _close(moved, train @ by_weights.T + by_train @ weights.T)
  loss = lambda w, x: jnp.sum(run(w, x) ** 3) / 6

  def curved(w, x):
    gradients = jax.grad(loss, (0, 1))(w, x)
    return sum(jnp.sum(g**2) for g in gradients)

  def expected(w, x):
    w = turn(w)
    errors = (x @ w.T) ** 2 / 2
    return jnp.sum((errors.T @ x) ** 2) + jnp.sum((errors @ w) ** 2)

  given = _single(turn(weights), train)
  for found, told in zip(
    jax.grad(curved, (0, 1))(*given), jax.grad(expected, (0, 1))(*given),
    strict=True,
  ):  # fmt: skip
    np.testing.assert_allclose(found, told, rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize("axis, names", [(1, "[N, 5]"), (0, "[5, N]")])
def test_weights_that_are_refused(axis, names):
  with pytest.raises(ValueError) as error:
    products.over_train(jnp.ones((4, 3)), jnp.ones((2, 5)), axis)
  assert f"weights: expected shape {names}, got (4, 3)" in str(error.value)
  with pytest.raises(ValueError, match="weights: expected shape"):
    products.over_train(jnp.ones(5), jnp.ones((2, 5)), axis)


@pytest.mark.parametrize("inputs, part", [(384, 192), (480, 160), (509, 0)])
def test_few_rows_are_summed_in_parts(monkeypatch, inputs, part):
  """Over inputs, which is the gradient by the train where they are outputs."""
  monkeypatch.setattr(products, "_LARGE", 1000)
  draw = np.random.default_rng(inputs).normal
  weights, train = draw(size=(inputs, 3)), draw(size=(4, inputs))
  run = lambda w, x: products.over_train(w, x, 0)
  given = _single(weights, train)
  _close(run(*given), train @ weights)
  program = jax.jit(run).lower(*given).as_text()
  assert (f"tensor<{inputs // (part or 1)}x4x{part}xf32>" in program) == (
    part > 0
  )


def test_few_rows_for_a_gpu_are_in_one():
  """Chosen by platform, also where gradients are taken of it."""
  weights = jax.ShapeDtypeStruct((768, 8192), jnp.float32)
  train = jax.ShapeDtypeStruct((4, 8192), jnp.float32)
  loss = lambda w, x: products.over_train(w, x).sum()
  with platforms.tracing_for_cuda():
    exported = jax.export.export(
      jax.jit(jax.grad(loss, (0, 1))), platforms=["cuda"]
    )(weights, train)
  assert "4x192" not in exported.mlir_module()
  here = jax.export.export(jax.jit(jax.grad(loss, (0, 1))))(weights, train)
  assert "4x4x192" in here.mlir_module()


@pytest.mark.parametrize("axis", [0, 1])
def test_what_a_compiler_is_to_divide_keeps_its_axes(axis):
  """Examples that devices share are not mixed with steps, which are whole."""
  draw = np.random.default_rng(9).normal
  weights, trains = draw(size=(3, 5)), draw(size=(6, 4, 5))
  stored = weights if axis else weights.T
  run = jax.vmap(lambda w, x: products.over_train(w, x, axis), (None, 1), 1)
  divided = platforms.without_kernels(run)
  given = _single(stored, trains)
  _close(divided(*given), trains @ weights.T)
  text = str(jax.make_jaxpr(divided)(*given))
  assert "train_product" not in text and "reshape" not in text


def test_what_an_equation_stands_for(way):
  """The same as a product of JAX's own, of which there is one."""
  draw = np.random.default_rng(3).normal
  given = _single(draw(size=(3, 5)), draw(size=(6, 5)))
  traced = jax.make_jaxpr(jax.grad(
    lambda w, x: jnp.sum(products.over_train(w, x) ** 2), (0, 1)
  ))(*given).jaxpr  # fmt: skip
  seen = 0
  for equation in traced.eqns:
    unfolded = products.unfolded(equation)
    if unfolded is None:
      assert not equation.primitive.name.startswith("train_")
      continue
    seen += 1
    names = [inner.primitive.name for inner in unfolded.jaxpr.eqns]
    assert names.count("dot_general") == 1
    values = [
      jnp.asarray(draw(size=v.aval.shape), jnp.float32) for v in equation.invars
    ]
    params = equation.primitive.get_bind_params(equation.params)
    (told,) = jax.core.eval_jaxpr(unfolded.jaxpr, unfolded.consts, *values)
    _close(told, equation.primitive.bind(*values, **params))
  assert seen == 3
