"""Batches that are gone through in parts, one after the other.

What is stored of a batch for its gradient is then stored of a part alone, and
what CPUs go through several times may stay in their caches. A mean over equal
parts is the mean over the batch, up to rounding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def check(size: int, parts: int) -> None:
  """Raises ValueError for a batch that has no such parts."""
  if parts < 1 or size % parts:
    raise ValueError(
      f"num_microbatches: expected a divisor of the {size} examples of a"
      f" device, got {parts}"
    )


def mean(function: Callable, parts: int, inputs: Any, *others: Any) -> Any:
  """The mean of ``function(inputs, *others)`` over the parts of a batch.

  Part k has the examples k, k + parts, ...: of a batch that devices share each
  part has some of every device.

  Args:
    function: of a part, to a tree of arrays, whose integers are the same for
      all parts.
    parts: how many, a divisor of B; 1 calls the function on the whole.
    inputs: a tree of [T, B, ...].
    others: trees of [B, ...].

  Raises:
    ValueError: B can't be divided so.
  """
  check(jax.tree.leaves(inputs)[0].shape[1], parts)
  if parts == 1:
    return function(inputs, *others)

  def of_part(number):
    def pick(leaf, axis):
      before, after = leaf.shape[:axis], leaf.shape[axis + 1 :]
      split = leaf.reshape(*before, -1, parts, *after)
      return jax.lax.dynamic_index_in_dim(split, number, axis + 1, False)

    chosen = jax.tree.map(lambda leaf: pick(leaf, 1), inputs)
    return function(chosen, *jax.tree.map(lambda leaf: pick(leaf, 0), others))

  def add(total, number):
    return jax.tree.map(jnp.add, total, of_part(number)), None

  shapes = jax.eval_shape(of_part, 0)
  zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
  total = jax.lax.scan(add, zeros, jnp.arange(parts))[0]

  def divide(leaf):
    whole = jnp.issubdtype(leaf.dtype, jnp.integer)
    return leaf // parts if whole else leaf / parts

  return jax.tree.map(divide, total)
