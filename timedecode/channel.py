"""What may happen to spikes on their way to the decoder.

A channel is ``(spikes [T, N_y], key) -> spikes that arrive [T, N_y]``, one
pure function of one train: between encoder and decoder in `training.Model` it
is trained through, or it is put there only for a test.

  y'_t,i = y_t,i XOR n_t,i = y + n - 2 y n,   n_t,i ~ Bernoulli(flip)     (1)

Given n, (1) is linear in y, so any estimator of `estimators` passes it: the
derivative is 1 - 2 n.
Source: the binary symmetric channel of Ke et al. 2024, wireless co-inference.
"""

import jax
import jax.numpy as jnp


def check_flip(flip: float) -> None:
  """Raises ValueError unless 0 <= flip <= 1."""
  if not 0.0 <= flip <= 1.0:
    raise ValueError(f"flip: expected a probability in [0, 1], got {flip}")


def binary_symmetric(
  spikes: jax.Array, key: jax.Array, flip: float | jax.Array
) -> jax.Array:
  """Equation (1): every spike and every silence is flipped independently.

  Args:
    spikes: y, [T, N_y].
    key: of the noise.
    flip: probability, scalar; at 1/2 nothing of y arrives.
  """
  noise = jax.random.bernoulli(key, flip, spikes.shape).astype(spikes.dtype)
  return spikes + noise - 2.0 * spikes * noise


def prefix(
  spikes: jax.Array, key: jax.Array, num_steps: int | jax.Array
) -> jax.Array:
  """What has arrived by a time: the first steps, and silence after them.

  Args:
    spikes: y, [T, N_y].
    key: not used; for the common form.
    num_steps: 0..T.
  """
  del key
  arrived = jnp.arange(len(spikes)) < num_steps
  return jnp.where(arrived[:, None], spikes, 0.0)
