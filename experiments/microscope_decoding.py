"""Decoders of given trains for `microscope`: judged, and trained anew."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from timedecode import intervals, judge

AT_ONCE = 100  # Examples.
RETRAINING_STEPS = 800


class Decoder(NamedTuple):
  """What may be decoded, and how it is judged.

  Attributes:
    init: ``(key, view of a train) -> params``.
    decode: ``(params, view of a train) -> outputs``.
    loss: ``(outputs, target) -> nats``.
    judge_params: of the judge of pictures; None: outputs are logits of labels.
  """

  init: Callable[..., Any]
  decode: Callable[..., jax.Array]
  loss: Callable[..., jax.Array]
  judge_params: Any


class Quality(NamedTuple):
  """Means over examples, with the ends of their 95 % intervals."""

  accuracy: float
  accuracy_low: float
  accuracy_high: float
  distortion: float
  distortion_low: float
  distortion_high: float


def _optimizer() -> optax.GradientTransformation:
  """Of decoders that are trained anew."""
  rate = optax.warmup_cosine_decay_schedule(
    0.0, 2e-3, RETRAINING_STEPS // 10, RETRAINING_STEPS
  )
  return optax.adam(rate)


class Decoding:
  """Decoders of given trains, judged; everything is compiled once."""

  def __init__(self, decoder: Decoder, view, trains):
    """Nothing is computed yet.

    Args:
      decoder: what is decoded.
      view: ``spikes [T, N] -> [D, N]``, what the decoder sees.
      trains: `trains.Trains` that are judged.
    """
    self._decoder, self._view, self._trains = decoder, view, trains
    self._seen = jax.jit(self._see, static_argnames="change")
    self._judged = jax.jit(self._judge)

  def _see(self, spikes, key, strength, change):
    """What the decoder sees of trains [M, T, N] that are changed first."""
    if change is not None:
      keys = jax.random.split(key, len(spikes))
      spikes = jax.vmap(change, in_axes=(0, 0, None))(spikes, keys, strength)
    return jax.vmap(self._view)(spikes)

  def _outputs(self, params, seen):
    return jax.vmap(self._decoder.decode, in_axes=(None, 0))(params, seen)

  def _judge(self, params, seen, targets, labels):
    """(nats [M], whether it is right [M])."""
    outputs = self._outputs(params, seen)
    losses = jax.vmap(self._decoder.loss)(outputs, targets)
    if self._decoder.judge_params is None:
      return losses, jnp.argmax(outputs, -1) == labels
    pictures = jax.nn.sigmoid(outputs).reshape(-1, 28, 28)
    found = judge.predict(self._decoder.judge_params, pictures)
    return losses, found == labels

  def judged(self, params, change=None, strength=0.0, seed=0):
    """(nats [M], whether it is right [M]), of trains that are changed first."""
    found, trains = [], self._trains
    for start in range(0, len(trains.labels), AT_ONCE):
      at = np.arange(start, start + AT_ONCE) % len(trains.labels)
      key = jax.random.fold_in(jax.random.key(seed), start)
      seen = self._seen(trains.spikes[at], key, strength, change=change)
      part = self._judged(params, seen, trains.targets[at], trains.labels[at])
      found.append(jax.tree.map(np.asarray, part))
    joined = (np.concatenate(p) for p in zip(*found, strict=True))
    losses, right = (part[: len(trains.labels)] for part in joined)
    return losses.astype(np.float64), right

  def quality(self, params, change=None, strength=0.0, seed=0) -> Quality:
    """Of the decoder's parameters, on trains that are changed first."""
    losses, right = self.judged(params, change, strength, seed)
    share = float(right.mean())
    return Quality(
      share, *intervals.of_share(share, len(right)),
      float(losses.mean()), *intervals.of_mean(losses),
    )  # fmt: skip

  def retrain(self, train, params=None, change=None, seed=0) -> Any:
    """Parameters that are fitted to trains, the encoder as it is.

    Args:
      train: what is fitted to.
      params: to begin with; None: fresh ones.
      change: ``(spikes, key) -> spikes``, at random in every step.
      seed: of parameters and order.
    """
    key = jax.random.key(seed)
    if params is None:
      seen = self._view(jnp.asarray(train.spikes[0]))
      params = jax.jit(self._decoder.init)(key, seen)
    optimizer = _optimizer()
    data = tuple(map(jnp.asarray, (train.spikes, train.targets)))

    def loss(params, spikes, targets, rows, keys):
      some = spikes[rows]
      if change is not None:
        some = jax.vmap(change)(some, keys)
      outputs = self._outputs(params, jax.vmap(self._view)(some))
      return jnp.mean(jax.vmap(self._decoder.loss)(outputs, targets[rows]))

    def step(data, carry, key):
      params, state = carry
      key_rows, key_change = jax.random.split(key)
      rows = jax.random.randint(key_rows, (AT_ONCE,), 0, len(data[0]))
      keys = jax.random.split(key_change, AT_ONCE)
      gradients = jax.grad(loss)(params, *data, rows, keys)
      updates, state = optimizer.update(gradients, state)
      return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(jax.random.fold_in(key, 1), RETRAINING_STEPS)
    scan = jax.jit(  # Of arguments: constants would be compiled in.
      lambda data, carry, keys: jax.lax.scan(
        functools.partial(step, data), carry, keys
      )[0][0]
    )
    return scan(data, (params, optimizer.init(params)), keys)
