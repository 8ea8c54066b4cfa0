"""Bias and variance of every rule's gradient at one trained model."""

from typing import NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from experiments import build, inputs
from timedecode.datasets import sources

BATCH = 16  # Training images whose gradient is estimated.
TRAINED_STEPS = 300
WARM_UP = 300  # Estimates that fill the memory of those that have one.


def _estimates(built, params, batch, num, seed):
  """Of `num` estimates of the encoder's gradient: the mean, the variance summed
  over parameters, and that sum's standard error."""

  def one(state, key):
    keys = jax.random.split(key, BATCH)
    found = built.estimator.estimate(built.model, params, state, *batch, keys)
    flat, _ = jax.flatten_util.ravel_pytree(found.gradients.encoder)
    return found.state, flat

  def add(carry, key):
    state, mean, squares, fourth, count = carry
    state, value = one(state, key)
    count += 1
    delta = value - mean
    mean += delta / count
    square = jnp.vdot(delta, value - mean)
    squares, fourth = squares + square, fourth + square**2
    return (state, mean, squares, fourth, count), None

  @jax.jit
  def run(keys_before, keys):
    state = built.estimator.init(params)
    forget = lambda state, key: (one(state, key)[0], None)
    if jax.tree.leaves(state):
      state, _ = jax.lax.scan(forget, state, keys_before)
    size = jax.eval_shape(one, state, keys[0])[1].shape
    carry = (state, jnp.zeros(size), *[jnp.zeros(())] * 3)
    return jax.lax.scan(add, carry, keys)[0][1:]

  key_before, key = jax.random.split(jax.random.key(seed))
  keys_before = jax.random.split(key_before, WARM_UP)
  mean, squares, fourth, _ = run(keys_before, jax.random.split(key, num))
  variance = float(squares) / (num - 1)
  spread = max(float(fourth) / num - variance**2, 0.0)
  return np.asarray(mean, np.float64), variance, (spread / num) ** 0.5


class Rule(NamedTuple):
  """built: `build.Built`; estimates: how many are made."""

  built: build.Built
  estimates: int


def measure(trained, rules, reference) -> dict:
  """Rule -> relative bias, cosine, size and variance of its gradient.

  The bias is corrected for the noise of both means: the root of
  |mean - reference|^2 - noise, over the reference's norm; None for a bias or a
  cosine that the noise hides.

  Args:
    trained: `job.Job` whose parameters after 300 steps are the place.
    rules: name -> `Rule`.
    reference: an unbiased `Rule` with `bptt`.
  """
  found = {}
  trained.train(0, {"here": TRAINED_STEPS}, found.__setitem__)
  params = found["here"]
  keys = inputs.example_keys(jax.random.key(0), BATCH)
  rows = sources.gather(trained.source.rows("train"), slice(BATCH))
  batch = trained.source.decode(rows, keys)[:2]

  def estimate(rule, seed):
    return _estimates(rule.built, params, batch, rule.estimates, seed)

  exact, noise, _ = estimate(reference, 1)
  noise /= reference.estimates
  power = exact @ exact - noise
  result = {}
  for name, rule in rules.items():
    mean, variance, error_of_variance = estimate(rule, 2)
    own_noise = variance / rule.estimates
    error = (mean - exact) @ (mean - exact) - noise - own_noise
    size_squared = mean @ mean - own_noise
    clear = size_squared > own_noise  # Else its direction is noise.
    result[name] = {
      "relative_bias": float(np.sqrt(max(error, 0.0) / power))
      if clear
      else None,
      "cosine": float(mean @ exact / np.sqrt(size_squared * power))
      if clear
      else None,
      "relative_size": float(np.sqrt(size_squared / power)) if clear else None,
      "relative_variance": float(variance / power),
      "standard_error_of_variance": float(error_of_variance / power),
      "estimates": rule.estimates,
      "noise_of_reference": float(noise / power),
      "noise": float(own_noise / power),
    }
    print(f"gradient of {name}: {result[name]}", flush=True)
  return result
