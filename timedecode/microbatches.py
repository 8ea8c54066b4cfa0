"""Batches that are gone through in parts, one after the other.

What is stored of a batch for its gradient is then stored of a part alone, and
what CPUs go through several times may stay in their caches. A mean over equal
parts is the mean over the batch, up to rounding; with products in bfloat16
those of a part that are too small stay in float32 (`precision`).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def check(count: int, size: int) -> None:
  """ValueError where `size` examples have no `count` equal parts."""
  if not isinstance(count, int) or count < 1 or size % count:
    raise ValueError(
      f"num_microbatches: expected a divisor of the {size} examples that are"
      f" gone through together, got {count}"
    )


def mean(function: Callable, count: int, inputs: Any, *others: Any) -> Any:
  """The mean of ``function(inputs, *others)`` over the parts of a batch.

  Part k has the examples k, k + count, ...: of a batch that the devices of a
  mesh share each has some of every device, if they share a part evenly.

  Args:
    function: of a part, to a tree of arrays. What is not a number with a
      fraction, such as a counter, is taken from the last part.
    count: of parts, a divisor of B; 1 calls the function on the whole.
    inputs: a tree of [T, B, ...].
    others: trees of [B, ...].

  Raises:
    ValueError: B can't be divided so.
  """
  check(count, jax.tree.leaves(inputs)[0].shape[1])
  if count == 1:
    return function(inputs, *others)

  def of_part(number):
    def pick(leaf, axis):
      before, after = leaf.shape[:axis], leaf.shape[axis + 1 :]
      split = leaf.reshape(*before, -1, count, *after)
      return jax.lax.dynamic_index_in_dim(split, number, axis + 1, False)

    chosen = jax.tree.map(lambda leaf: pick(leaf, 1), inputs)
    return function(chosen, *jax.tree.map(lambda leaf: pick(leaf, 0), others))

  shapes, structure = jax.tree.flatten(jax.eval_shape(of_part, 0))
  added = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in shapes]

  def add(totals, number):
    leaves = jax.tree.leaves(of_part(number))
    pairs = list(zip(leaves, added, strict=True))
    totals = [t + leaf for t, leaf in zip(
      totals, [leaf for leaf, adds in pairs if adds], strict=True
    )]  # fmt: skip
    return totals, [leaf for leaf, adds in pairs if not adds]

  zeros = [
    jnp.zeros(leaf.shape, leaf.dtype)
    for leaf, adds in zip(shapes, added, strict=True) if adds
  ]  # fmt: skip
  totals, rest = jax.lax.scan(add, zeros, jnp.arange(count))
  means = iter([total / count for total in totals])
  last = iter([leaf[-1] for leaf in rest])
  return structure.unflatten(next(means if adds else last) for adds in added)
