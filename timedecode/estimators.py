"""Gradients of expectations over the readout's random spikes.

Each function here makes an `estimation.Estimator`, which turns a batch into an
estimate of the gradient of the expected loss by all parameters. With u_t the
readout's logits along a sampled train y, f(y) its loss and b a baseline that
does not depend on y_t given the past:

  score_function    sum_t grad log P(y_t | past) (f - b); unbiased         (1)
  arm, disarm       from the difference of two trains' losses, below;
                    unbiased                                             (2)
  straight_through  backward as if y_t were sigma(u_t); biased             (3)
  relaxed           forward and backward with binary Concrete spikes;
                    biased, exact at temperature 0                         (4)

All keep the ordinary gradient of f at fixed spikes: the decoder's, the
prior's, and that of the closed-form information by the logits.

(2) draws y from uniforms v and y' from v'. At most places v' = 1 - v; at a
random share _APART of them v' is drawn anew. z_t is 1 - 2 v_t (arm) or its
mean given the spikes (disarm: w_t of both where v' = 1 - v, else y_t - p_t);
its covariance with y_t is p_t (1 - p_t). Then

  1/4 sum_t (f - f') [c_t grad(u_t + u'_t) + e_t grad(u_t - u'_t)]
    v' = 1 - v:  c = z,       e = 0
    v' anew:     c = z - z',  e = (z + z') / _APART

has the mean of both trains' exact gradients. For independent variables u' = u
and e has no effect (Yin and Zhou 2019; Dong et al. 2020). Here a spike moves
the later logits: where the trains part, mirrored uniforms cannot tell the
effect on one loss from that on the other, and uniforms drawn anew can.
Sources: arXiv:2106.01177, section 3, for (1); (2) for dependent spikes is ours.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from timedecode import bottleneck, collectives, estimation, glm


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
  sampler = glm.bernoulli_straight_through
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
    lambda step: glm.concrete(schedule(step)),
    num_samples,
    lambda params: jnp.zeros((), jnp.int32),
  )


BASELINES = ("none", "moving_average", "samples", "batch")
_KEEP = 0.99  # Of the moving average, per step.
_APART = 0.25  # Share of the places of a pair with independent uniforms.


def _baseline(name, average, totals, axis_name):
  """The baseline of every loss; totals [B, K]."""
  if name == "samples":
    return estimation.leave_one_out(totals, 1)
  if name == "batch":
    return estimation.leave_one_out(totals, 0, axis_name)
  if name == "moving_average":
    value, weight = average
    return jnp.broadcast_to(value / jnp.maximum(weight, 1e-9), totals.shape)
  return jnp.zeros_like(totals)


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
  num_samples: int = 8,
  baseline: str = "samples",
  axis_name: str | None = None,
) -> estimation.Estimator:
  """Equation (1), REINFORCE. Unbiased.

  Args:
    num_samples: trains of the same example, averaged.
    baseline: "samples", the mean loss of the example's other trains, which
      takes 2 or more; "batch", the mean loss of the other examples;
      "moving_average", of the batches before; or "none".
    axis_name: of the devices that share the batch, see `parallel`.
  """
  if baseline not in BASELINES:
    raise ValueError(
      f"baseline: expected one of {', '.join(BASELINES)}, got {baseline!r}"
    )
  least = 2 if baseline == "samples" else 1
  estimation.check_samples("score_function", num_samples, least)

  def surrogate(model, params, state, inputs, targets, keys):
    examples = collectives.total(len(keys), axis_name)
    if baseline == "batch" and examples < 2:
      raise ValueError(
        "batch_size: the baseline 'batch' expects at least 2 examples, got"
        f" {examples}; 'samples' or 'moving_average' do with 1"
      )

    def one(inputs, target, key):
      uniforms = estimation.draw_uniforms(model, inputs, key, num_samples)
      losses, samples = estimation.draw(
        model, params, inputs, target, uniforms, glm.bernoulli
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
    signal = fixed - _baseline(baseline, state, fixed, axis_name)
    value = collectives.mean(jnp.mean(fixed), axis_name)
    after = _moved(state, value) if state else ()
    return jnp.mean(total + signal * log_p), (after, losses, sample)

  average = baseline == "moving_average"
  if not average:
    return estimation.differentiated(surrogate, divisible=baseline != "batch")
  return estimation.differentiated(surrogate, _no_average)


def _antithetic(name, num_samples, scores):
  """Equation (2); `scores(uniforms, spikes, logits)`, each [2, K / 2, T, N_y],
  gives z where v' = 1 - v, and z and z' where v' is drawn anew."""
  estimation.check_samples(name, num_samples, 2, even=True)
  pairs = num_samples // 2

  def one_example(model, params, inputs, target, key):
    key, key_apart, key_other = jax.random.split(key, 3)
    uniforms = estimation.draw_uniforms(model, inputs, key, pairs)
    fresh = estimation.draw_uniforms(model, inputs, key_other, pairs)
    apart = jax.random.bernoulli(key_apart, _APART, uniforms.shape)
    both = jnp.stack([uniforms, jnp.where(apart, fresh, 1.0 - uniforms)])
    losses, samples = estimation.draw(
      model, params, inputs, target, both.reshape(-1, *both.shape[2:]),
      glm.bernoulli,
    )  # fmt: skip
    split = lambda a: a.reshape(2, pairs, *a.shape[1:])
    total, logits = split(losses.total), split(samples.logits)
    mirrored, own, other = scores(both, split(samples.spikes), logits)
    along_mean = jnp.where(apart, own - other, mirrored)
    along_half = jnp.where(apart, (own + other) / _APART, 0.0)
    fixed = jax.lax.stop_gradient
    along = fixed(along_mean) * (logits[0] + logits[1])
    along += fixed(along_half) * (logits[0] - logits[1])
    signal = fixed(total[0] - total[1])
    surrogate = jnp.mean(total) + jnp.mean(
      0.25 * signal * jnp.sum(along, axis=(1, 2))
    )
    values = surrogate, estimation.first(losses)
    return values, estimation.first(samples)

  def surrogate(model, params, state, inputs, targets, keys):
    del state
    (value, losses), sample = estimation.over_batch(
      lambda *example: one_example(model, params, *example),
      inputs, targets, keys,
    )  # fmt: skip
    return jnp.mean(value), ((), losses, sample)

  return estimation.differentiated(surrogate)


def arm(num_samples: int = 2) -> estimation.Estimator:
  """Antithetic pairs, equation (2) with z_t = 1 - 2 v_t. Unbiased.

  Args:
    num_samples: evaluations per example, two per pair.
  """

  def scores(uniforms, spikes, logits):
    del spikes, logits
    first, second = 1 - 2 * uniforms
    return first, first, second

  return _antithetic("arm", num_samples, scores)


def disarm_weight(spikes: jax.Array, logits: jax.Array) -> jax.Array:
  """E[1 - 2 v | y, y'], v uniform where both spikes come out as they did.

  Args:
    spikes: y and y', [2, ...].
    logits: u and u', [2, ...].
  """
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
  """Antithetic pairs, equation (2) with z_t given the spikes. Unbiased.

  Args:
    num_samples: as in `arm`.
  """

  def scores(uniforms, spikes, logits):
    del uniforms
    first, second = spikes - jax.nn.sigmoid(logits)
    return disarm_weight(spikes, logits), first, second

  return _antithetic("disarm", num_samples, scores)


ESTIMATORS: dict[str, Callable[..., estimation.Estimator]] = {
  "straight_through": straight_through,
  "score_function": score_function,
  "relaxed": relaxed,
  "arm": arm,
  "disarm": disarm,
}
