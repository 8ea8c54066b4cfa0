"""Drifting blobs: spikes whose future can be predicted (in part).

Two independent blobs move over N = 20 neurons. One blob, eta_t ~ N(0, 1) and
the same eta_t in (1) and (2), xi_t ~ N(0, 1):

  v_t = 0.9 v_{t-1} - 0.14 eta_t                       velocity              (1)
  A_t = 0.99 A_{t-1} + 0.01 eta_t                      amplitude             (2)
  theta_t = theta_{t-1} + v_{t-1}                      phase                 (3)
  z_t = wrap(A_t (theta_t + 0.45 xi_t))                position              (4)

from v_0 = 1, A_0 = 0.5, theta_0 uniform in [-pi, pi); wrap takes to
[-pi, pi). At each step t = 0, 1, ... the neuron i spikes whose left bin edge
e_i = -pi + 2 pi i / 20 is nearest to z_t:

  |z_t - e_i| on the line, as published: i = min(round(x), 19)               (5)
  the shorter way round the ring: i = round(x) mod 20,  x = 10 (z_t + pi)/pi (6)

so that on the line neuron 0 has half a bin and neuron 19 one and a half. The
spikes of the two blobs are joined by OR: a pattern has 1 or 2 active neurons,
20 + 190 = 210 patterns.

The target at t is the pattern of x_{t+delta}: delta > 0 prediction, 0
filtering, < 0 smoothing. T + |delta| steps are made and x cut out, so every
target exists; for delta < 0, x begins |delta| steps after v_0 and A_0.

Source: the model of Chalk, Marre, Tkacik (PNAS 2018) in the form of the code
published with arXiv:2106.01177.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from timedecode.datasets import arguments

NUM_NEURONS = 20
NUM_PATTERNS = 210
VELOCITY_DECAY, VELOCITY_NOISE, VELOCITY_START = 0.9, -0.14, 1.0
AMPLITUDE_DECAY, AMPLITUDE_NOISE, AMPLITUDE_START = 0.99, 0.01, 0.5
POSITION_NOISE = 0.45


class Draws(NamedTuple):
  """Everything random of K blobs over S steps, float32.

  theta: [K], theta_0, radians.
  eta: [S, K]; row 0 is not used: v_0 and A_0 are given.
  xi: [S, K].
  """

  theta: jax.Array
  eta: jax.Array
  xi: jax.Array


def draw(key: jax.Array, num_steps: int, num_blobs: int = 2) -> Draws:
  """The random numbers of `num_blobs` blobs over S = `num_steps` steps."""
  theta_key, eta_key, xi_key = jax.random.split(key, 3)
  shape = num_steps, num_blobs
  return Draws(
    jax.random.uniform(theta_key, shape[1:], minval=-jnp.pi, maxval=jnp.pi),
    jax.random.normal(eta_key, shape),
    jax.random.normal(xi_key, shape),
  )


class Path(NamedTuple):
  """v, A, theta and z of K blobs at S steps, each float32 [S, K]."""

  velocity: jax.Array
  amplitude: jax.Array
  phase: jax.Array
  position: jax.Array


def move(draws: Draws) -> Path:
  """Equations (1) to (4)."""

  def step(state, now):
    v, a, theta = state
    eta, xi = now
    z = a * (theta + POSITION_NOISE * xi)
    z = jnp.mod(z + jnp.pi, 2 * jnp.pi) - jnp.pi
    following = (
      VELOCITY_DECAY * v + VELOCITY_NOISE * eta,
      AMPLITUDE_DECAY * a + AMPLITUDE_NOISE * eta,
      theta + v,
    )
    return following, Path(v, a, theta, z)

  one = jnp.ones_like(draws.theta)
  state = VELOCITY_START * one, AMPLITUDE_START * one, draws.theta
  return jax.lax.scan(step, state, (jnp.roll(draws.eta, -1, 0), draws.xi))[1]


def nearest_neuron(position: jax.Array, ring: bool = False) -> jax.Array:
  """Equation (5), or (6) with `ring`: z in [-pi, pi] -> int32 in 0..19."""
  nearest = jnp.round((position + jnp.pi) * (NUM_NEURONS / (2 * jnp.pi)))
  nearest = nearest.astype(jnp.int32)
  if ring:
    return nearest % NUM_NEURONS
  return jnp.clip(nearest, 0, NUM_NEURONS - 1)


def pattern_index(first: jax.Array, second: jax.Array) -> jax.Array:
  """The pattern in which neurons `first` and `second` are active.

  With i <= j it is j (j + 1) / 2 + i: 0 is {0}, 1 is {0, 1}, 2 is {1}, 3 is
  {0, 2}, ... 209 is {19}.

  Args:
    first: int32 in 0..19, any shape.
    second: the same; equal to `first` where one neuron is active.

  Returns:
    int32 in 0..209, the same shape.
  """
  low, high = jnp.minimum(first, second), jnp.maximum(first, second)
  return high * (high + 1) // 2 + low


def pattern(index: jax.Array) -> jax.Array:
  """The inverse: int32 in 0..209, shape [...] -> spikes float32 [..., 20]."""
  return jnp.asarray(_PATTERNS)[index]


def _all_patterns() -> np.ndarray:
  high, low = np.tril_indices(NUM_NEURONS)  # In the order of the index.
  neurons = np.eye(NUM_NEURONS, dtype=np.float32)
  return np.maximum(neurons[low], neurons[high])


_PATTERNS = _all_patterns()


def drifting_blobs(
  key: jax.Array, num_steps: int, delta: int = 0, ring: bool = False
) -> tuple[jax.Array, jax.Array]:
  """One example, a function of its arguments; `vmap` over keys for a batch.

  Args:
    key: typed key.
    num_steps: T, at least 1.
    delta: how many steps ahead the target is; negative: behind.
    ring: distances round the ring, equation (6), and not on the line.

  Returns:
    spikes x float32 [T, 20]; targets int32 [T], of which `pattern` is
    x_{t+delta}.

  Raises:
    ValueError: num_steps or delta is not a whole number, or num_steps < 1.
  """
  num_steps = arguments.whole("num_steps", num_steps, 1)
  delta = arguments.whole("delta", delta)
  draws = draw(key, num_steps + abs(delta))
  neurons = nearest_neuron(move(draws).position, ring)
  index = pattern_index(neurons[:, 0], neurons[:, 1])
  begin = max(-delta, 0)
  now = jax.lax.slice_in_dim(index, begin, begin + num_steps)
  begin = max(delta, 0)
  return pattern(now), jax.lax.slice_in_dim(index, begin, begin + num_steps)
