"""Synapses: temporal kernels and causal filtering of spike trains.

Double exponential of the hidden layers, per presynaptic neuron:

  q_t = b q_{t-1} + g_s x_t               synaptic current               (1)
  p_t = a p_{t-1} + g_m q_{t-1}           membrane trace, the output     (2)

p uses the previous q, a delay of one step: an impulse at step 0 gives
``p_n = g_s g_m (a^n - b^n) / (a - b)``. Source: arXiv:2106.01177, section 3.

Raised cosines of the readout (Pillow et al. 2008), lag l = 0..L-1:

  n_l = log(l + L/10), c_k evenly spaced from n_0 to n_{L-1}, spacing d
  f_k(l) = (cos(clip((n_l - c_k) mu pi / d, -pi, pi)) + 1) / 2           (3)
  d_t = sum_k sum_l f_k(l) x_{t-l,k}                                     (4)

Lag 0 is the current step. The past before a train is zero, or is carried as
state, so that a long train can be fed in chunks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Up to _WHOLE steps one product with a banded matrix is cheapest; beyond, its
# mostly zero entries are cut away by blocks of about _BLOCK steps.
_WHOLE, _BLOCK = 64, 32


def _check_length(name: str, value: int) -> None:
  if not isinstance(value, int | np.integer) or value < 1:
    raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")


def check_decay(name: str, value: float) -> None:
  """Raises ValueError unless `value`, a factor per step, is in [0, 1)."""
  if not 0.0 <= value < 1.0:
    raise ValueError(f"{name}: expected a number in [0, 1), got {value}")


def raised_cosine_kernels(
  num_kernels: int = 8, length: int = 10, mu: float = 0.5
) -> np.ndarray:
  """Raised cosines on a logarithmic time axis, equation (3).

  Args:
    num_kernels: K; a single kernel peaks at lag 0.
    length: L in steps, at least 2 where K > 1; ValueError otherwise.
    mu: > 0, ValueError otherwise; larger makes each bump narrower.

  Returns:
    f, float32 [K, L], values in [0, 1], lag 0 first.
  """
  _check_length("num_kernels", num_kernels)
  _check_length("length", length)
  if num_kernels > 1 and length == 1:
    raise ValueError(
      f"length: expected >= 2 for {num_kernels} kernels, got {length}"
    )
  if not mu > 0:
    raise ValueError(f"mu: expected a number > 0, got {mu}")
  log_lags = np.log(np.arange(length) + length / 10)
  centres = np.linspace(log_lags[0], log_lags[-1], num_kernels)
  # One lag has no extent; any spacing then gives the kernel [1].
  extent = log_lags[-1] - log_lags[0] or 1.0
  spacing = extent / max(num_kernels - 1, 1)
  phases = (log_lags[None, :] - centres[:, None]) * mu * np.pi / spacing
  kernels = (np.cos(np.clip(phases, -np.pi, np.pi)) + 1) / 2
  return kernels.astype(np.float32)


def exponential_kernel(decay: float, length: int) -> np.ndarray:
  """``decay^l`` for lags l = 0..length-1, float32 [length].

  Args:
    decay: factor per step, in [0, 1); ValueError outside.
    length: number of lags in steps, >= 1.
  """
  check_decay("decay", decay)
  _check_length("length", length)
  return (float(decay) ** np.arange(length)).astype(np.float32)


class Filter(NamedTuple):
  """A causal filter with state, element-wise over neurons of any shape.

  Attributes:
    initial_state: ``(shape) -> state``, a silent past.
    step: ``(state, x [...]) -> (state, out [...])``.
    run: ``(state, x [T, ...]) -> (state, out [T, ...])``, scans `step`.
    gain: what a constant input of 1 ends at.
  """

  initial_state: Callable[[tuple[int, ...]], Any]
  step: Callable[..., Any]
  run: Callable[..., Any]
  gain: float = 1.0


class LIFTraces(NamedTuple):
  """current: q, membrane: p, each of the shape of one step's input."""

  current: jax.Array
  membrane: jax.Array


def lif_filter(
  decay_current: float = 0.85,
  decay_membrane: float = 0.9,
  gain: str = "unit",
) -> Filter:
  """The double exponential of equations (1) and (2); its output is p.

  Args:
    decay_current: b, in [0, 1); ValueError outside.
    decay_membrane: a, in [0, 1); ValueError outside.
    gain: "unit", g_s = 1-b and g_m = 1-a (an input of 1 at every step ends
      at 1), or "published", their reciprocals (4,444 at the default decays).
  """
  check_decay("decay_current", decay_current)
  check_decay("decay_membrane", decay_membrane)
  if gain not in ("unit", "published"):
    raise ValueError(f"gain: expected unit or published, got {gain!r}")
  power = 1 if gain == "unit" else -1
  gain_current = (1.0 - decay_current) ** power
  gain_membrane = (1.0 - decay_membrane) ** power

  def initial_state(shape):
    return LIFTraces(jnp.zeros(shape), jnp.zeros(shape))

  def step(state, x):
    current = decay_current * state.current + gain_current * x
    membrane = decay_membrane * state.membrane + gain_membrane * state.current
    return LIFTraces(current, membrane), membrane

  def run(state, x):
    if x.ndim < 1 or x.shape[1:] != state.current.shape:
      raise ValueError(
        f"x: expected shape [T, *{state.current.shape}], got {x.shape}"
      )
    return jax.lax.scan(step, state, x)

  total = gain_current / (1.0 - decay_current)
  total *= gain_membrane / (1.0 - decay_membrane)
  return Filter(initial_state, step, run, total)


def direct() -> Filter:
  """No filter: inputs act in their own step, as they are."""
  return Filter(
    lambda shape: (), lambda state, x: (state, x), lambda s, x: (s, x)
  )


def causal_filter(kernels: jax.Array, x: jax.Array) -> jax.Array:
  """Every kernel on every neuron, ``sum_l f_k(l) x_{t-l}``, zero past.

  Args:
    kernels: f, [K, L], lag 0 first; ValueError for another rank.
    x: [T, ...]; ValueError without a time axis.

  Returns:
    [T, K, ...].
  """
  kernels, x = jnp.asarray(kernels), jnp.asarray(x)
  if kernels.ndim != 2:
    raise ValueError(f"kernels: expected shape [K, L], got {kernels.shape}")
  if x.ndim < 1:
    raise ValueError(f"x: expected shape [T, ...], got {x.shape}")
  num_steps, length = x.shape[0], kernels.shape[1]
  padding = ((length - 1, 0),) + ((0, 0),) * (x.ndim - 1)
  steps = np.arange(num_steps)[:, None] + np.arange(length)[::-1][None, :]
  lagged = jnp.pad(x, padding)[steps]
  return jnp.einsum("kl,tl...->tk...", kernels, lagged)


def _band(kernels: np.ndarray, num_steps: int) -> np.ndarray:
  """[T+L-1, T, K], entry (t, s, k) = f_k(t-s): input s on output t."""
  num_kernels, length = kernels.shape
  shape = (num_steps + length - 1, num_steps, num_kernels)
  band = np.zeros(shape, kernels.dtype)
  for step in range(num_steps):
    band[step : step + length, step] = kernels.T
  return band


def _joined(sums: jax.Array, block: int) -> jax.Array:
  """The sum [count block + L-1, N] of blocks [count, block + L-1, N] that begin
  `block` steps after each other."""
  (count, length, size), spans = sums.shape, -(-sums.shape[1] // block)
  if count == 1:
    return sums[0]
  parts = jnp.pad(sums, ((0, 0), (0, spans * block - length), (0, 0)))
  parts = parts.reshape(count, spans, block, size)
  after = lambda n: ((n, spans - 1 - n), (0, 0), (0, 0))
  total = sum(jnp.pad(parts[:, n], after(n)) for n in range(spans))
  return total.reshape(len(total) * block, size)[: (count - 1) * block + length]


def _checked_kernels(kernels, products, pending) -> np.ndarray:
  """The kernels as float32 [K, L], or an error if the shapes don't fit."""
  if isinstance(kernels, jax.core.Tracer):
    raise ValueError("kernels: expected a concrete array, got a traced one")
  kernels = np.asarray(kernels, np.float32)
  if kernels.ndim != 2:
    raise ValueError(f"kernels: expected shape [K, L], got {kernels.shape}")
  shape, (num_kernels, length) = products.shape, kernels.shape
  if len(shape) != 3 or shape[0] < 1 or shape[1] != num_kernels:
    raise ValueError(
      f"products: expected shape [T, {num_kernels}, N], T >= 1, got {shape}"
    )
  if pending.shape != (length - 1, shape[2]):
    raise ValueError(
      f"pending: expected shape {(length - 1, shape[2])}, got {pending.shape}"
    )
  return kernels


def overlap_add(
  kernels: np.ndarray, products: jax.Array, pending: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Filters and sums over kernels, equation (4), with a carried past.

  Filtering after the product with the weights (as here) equals filtering
  before it, and needs one product over all steps.

  Args:
    kernels: f, [K, L], lag 0 first; concrete, not traced.
    products: x, [T, K, N], say ``W_k s_t``; T >= 1.
    pending: [L-1, N], what earlier steps still add to the next L-1; zeros
      at the start.

  Returns:
    drive [T, N], and what is pending after the T steps, [L-1, N].
    ValueError for traced kernels or shapes that don't fit.
  """
  kernels = _checked_kernels(kernels, products, pending)
  (num_steps, num_kernels, size), reach = products.shape, kernels.shape[1] - 1
  count = 1 if num_steps <= _WHOLE else -(-num_steps // _BLOCK)
  block = -(-num_steps // count)
  rest = count * block - num_steps
  rows = jnp.pad(products, ((0, rest), (0, 0), (0, 0)))
  rows = rows.reshape(count, block * num_kernels, size)
  band = jnp.asarray(_band(kernels, block).reshape(block + reach, -1))
  total = _joined(jnp.einsum("sq,cqn->csn", band, rows), block)
  total = total + jnp.pad(pending, ((0, len(total) - reach), (0, 0)))
  return total[:num_steps], total[num_steps : num_steps + reach]
