"""Products of weights with trains of few spikes: sums over what spikes.

  d_r = sum over the neurons i that spike in row r of W_i                 (1)
  dW_i = sum over the rows r in which neuron i spikes of e_r              (2)

A row is one step of one example, e the errors of d. Where one neuron in twenty
spikes, (1) and (2) take a twentieth of a product's additions, and CPUs compute
both as such sums (`event_lists`), whatever the train; from one in five on a
product is faster. Other devices, and compilers that are to divide the program
among devices, get products. Weights lie as [inputs, outputs]: a row is what one
neuron sends.

Spikes are ones: the result is ``(train != 0) @ weights``. What is not finite
reaches the rows that it is summed into; a product spreads it further.
`precision.bfloat16_products` leaves the sums as they are.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from timedecode import event_lists, platforms

# Operands have `members` leading axes, each member with weights of its own.
_product_p = core.Primitive("event_product")  # (weights, train)
_gradient_p = core.Primitive("event_gradient")  # (errors, train)


def over_train(weights: jax.Array, train: jax.Array) -> jax.Array:
  """Equation (1).

  The gradient by the weights is (2), that by the train is a product of the
  errors and weights, where it is asked for. Batch with `jax.vmap` or by further
  leading axes.

  Args:
    weights: [N_in, N].
    train: [..., N_in], say [T, N_in]; 0 or not, of any type.

  Returns:
    [..., N].

  Raises:
    ValueError: weights of another shape.
  """
  if weights.ndim != 2 or weights.shape[:1] != train.shape[-1:]:
    raise ValueError(
      f"weights: expected shape [{train.shape[-1]}, N], got {weights.shape}"
    )
  fields = {"members": 0, "divided": platforms.is_divided()}
  return _product_p.bind(weights, train, **fields)


def _choose(sums, product, divided, values, spikes):
  """Sums on CPUs that need not divide the program."""
  if divided or not math.prod((*values.shape, *spikes.shape)):
    return product(values, spikes)
  return lax.platform_dependent(values, spikes, cpu=sums, default=product)


def _ones(spikes, values):
  return (spikes != 0).astype(values.dtype)


def _product(weights, train, divided):
  """Equation (1) for one member."""
  spikes = train.reshape(math.prod(train.shape[:-1]), train.shape[-1])
  product = lambda weights, spikes: _ones(spikes, weights) @ weights
  found = _choose(event_lists.row_sums, product, divided, weights, spikes)
  return found.reshape(*train.shape[:-1], weights.shape[1])


def _gradient(errors, train, divided):
  """Equation (2) for one member."""
  rows = math.prod(train.shape[:-1])
  spikes = train.reshape(rows, train.shape[-1])
  errors = errors.reshape(rows, errors.shape[-1])
  product = lambda errors, spikes: _ones(spikes, errors).T @ errors
  return _choose(event_lists.column_sums, product, divided, errors, spikes)


def _each(function):
  """A function of one member as one of arrays with `members` leading axes."""

  def run(values, train, *, members, divided):
    one = lambda values, train: function(values, train, divided)
    for _ in range(members):
      one = lambda *both, inner=one: lax.map(lambda each: inner(*each), both)
    return one(values, train)

  return run


def _jvp(primals, tangents, *, members, divided):
  """Linear in the weights; in the train as a product is."""
  weights, train = primals
  by_weights, by_train = tangents
  fields = {"members": members, "divided": divided}
  moved = []
  if type(by_weights) is not ad.Zero:
    moved.append(_product_p.bind(by_weights, train, **fields))
  if type(by_train) is not ad.Zero:
    axes = "abcdefg"[:members]
    product = f"{axes}...i,{axes}ij->{axes}...j"
    moved.append(jnp.einsum(product, by_train, weights))
  return _product_p.bind(weights, train, **fields), sum(moved[1:], moved[0])


def _gradient_jvp(primals, tangents, **fields):
  """Linear in the errors; gradients by the train end here."""
  train, (by_errors, by_train) = primals[1], tangents
  if type(by_train) is not ad.Zero:
    raise NotImplementedError("train: no second derivatives by it")
  return (
    _gradient_p.bind(*primals, **fields),
    _gradient_p.bind(by_errors, train, **fields),
  )


def _transpose(other):
  """Each is the other's transpose in its first argument."""

  def transpose(cotangent, values, train, **fields):
    if type(cotangent) is ad.Zero:
      return ad.Zero(values.aval), None
    return other.bind(cotangent, train, **fields), None

  return transpose


def _to_members(arguments, axes, members, divided, primitive):
  """One more leading axis; what is not mapped is the same for all."""
  count = next(
    a.shape[axis]
    for a, axis in zip(arguments, axes, strict=True)
    if axis is not None
  )
  arguments = [
    jnp.broadcast_to(a, (count, *a.shape)) if axis is None
    else jnp.moveaxis(a, axis, 0)
    for a, axis in zip(arguments, axes, strict=True)
  ]  # fmt: skip
  fields = {"members": members + 1, "divided": divided}
  return primitive.bind(*arguments, **fields), 0


def _batch_product(arguments, axes, *, members, divided):
  """A batch of trains is one long train; its steps stay together."""
  if axes[0] is not None:
    return _to_members(arguments, axes, members, divided, _product_p)
  weights, train = arguments
  axis = train.ndim - 2
  train = jnp.moveaxis(train, axes[1], axis)
  found = _product_p.bind(weights, train, members=members, divided=divided)
  return found, axis


def _batch_gradient(arguments, axes, *, members, divided):
  return _to_members(arguments, axes, members, divided, _gradient_p)


def _product_shape(weights, train, **_):
  shape = *train.shape[:-1], weights.shape[-1]
  return jax.core.ShapedArray(shape, weights.dtype)


def _gradient_shape(errors, train, *, members, **_):
  shape = *train.shape[:members], train.shape[-1], errors.shape[-1]
  return jax.core.ShapedArray(shape, errors.dtype)


def _register(primitive, run, shape, jvp, batch, other):
  fields = ("members", "divided")
  primitive.def_impl(jax.jit(run, static_argnames=fields))
  primitive.def_abstract_eval(shape)
  ad.primitive_jvps[primitive] = jvp
  ad.primitive_transposes[primitive] = _transpose(other)
  batching.primitive_batchers[primitive] = batch
  lowered = mlir.lower_fun(run, multiple_results=False)
  mlir.register_lowering(primitive, lowered)


_register(
  _product_p, _each(_product), _product_shape, _jvp, _batch_product, _gradient_p
)
_register(
  _gradient_p, _each(_gradient), _gradient_shape, _gradient_jvp,
  _batch_gradient, _product_p,
)  # fmt: skip
