"""What is minimised: the variational directed information bottleneck.

The directed information bottleneck maximises I(y; r) - beta I(x -> y). Its
variational bound, minimised here (arXiv:2106.01177, section 2):

  L = E[-log q(r | y)]                                  distortion       (1)
      + beta E[sum_t log(P(y_t | x^t, y^{t-1}) / q(y_t | y^{t-1}))]      (2)

The second expectation is at least the directed information I(x -> y), with
equality when the prior q is the true marginal P(y_t | y^{t-1}).

Conventions, used everywhere in this library:
  * every quantity is in nats per example; reports convert to bits;
  * distortion SUMS over the outputs (pixels), information SUMS over steps and
    readout neurons; only examples are averaged;
  * beta is therefore in nats per nat. `beta_from_means` converts a beta that
    weighs a mean over pixels against a mean over steps and neurons, as the
    paper's code has it: 1e-3 is 1.02e-4 for 784 pixels, T 30, N_y 256.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Distortion = Callable[[jax.Array, jax.Array], jax.Array]


class Losses(NamedTuple):
  """The terms of the objective for one example, each a scalar.

  Attributes:
    total: distortion + beta * information, nats.
    distortion: -log q(r | y), nats.
    information: bound (or its sampled ratio) on I(x -> y), nats.
    entropy: sum over steps and neurons of H(y_t | past), nats.
  """

  total: jax.Array
  distortion: jax.Array
  information: jax.Array
  entropy: jax.Array


def _check_same_shape(outputs, target):
  if outputs.shape != target.shape:
    raise ValueError(
      f"target: expected the outputs' shape {outputs.shape}, got {target.shape}"
    )


def bernoulli_distortion(logits: jax.Array, target: jax.Array) -> jax.Array:
  """-log Bernoulli(target | sigma(logits)), summed, nats.

  Args:
    logits: [N_r].
    target: [N_r], in [0, 1]; between 0 and 1 it is the cross-entropy.
  """
  _check_same_shape(logits, target)
  return jnp.sum(jax.nn.softplus(logits) - target * logits)


def categorical_distortion(logits: jax.Array, target: jax.Array) -> jax.Array:
  """-log softmax(logits)[target], nats; target is an integer scalar."""
  if target.ndim or not jnp.issubdtype(target.dtype, jnp.integer):
    raise ValueError(
      "target: expected an integer scalar for a categorical output, got"
      f" {target.dtype} of shape {target.shape}"
    )
  return -jax.nn.log_softmax(logits)[target]


def gaussian_distortion(mean: jax.Array, target: jax.Array) -> jax.Array:
  """-log N(target | mean, 1), summed, nats; both [N_r]."""
  _check_same_shape(mean, target)
  constant = 0.5 * math.log(2.0 * math.pi) * mean.size
  return 0.5 * jnp.sum((mean - target) ** 2) + constant


DISTORTIONS = {
  "bernoulli": bernoulli_distortion,
  "categorical": categorical_distortion,
  "gaussian": gaussian_distortion,
}


def check_beta(beta: float) -> None:
  """Raises ValueError unless beta is finite and not negative."""
  if not (math.isfinite(beta) and beta >= 0.0):
    raise ValueError(f"beta: expected a finite number >= 0, got {beta}")


def log_probability(spikes: jax.Array, logits: jax.Array) -> jax.Array:
  """sum_t log P(y_t | past), nats; spikes and logits [T, N_y]."""
  return jnp.sum(spikes * logits - jax.nn.softplus(logits))


def entropy(logits: jax.Array) -> jax.Array:
  """H(Bernoulli(sigma(logits))), element-wise, nats."""
  return jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits)


def divergence(logits: jax.Array, prior_logits: jax.Array) -> jax.Array:
  """KL(Bernoulli(sigma(logits)) || Bernoulli(sigma(prior))), element-wise.

  In nats. Summed over a sampled train it is the closed form of (2): unbiased
  and of lower variance than the sampled ratio.
  """
  cross = jax.nn.softplus(prior_logits) - prior_logits * jax.nn.sigmoid(logits)
  return cross - entropy(logits)


def sampled_ratio(
  spikes: jax.Array, logits: jax.Array, prior_logits: jax.Array
) -> jax.Array:
  """sum_t log(P(y_t | past) / q(y_t | past)) of one sampled train, nats."""
  return log_probability(spikes, logits) - log_probability(spikes, prior_logits)


def vdib(
  outputs: jax.Array,
  target: jax.Array,
  spikes: jax.Array,
  logits: jax.Array,
  prior_logits: jax.Array,
  beta: float,
  distortion: Distortion = bernoulli_distortion,
  closed_form: bool = True,
) -> Losses:
  """The objective (1) + beta (2) for one example and one sampled train.

  Args:
    outputs: of the decoder, [N_r].
    target: r.
    spikes: y, [T, N_y].
    logits: u of the readout, [T, N_y].
    prior_logits: of q(y_t | past), [T, N_y], see `priors`.
    beta: nats per nat, >= 0.
    distortion: one of `DISTORTIONS` or your own.
    closed_form: information by `divergence`, else by `sampled_ratio`.
  """
  distortion_value = distortion(outputs, target)
  if closed_form:
    information = jnp.sum(divergence(logits, prior_logits))
  else:
    information = sampled_ratio(spikes, logits, prior_logits)
  return Losses(
    distortion_value + beta * information,
    distortion_value,
    information,
    jnp.sum(entropy(logits)),
  )


def beta_from_means(
  beta: float, num_outputs: int, num_steps: int, num_readout: int
) -> float:
  """Beta in nats per nat from one that weighs means against means."""
  return beta * num_outputs / (num_steps * num_readout)
