"""Coding: values in [0, 1] to spike trains, one train per value.

  rate code:     x_t ~ Bernoulli(v), independent over steps              (1)
  latency code:  one spike at step T - round(v (T-1)), none if that is T (2)

Steps are indexed 0..T-1. In the latency code larger values are earlier: v = 1
spikes at step 1, and a value that rounds to 0 stays silent.
Source: arXiv:2106.01177, section 5.
"""

import jax
import jax.numpy as jnp
import numpy as np


def validate_values(values: np.ndarray, name: str = "values") -> None:
  """Checks on the host that all values lie in [0, 1].

  Args:
    values: concrete array of any shape.
    name: what the error calls it.

  Raises:
    ValueError: an empty array, NaN, or values outside [0, 1].
  """
  values = np.asarray(values)
  if values.size == 0:
    raise ValueError(
      f"{name}: expected at least one value, got shape {values.shape}"
    )
  if np.isnan(values).any():
    raise ValueError(
      f"{name}: expected values in [0, 1], got {np.isnan(values).sum()} NaN"
    )
  if values.min() < 0 or values.max() > 1:
    raise ValueError(
      f"{name}: expected values in [0, 1], got min {values.min()},"
      f" max {values.max()}"
    )


def _checked(values: jax.Array, num_steps: int) -> jax.Array:
  """The values as float32, or an error that says what is wrong."""
  if not isinstance(num_steps, int | np.integer) or num_steps < 2:
    raise ValueError(f"num_steps: expected an integer >= 2, got {num_steps!r}")
  if not isinstance(values, jax.Array):
    values = np.asarray(values)
  if values.ndim < 1:
    raise ValueError(f"values: expected rank >= 1, got shape {values.shape}")
  if not jnp.issubdtype(values.dtype, jnp.floating):
    raise ValueError(
      f"values: expected floating point in [0, 1], got {values.dtype}"
    )
  if not isinstance(values, jax.core.Tracer):
    validate_values(values)
  return jnp.asarray(values, jnp.float32)


def rate_encode(key: jax.Array, values: jax.Array, num_steps: int) -> jax.Array:
  """Rate code, equation (1).

  Args:
    key: typed key, `jax.random.key`.
    values: v, probabilities of a spike per step, any shape of rank >= 1.
      Under a transformation (jit, vmap) the range can't be checked: call
      `validate_values` on the data first.
    num_steps: T >= 2.

  Returns:
    Spikes, 0 or 1, float32 [T, *values.shape]. v = 0 never spikes, v = 1
    does at every step.

  Raises:
    ValueError: T < 2, rank 0, not floating point, or (concrete values only)
      empty, NaN or outside [0, 1].
  """
  values = _checked(values, num_steps)
  uniforms = jax.random.uniform(key, (num_steps, *values.shape))
  return (uniforms < values[None]).astype(jnp.float32)


def latency_encode(values: jax.Array, num_steps: int) -> jax.Array:
  """Latency (time-to-first-spike) code, equation (2).

  The product and the rounding are in float32, halves to the even number.

  Args:
    values: v, any shape of rank >= 1. Under a transformation (jit, vmap) the
      range can't be checked: call `validate_values` on the data first.
    num_steps: T >= 2.

  Returns:
    Spikes, 0 or 1, float32 [T, *values.shape]; at most one per value.

  Raises:
    ValueError: T < 2, rank 0, not floating point, or (concrete values only)
      empty, NaN or outside [0, 1].
  """
  values = _checked(values, num_steps)
  steps = num_steps - jnp.round(values * (num_steps - 1)).astype(jnp.int32)
  # Step T lies outside the train: no spike.
  return jax.nn.one_hot(steps, num_steps, axis=0, dtype=jnp.float32)
