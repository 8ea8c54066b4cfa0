"""Means and sums over the devices that share a batch; plain without an axis."""

from typing import Any

import jax
import jax.numpy as jnp


def mean(tree: Any, axis_name: str | None) -> Any:
  """The mean over devices; the tree itself where there is no axis."""
  return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def total(tree: Any, axis_name: str | None) -> Any:
  """The sum over devices; the tree itself where there is no axis."""
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def places(size: int, axis_name: str | None) -> jax.Array:
  """Places in the global batch of a device's `size` examples, int32."""
  first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * size
  return first + jnp.arange(size)
