"""What can be decoded: a network fitted to labels, judged on other examples.

A probe is a multilayer perceptron from features to labels. With its
cross-entropy CE on examples that it was not fitted to,

  I(features; label) >= H(label) - CE                                     (1)

in expectation, with equality for the true posterior: an estimate of what a
decoder can make use of, not of more. Features are scaled by the fitting
examples; of the states along the fit the best on held-out ones is kept.
Source: Barber and Agakov 2003 (1).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from timedecode import arrays

BATCH_SIZE = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
STATES = 20  # Along the fit, of which the best is kept.


class Probe(NamedTuple):
  """What a probe finds on test examples.

  Attributes:
    bits: (1), of H(label) among the test examples.
    standard_error: of `bits` over test examples.
    accuracy: share of right labels.
    held_out_loss: cross-entropy on the held-out fitting examples, bits.
    gains: bits of every test example, [M]; their mean is `bits`.
  """

  bits: float
  standard_error: float
  accuracy: float
  held_out_loss: float
  gains: np.ndarray


class Network(nn.Module):
  """features [D] -> logits [classes]; width: of its hidden layer."""

  width: int
  num_classes: int

  @nn.compact
  def __call__(self, features):
    """The logits; a linear way around the hidden layer."""
    hidden = nn.relu(nn.Dense(self.width)(features))
    return nn.Dense(self.num_classes)(jnp.concatenate([hidden, features]))


def _losses(network, params, features, labels):
  """Cross-entropy of every example, nats, [M], and the logits."""
  logits = jax.vmap(functools.partial(network.apply, params))(features)
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels), logits


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fit(network, steps, features, labels, key):
  """The parameters after every part of the steps, stacked."""
  rate = optax.cosine_decay_schedule(LEARNING_RATE, steps)
  optimizer = optax.adamw(rate, weight_decay=WEIGHT_DECAY)
  key_init, key_steps = jax.random.split(key)
  params = network.init(key_init, features[0])

  def step(carry, key):
    params, state = carry
    rows = jax.random.randint(key, (BATCH_SIZE,), 0, len(labels))
    loss = lambda p: jnp.mean(
      _losses(network, p, features[rows], labels[rows])[0]
    )
    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    return (optax.apply_updates(params, updates), state), None

  def part(carry, keys):
    carry, _ = jax.lax.scan(step, carry, keys)
    return carry, carry[0]

  keys = jax.random.split(key_steps, (STATES, -(-steps // STATES)))
  return jax.lax.scan(part, (params, optimizer.init(params)), keys)[1]


def _checked(name, pair, fewest):
  """(features [M, D], labels [M]) in NumPy, or an error that says what is."""
  features = arrays.real(f"features of {name}", pair[0], "M D")
  labels = arrays.labels(f"labels of {name}", pair[1], len(features))
  arrays.at_least(name, labels, fewest, "examples")
  return features, labels


def _check_numbers(steps, width, held_out, count):
  """Of the fit."""
  for name, value in (("steps", steps), ("width", width)):
    if value < 1:
      raise ValueError(f"{name}: expected at least 1, got {value}")
  if not 1 <= round(held_out * count) < count:
    raise ValueError(
      f"held_out: expected a share that leaves some of {count} examples on"
      f" either side, got {held_out}"
    )


def fit(
  train: tuple[np.ndarray, np.ndarray],
  test: tuple[np.ndarray, np.ndarray],
  seed: int = 0,
  steps: int = 1000,
  width: int = 128,
  held_out: float = 0.15,
) -> Probe:
  """Fits a probe and judges it.

  Args:
    train: features [M, D] and labels [M], whole numbers >= 0.
    test: the same, of other examples, at least 2.
    seed: of the fit and of what is held out.
    steps: of the fit.
    width: hidden units.
    held_out: share of `train` that chooses along the fit.

  Raises:
    ValueError: shapes, features that are not finite, labels that are no whole
      numbers, too few examples, numbers out of range.
  """
  x, y = _checked("train", train, 2)
  x_test, y_test = _checked("test", test, 2)
  if x_test.shape[1] != x.shape[1]:
    raise ValueError(
      f"features of test: expected [M, {x.shape[1]}] as those of train, got"
      f" shape {x_test.shape}"
    )
  _check_numbers(steps, width, held_out, len(y))
  mean, spread = x.mean(0), x.std(0)
  spread = np.where(spread > 1e-6, spread, 1.0)
  scaled = lambda a: jnp.asarray((a - mean) / spread, jnp.float32)
  order = np.random.default_rng(seed).permutation(len(y))
  some, rest = np.split(order, [round(held_out * len(y))])
  classes = int(max(y.max(), y_test.max())) + 1
  network = Network(width, classes)
  states = _fit(
    network, steps, scaled(x[rest]), jnp.asarray(y[rest]), jax.random.key(seed)
  )
  losses = jax.jit(functools.partial(_losses, network))
  held = jax.vmap(losses, in_axes=(0, None, None))(
    states, scaled(x[some]), jnp.asarray(y[some])
  )[0]
  held = np.asarray(jnp.mean(held, axis=1), np.float64)
  best = int(held.argmin())
  params = jax.tree.map(lambda leaf: leaf[best], states)
  nats, logits = losses(params, scaled(x_test), jnp.asarray(y_test))
  shares = np.bincount(y_test, minlength=classes) / len(y_test)
  surprise = -np.log2(shares[y_test])
  gains = surprise - np.asarray(nats, np.float64) / np.log(2)
  return Probe(
    float(gains.mean()),
    float(gains.std(ddof=1) / np.sqrt(len(gains))),
    float((np.asarray(logits).argmax(1) == y_test).mean()),
    float(held[best] / np.log(2)),
    gains,
  )
