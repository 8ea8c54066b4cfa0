"""Gradients of expectations over the readout's random spikes.

An estimator is a function of one example,

  estimator(encoder, objective, params, inputs, target, key)
    -> (surrogate, (losses, sample)),

whose surrogate has as its gradient an estimate of the gradient of the
expected loss by ``params = (encoder's, decoder's)``. `losses` and `sample`
are of the first sampled train. A new rule is one more function of this form
in `ESTIMATORS`.

  straight_through   forward Bernoulli, backward sigma(u): biased, low variance
  score_function     sum_t grad log P(y_t) (l - b), unbiased; the baseline b of
                     a sample is the mean loss of the other samples of the same
                     example (leave-one-out)

Both keep the ordinary gradient of the loss at fixed spikes: the decoder's, and
that of the closed-form information by the logits. Source: arXiv:2106.01177,
section 3; method section 6.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from timedecode import bottleneck, neurons

Estimator = Callable[..., tuple[jax.Array, Any]]


def _draw(encoder, objective, params, inputs, target, key, num, sampler):
  """`num` trains for one example: losses and samples with a leading axis."""
  encoder_params, decoder_params = params
  uniforms = jax.random.uniform(
    key, (num, inputs.shape[0], encoder.num_readout)
  )

  def one(uniforms):
    sample = encoder.run(encoder_params, inputs, uniforms, sampler=sampler)
    return objective(decoder_params, sample, target), sample

  return jax.vmap(one)(uniforms)


def _first(tree):
  return jax.tree.map(lambda leaf: leaf[0], tree)


def straight_through(num_samples: int = 1) -> Estimator:
  """Backward as if each spike were its probability. Biased.

  Args:
    num_samples: trains per example, averaged.
  """
  _check_samples("straight_through", num_samples, 1)

  def estimate(encoder, objective, params, inputs, target, key):
    losses, samples = _draw(
      encoder,
      objective,
      params,
      inputs,
      target,
      key,
      num_samples,
      neurons.bernoulli_straight_through,
    )
    return jnp.mean(losses.total), (_first(losses), _first(samples))

  return estimate


def score_function(num_samples: int = 8) -> Estimator:
  """REINFORCE with a leave-one-out baseline. Unbiased.

  Args:
    num_samples: trains of the same example, at least 2.
  """
  _check_samples("score_function", num_samples, 2)

  def estimate(encoder, objective, params, inputs, target, key):
    losses, samples = _draw(
      encoder,
      objective,
      params,
      inputs,
      target,
      key,
      num_samples,
      neurons.bernoulli,
    )
    signal = jax.lax.stop_gradient(losses.total)
    others = (jnp.sum(signal) - signal) / (num_samples - 1)
    log_probability = jax.vmap(bottleneck.log_probability)(
      samples.spikes, samples.logits
    )
    surrogate = jnp.mean(losses.total + (signal - others) * log_probability)
    return surrogate, (_first(losses), _first(samples))

  return estimate


def _check_samples(name: str, num_samples: int, least: int) -> None:
  if num_samples < least:
    raise ValueError(
      f"num_samples: {name} expects at least {least}, got {num_samples}"
    )


ESTIMATORS = {
  "straight_through": straight_through,
  "score_function": score_function,
}
