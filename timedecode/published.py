"""The paper's learning rule, and the published code's, repair by repair.

With g the gradient of sum_t log P(y_t | past) of one example by one parameter
of the encoder and l its learning signal (distortion + beta x sampled ratio):

  n <- keep n + (1 - keep) g^2 l,   d <- keep d + (1 - keep) g^2          (1)
  step: (l - b) g,   b = n / (d + 1e-7)                                   (2)

The decoder and the prior follow the ordinary gradient of l. With random
feedback for the hidden layers, SGD for the encoder, Adam for the decoder and
one example at a time this is the rule of arXiv:2106.01177, section 3. The
code that was published with it does something else; each difference is
mended by naming it among `repairs`:

  averaging  keep is 0.99 and b is of the examples before; as shipped keep is
             0.01, so that b is nearly l itself: l - b = l / (1 + g^2 / 1e-7)
  scale      one scale for all; as shipped the readout's g is divided by N_y T
             while the hidden layers' is not
  reset      every example starts from rest; as shipped the state of the one
             before is driven by 11 silent steps
  feedback   `credit.unit_bound`; as shipped `credit.published_bound`
  signal     every example has its own l; as shipped (in the later branch that
             has batches) the batch's mean l multiplies its mean g
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from timedecode import bottleneck, collectives, credit, estimation, glm

REPAIRS = ("averaging", "scale", "reset", "feedback", "signal")
_EPSILON = 1e-7
_PAUSE = 11  # Silent steps between examples.


class RuleState(NamedTuple):
  """What the rule remembers.

  Attributes:
    numerator, denominator: n and d of equation (1), like the encoder's
      parameters.
    encoder: `encoder.EncoderState` of every example's place in the batch.
  """

  numerator: Any
  denominator: Any
  encoder: Any


def check_repairs(repairs) -> None:
  """Raises ValueError for a repair that does not exist."""
  unknown = sorted(set(repairs) - set(REPAIRS))
  if unknown:
    raise ValueError(
      f"repairs: expected some of {', '.join(REPAIRS)}, got {unknown}"
    )


def feedback(repairs=REPAIRS) -> credit.Credit:
  """Random feedback with the bound that the repairs ask for."""
  repaired = "feedback" in repairs
  return credit.feedback(
    credit.unit_bound if repaired else credit.published_bound
  )


def _squares(gradients, weights, axis_name):
  """Mean over examples of weight g^2; leaves [B, ...], weights [B]."""
  means = jax.tree.map(
    lambda g: jnp.tensordot(weights, g**2, axes=1) / len(weights), gradients
  )
  return collectives.mean(means, axis_name)


def _one_example(model, repairs, params, state, inputs, target, key):
  """(g, losses) and the sample, from the state the example before left."""
  encoder = model.encoder
  key_pause, key = jax.random.split(key)
  if "reset" in repairs:
    state = encoder.initial_state()
  else:
    silence = jnp.zeros((_PAUSE, *inputs.shape[1:]))
    state = encoder.sample(params.encoder, silence, key_pause, state).state
  uniforms = jax.random.uniform(key, (len(inputs), encoder.num_readout))

  def log_p(weights):
    sample = encoder.run(weights, inputs, uniforms, state, glm.bernoulli)
    losses = model.objective(params, sample, target)
    value = bottleneck.log_probability(sample.spikes, sample.logits)
    return value, (losses, sample)

  gradient, (losses, sample) = jax.grad(log_p, has_aux=True)(params.encoder)
  if "scale" not in repairs:
    scale = 1.0 / sample.spikes.size
    shrunk = jax.tree.map(lambda g: scale * g, gradient.readout)
    gradient = gradient._replace(readout=shrunk)
  return (gradient, losses), sample


def _decoder_gradient(model, params, sample, targets):
  """Of the mean loss of the sampled trains, by decoder and prior."""

  def loss(learned):
    everything = params._replace(decoder=learned[0], prior=learned[1])
    losses = jax.vmap(
      lambda sample, target: model.objective(everything, sample, target),
      in_axes=(type(sample)(1, 1, 1, 1, 0), 0),
    )(sample, targets)
    return jnp.mean(losses.total)

  return jax.grad(loss)((params.decoder, params.prior))


def _averages(repairs, state, gradients, signal, axis_name):
  """Equation (1): n and d with this batch in them."""
  keep = 0.99 if "averaging" in repairs else 0.01
  moved = lambda old, new: keep * old + (1 - keep) * new
  ones = jnp.ones_like(signal)
  return (
    jax.tree.map(
      moved, state.numerator, _squares(gradients, signal, axis_name)
    ),
    jax.tree.map(
      moved, state.denominator, _squares(gradients, ones, axis_name)
    ),
  )


def _step(repairs, gradients, signal, numerator, denominator, axis_name):
  """Equation (2): the mean over examples of (l - b) g."""
  if "signal" not in repairs:
    value = collectives.mean(jnp.mean(signal), axis_name)
    signal = jnp.full_like(signal, value)

  def one(g, n, d):
    baseline = n / (d + _EPSILON)
    weighted = jnp.tensordot(signal, g, axes=1) / len(signal)
    return weighted - baseline * jnp.mean(g, axis=0)

  return jax.tree.map(one, gradients, numerator, denominator)


def published_rule(
  encoder,
  repairs=REPAIRS,
  batch_size: int = 1,
  axis_name: str | None = None,
) -> estimation.Estimator:
  """Equations (1) and (2); with all repairs, the paper's rule.

  The credit is the encoder's; see `feedback`. The model's losses should take
  the information as a sampled ratio: its gradient at fixed spikes is not
  used.

  Args:
    encoder: an `encoder.Encoder`, the model's.
    repairs: some of `REPAIRS`.
    batch_size: B, whose states are carried on without the repair `reset`.
    axis_name: of the devices that share the batch, see `parallel`; needs the
      repair `reset`, as a device has no state of its own.

  Raises:
    ValueError: an unknown repair, or `axis_name` without `reset`.
  """
  check_repairs(repairs)
  if axis_name and "reset" not in repairs:
    raise ValueError(
      "repairs: expected 'reset' with pmap, where no state is an example's;"
      " a mesh does without"
    )

  def init(params):
    zeros = jax.tree.map(jnp.zeros_like, params.encoder)
    if "reset" in repairs:
      return RuleState(zeros, zeros, ())
    many = lambda leaf: jnp.broadcast_to(leaf, (batch_size, *leaf.shape))
    return RuleState(zeros, zeros, jax.tree.map(many, encoder.initial_state()))

  def estimate(model, params, state, inputs, targets, keys):
    (gradients, losses), sample = estimation.over_batch(
      lambda x, place, target, key: _one_example(
        model, repairs, params, place, x, target, key
      ),
      inputs, state.encoder, targets, keys,
    )  # fmt: skip
    averages = _averages(repairs, state, gradients, losses.total, axis_name)
    used = averages
    if "averaging" in repairs:  # Of the past only: no bias.
      used = (state.numerator, state.denominator)
    step = _step(repairs, gradients, losses.total, *used, axis_name)
    decoder, prior = _decoder_gradient(model, params, sample, targets)
    left = () if "reset" in repairs else sample.state
    return estimation.Estimate(
      params._replace(encoder=step, decoder=decoder, prior=prior),
      RuleState(*averages, left),
      losses,
      sample,
    )

  # Else an example's part in the step depends on the others'.
  divisible = {"averaging", "reset", "signal"} <= set(repairs)
  return estimation.Estimator(init, estimate, divisible)
