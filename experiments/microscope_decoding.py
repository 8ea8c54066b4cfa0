"""Decoders of given trains for `microscope`: judged, and trained anew."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import inputs
from timedecode import bottleneck, judge

AT_ONCE = 100  # Examples.
RETRAINING_STEPS = 800


class Quality(NamedTuple):
  """Means over examples, with half of their 95 % intervals."""

  accuracy: float
  accuracy_error: float
  distortion: float
  distortion_error: float


class Decoding:
  """Decoders of given trains, judged; everything is compiled once."""

  def __init__(self, config, built, view, judge_params, trains):
    """Nothing is computed yet.

    Args:
      config: of the run.
      built: `build.Built`.
      view: ``spikes [T, N] -> [D, N]``, what the decoder sees.
      judge_params: of the judge of pictures, None for labels.
      trains: `microscope_measure.Trains` that are judged.
    """
    task = inputs.task(config)
    self._loss = bottleneck.DISTORTIONS[task.distortion]
    self._pictures = task.metric == "judge_accuracy"
    self._decode, self._view, self._ann = built.model.decode, view, built.ann
    self._judge_params, self._trains = judge_params, trains
    self._judged = jax.jit(self._judge_batch, static_argnames="change")

  def _judge_batch(
    self, params, spikes, targets, labels, key, strength, change
  ):
    if change is not None:
      keys = jax.random.split(key, len(labels))
      spikes = jax.vmap(change, in_axes=(0, 0, None))(spikes, keys, strength)
    outputs = jax.vmap(self._decode, in_axes=(None, 0))(
      params, jax.vmap(self._view)(spikes)
    )
    losses = jax.vmap(self._loss)(outputs, targets)
    if not self._pictures:
      return losses, jnp.argmax(outputs, -1) == labels
    pictures = jax.nn.sigmoid(outputs).reshape(-1, 28, 28)
    return losses, judge.predict(self._judge_params, pictures) == labels

  def quality(self, params, change=None, strength=0.0, seed=0) -> Quality:
    """Of the decoder's parameters, on trains that are changed first."""
    found, trains = [], self._trains
    for start in range(0, len(trains.labels), AT_ONCE):
      at = np.arange(start, start + AT_ONCE) % len(trains.labels)
      key = jax.random.fold_in(jax.random.key(seed), start)
      part = self._judged(
        params, trains.spikes[at], trains.targets[at], trains.labels[at], key,
        strength, change=change,
      )  # fmt: skip
      found.append(jax.tree.map(np.asarray, part))
    losses, right = (
      np.concatenate(p)[: len(trains.labels)] for p in zip(*found, strict=True)
    )
    error = lambda x: float(1.96 * x.std(ddof=1) / np.sqrt(len(x)))
    right = right.astype(float)
    return Quality(
      float(right.mean()), error(right),
      float(losses.mean(dtype=np.float64)), error(losses.astype(float)),
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
      params = jax.jit(self._ann.init)(key, seen)
    rate = optax.warmup_cosine_decay_schedule(
      0.0, 2e-3, RETRAINING_STEPS // 10, RETRAINING_STEPS
    )
    optimizer = optax.adam(rate)
    spikes, targets = map(jnp.asarray, (train.spikes, train.targets))

    def loss(params, spikes, targets, rows, keys):
      some = spikes[rows]
      if change is not None:
        some = jax.vmap(change)(some, keys)
      outputs = jax.vmap(self._decode, in_axes=(None, 0))(
        params, jax.vmap(self._view)(some)
      )
      return jnp.mean(jax.vmap(self._loss)(outputs, targets[rows]))

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
    return scan((spikes, targets), (params, optimizer.init(params)), keys)
