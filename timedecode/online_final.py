"""Gradients in constant hidden memory for one loss at the end of the train.

The decoder sees the whole train, so its error at step t is known only when
the train is over. Two passes in chunks, as in `online`:

  1  forward only; keeps the readout's spikes y and logits u
     at the end: losses, and their gradients G_y, G_u by y and u
  2  forward again, the same random numbers; each chunk adds the gradient of
     sum_t G_u u_t + sum_t G_y y_t        straight_through               (1)
     sum_t G_u u_t + (f - b) log P(y_t)   score_function                 (2)

Four numbers per readout neuron, step and train are kept (and what decoder and
prior make of y), nothing of the synapses' traces or of hidden layers.
f is the loss of the train and b the mean of the example's other trains. The
result is that of storing the whole train and differentiating at the end.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from timedecode import bottleneck, encoder, estimation, glm, online


def _final_losses(model, params, spikes, logits, target):
  """Of one train, [T, N_y]."""
  outputs = model.decode(params.decoder, model.view(spikes))
  prior_logits = model.prior.logits(params.prior, spikes)
  return model.losses(outputs, target, spikes, logits, prior_logits)


def _differentiate_end(model, params, spikes, logits, targets):
  """(gradients by (decoder, prior), G_y, G_u, losses [B, K])."""

  def loss(learned, spikes, logits):
    everything = params._replace(decoder=learned[0], prior=learned[1])
    of_train = lambda y, u, target: _final_losses(
      model, everything, y, u, target
    )
    losses = jax.vmap(jax.vmap(of_train, (0, 0, None)))(spikes, logits, targets)
    return jnp.mean(losses.total), losses

  gradients, losses = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(
    (params.decoder, params.prior), spikes, logits
  )
  return *gradients, losses


class _Chunks(NamedTuple):
  """How a train is cut: `online.walk` over `chunk` new steps at a time."""

  encoder: encoder.Encoder
  sampler: Callable[..., jax.Array]
  num_samples: int
  chunk: int
  overlap: int

  def run(self, weights, states, inputs, keys, span):
    """(states, spikes, logits [B, K, new, N_y]) of a chunk."""
    x = jax.lax.dynamic_slice_in_dim(
      inputs, span.start, span.first + span.second
    )
    one = lambda state, x, key: online.run_span(
      self.encoder, self.sampler, self.num_samples, weights, state, x, key, span
    )
    states, *trains = jax.vmap(one, in_axes=(0, 1, 0))(states, x, keys)
    return states, *(train[:, :, -span.new :] for train in trains)

  def walk(self, inputs, keys, visit, carry):
    """``(states, carry) = visit(states, carry, span)`` over all chunks."""
    states = online.initial_states(self.encoder, len(keys), self.num_samples)
    return online.walk(
      len(inputs), self.chunk, self.overlap,
      lambda both, span: visit(*both, span), (states, carry),
    )[1]  # fmt: skip


def _first_new(span):
  return span.start + span.first + span.second - span.new


def _forward(chunks, weights, inputs, keys):
  """Spikes and logits of the whole train, each [B, K, T, N_y]."""

  def visit(states, kept, span):
    states, *new = chunks.run(weights, states, inputs, keys, span)
    put = lambda whole, part: jax.lax.dynamic_update_slice_in_dim(
      whole, part, _first_new(span), axis=2
    )
    return states, tuple(map(put, kept, new))

  sizes = len(keys), chunks.num_samples, len(inputs), chunks.encoder.num_readout
  kept = jnp.zeros(sizes), jnp.zeros(sizes)
  return chunks.walk(inputs, keys, visit, kept)


def _backward(chunks, weights, inputs, keys, by_spikes, by_logits, signal):
  """Equation (2) where there is a signal [B, K], else (1)."""

  def visit(states, sums, span):
    cut_out = lambda whole: jax.lax.dynamic_slice_in_dim(
      whole, _first_new(span), span.new, axis=2
    )

    def surrogate(weights):
      after, spikes, logits = chunks.run(weights, states, inputs, keys, span)
      value = jnp.sum(cut_out(by_logits) * logits)
      if signal is None:
        value += jnp.sum(cut_out(by_spikes) * spikes)
      else:
        log_p = jax.vmap(jax.vmap(bottleneck.log_probability))(spikes, logits)
        value += jnp.sum(signal * log_p)
      return value, jax.lax.stop_gradient(after)

    new, states = jax.grad(surrogate, has_aux=True)(weights)
    return states, jax.tree.map(jnp.add, sums, new)

  zeros = jax.tree.map(jnp.zeros_like, weights)
  return chunks.walk(inputs, keys, visit, zeros)


def _make_gradient(model, chunk, estimator, num_samples):
  """``(params, inputs, targets, keys) -> (gradients, losses [B, K], (spikes,
  logits) [B, K, T, N_y])``; ValueError for choices that mean nothing."""
  snn = model.encoder
  online.check_rule(snn, estimator, num_samples)
  overlap = online.overlap_of(snn, 0, chunk)
  score = estimator == "score_function"
  sampler = glm.bernoulli if score else glm.bernoulli_straight_through
  chunks = _Chunks(snn, sampler, num_samples, chunk, overlap)

  def gradient(params, inputs, targets, keys):
    trains = _forward(chunks, params.encoder, inputs, keys)
    learned, by_spikes, by_logits, losses = _differentiate_end(
      model, params, *trains, targets
    )
    signal = None
    if score:
      others = estimation.leave_one_out(losses.total, 1)
      signal = (losses.total - others) / losses.total.size
    sums = _backward(
      chunks, params.encoder, inputs, keys, by_spikes, by_logits, signal
    )
    gradients = params._replace(
      encoder=sums, decoder=learned[0], prior=learned[1]
    )
    return gradients, losses, trains

  return gradient


def make_final_gradient(
  model,
  chunk: int = 64,
  estimator: str = "straight_through",
  num_samples: int = 1,
) -> Callable[..., online.Online]:
  """Builds ``gradient(params, inputs [T, B, ...], targets [B, ...], keys [B])
  -> online.Online``.

  Args:
    model: a `training.Model`, whose view and decoder see the whole train. The
      encoder's credit must be local.
    chunk: new steps at a time, more than the steps that are repeated.
    estimator: "straight_through" or "score_function".
    num_samples: trains per example, at least 2 for "score_function".

  Raises:
    ValueError: choices that mean nothing together.
  """
  gradient = _make_gradient(model, chunk, estimator, num_samples)

  def summed(params, inputs, targets, keys):
    gradients, losses, _ = gradient(params, inputs, targets, keys)
    return online.Online(gradients, jax.tree.map(jnp.mean, losses))

  return summed


def make_estimator(
  model,
  chunk: int = 64,
  estimator: str = "straight_through",
  num_samples: int = 1,
) -> estimation.Estimator:
  """The same as an `estimation.Estimator`, for `training.make_train_step`.

  Its samples hold no hidden spikes. Arguments and errors are those of
  `make_final_gradient`.
  """
  gradient = _make_gradient(model, chunk, estimator, num_samples)

  def estimate(_, params, state, inputs, targets, keys):
    gradients, losses, trains = gradient(params, inputs, targets, keys)
    losses = jax.tree.map(lambda leaf: leaf[:, 0], losses)
    spikes, logits = (jnp.swapaxes(train[:, 0], 0, 1) for train in trains)
    sample = encoder.Sample(spikes, logits, (), (), ())
    return estimation.Estimate(gradients, state, losses, sample)

  return estimation.Estimator(lambda params: (), estimate)
