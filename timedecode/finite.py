"""Steps whose result is not finite."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def all_finite(tree: Any) -> jax.Array:
  """Whether no number in a tree of arrays is infinite or none, a boolean."""
  good = jnp.array(True)
  for leaf in jax.tree.leaves(tree):
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
      good &= jnp.isfinite(leaf).all()
  return good


def skip_steps(train_step: Callable) -> Callable:
  """The step, which counts but changes nothing where its end is not finite.

  Args:
    train_step: ``(state, ...) -> (state, Metrics)``.

  Returns:
    The same; where the loss or anything in the new state is infinite or not a
    number, all of the state but its step is as before, and the loss of the
    metrics is NaN.
  """

  def step(state, *others):
    after, metrics = train_step(state, *others)
    good = jnp.isfinite(metrics.loss)
    good &= all_finite(after)
    kept = jax.tree.map(lambda a, b: jnp.where(good, a, b), after, state)
    loss = jnp.where(good, metrics.loss, jnp.nan)
    return kept._replace(step=after.step), metrics._replace(loss=loss)

  return step
