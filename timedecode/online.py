"""Gradients in constant memory: accumulated on the way through the train.

Rules of credit without a path through time (`Credit.local`) reach back as far
as the readout's kernels, L - 1 steps, and the decoder's window. So the train
is cut into chunks; the gradient of a chunk's losses needs the state before it
and a few steps again, and nothing else of the past:

  ... | repeated: reach steps | new: chunk steps | ...
        state, a constant       losses, gradient -> added up

The result is that of storing the whole train and differentiating at the end.
Memory doesn't grow with the train's length: a loss arrives at every step, from
a decoder that sees a window of the last steps, and is forgotten. With
`score_function` a first pass, forward only, finds the sum of all losses; the
second weighs every spike by the losses from its step on, less the same sum of
the example's other trains (unbiased).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from timedecode import bottleneck, encoder, estimation, glm, readout

ESTIMATORS = ("straight_through", "score_function")


class Online(NamedTuple):
  """What a train gave.

  Attributes:
    gradients: of the loss summed over steps, mean over examples and samples.
    losses: `bottleneck.Losses`, the same sums and means.
  """

  gradients: Any
  losses: bottleneck.Losses


def check_rule(encoder, estimator, num_samples) -> None:
  """ValueError for choices that mean nothing in constant memory."""
  credit = encoder.credit
  if not credit.local:
    raise ValueError(
      f"credit: online accumulation needs a rule without a path through time,"
      f" got {credit.name!r}; the nearest is 'local' (or keep"
      f" {credit.name!r} with remat_every)"
    )
  if estimator not in ESTIMATORS:
    raise ValueError(
      f"estimator: expected one of {', '.join(ESTIMATORS)} online, got"
      f" {estimator!r}; 'straight_through' is the nearest"
    )
  if any(layer.event_driven for layer in encoder.layers):
    raise ValueError(
      "layers: expected none that is event-driven, as its state between chunks"
      " depends on the weights"
    )
  least = 2 if estimator == "score_function" else 1
  if num_samples < least:
    raise ValueError(
      f"num_samples: {estimator} expects at least {least}, got {num_samples}"
    )


def overlap_of(encoder, seen, chunk) -> int:
  """Steps that are repeated where losses see `seen` steps of the past."""
  overlap = max(encoder.reach - 1 + seen, 1)
  if chunk <= overlap:
    raise ValueError(
      f"chunk: expected more than the {overlap} steps that are repeated, got"
      f" {chunk}"
    )
  return overlap


def _uniforms(key, start, num_steps, num_samples, size):
  """[K, steps, N_y]; a step's own, wherever it is computed."""

  def one(sample, step):
    step_key = jax.random.fold_in(jax.random.fold_in(key, sample), step)
    return jax.random.uniform(step_key, (size,))

  steps = start + jnp.arange(num_steps)
  return jax.vmap(lambda k: jax.vmap(lambda t: one(k, t))(steps))(
    jnp.arange(num_samples)
  )


class Span(NamedTuple):
  """Steps of a chunk: `first` until the next chunk's state, then `second`."""

  start: Any
  first: int
  second: int
  new: int


_AXES = encoder.EncoderState(None, 0)  # Hidden state: one for all samples.


def run_span(snn, sampler, num_samples, weights, state, x, key, span):
  """One example: (state for the next chunk, spikes, logits [K, steps, N_y])."""
  run, total = snn.run, span.first + span.second
  u = _uniforms(key, span.start, total, num_samples, snn.num_readout)

  def one(state, u):
    a = run(weights, x[: span.first], u[: span.first], state, sampler)
    if not span.second:
      return a.state, a.spikes, a.logits
    b = run(weights, x[span.first :], u[span.first :], a.state, sampler)
    join = lambda *parts: jnp.concatenate(parts)
    return a.state, join(a.spikes, b.spikes), join(a.logits, b.logits)

  return jax.vmap(one, in_axes=(_AXES, 0), out_axes=(_AXES, 0, 0))(state, u)


def initial_states(snn, batch_size, num_samples) -> encoder.EncoderState:
  """At rest: hidden states [B, ...], one for all samples, readout [B, K]."""
  state = snn.initial_state()
  many = lambda leaf, *axes: jnp.broadcast_to(leaf, (*axes, *leaf.shape))
  hidden = jax.tree.map(lambda a: many(a, batch_size), state.hidden)
  last = jax.tree.map(lambda a: many(a, batch_size, num_samples), state.readout)
  return encoder.EncoderState(hidden, last)


def _step_losses(model, window, params, spikes, logits, targets):
  """Losses of the last len(targets) steps, each [steps]."""
  new = len(targets)
  windows = readout.sliding_window(spikes, window)[-new:]
  prior_logits = model.prior.logits(params.prior, spikes)[-new:]

  def one(view, target, *step):
    outputs = model.decode(params.decoder, view)
    return model.losses(outputs, target, *[row[None] for row in step])

  return jax.vmap(one)(
    windows, targets, spikes[-new:], logits[-new:], prior_logits
  )


def walk(num_steps, chunk, overlap, visit, carry):
  """``carry = visit(carry, span)`` over all chunks, a scan inside."""
  if num_steps <= chunk:
    return visit(carry, Span(0, num_steps, 0, num_steps))
  carry = visit(carry, Span(0, chunk - overlap, overlap, chunk))
  count, rest = divmod(num_steps, chunk)

  def body(carry, index):
    start = index * chunk - overlap
    return visit(carry, Span(start, chunk, overlap, chunk)), None

  if count > 1:
    carry, _ = jax.lax.scan(body, carry, jnp.arange(1, count))
  if rest:
    start = count * chunk - overlap
    carry = visit(carry, Span(start, rest, overlap, rest))
  return carry


def make_online_gradient(
  model,
  window: int,
  chunk: int = 64,
  estimator: str = "straight_through",
  num_samples: int = 1,
) -> Callable[..., Online]:
  """Builds ``gradient(params, inputs [T, B, ...], targets [T, B, ...],
  keys [B]) -> Online``.

  Args:
    model: a `training.Model`; its decoder sees windows [window, N_y], its
      `view` is not used. The encoder's credit must be local.
    window: tau_d, steps that the decoder sees.
    chunk: new steps at a time, more than the steps that are repeated; memory
      grows with it, repeated work shrinks with it.
    estimator: "straight_through" or "score_function".
    num_samples: trains per example, at least 2 for "score_function".

  Raises:
    ValueError: choices that mean nothing together.
  """
  if window < 1:
    raise ValueError(f"window: expected at least 1 step, got {window}")
  check_rule(model.encoder, estimator, num_samples)
  seen = max(window - 1, model.prior.reach)
  overlap = overlap_of(model.encoder, seen, chunk)
  score = estimator == "score_function"
  sampler = glm.bernoulli if score else glm.bernoulli_straight_through

  def span_losses(params, states, inputs, targets, keys, span):
    """(states, log P, Losses), the latter [B, K, new]."""

    def one(state, x, target, key):
      state, spikes, logits = run_span(
        model.encoder, sampler, num_samples, params.encoder, state, x, key, span
      )
      losses = jax.vmap(
        lambda y, u: _step_losses(model, window, params, y, u, target)
      )(spikes, logits)
      log_p = spikes * logits - jax.nn.softplus(logits)
      return state, jnp.sum(log_p, -1)[:, -span.new :], losses

    total = span.first + span.second
    cut_out = jax.lax.dynamic_slice_in_dim
    x = cut_out(inputs, span.start, total)
    target = cut_out(targets, span.start + total - span.new, span.new)
    return jax.vmap(one, in_axes=(0, 1, 1, 0))(states, x, target, keys)

  def totals(params, inputs, targets, keys):
    """Sum of the losses of every train, [B, K], forward only."""

    def visit(carry, span):
      states, sums = carry
      states, _, losses = span_losses(
        params, states, inputs, targets, keys, span
      )
      return states, sums + jnp.sum(losses.total, -1)

    zeros = jnp.zeros((len(keys), num_samples))
    carry = (initial_states(model.encoder, len(keys), num_samples), zeros)
    return walk(len(inputs), chunk, overlap, visit, carry)[1]

  def gradient(params, inputs, targets, keys):
    batch = (inputs, targets, keys)
    left = jnp.zeros((len(keys), num_samples))
    if score:  # Losses from the next step on.
      left = jax.lax.stop_gradient(totals(params, *batch))

    def visit(carry, span):
      states, left, sums, gradients = carry

      def surrogate(params):
        after, log_p, losses = span_losses(params, states, *batch, span)
        value, fixed = losses.total, jax.lax.stop_gradient(losses.total)
        if score:
          passed = jnp.cumsum(fixed, -1) - fixed
          to_go = left[..., None] - passed
          value += (to_go - estimation.leave_one_out(to_go, 1)) * log_p
        rest = left - jnp.sum(fixed, -1)
        per_train = jax.tree.map(lambda a: jnp.sum(a, -1), losses)
        return jnp.mean(jnp.sum(value, -1)), (
          jax.lax.stop_gradient(after), rest, jax.tree.map(jnp.mean, per_train)
        )  # fmt: skip

      new, (states, left, losses) = jax.grad(surrogate, has_aux=True)(params)
      add = lambda a, b: jax.tree.map(jnp.add, a, b)
      return states, left, add(sums, losses), add(gradients, new)

    zero = jnp.zeros(())
    carry = (
      initial_states(model.encoder, len(keys), num_samples), left,
      bottleneck.Losses(zero, zero, zero, zero),
      jax.tree.map(jnp.zeros_like, params),
    )  # fmt: skip
    carry = walk(len(inputs), chunk, overlap, visit, carry)
    return Online(gradients=carry[3], losses=carry[2])

  return gradient
