"""Products of rows against NumPy, values and gradients, however batched."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import processes
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import benchmark_products
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
  run = lambda w, x: products.over_rows(w, x, axis)
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
  run = jax.vmap(lambda w, x: products.over_rows(w, x, axis), (None, place), 1)
  given = _single(stored, np.moveaxis(trains, 0, place))
  found, back = jax.vjp(run, *given)
  _close(found, np.moveaxis(trains @ weights.T, 0, 1))
  told = _single(np.moveaxis(cotangent, 0, 1))
  by_weights, by_trains = back(*told)
  rows = cotangent.reshape(-1, 3).T @ trains.reshape(-1, 5)
  _close(by_weights, rows if axis else rows.T)
  _close(by_trains, np.moveaxis(cotangent @ weights, 0, place))
  text = str(jax.make_jaxpr(lambda c: back(c)[0])(*told))
  assert text.count("rows_gradient[") == 1 and "f32[4,3,5]" not in text


def test_a_gradient_and_weights_for_each_example(way):
  draw = np.random.default_rng(7).normal
  weights, trains = draw(size=(4, 3, 5)), draw(size=(4, 6, 5))
  found = jax.vmap(products.over_rows)(*_single(weights, trains))
  _close(found, trains @ weights.swapaxes(1, 2))
  loss = lambda w, x: jnp.sum(products.over_rows(w, x) ** 2) / 2
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
  run = lambda w, x: products.over_rows(w, x, axis)
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
    products.over_rows(jnp.ones((4, 3)), jnp.ones((2, 5)), axis)
  told = f"weights: expected shape {names} for rows of shape (2, 5), got (4, 3)"
  assert told in str(error.value)
  for weights, rows in ((jnp.ones(5), jnp.ones(5)), (jnp.ones((3, 5)), 1.0)):
    with pytest.raises(ValueError, match="weights: expected shape"):
      products.over_rows(weights, rows, axis)


@pytest.mark.parametrize("axis", [2, -1, None])
def test_axes_that_are_refused(axis):
  with pytest.raises(ValueError, match=f"axis: expected 0 or 1, got {axis}"):
    products.over_rows(jnp.ones((5, 5)), jnp.ones((2, 5)), axis)


def _program(function, *shapes, platform="cpu"):
  """The text of a function's program for a platform, of shapes alone."""
  shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  exported = jax.export.export(jax.jit(function), platforms=[platform])
  return exported(*shapes).mlir_module()


def _of_each(axis):
  """A product and both gradients, as functions of weights and rows."""
  run = lambda w, x: products.over_rows(w, x, axis)
  loss = lambda w, x: jnp.sum(run(w, x) ** 2)
  return run, jax.grad(loss, 0), jax.grad(loss, 1)


def test_which_ways_are_taken_where():
  """Few rows with large weights, many, neither; and no such ways on GPUs."""
  few, many = ((3840, 768), (64, 768)), ((256, 700), (2048, 700))
  barrier, halves, part = (
    "stablehlo.optimization_barrier",
    "2x1024x700",
    "20x64x192",
  )
  product, by_weights, by_rows = _of_each(1)
  assert _program(product, *few).count(barrier) == 2
  assert _program(by_weights, *few).count(barrier) == 4
  text = _program(by_rows, *few)
  assert text.count(barrier) == 3 and part in text
  assert halves in _program(by_weights, *many)
  for of, shapes in ((product, many), (by_rows, many), (by_weights, few)):
    assert halves not in _program(of, *shapes)
  inputs_first = (700, 256), (2048, 700)
  assert "2x1024" not in _program(_of_each(0)[1], *inputs_first)
  halved = jax.export.export(jax.jit(by_weights))(*(
    jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in many
  ))  # fmt: skip
  assert halves not in halved.mlir_module()  # Else rounded between the sums.
  small = (384, 700), (64, 700)
  for of in (product, by_weights, by_rows):
    assert barrier not in _program(of, *small)
    for shapes in (few, many):
      text = _program(of, *shapes, platform="cuda")
      assert barrier not in text and part not in text and halves not in text


@pytest.mark.parametrize("inputs, part", [
  (384, 192), (480, 160), (509, None), (192 * 64, 192), (192 * 65, None),
])  # fmt: skip
def test_how_few_rows_are_summed_in_parts(inputs, part, monkeypatch):
  """Over inputs, which is the gradient by rows where they are outputs; whole if
  no part is long enough, or where sums of parts would fill the memory."""
  monkeypatch.setattr(products, "_LARGE", 1000)
  run = lambda w, x: products.over_rows(w, x, 0)
  shapes = (inputs, 3), (4, inputs)
  text = _program(run, *shapes)
  if part is None:
    assert text.count("stablehlo.dot_general") == 1 and "x4x3xf32" not in text
  else:
    assert f"tensor<{inputs // part}x4x3xf32>" in text
  draw = np.random.default_rng(inputs).normal
  weights, rows = (draw(size=shape) for shape in shapes)
  np.testing.assert_allclose(
    run(*_single(weights, rows)), rows @ weights, rtol=1e-3, atol=1e-3
  )


@pytest.mark.parametrize("kinds", [
  ("float32", "bfloat16"), ("float16", "float16"), ("float32", "bool"),
  ("bfloat16", "float32"), ("float32", "int8"),
])  # fmt: skip
def test_types_are_those_of_a_product(kinds):
  weights = jnp.arange(6).reshape(2, 3).astype(kinds[0])
  rows = (jnp.arange(12).reshape(4, 3) % 2).astype(kinds[1])
  found = products.over_rows(weights, rows)
  assert found.dtype == (rows @ weights.T).dtype
  np.testing.assert_array_equal(found, rows @ weights.T)

  def slopes(run):
    """By what can be differentiated, of a loop as well."""
    total = lambda w, x: jax.lax.scan(
      lambda sum_, _: (sum_ + jnp.sum(run(w, x * x) ** 2), None),
      jnp.zeros((), jnp.result_type(w, x)), None, 2,
    )[0]  # fmt: skip
    by = (0, 1) if jnp.issubdtype(rows.dtype, jnp.floating) else (0,)
    return jax.grad(total, by)(weights, rows)

  told = slopes(lambda w, x: x @ w.T)
  for found, expected in zip(slopes(products.over_rows), told, strict=True):
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(
      found.astype("float32"), expected.astype("float32"), rtol=2e-2
    )


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5), (0,), (4, 0)])
def test_no_rows_or_no_inputs(way, shape):
  weights = jnp.ones((3, shape[-1]))
  rows = jnp.ones(shape)
  for axis, stored in ((1, weights), (0, weights.T)):
    run = lambda w, x, axis=axis: products.over_rows(w, x, axis)
    assert run(stored, rows).shape == (*shape[:-1], 3)
    loss = lambda w, x, run=run: jnp.sum(run(w, x) ** 2)
    by_weights, by_rows = jax.grad(loss, (0, 1))(stored, rows)
    assert by_rows.shape == shape
    np.testing.assert_array_equal(by_weights, np.zeros(stored.shape))


def test_no_outputs(way):
  loss = lambda w, x: jnp.sum(products.over_rows(w, x) ** 2)
  by_weights, by_rows = jax.grad(loss, (0, 1))(
    jnp.ones((0, 5)), jnp.ones((4, 5))
  )
  assert by_weights.shape == (0, 5)
  np.testing.assert_array_equal(by_rows, np.zeros((4, 5)))


def test_no_rows_with_large_weights():
  found = products.over_rows(jnp.ones((1152, 2048)), jnp.ones((0, 1152)), 0)
  assert found.shape == (0, 2048)


def test_a_stated_precision_reaches_all_products():
  def slope(w, x):
    with jax.default_matmul_precision("highest"):
      return jax.grad(lambda w: jnp.sum(products.over_rows(w, x) ** 2))(w)

  text = _program(slope, (3840, 768), (64, 768))
  assert text.count("stablehlo.dot_general") == 2
  assert text.count("HIGHEST, HIGHEST") == 2
  assert "HIGHEST" not in _program(_of_each(1)[1], (3840, 768), (64, 768))


def test_a_batch_of_unknown_size():
  (size,) = jax.export.symbolic_shape("batch")
  weights = np.random.default_rng(0).normal(size=(1024, 3072))
  rows = jax.ShapeDtypeStruct((size, 3072), jnp.float32)
  slope = jax.grad(lambda w, x: jnp.sum(products.over_rows(w, x)))
  exported = jax.export.export(jax.jit(slope))(*_single(weights), rows)
  found = exported.call(*_single(weights), jnp.ones((7, 3072)))
  np.testing.assert_allclose(found, np.full(weights.shape, 7.0))


SHARED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import PartitionSpec as P
from timedecode import products

draw = np.random.default_rng(0).normal
weights, rows = (jnp.asarray(draw(size=s), "float32") for s in ((3, 5), (8, 5)))
loss = lambda w, x: jnp.sum(jnp.tanh(products.over_rows(w, x)))
one = lambda w, x: jax.vmap(loss, (None, 0))(w, x).sum()
want = jax.grad(one, (0, 1))(weights, rows)
mesh = jax.make_mesh((2,), ("d",), (jax.sharding.AxisType.Auto,))
shared = lambda w, x: jax.shard_map(
  lambda w, x: jax.lax.psum(one(w, x), "d"), mesh=mesh, in_specs=(P(), P("d")),
  out_specs=P(),
)(w, x)
for found, told in zip(jax.jit(jax.grad(shared, (0, 1)))(weights, rows), want):
  np.testing.assert_allclose(found, told, rtol=1e-5, atol=1e-6)
explicit = jax.make_mesh((2,), ("d",), (jax.sharding.AxisType.Explicit,))
with jax.set_mesh(explicit):
  placed = jax.device_put(rows, P("d"))
  kinds = []
  jax.jit(lambda w, x: kinds.append(jax.typeof(products.over_rows(w, x))))(
    jax.device_put(weights, P()), placed)
assert "d" in str(kinds[0].sharding.spec), kinds
"""


def test_devices_that_share_rows():
  """By shard_map with checked types, and on a mesh that types tell of."""
  told = subprocess.run(
    [sys.executable, "-c", SHARED], capture_output=True, text=True,
    cwd=processes.ROOT,
    env=os.environ | {
      "PYTHONPATH": str(processes.ROOT), "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    },
  )  # fmt: skip
  assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("axis", [0, 1])
def test_what_a_compiler_is_to_divide_keeps_its_axes(axis):
  """Examples that devices share are not mixed with steps, which are whole."""
  draw = np.random.default_rng(9).normal
  weights, trains = draw(size=(3, 5)), draw(size=(6, 4, 5))
  stored = weights if axis else weights.T
  run = jax.vmap(lambda w, x: products.over_rows(w, x, axis), (None, 1), 1)
  divided = platforms.without_kernels(run)
  given = _single(stored, trains)
  _close(divided(*given), trains @ weights.T)
  text = str(jax.make_jaxpr(divided)(*given))
  assert "rows_product" not in text and "reshape" not in text


def test_the_benchmark(monkeypatch, capsys):
  """Each way of each size, in small."""
  flags.FLAGS.mark_as_parsed()
  monkeypatch.setattr(benchmark_products, "SIZES", [(4, 6, 5), (1, 2, 3)])
  with flagsaver.flagsaver((benchmark_products.TURNS, 3)):
    benchmark_products.main(["benchmark"])
    found = benchmark_products.measure(4, 6, 5)
  lines = capsys.readouterr().out.split("\n")
  names = ["product", "gradient by weights", "gradient by rows"]
  assert [line.split(" | ")[0] for line in lines[2:5]] == ["| 4 x 6 x 5"] * 3
  assert [line.split(" | ")[1] for line in lines[5:8]] == names
  assert list(found) == names
  for took in found.values():
    assert set(took) == {"ours", "plain"} and min(took.values()) > 0


def test_what_an_equation_stands_for(way):
  """The same as a product of JAX's own, of which there is one."""
  draw = np.random.default_rng(3).normal
  given = _single(draw(size=(3, 5)), draw(size=(6, 5)))
  traced = jax.make_jaxpr(jax.grad(
    lambda w, x: jnp.sum(products.over_rows(w, x) ** 2), (0, 1)
  ))(*given).jaxpr  # fmt: skip
  seen = 0
  for equation in traced.eqns:
    unfolded = products.as_dot_general(equation)
    if unfolded is None:
      assert not equation.primitive.name.startswith("rows_")
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
