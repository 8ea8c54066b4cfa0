"""What can be decoded: a network fitted to labels, judged on other examples.

A probe is a multilayer perceptron from features to labels. With its
cross-entropy CE on examples that it was not fitted to,

  I(features; label) >= H(label) - CE                                     (1)

in expectation, with equality for the true posterior: an estimate of what a
decoder can make use of, not of more. Features are scaled by the fitting
examples; of the states along the fit the best on held-out ones is kept.
Source: Barber and Agakov 2003 (1).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

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


class _Params(NamedTuple):
  """weights, bias: of the hidden layer, [D, H] and [H]; those of the outputs,
  which see the features as well, [H + D, C] and [C]."""

  weights: jax.Array
  bias: jax.Array
  out_weights: jax.Array
  out_bias: jax.Array


def _initial(generator, size: int, width: int, classes: int) -> _Params:
  """Drawn by NumPy: a compiled draw would cost more than the fit."""
  draw = lambda *shape: jnp.asarray(
    generator.normal(size=shape) / np.sqrt(shape[0]), jnp.float32
  )
  return _Params(
    draw(size, width), jnp.zeros(width), draw(width + size, classes),
    jnp.zeros(classes),
  )  # fmt: skip


def _losses(params: _Params, features, labels):
  """Cross-entropy of every example, nats, [M], and the logits [M, C]."""
  hidden = jax.nn.relu(features @ params.weights + params.bias[None])
  seen = jnp.concatenate([hidden, features], axis=1)
  logits = seen @ params.out_weights + params.out_bias[None]
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels), logits


@jax.jit
def _fit(params, rows, some, held, test):
  """Fits to examples, keeps the best state on others, judges it on the rest.

  Args:
    params: to begin with.
    rows: of `some`, in every step of every part, [STATES, S, B].
    some, held, test: (features, labels).

  Returns:
    Mean loss on `held` after every part, [STATES]; losses and logits of `test`
    after the best of them.
  """
  steps = rows.shape[0] * rows.shape[1]
  rate = optax.cosine_decay_schedule(LEARNING_RATE, steps)
  optimizer = optax.adamw(rate, weight_decay=WEIGHT_DECAY)
  features, labels = some

  def step(carry, rows):
    params, state = carry
    loss = lambda p: jnp.mean(_losses(p, features[rows], labels[rows])[0])
    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    return (optax.apply_updates(params, updates), state), None

  def part(carry, rows):
    carry, _ = jax.lax.scan(step, carry, rows)
    return carry, (jnp.mean(_losses(carry[0], *held)[0]), carry[0])

  begin = params, optimizer.init(params)
  losses, states = jax.lax.scan(part, begin, rows)[1]
  best = jax.tree.map(lambda leaf: leaf[jnp.argmin(losses)], states)
  return losses, _losses(best, *test)


def _checked(name, pair):
  """(features [M, D], labels [M]) in NumPy, or an error that says what is."""
  features = arrays.real(f"features of {name}", pair[0], "M D")
  labels = arrays.labels(f"labels of {name}", pair[1], len(features))
  arrays.at_least(name, labels, 2, "examples")
  return features, labels


def _checked_pairs(train, test):
  """Both pairs, whose features are of one size."""
  (x, y), (x_test, y_test) = _checked("train", train), _checked("test", test)
  if x_test.shape[1] != x.shape[1]:
    raise ValueError(
      f"features of test: expected [M, {x.shape[1]}] as those of train, got"
      f" shape {x_test.shape}"
    )
  return (x, y), (x_test, y_test)


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


def _surprise(labels: np.ndarray) -> np.ndarray:
  """Bits of every label by their shares, [M]; their mean is H(label)."""
  return -np.log2(np.bincount(labels)[labels] / len(labels))


def _found(surprise, nats, right, losses) -> Probe:
  """Of test examples, [M] each, and losses on held-out ones."""
  gains = surprise - nats.astype(np.float64) / np.log(2)
  error = gains.std(ddof=1) / np.sqrt(len(gains))
  held_out_loss = float(losses.min() / np.log(2))
  return Probe(
    float(gains.mean()), float(error), float(right.mean()), held_out_loss, gains
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
  (x, y), (x_test, y_test) = _checked_pairs(train, test)
  _check_numbers(steps, width, held_out, len(y))
  mean, spread = x.mean(0), x.std(0)
  spread = np.where(spread > 1e-6, spread, 1.0)
  put = lambda a, b: (jnp.asarray((a - mean) / spread, jnp.float32), b)
  generator = np.random.default_rng(seed)
  order = generator.permutation(len(y))
  some, rest = np.split(order, [round(held_out * len(y))])
  classes = int(max(y.max(), y_test.max())) + 1
  shape = STATES, -(-steps // STATES), BATCH_SIZE
  rows = generator.integers(0, len(rest), shape, np.int32)
  losses, (nats, logits) = _fit(
    _initial(generator, x.shape[1], width, classes), rows,
    put(x[rest], y[rest]), put(x[some], y[some]), put(x_test, y_test),
  )  # fmt: skip
  right = np.asarray(logits).argmax(1) == y_test
  return _found(_surprise(y_test), np.asarray(nats), right, losses)
