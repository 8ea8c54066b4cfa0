"""Matrix products in bfloat16: faster where the machine has units for them.

  sum_k a_ik b_kj  with a, b rounded to 8 bits, products and sums in float32

Spikes are exact in bfloat16; weights and errors are rounded by at most 2^-9 of
themselves for the product, and kept in float32. A program is rewritten as a
whole, outside of gradients and batching, so that models need not know of it:

  step = jax.jit(bfloat16_products(train_step))

What it gains: `python -m experiments.benchmark --workloads=a
--precision=bfloat16`. On a mesh of CPUs, whose compiler knows no such products
when it divides them, factors are rounded and multiplied in float32.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from timedecode import platforms, products

PRECISIONS = ("float32", "bfloat16")
LEAST = 2**24
PER_NUMBER = 32.0

# Equations whose parts are rewritten, and where they keep them.
_PARTS = {
  "jit": ("jaxpr",), "scan": ("jaxpr",), "cond": ("branches",),
  "while": ("cond_jaxpr", "body_jaxpr"), "remat2": ("jaxpr",),
  "custom_jvp_call": ("call_jaxpr",), "custom_vjp_call": ("call_jaxpr",),
}  # fmt: skip


def _fixed(matrix):
  """Row by row in memory: else XLA's CPU compiler may turn a product round, and
  its library knows bfloat16 only for rows of the left factor.
  """
  return with_layout_constraint(matrix, Layout((0, 1)))


def _matrix_product(left, right, axis):
  """[M, K] times [K, N], or if `axis` is 1 times the transpose of [N, K]."""
  found = jax.lax.dot_general(
    _fixed(left), right, (((1,), (axis,)), ((), ())),
    preferred_element_type=jnp.float32,
  )  # fmt: skip
  return _fixed(found)


def _product_on_cpu(a, b, dimension_numbers):
  """`dot_general` of bfloat16 to float32 as a product of matrices."""
  (of_a, of_b), (batch_a, batch_b) = dimension_numbers
  sizes = lambda x, axes: tuple(x.shape[axis] for axis in axes)
  rest = lambda x, *taken: [
    axis for axis in range(x.ndim) if axis not in itertools.chain(*taken)
  ]
  kept_a, kept_b = rest(a, of_a, batch_a), rest(b, of_b, batch_b)
  batch, length = sizes(a, batch_a), math.prod(sizes(a, of_a))
  # The right factor stays as it lies, where it can.
  axis = int(bool(kept_b) and max(kept_b) < min(of_b, default=-1))
  order = (kept_b, of_b) if axis else (of_b, kept_b)
  product = functools.partial(_matrix_product, axis=axis)
  for _ in batch:
    product = jax.vmap(product)
  left = a.transpose(*batch_a, *kept_a, *of_a)
  right = b.transpose(*batch_b, *order[0], *order[1])
  found = product(
    left.reshape(*batch, -1, length),
    right.reshape(*batch, *((-1, length) if axis else (length, -1))),
  )
  return found.reshape(*batch, *sizes(a, kept_a), *sizes(b, kept_b))


def _rounded_product(a, b, dimension_numbers):
  """`dot_general` of rounded factors; how, by the platform of the program."""
  product = lambda a, b: jax.lax.dot_general(
    a, b, dimension_numbers, preferred_element_type=jnp.float32
  )
  if platforms.is_divided() and jax.default_backend() == "cpu":
    # To 8 bits of exponent and 7 of fraction, in float32.
    return product(*(jax.lax.reduce_precision(x, 8, 7) for x in (a, b)))
  rounded = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
  if platforms.is_divided():
    return product(*rounded)
  on_cpu = lambda a, b: _product_on_cpu(a, b, dimension_numbers)
  return jax.lax.platform_dependent(*rounded, cpu=on_cpu, default=product)


class _Rewriter:
  """Evaluates programs with their large products rounded."""

  def __init__(self, least: int, per_number: float):
    self._least, self._per_number = least, per_number
    self._done = {}  # Of parts that are called more than once.

  def _is_worth(self, eqn) -> bool:
    """Whether an equation is a large product in plain float32."""
    if eqn.primitive.name != "dot_general":
      return False
    (of_a, _), _ = eqn.params["dimension_numbers"]
    a, b, out = (v.aval for v in (*eqn.invars, *eqn.outvars))
    plain = a.dtype == b.dtype == out.dtype == jnp.float32
    stated = eqn.params["precision"], eqn.params.get("out_sharding")
    if not plain or stated != (None, None):
      return False
    count = out.size * math.prod(a.shape[axis] for axis in of_a)
    numbers = a.size + b.size + out.size
    return count >= max(self._least, self._per_number * numbers)

  def _holds(self, part) -> bool:
    """Whether there is anything to round in a part of a program."""
    if isinstance(part, tuple):
      return any(map(self._holds, part))
    jaxpr = part.jaxpr if isinstance(part, ClosedJaxpr) else part
    return any(
      self._is_worth(eqn)
      or self._unfolded(eqn)
      or any(
        self._holds(eqn.params[name])
        for name in _PARTS.get(eqn.primitive.name, ())
      )
      for eqn in jaxpr.eqns
    )

  def _unfolded(self, eqn) -> ClosedJaxpr | None:
    """A product of rows as one of JAX's own, if that is to be rounded."""
    unfolded = products.as_dot_general(eqn)
    return unfolded if unfolded and self._holds(unfolded) else None

  def _part(self, part):
    """The part of a program, rewritten if there is anything to round."""
    if isinstance(part, tuple):
      return tuple(map(self._part, part))
    if not self._holds(part):
      return part
    if id(part) not in self._done:
      closed = ClosedJaxpr(part, ()) if isinstance(part, Jaxpr) else part
      run = functools.partial(self.evaluate, closed)
      new = jax.make_jaxpr(run)(*closed.in_avals)
      # The part itself is kept as well, so that no other gets its number.
      self._done[id(part)] = part, new.jaxpr if part is not closed else new
    return self._done[id(part)][1]

  def _bind(self, eqn, given):
    """The values of an equation, with its parts rewritten."""
    names = _PARTS.get(eqn.primitive.name, ())
    params = eqn.params | {n: self._part(eqn.params[n]) for n in names}
    params = eqn.primitive.get_bind_params(params)
    found = eqn.primitive.bind(*given, **params)
    return found if eqn.primitive.multiple_results else [found]

  def evaluate(self, program: ClosedJaxpr, *arguments) -> list:
    """The values of a program."""
    jaxpr = program.jaxpr
    values = dict(zip(jaxpr.constvars, program.consts, strict=True))
    values |= zip(jaxpr.invars, arguments, strict=True)
    read = lambda at: at.val if isinstance(at, Literal) else values[at]
    outside = source_info_util.current_name_stack()
    for eqn in jaxpr.eqns:
      given = [read(at) for at in eqn.invars]
      source = eqn.source_info
      with eqn.ctx.manager, source_info_util.user_context(
        source.traceback, name_stack=outside + source.name_stack
      ):  # fmt: skip
        if self._is_worth(eqn):
          numbers = eqn.params["dimension_numbers"]
          found = [_rounded_product(*given, numbers)]
        elif unfolded := self._unfolded(eqn):
          found = self.evaluate(unfolded, *given)
        else:
          found = self._bind(eqn, given)
      values |= zip(eqn.outvars, found, strict=True)
    return [read(at) for at in jaxpr.outvars]


def bfloat16_products(
  function: Callable, least: int = LEAST, per_number: float = PER_NUMBER
) -> Callable:
  """The function with its large matrix products in bfloat16.

  Those (`dot_general`, no convolutions) of two float32 arrays to a third, that
  state no precision: none where `jax_default_matmul_precision` is set. Those in
  jitted functions, loops, conditions, checkpoints and functions with their own
  derivatives are rounded, those in kernels and `shard_map` not. Apply it
  outside of `jax.grad` and `jax.vmap` of the function, and inside of `jax.jit`:
  the gradient's products are then rounded as well.

  Args:
    function: of positional arguments, pytrees of arrays.
    least: multiplications from which on a product is rounded, >= 1.
    per_number: how many of them it has at least for each number in its factors
      and its result, >= 0: with fewer the rounding takes longer than it saves.

  Returns:
    The same function but for rounding: what XLA's library has no product of
    bfloat16 for, it may compute of factors as they were.

  Raises:
    ValueError: a limit out of its range.
  """
  for name, value, limit in (
    ("least", least, 1), ("per_number", per_number, 0),
  ):  # fmt: skip
    if not value >= limit:
      raise ValueError(f"{name}: expected a number >= {limit}, got {value}")

  @functools.wraps(function)
  def rounded(*arguments: Any) -> Any:
    arguments = jax.tree.map(jnp.asarray, arguments)
    program, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    found = _Rewriter(least, per_number).evaluate(
      program, *jax.tree.leaves(arguments)
    )
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
