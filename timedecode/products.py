"""Products of weights with many rows, in the order that CPUs do fastest.

  d_r = W x_r for all rows at once                                        (1)

A row is a step of an example, or an example. Those of a batch are further rows,
whether they are an axis of the array or mapped over: the gradient of the
weights is then one product over them. JAX by itself takes the errors for the
left factor of a product over two axes, and XLA transposes all of them.

On CPU XLA's library sums that gradient faster in two halves than in one piece
where weights lie as [outputs, inputs]. With few rows and large weights, say 64
and 3,840 x 7,680, it comes near its rate only where the larger factor is the
left one and the other is transposed in memory, and it sums over thousands of
inputs faster in parts. What it gains: `python -m
experiments.benchmark_products`.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from timedecode import platforms

_FEW, _MANY = 128, 1024  # Rows.
_LARGE = 2**21  # Numbers of weights; smaller ones are at their rate already.
_PART, _MOST_PARTS = 192, 64

# Both have the fields `axis`, of the inputs in the weights, and `precision`.
_product_p = core.Primitive("rows_product")  # (weights, rows)
_gradient_p = core.Primitive("rows_gradient")  # (errors, rows)


def over_rows(weights: jax.Array, rows: jax.Array, axis: int = 1) -> jax.Array:
  """Equation (1), with derivatives of any order and mode.

  It is JAX's own product on explicit meshes, in `jax.shard_map` with checked
  types, and under `platforms.without_kernels`, for compilers that are to divide
  the program. Elsewhere policies of `jax.checkpoint` do not know it.

  Args:
    weights: [N, N_in], or with `axis` 0 [N_in, N].
    rows: [..., N_in], say [T, N_in], or [N_in] of one example; batch with
      `jax.vmap` or by further leading axes.
    axis: of the inputs in the weights, 0 or 1.

  Returns:
    [..., N], of the type that both promote to.

  Raises:
    ValueError: weights of another shape, or another axis.
  """
  if axis not in (0, 1):
    raise ValueError(f"axis: expected 0 or 1, got {axis!r}")
  shape, size = jnp.shape(weights), jnp.shape(rows)[-1:]
  if len(shape) != 2 or shape[axis : axis + 1] != size:
    sizes = ["N", "N"]
    sizes[axis] = "".join(map(str, size)) or "N_in"
    raise ValueError(
      f"weights: expected shape [{', '.join(sizes)}] for rows of shape"
      f" {jnp.shape(rows)}, got {shape}"
    )
  kind = jnp.result_type(weights, rows)
  weights, rows = jnp.asarray(weights, kind), jnp.asarray(rows, kind)
  if platforms.is_divided() or _is_typed(weights) or _is_typed(rows):
    contracted = (rows.ndim - 1,), (axis,)
    return lax.dot_general(rows, weights, (contracted, ((), ())))
  precision = jax.config.jax_default_matmul_precision
  return _product_p.bind(weights, rows, axis=axis, precision=precision)


def _is_typed(array) -> bool:
  """Whether its type says how devices have it, which (1) can't pass on."""
  kind = jax.typeof(array)
  explicit = jax.sharding.AxisType.Explicit in kind.sharding.mesh.axis_types
  manual = getattr(kind, "manual_axis_type", None)  # Of JAX 0.10.
  return explicit or bool(kind.vma if manual is None else manual.varying)


def _flat(rows):
  return rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])


def _dot(of_left, of_right, precision, left, right):
  numbers = ((of_left,), (of_right,)), ((), ())
  return lax.dot_general(left, right, numbers, precision)


def _has_rows(count, low, high, *sizes) -> bool:
  """Whether `count` is in a range, and all sizes are known."""
  known = all(isinstance(size, int) for size in (count, *sizes))
  return known and low <= count <= high


def _on_cpu(fast, plain, *arrays):
  if fast is None:
    return plain(*arrays)
  return lax.platform_dependent(*arrays, cpu=fast, default=plain)


_in_memory = lax.optimization_barrier  # XLA does not join what is across it.


def _few_by_outputs(precision, weights, rows):
  """[N, N_in] and [R, N_in] to [R, N]."""
  dot = functools.partial(_dot, 1, 0, precision)
  return _in_memory(dot(weights, _in_memory(rows.T))).T


def _few_by_inputs(part, precision, weights, rows):
  """[N_in, N] and [R, N_in] to [R, N]: sums over parts, and then over these."""
  parts = rows.reshape(len(rows), -1, part).swapaxes(0, 1)
  weights = weights.reshape(-1, part, weights.shape[1])
  sums = jnp.einsum(
    "kro,koi->kri", _in_memory(parts), weights, precision=precision
  )
  # One by one: jaxlib 0.10.1 joins `jnp.sum` with the product to a program that
  # crashes for some numbers of parts.
  return functools.reduce(jnp.add, sums)


def _fast_product(weights, rows, axis, precision):
  """The way for few rows, or None where the plain one is as good."""
  few = _has_rows(rows.shape[0], 1, _FEW, *weights.shape)
  if not few or math.prod(weights.shape) < _LARGE or rows.dtype.itemsize < 4:
    return None
  if axis:
    return functools.partial(_few_by_outputs, precision)
  size = weights.shape[0]
  part = next(n for n in range(_PART, 0, -1) if size % n == 0)
  if 2 * part < _PART or size // part > _MOST_PARTS:
    return None
  return functools.partial(_few_by_inputs, part, precision)


def _product(weights, rows, *, axis, precision, plain=False):
  flat = _flat(rows)
  fast = None if plain else _fast_product(weights, flat, axis, precision)
  dot = functools.partial(_dot, 1, axis, precision)
  found = _on_cpu(fast, lambda weights, flat: dot(flat, weights), weights, flat)
  return found.reshape(*rows.shape[:-1], weights.shape[1 - axis])


def _in_halves(precision, left, right):
  halves = (side.reshape(2, len(side) // 2, -1) for side in (left, right))
  first, second = jnp.einsum("hri,hrj->hij", *halves, precision=precision)
  return first + second


def _of_few(precision, left, right):
  dot = functools.partial(_dot, 1, 0, precision)
  return _in_memory(dot(_in_memory(left.T), right))


def _fast_gradient(left, right, axis, precision):
  """The way for many rows or few, or None."""
  (count, height), width = left.shape, right.shape[1]
  if left.dtype.itemsize < 4:  # Sums would be rounded between their parts.
    return None
  if axis and _has_rows(count, _MANY, math.inf) and count % 2 == 0:
    return functools.partial(_in_halves, precision)
  few = _has_rows(count, 2, _FEW, height, width)
  if few and height * width >= _LARGE:
    return functools.partial(_of_few, precision)
  return None


def _gradient(errors, rows, *, axis, precision, plain=False):
  pair = (_flat(errors), _flat(rows))[:: 1 if axis else -1]
  fast = None if plain else _fast_gradient(*pair, axis, precision)
  return _on_cpu(fast, functools.partial(_dot, 0, 0, precision), *pair)


def _product_shape(weights, rows, *, axis, **_):
  shape = *rows.shape[:-1], weights.shape[1 - axis]
  return jax.core.ShapedArray(shape, rows.dtype)


def _gradient_shape(errors, rows, *, axis, **_):
  shape = (errors.shape[-1], rows.shape[-1])[:: 1 if axis else -1]
  return jax.core.ShapedArray(shape, rows.dtype)


def _product_by_weights(cotangent, _, rows, **fields):
  return _gradient_p.bind(cotangent, rows, **fields)


def _product_by_rows(cotangent, weights, _, *, axis, precision):
  return _product_p.bind(weights, cotangent, axis=1 - axis, precision=precision)


def _gradient_by_errors(cotangent, _, rows, **fields):
  return _product_p.bind(cotangent, rows, **fields)


def _gradient_by_rows(cotangent, errors, _, *, axis, precision):
  return _product_p.bind(cotangent, errors, axis=1 - axis, precision=precision)


def _batch_each(function):
  """Of each of a batch by itself, as for weights of their own."""

  def batch(arguments, axes, **fields):
    one = functools.partial(function, **fields)
    return jax.vmap(one, axes)(*arguments), 0

  return batch


def _batch_product(arguments, axes, **fields):
  """A batch of rows is more rows."""
  if axes[0] is not None:
    return _batch_each(_product)(arguments, axes, **fields)
  weights, rows = arguments
  axis = min(axes[1], rows.ndim - 2)
  rows = jnp.moveaxis(rows, axes[1], axis)
  return _product_p.bind(weights, rows, **fields), axis


def _register(primitive, run, shape, batch, *transposes):
  primitive.def_impl(jax.jit(run, static_argnames=("axis", "precision")))
  primitive.def_abstract_eval(shape)
  ad.defbilinear(primitive, *transposes)
  batching.primitive_batchers[primitive] = batch
  mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))


_register(
  _product_p, _product, _product_shape, _batch_product,
  _product_by_weights, _product_by_rows,
)  # fmt: skip
_register(
  _gradient_p, _gradient, _gradient_shape, _batch_each(_gradient),
  _gradient_by_errors, _gradient_by_rows,
)  # fmt: skip


def as_dot_general(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
  """A program with one `dot_general` for an equation of a program that is (1)
  or its gradient, None for another."""
  run = {_product_p: _product, _gradient_p: _gradient}.get(equation.primitive)
  if run is None:
    return None
  operands = [variable.aval for variable in equation.invars]
  plain = functools.partial(run, plain=True, **equation.params)
  return jax.make_jaxpr(plain)(*operands)
