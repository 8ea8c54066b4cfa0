"""Matrix products in bfloat16: faster where the machine has units for them.

  sum_k a_ik b_kj  with a, b rounded to 8 bits, products and sums in float32

Spikes are exact in bfloat16; weights and errors are rounded by at most 2^-9 of
themselves for the product, and kept in float32. A program is rewritten as a
whole, outside of gradients and batching, so that models need not know of it:

  step = jax.jit(bfloat16_products(train_step))

On CPUs with AMX, XLA uses it for nothing else (`python -m experiments.benchmark
--workloads=a --precision=bfloat16`).
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from timedecode import platforms

PRECISIONS = ("float32", "bfloat16")
LEAST = 2**24  # Multiplications of a product that is worth rounding for,
_PER_NUMBER = 32  # and how many there are at least per number in and out.

_rounding = False  # Whether what is traced will be rewritten.


def is_rounding() -> bool:
  """Whether what is traced now will have its large products rounded."""
  return _rounding


@contextlib.contextmanager
def _tracing():
  global _rounding
  before, _rounding = _rounding, True
  try:
    yield
  finally:
    _rounding = before


def _fixed(matrix):
  """Row by row in memory: else XLA's CPU compiler may turn a product round, and
  its library knows bfloat16 only for rows of the left factor.
  """
  return with_layout_constraint(matrix, Layout((0, 1)))


def _times(left, right, axis, fixed):
  """[M, K] times [K, N], or if `axis` is 1 times the transpose of [N, K]."""
  found = jax.lax.dot_general(
    fixed(left), right, (((1,), (axis,)), ((), ())),
    preferred_element_type=jnp.float32,
  )  # fmt: skip
  return fixed(found)


def _product(axis):
  of = lambda fixed: functools.partial(_times, axis=axis, fixed=fixed)
  return platforms.choose(cuda=of(lambda matrix: matrix), default=of(_fixed))


def _rounded_product(a, b, dimension_numbers):
  """`dot_general` of rounded factors."""
  (of_a, of_b), (batch_a, batch_b) = dimension_numbers
  sizes = lambda x, axes: tuple(x.shape[axis] for axis in axes)
  rest = lambda x, *taken: [
    axis for axis in range(x.ndim) if axis not in itertools.chain(*taken)
  ]
  kept_a, kept_b = rest(a, of_a, batch_a), rest(b, of_b, batch_b)
  kept = sizes(a, kept_a), sizes(b, kept_b)
  batch, length = sizes(a, batch_a), math.prod(sizes(a, of_a))
  a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
  # The right factor stays as it lies, where it can.
  axis = int(bool(kept_b) and max(kept_b) < min(of_b))
  order = (kept_b, of_b) if axis else (of_b, kept_b)
  product = _product(axis)
  for _ in batch:
    product = jax.vmap(product)
  left = a.transpose(*batch_a, *kept_a, *of_a)
  right = b.transpose(*batch_b, *order[0], *order[1])
  found = product(
    left.reshape(*batch, -1, length),
    right.reshape(*batch, *((-1, length) if axis else (length, -1))),
  )
  return found.reshape(*batch, *kept[0], *kept[1])


def _is_worth(eqn, least):
  """Whether an equation is a large product in plain float32."""
  if eqn.primitive.name != "dot_general":
    return False
  (of_a, _), _ = eqn.params["dimension_numbers"]
  a, b = (variable.aval for variable in eqn.invars)
  plain = a.dtype == b.dtype == jnp.float32 and eqn.params["precision"] is None
  size = eqn.outvars[0].aval.size
  count = size * math.prod(a.shape[axis] for axis in of_a)
  return plain and count >= max(least, _PER_NUMBER * (a.size + b.size + size))


def _rewritten(program, least: int):
  """A part of a program with rounded products, if it is one and holds some."""
  if type(program) is tuple:  # Branches; not a named tuple.
    return tuple(_rewritten(part, least) for part in program)
  if isinstance(program, Jaxpr):  # That of `jax.checkpoint`.
    return _rewritten(ClosedJaxpr(program, ()), least).jaxpr
  if not isinstance(program, ClosedJaxpr):
    return program
  run = functools.partial(_evaluate, program, least)
  return jax.make_jaxpr(run)(*program.in_avals)


def _evaluate(program: ClosedJaxpr, least: int, *arguments) -> list:
  """The values of a program, with large products rounded."""
  jaxpr = program.jaxpr
  values = dict(zip(jaxpr.constvars, program.consts, strict=True))
  values |= zip(jaxpr.invars, arguments, strict=True)
  read = lambda at: at.val if isinstance(at, Literal) else values[at]
  for eqn in jaxpr.eqns:
    given = [read(at) for at in eqn.invars]
    if _is_worth(eqn, least):
      found = [_rounded_product(*given, eqn.params["dimension_numbers"])]
    else:
      parts = {k: _rewritten(v, least) for k, v in eqn.params.items()}
      with eqn.ctx.manager:
        found = eqn.primitive.bind(
          *given, **eqn.primitive.get_bind_params(parts)
        )
      found = found if eqn.primitive.multiple_results else [found]
    values |= zip(eqn.outvars, found, strict=True)
  return [read(at) for at in jaxpr.outvars]


def bfloat16_products(function: Callable, least: int = LEAST) -> Callable:
  """The function with its large matrix products in bfloat16.

  Only products of two float32 arrays are, that state no precision; in loops,
  conditions and functions with their own derivatives too. Apply it outside of
  `jax.grad` and `jax.vmap` of the function, and inside of `jax.jit`: the
  gradient's products are then rounded as well.

  Args:
    function: of positional arguments, pytrees of arrays.
    least: multiplications from which on a product is rounded, >= 1.

  Returns:
    The same function but for rounding.

  Raises:
    ValueError: `least` below 1.
  """
  if least < 1:
    raise ValueError(f"least: expected an integer >= 1, got {least}")

  @functools.wraps(function)
  def rounded(*arguments: Any) -> Any:
    with _tracing():  # A new function: none that was traced without.
      trace = jax.make_jaxpr(lambda *given: function(*given), return_shape=True)
      program, shape = trace(*arguments)
    found = _evaluate(program, least, *jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(shape), found)

  return rounded


def in_precision(name: str, function: Callable) -> Callable:
  """The function as it is, or with 'bfloat16' its `bfloat16_products`.

  Raises:
    ValueError: a name that is none of `PRECISIONS`.
  """
  if name not in PRECISIONS:
    raise ValueError(
      f"precision: expected one of {', '.join(PRECISIONS)}, got {name!r}"
    )
  return bfloat16_products(function) if name == "bfloat16" else function
