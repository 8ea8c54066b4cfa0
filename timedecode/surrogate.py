"""Spikes: an exact step forward, a surrogate derivative backward.

The step has no useful derivative, so training replaces it:

  s = H(u), H(0) = 1                      forward, exactly 0 or 1        (1)
  dL/du = psi(u) dL/ds                    backward                       (2)

u is the membrane potential measured from the threshold. psi is any function
of u; the named ones below are the usual choices. Scales assume potentials in
threshold units (of the order of 1); at the defaults every psi peaks at 1.
Source: arXiv:2106.01177, section 3 (boxcar).
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def boxcar(u: jax.Array) -> jax.Array:
  """``1[|u| < 1/2]``, the published choice; area 1.

  Args:
    u: potential from the threshold, any shape.

  Returns:
    psi(u), of u's shape and dtype.
  """
  u = jnp.asarray(u)
  return (jnp.abs(u) < 0.5).astype(u.dtype)


def logistic(u: jax.Array, scale: float = 4.0) -> jax.Array:
  """``scale sigma(scale u) (1 - sigma(scale u))``; area 1, peak scale/4.

  Args:
    u: potential from the threshold, any shape.
    scale: steepness, per unit of u; the default gives a peak of 1.

  Returns:
    psi(u), of u's shape and dtype.
  """
  # sigma(-x) = 1 - sigma(x) keeps its digits where sigma(x) rounds to 1.
  return scale * jax.nn.sigmoid(scale * u) * jax.nn.sigmoid(-scale * u)


def fast_sigmoid(u: jax.Array, scale: float = 10.0) -> jax.Array:
  """``1 / (1 + scale |u|)^2``; area 2/scale, peak 1.

  The paper's published code has scale 100, a quarter of the peak at |u| =
  0.01; the default is gentler.

  Args:
    u: potential from the threshold, any shape.
    scale: steepness, per unit of u.

  Returns:
    psi(u), of u's shape and dtype.
  """
  return 1.0 / (1.0 + scale * jnp.abs(u)) ** 2


def arctan(u: jax.Array, scale: float = 2.0) -> jax.Array:
  """``1 / (1 + (pi/2 scale u)^2)``; area 2/scale, peak 1, heavy tails.

  Args:
    u: potential from the threshold, any shape.
    scale: steepness, per unit of u; the default gives an area of 1.

  Returns:
    psi(u), of u's shape and dtype.
  """
  return 1.0 / (1.0 + (jnp.pi / 2.0 * scale * u) ** 2)


def triangular(u: jax.Array) -> jax.Array:
  """``max(0, 1 - |u|)``; area 1, peak 1, zero from one threshold away.

  Args:
    u: potential from the threshold, any shape.

  Returns:
    psi(u), of u's shape and dtype.
  """
  return jnp.maximum(1.0 - jnp.abs(u), 0.0)


SURROGATES: dict[str, Callable[..., jax.Array]] = {
  "boxcar": boxcar,
  "logistic": logistic,
  "fast_sigmoid": fast_sigmoid,
  "arctan": arctan,
  "triangular": triangular,
}


def get(name: str, **options: Any) -> Callable[[jax.Array], jax.Array]:
  """A surrogate derivative by name, with its options bound.

  Args:
    name: a key of `SURROGATES`.
    **options: `scale` (a number > 0), where the function has one.

  Returns:
    psi, a function of the potential alone.

  Raises:
    ValueError: an unknown name, an option it doesn't have, a scale <= 0.
  """
  if name not in SURROGATES:
    raise ValueError(
      f"name: expected one of {', '.join(SURROGATES)}, got {name!r}"
    )
  derivative = SURROGATES[name]
  allowed = list(inspect.signature(derivative).parameters)[1:]
  for key, value in options.items():
    if key not in allowed:
      raise ValueError(
        f"options of {name}: expected {', '.join(allowed) or 'none'},"
        f" got {key!r}"
      )
    if not value > 0:
      raise ValueError(f"{key}: expected a number > 0, got {value}")
  return functools.partial(derivative, **options)


def spike_function(
  derivative: Callable[[jax.Array], jax.Array],
) -> Callable[[jax.Array], jax.Array]:
  """Equations (1) and (2) as one function with a custom gradient.

  Reverse mode only (`jax.grad`, `jax.vjp`, `jax.jacrev`).

  Args:
    derivative: psi, element-wise, say `triangular` or ``get("arctan")``.

  Returns:
    spike(u): exactly 0 or 1, of u's shape and (floating) dtype.
  """

  @jax.custom_vjp
  def spike(u):
    return (u >= 0).astype(u.dtype)

  def forward(u):
    return spike(u), u

  def backward(u, cotangent):
    return (cotangent * derivative(u),)

  spike.defvjp(forward, backward)
  return spike
