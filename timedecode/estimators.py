"""Gradients of expectations over the readout's random spikes.

Each function here makes an `estimation.Estimator`, which turns a batch into an
estimate of the gradient of the expected loss by all parameters. With u_t the
readout's logits along a sampled train y, f(y) its loss and b a baseline that
does not depend on y_t given the past:

  score_function    sum_t grad log P(y_t | past) (f - b); unbiased         (1)
  arm, disarm       1/2 sum_t w_t [f grad u_t - f' grad u'_t], primes mark
                    the train of the uniforms 1 - v; w_t = 1 - 2 v_t (arm)
                    or its mean given (y_t, y'_t) (disarm); unbiased       (2)
  straight_through  backward as if y_t were sigma(u_t); biased             (3)
  relaxed           forward and backward with binary Concrete spikes;
                    biased, exact at temperature 0                         (4)

All keep the ordinary gradient of f at fixed spikes: the decoder's, the
prior's, and that of the closed-form information by the logits.

(2) is known for independent variables, u' = u (Yin and Zhou 2019; Dong et al.
2020). Here a spike moves the later logits. E[f (1 - 2 v_t) | past] is still
the derivative by u_t, so both trains give an unbiased estimate each, along
their own logits, and the mean of w_t given both trains, v_t uniform between
lo and hi, is 1 - lo - hi. Sources: arXiv:2106.01177, section 3, for (1).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from timedecode import bottleneck, estimation, neurons


def _pathwise(sampler_of, num_samples, init):
  """Differentiates through samples; `sampler_of(state)` makes them."""

  def surrogate(model, params, state, inputs, targets, keys):
    def one(inputs, target, key):
      uniforms = estimation.draw_uniforms(model, inputs, key, num_samples)
      losses, samples = estimation.draw(
        model, params, inputs, target, uniforms, sampler_of(state)
      )
      values = jnp.mean(losses.total), estimation.first(losses)
      return values, estimation.first(samples)

    (total, losses), sample = estimation.over_batch(one, inputs, targets, keys)
    after = jax.tree.map(lambda leaf: leaf + 1, state)
    return jnp.mean(total), (after, losses, sample)

  return estimation.differentiated(surrogate, init)


def straight_through(num_samples: int = 1) -> estimation.Estimator:
  """Equation (3). Biased, low variance.

  Args:
    num_samples: trains per example, averaged.
  """
  estimation.check_samples("straight_through", num_samples, 1)
  sampler = neurons.bernoulli_straight_through
  return _pathwise(lambda state: sampler, num_samples, lambda params: ())


def relaxed(
  num_samples: int = 1,
  temperature: float | Callable[[jax.Array], jax.Array] = 0.5,
) -> estimation.Estimator:
  """Equation (4): the model is trained on spikes between 0 and 1.

  Args:
    num_samples: trains per example, averaged.
    temperature: > 0, or a schedule ``step -> temperature``.
  """
  estimation.check_samples("relaxed", num_samples, 1)
  if not callable(temperature) and not temperature > 0:
    raise ValueError(f"temperature: expected > 0, got {temperature}")
  schedule = temperature if callable(temperature) else lambda step: temperature
  return _pathwise(
    lambda step: neurons.concrete(schedule(step)),
    num_samples,
    lambda params: jnp.zeros((), jnp.int32),
  )


BASELINES = ("none", "moving_average", "samples", "batch")
_KEEP = 0.99  # Of the moving average, per step.


def _leave_one_out(values, axis):
  others = jnp.sum(values, axis, keepdims=True) - values
  return others / (values.shape[axis] - 1)


def _baseline(name, average, totals):
  """The baseline of every loss; totals [B, K]."""
  if name == "samples":
    return _leave_one_out(totals, 1)
  if name == "batch":
    return _leave_one_out(totals, 0)
  if name == "moving_average":
    value, weight = average
    return jnp.broadcast_to(value / jnp.maximum(weight, 1e-9), totals.shape)
  return jnp.zeros_like(totals)


def _nothing(params):
  del params
  return ()


def _no_average(params):
  del params
  return jnp.zeros(()), jnp.zeros(())


def _moved(average, value):
  """A moving average and its weight, which is below 1 at the start."""
  return tuple(
    _KEEP * old + (1 - _KEEP) * new
    for old, new in zip(average, (value, 1.0), strict=True)
  )


def score_function(
  num_samples: int = 8, baseline: str = "samples"
) -> estimation.Estimator:
  """Equation (1), REINFORCE. Unbiased.

  Args:
    num_samples: trains of the same example, averaged.
    baseline: "samples", the mean loss of the example's other trains, which
      takes 2 or more; "batch", the mean loss of the other examples;
      "moving_average", of the batches before; or "none".
  """
  if baseline not in BASELINES:
    raise ValueError(
      f"baseline: expected one of {', '.join(BASELINES)}, got {baseline!r}"
    )
  least = 2 if baseline == "samples" else 1
  estimation.check_samples("score_function", num_samples, least)

  def surrogate(model, params, state, inputs, targets, keys):
    if baseline == "batch" and len(keys) < 2:
      raise ValueError(
        "batch_size: the baseline 'batch' expects at least 2 examples, got"
        f" {len(keys)}; 'samples' or 'moving_average' do with 1"
      )

    def one(inputs, target, key):
      uniforms = estimation.draw_uniforms(model, inputs, key, num_samples)
      losses, samples = estimation.draw(
        model, params, inputs, target, uniforms, neurons.bernoulli
      )
      log_p = jax.vmap(bottleneck.log_probability)(
        samples.spikes, samples.logits
      )
      values = losses.total, log_p, estimation.first(losses)
      return values, estimation.first(samples)

    (total, log_p, losses), sample = estimation.over_batch(
      one, inputs, targets, keys
    )
    fixed = jax.lax.stop_gradient(total)
    signal = fixed - _baseline(baseline, state, fixed)
    after = _moved(state, jnp.mean(fixed)) if state else ()
    return jnp.mean(total + signal * log_p), (after, losses, sample)

  average = baseline == "moving_average"
  return estimation.differentiated(
    surrogate, _no_average if average else _nothing
  )


def _antithetic(name, num_samples, weigh):
  """Equation (2); `weigh(uniforms, pair of spikes, pair of logits)`."""
  estimation.check_samples(name, num_samples, 2, even=True)
  pairs = num_samples // 2

  def one_example(model, params, average, inputs, target, key):
    uniforms = estimation.draw_uniforms(model, inputs, key, pairs)
    both = jnp.concatenate([uniforms, 1.0 - uniforms])
    losses, samples = estimation.draw(
      model, params, inputs, target, both, neurons.bernoulli
    )
    split = lambda a: a.reshape(2, pairs, *a.shape[1:])
    total, spikes = split(losses.total), split(samples.spikes)
    logits = split(samples.logits)
    weight = jax.lax.stop_gradient(weigh(uniforms, spikes, logits))
    signal = jax.lax.stop_gradient(total)
    of_pairs = jnp.mean(signal, axis=0, keepdims=True)
    if pairs > 1:
      signal -= _leave_one_out(of_pairs, 1)
    else:
      signal -= _baseline("moving_average", average, of_pairs)
    along = jnp.sum(weight[None] * logits, axis=(2, 3))
    surrogate = jnp.mean(total) + jnp.mean(
      0.5 * (signal[0] * along[0] - signal[1] * along[1])
    )
    values = surrogate, jnp.mean(total), estimation.first(losses)
    return values, estimation.first(samples)

  def surrogate(model, params, state, inputs, targets, keys):
    (value, total, losses), sample = estimation.over_batch(
      lambda *example: one_example(model, params, state, *example),
      inputs, targets, keys,
    )  # fmt: skip
    after = _moved(state, jax.lax.stop_gradient(jnp.mean(total)))
    return jnp.mean(value), (after, losses, sample)

  return estimation.differentiated(surrogate, _no_average)


def arm(num_samples: int = 2) -> estimation.Estimator:
  """Antithetic pairs, equation (2) with w_t = 1 - 2 v_t. Unbiased.

  Args:
    num_samples: evaluations per example, two per pair. The baseline of both
      trains, which matters where their logits have parted, is the mean loss
      of the other pairs, or of a single pair the moving average over batches.
  """
  return _antithetic("arm", num_samples, lambda v, spikes, logits: 1 - 2 * v)


def disarm_weight(
  uniforms: jax.Array, spikes: jax.Array, logits: jax.Array
) -> jax.Array:
  """E[1 - 2 v | y, y'], v uniform where both spikes come out as they did.

  Args:
    uniforms: unused; the weight is their conditional mean.
    spikes: y and y', [2, ...].
    logits: u and u', [2, ...].
  """
  del uniforms
  probability = jax.nn.sigmoid(logits[0])  # y = 1 where v < this.
  threshold = jax.nn.sigmoid(-logits[1])  # y' = 1 where v > this.
  fires, mirrored = spikes > 0
  low = jnp.maximum(
    jnp.where(fires, 0.0, probability), jnp.where(mirrored, threshold, 0.0)
  )
  high = jnp.minimum(
    jnp.where(fires, probability, 1.0), jnp.where(mirrored, 1.0, threshold)
  )
  return 1.0 - low - high


def disarm(num_samples: int = 2) -> estimation.Estimator:
  """Antithetic pairs, equation (2) with `disarm_weight`. Unbiased.

  Args:
    num_samples: as in `arm`.
  """
  return _antithetic("disarm", num_samples, disarm_weight)


ESTIMATORS: dict[str, Callable[..., estimation.Estimator]] = {
  "straight_through": straight_through,
  "score_function": score_function,
  "relaxed": relaxed,
  "arm": arm,
  "disarm": disarm,
}
