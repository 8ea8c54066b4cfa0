"""Products with weights, in the order that CPUs do fastest.

  d_r = W x_r for all rows at once                                        (1)

A row is a step of an example, or an example. Those of a batch are further rows,
whether they are an axis of the array or mapped over: the gradient of the
weights is then one product over them. JAX by itself takes the errors for the
left factor of a product over two axes, and XLA turns all of them round. On CPU
XLA's library sums that gradient faster in two halves than in one piece where
weights lie as [outputs, inputs] (in float32; in bfloat16 one piece is faster).

For few rows and large weights, say 64 and 3,840 x 7,680, XLA's CPU library is
at its rate only where the larger factor is the left one and the other is
written down turned round; sums over thousands of outputs it does faster in
parts of 128.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from timedecode import platforms

_FEW, _MANY = 128, 1024  # Rows.
_LARGE = 2**21  # Numbers of weights; smaller ones are at their rate already.
_PART = 192

_product_p = core.Primitive("train_product")  # (weights, train)
_gradient_p = core.Primitive("train_gradient")  # (errors, train)
_RUNS = {}


def over_train(
  weights: jax.Array,
  train: jax.Array,
  axis: int = 1,
) -> jax.Array:
  """Equation (1); differentiable, and to be batched with `jax.vmap`.

  Args:
    weights: [N, N_in], or with `axis` 0 [N_in, N].
    train: [..., N_in], say [T, N_in] or [T, B, N_in].
    axis: of the inputs in the weights.

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
  if platforms.is_divided():  # Rows of several examples could not be.
    contracted = (train.ndim - 1,), (axis,)
    return jax.lax.dot_general(train, weights, (contracted, ((), ())))
  return _product_p.bind(weights, train, axis=axis)


def _rows(train):
  size = train.shape[-1]
  return train.reshape(math.prod(train.shape[:-1]), size)


def _contract(a, b, of_a, of_b):
  return jax.lax.dot_general(a, b, (((of_a,), (of_b,)), ((), ())))


def _are_few(rows, weights):
  return len(rows) <= _FEW and math.prod(weights) >= _LARGE


def _written(matrix):
  """As it is, in memory: XLA does not join it with what is made of it."""
  return jax.lax.optimization_barrier(matrix)


def _few_by_outputs(rows, weights):
  """[R, N_in] and [N, N_in] to [R, N]."""
  return _written(_contract(weights, _written(rows.T), 1, 0)).T


def _few_by_inputs(rows, weights):
  """[R, N_in] and [N_in, N] to [R, N]: sums over parts, and then over these."""
  size = weights.shape[0]
  part = next(n for n in range(_PART, 0, -1) if size % n == 0)
  if part < _PART // 2:
    return _contract(rows, weights, 1, 0)
  parts = rows.reshape(len(rows), -1, part).swapaxes(0, 1)
  weights = weights.reshape(-1, part, weights.shape[1])
  sums = jnp.einsum("kro,koi->kri", _written(parts), weights)
  # One by one: jaxlib 0.10.1 joins `jnp.sum` with the product in a program that
  # can crash (slinky's evaluator), depending on how many parts there are.
  return functools.reduce(jnp.add, sums)


def _product(weights, train, *, axis, plain=False):
  rows = _rows(train)
  product = lambda rows, weights: _contract(rows, weights, 1, axis)
  if not plain and _are_few(rows, weights.shape):
    few = _few_by_outputs if axis else _few_by_inputs
    product = platforms.choose(cuda=product, default=few)
  found = product(rows, weights)
  return found.reshape(*train.shape[:-1], weights.shape[1 - axis])


def _in_one(left, right):
  return _contract(left, right, 0, 0)


def _in_halves(left, right):
  halves = lambda a: a.reshape(2, -1, a.shape[-1])
  first, second = jnp.einsum("hri,hrj->hij", halves(left), halves(right))
  return first + second


def _of_few(left, right):
  return _written(_contract(_written(left.T), right, 1, 0))


def _gradient(errors, train, *, axis, plain=False):
  pair = (_rows(errors), _rows(train))[:: 1 if axis else -1]
  rows, found = len(pair[0]), _in_one
  if not plain and axis and rows >= _MANY and rows % 2 == 0:
    found = platforms.choose(cuda=found, default=_in_halves)
  elif not plain and _are_few(pair[0], [side.shape[1] for side in pair]):
    found = platforms.choose(cuda=found, default=_of_few)
  return found(*pair)


def _product_shape(weights, train, *, axis):
  shape = *train.shape[:-1], weights.shape[1 - axis]
  return jax.core.ShapedArray(shape, jnp.result_type(weights, train))


def _gradient_shape(errors, train, *, axis):
  shape = (errors.shape[-1], train.shape[-1])[:: 1 if axis else -1]
  return jax.core.ShapedArray(shape, jnp.result_type(errors, train))


def _product_by_weights(cotangent, _, train, *, axis):
  return _gradient_p.bind(cotangent, train, axis=axis)


def _product_by_train(cotangent, weights, _, *, axis):
  return _product_p.bind(weights, cotangent, axis=1 - axis)


def _gradient_by_errors(cotangent, _, train, *, axis):
  return _product_p.bind(cotangent, train, axis=axis)


def _gradient_by_train(cotangent, errors, _, *, axis):
  return _product_p.bind(cotangent, errors, axis=1 - axis)


def _each(function, arguments, axes, fields):
  """Of each of a batch by itself, as for weights of their own."""
  one = functools.partial(function, plain=True, **fields)
  return jax.vmap(one, axes)(*arguments), 0


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
  primitive.def_impl(jax.jit(run, static_argnames="axis"))
  primitive.def_abstract_eval(shape)
  ad.defbilinear(primitive, *transposes)
  batching.primitive_batchers[primitive] = batch
  mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))
  _RUNS[primitive] = run


_register(
  _product_p, _product, _product_shape, _batch_product,
  _product_by_weights, _product_by_train,
)  # fmt: skip
_register(
  _gradient_p, _gradient, _gradient_shape, _batch_gradient,
  _gradient_by_errors, _gradient_by_train,
)  # fmt: skip


def unfolded(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
  """One product of JAX's own in place of an equation of a program.

  None for an equation that is none of (1) or its gradients.
  """
  run = _RUNS.get(equation.primitive)
  if run is None:
    return None
  operands = [variable.aval for variable in equation.invars]
  plain = functools.partial(run, plain=True, **equation.params)
  return jax.make_jaxpr(plain)(*operands)
