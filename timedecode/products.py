"""Products with weights, in the order that CPUs do fastest.

  d_t = W x_t for all steps at once                                       (1)
  d = W x for one example, to be mapped over a batch                      (2)

Of (1) the examples of a batch are further steps of one long train, whether they
are an axis of the train or mapped over: the gradient of the weights is then one
product, the smaller factor of which is turned round if one has to be. JAX by
itself takes the errors for the left factor of a product over two axes, and XLA
turns all of them round. On CPU XLA's library sums that gradient faster in two
halves than in one piece (in float32; in bfloat16 one piece is faster).

Of (2) the gradient by x, a sum over thousands of outputs for each example, is
done in sums over at most 256 outputs each: XLA's CPU library is far from its
rate in the whole sum for 64 examples and a matrix such as 3,840 x 7,680.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from timedecode import platforms

_HALVES = 2
_LONGEST = 256
_SHORTEST = 64
_LARGE = 2**22  # Numbers of a matrix; smaller ones are at their rate already.

_product_p = core.Primitive("train_product")  # (weights, train)
_gradient_p = core.Primitive("train_gradient")  # (errors, train)


def over_train(
  weights: jax.Array,
  train: jax.Array,
  axis: int = 1,
  halves: bool = True,
) -> jax.Array:
  """Equation (1); differentiable, and to be batched with `jax.vmap`.

  Args:
    weights: [N, N_in], or with `axis` 0 [N_in, N].
    train: [..., N_in], say [T, N_in] or [T, B, N_in].
    axis: of the inputs in the weights.
    halves: whether CPUs sum the weights' gradient in two halves; in bfloat16
      one sum is faster, see `precision`, and with `axis` 0.

  Returns:
    [..., N].

  Raises:
    ValueError: weights of another shape.
  """
  shape = weights.shape
  if len(shape) != 2 or shape[axis : axis + 1] != train.shape[-1:]:
    sizes = ["N", "N"]
    sizes[axis] = str(train.shape[-1])
    raise ValueError(
      f"weights: expected shape [{', '.join(sizes)}], got {shape}"
    )
  return _product_p.bind(weights, train, axis=axis, halves=halves)


def _rows(train):
  size = train.shape[-1]
  return train.reshape(math.prod(train.shape[:-1]), size)


def _contract(a, b, of_a, of_b):
  return jax.lax.dot_general(a, b, (((of_a,), (of_b,)), ((), ())))


def _product(weights, train, *, axis, **_):
  found = _contract(_rows(train), weights, 1, axis)
  return found.reshape(*train.shape[:-1], weights.shape[1 - axis])


def _in_one(left, right):
  return _contract(left, right, 0, 0)


def _in_halves(left, right):
  if len(left) % _HALVES:
    return _in_one(left, right)
  halves = lambda a: a.reshape(_HALVES, -1, a.shape[-1])
  both = jnp.einsum("hri,hrj->hij", halves(left), halves(right))
  return jnp.sum(both, axis=0)


def _gradient(errors, train, *, axis, halves, **_):
  pair = (_rows(errors), _rows(train))[:: 1 if axis else -1]
  in_parts = _in_halves if halves else _in_one
  return platforms.choose(cuda=_in_one, default=in_parts)(*pair)


def _product_shape(weights, train, *, axis, **_):
  shape = *train.shape[:-1], weights.shape[1 - axis]
  return jax.core.ShapedArray(shape, jnp.result_type(weights, train))


def _gradient_shape(errors, train, *, axis, **_):
  shape = (errors.shape[-1], train.shape[-1])[:: 1 if axis else -1]
  return jax.core.ShapedArray(shape, jnp.result_type(errors, train))


def _other(axis, **others):
  return {"axis": 1 - axis} | others


def _product_by_weights(cotangent, _, train, **fields):
  return _gradient_p.bind(cotangent, train, **fields)


def _product_by_train(cotangent, weights, _, **fields):
  return _product_p.bind(weights, cotangent, **_other(**fields))


def _gradient_by_errors(cotangent, _, train, **fields):
  return _product_p.bind(cotangent, train, **fields)


def _gradient_by_train(cotangent, errors, _, **fields):
  return _product_p.bind(cotangent, errors, **_other(**fields))


def _each(function, arguments, axes, fields):
  """Of each of a batch by itself, as for weights of their own."""
  return jax.vmap(functools.partial(function, **fields), axes)(*arguments), 0


def _batch_product(arguments, axes, **fields):
  """A batch of trains is one long train."""
  if axes[0] is not None:
    return _each(_product, arguments, axes, fields)
  weights, train = arguments
  axis = min(axes[1], train.ndim - 2)
  train = jnp.moveaxis(train, axes[1], axis)
  return _product_p.bind(weights, train, **fields), axis


def _batch_gradient(arguments, axes, **fields):
  return _each(_gradient, arguments, axes, fields)


def _register(primitive, run, shape, batch, *transposes):
  fields = ("axis", "halves")
  primitive.def_impl(jax.jit(run, static_argnames=fields))
  primitive.def_abstract_eval(shape)
  ad.defbilinear(primitive, *transposes)
  batching.primitive_batchers[primitive] = batch
  mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))


_register(
  _product_p, _product, _product_shape, _batch_product,
  _product_by_weights, _product_by_train,
)  # fmt: skip
_register(
  _gradient_p, _gradient, _gradient_shape, _batch_gradient,
  _gradient_by_errors, _gradient_by_train,
)  # fmt: skip


def _part(matrix):
  """How many rows are summed at once: such that all parts are as long."""
  rows = len(matrix)
  some = range(_LONGEST, _SHORTEST - 1, -1) if matrix.size >= _LARGE else ()
  return next((part for part in some if rows % part == 0), rows)


def _whole(matrix, vector):
  return matrix @ vector


def _in_parts(matrix, vector):
  """As `_whole`; its transpose sums over each part, and then over parts."""
  part = _part(matrix)
  if part == len(matrix):
    return _whole(matrix, vector)
  parts = matrix.reshape(-1, part, matrix.shape[1])
  copies = jnp.broadcast_to(vector, (len(parts), len(vector)))
  return jnp.einsum("koi,ki->ko", parts, copies).reshape(-1)


@jax.custom_jvp
def matrix_vector(matrix: jax.Array, vector: jax.Array) -> jax.Array:
  """Equation (2): [N, N_in] and [N_in] to [N]."""
  return matrix @ vector


@matrix_vector.defjvp
def _matrix_vector_jvp(primals, tangents):
  (matrix, vector), (by_matrix, by_vector) = primals, tangents
  moved = platforms.choose(cuda=_whole, default=_in_parts)(matrix, by_vector)
  return matrix @ vector, by_matrix @ vector + moved
