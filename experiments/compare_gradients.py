"""Bias and variance of every rule's gradient at one trained model."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build

BATCH = 16  # Training images whose gradient is estimated.
TRAINED_STEPS = 300
SAMPLES_PER_ESTIMATE = 8  # Of the reference.


def _estimates(built, params, batch, num, seed):
  """Mean and summed variance of `num` estimates of the encoder's gradient."""
  state = built.estimator.init(params)

  def one(key):
    keys = jax.random.split(key, BATCH)
    estimate = built.estimator.estimate(
      built.model, params, state, *batch, keys
    )
    return jax.flatten_util.ravel_pytree(estimate.gradients.encoder)[0]

  def add(carry, key):
    mean, squares, count = carry
    value = one(key)
    count += 1
    delta = value - mean
    mean += delta / count
    return (mean, squares + jnp.vdot(delta, value - mean), count), None

  @jax.jit
  def run(keys):
    size = jax.eval_shape(one, keys[0]).shape
    carry = (jnp.zeros(size), jnp.zeros(()), jnp.zeros(()))
    return jax.lax.scan(add, carry, keys)[0]

  keys = jax.random.split(jax.random.key(seed), num)
  mean, squares, _ = run(keys)
  return np.asarray(mean, np.float64), float(squares) / (num - 1)


def measure(trained, rules, reference_rule, reference) -> dict:
  """Rule -> relative bias, cosine and relative variance of its gradient.

  The bias is corrected for the noise of both means: the root of
  |mean - reference|^2 - noise, over the reference's norm.

  Args:
    trained: `job.Job` whose parameters after 300 steps are the place.
    rules: name -> `build.Built`.
    reference_rule: `build.Built` of an unbiased rule with `bptt`.
    reference: its samples per example; the others have a quarter.
  """
  found = {}
  trained.train(0, {"here": TRAINED_STEPS}, found.__setitem__)
  params = found["here"]
  keys = build.example_keys(jax.random.key(0), BATCH)
  batch = build.encode_images(trained.config, trained.images[:BATCH], keys)

  def estimate(built, samples, seed):
    num = max(2, samples // SAMPLES_PER_ESTIMATE)
    return *_estimates(built, params, batch, num, seed), num

  exact, noise, num = estimate(reference_rule, reference, 1)
  noise /= num
  power = exact @ exact - noise
  result = {}
  for name, built in rules.items():
    if name == "frozen":
      continue
    mean, variance, count = estimate(built, reference // 4, 2)
    error = (mean - exact) @ (mean - exact) - noise - variance / count
    size_squared = max(mean @ mean - variance / count, 1e-12)
    result[name] = {
      "relative_bias": float(np.sqrt(max(error, 0.0) / power)),
      "cosine": float(mean @ exact / np.sqrt(size_squared * power)),
      "relative_variance": float(variance / power),
      "estimates": count,
      "noise_of_reference": float(noise / power),
    }
    print(f"gradient of {name}: {result[name]}", flush=True)
  return result
