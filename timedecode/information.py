"""Where and when an encoder speaks: the bound on I(x -> y), step by step.

The directed information bound of `bottleneck` is a sum over steps and readout
neurons, whose terms say when and by whom something of x is told:

  i_t,n = E[ KL( P(y_t,n | x^t, y^{t-1}) || q(y_t,n | y^{t-1}) ) ]        (1)

At the true marginal q the sum over t and n of (1) is I(x -> y) for readout
neurons that are independent given y^{t-1} alone, x averaged out, and more for
others; another prior adds its distance.
Where all trains can be enumerated the value itself is known, step by step, for
inputs that don't depend on the outputs:

  I(x^t; y_t | y^{t-1}) = I(x; y^t) - I(x; y^{t-1})                       (2)
  I(x; y^t) = H(y^t) - H(y^t | x)

Source: arXiv:2106.01177, section 2; (2) is the chain rule.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from timedecode import arrays, bottleneck

MOST_VALUES = 1 << 24  # Logits of an enumeration, 134 MB.


class InformationMap(NamedTuple):
  """Means over trains, in bits.

  Every term is a divergence: with a fitted prior the total is never below 0,
  also where nothing is told, and its standard error omits that of the fit.

  Attributes:
    bits: (1), [T, N].
    per_step: summed over neurons, [T].
    per_neuron: summed over steps, [N].
    total: bits per train.
    standard_error: of `total`, over trains.
    per_spike: total by spikes per train; None where no neuron fires.
  """

  bits: np.ndarray
  per_step: np.ndarray
  per_neuron: np.ndarray
  total: float
  standard_error: float
  per_spike: float | None


def information_map(
  spikes: np.ndarray, logits: np.ndarray, prior_logits: np.ndarray
) -> InformationMap:
  """Equation (1) of sampled trains.

  Args:
    spikes: y, [M, T, N].
    logits: of P(y_t | x^t, y^{t-1}), [M, T, N].
    prior_logits: of q(y_t | y^{t-1}), [M, T, N].

  Raises:
    ValueError: shapes that differ, spikes other than 0 and 1, logits that are
      not finite.
  """
  spikes = arrays.spikes("spikes", spikes)
  logits = arrays.real("logits", logits, "M T N")
  prior_logits = arrays.real("prior_logits", prior_logits, "M T N")
  if not spikes.shape == logits.shape == prior_logits.shape:
    raise ValueError(
      "spikes, logits, prior_logits: expected [M, T, N] all three, got"
      f" {spikes.shape}, {logits.shape}, {prior_logits.shape}"
    )
  nats = np.asarray(bottleneck.divergence(logits, prior_logits), np.float64)
  each = nats / math.log(2)
  totals = each.sum((1, 2))
  mean, count = each.mean(0), float(np.sum(spikes)) / len(spikes)
  total = float(totals.mean())
  error = totals.std(ddof=1) / np.sqrt(len(totals)) if len(totals) > 1 else 0.0
  return InformationMap(
    mean, mean.sum(1), mean.sum(0), total, float(error),
    total / count if count else None,
  )  # fmt: skip


class ExactInformation(NamedTuple):
  """Of X inputs and all S = 2^(T N) trains, in bits.

  Attributes:
    total: I(x -> y), which is I(x; y) here.
    per_step: (2), [T]; their sum is `total`.
    trains: all trains, [S, T, N].
    logits: of P(y_t | x^t, y^{t-1}), [X, S, T, N].
    likelihoods: P(y | x), [X, S]; rows add up to 1.
    joint: P(x, y), [X, S]: the mean of anything, of the bound say, is exact.
  """

  total: float
  per_step: np.ndarray
  trains: np.ndarray
  logits: np.ndarray
  likelihoods: np.ndarray
  joint: np.ndarray


Given = Callable[[jax.Array, jax.Array], jax.Array]


def given(encoder, params) -> Given:
  """``(inputs, spikes [T, N]) -> logits [T, N]``, were these the spikes.

  Args:
    encoder: `encoder.Encoder`.
    params: `encoder.EncoderParams`.
  """
  force = lambda logits, spikes: spikes + 0.0 * logits
  return lambda x, y: encoder.run(params, x, y, sampler=force).logits


def _all_trains(num_steps: int, num_readout: int) -> np.ndarray:
  """[S, T, N]; those that begin alike are neighbours."""
  places = num_steps * num_readout
  bits = np.arange(1 << places)[:, None] >> np.arange(places)[::-1] & 1
  return bits.reshape(-1, num_steps, num_readout).astype(np.float32)


def _entropies(probabilities: np.ndarray, num_steps: int) -> np.ndarray:
  """H(y^0), .., H(y^T) of P(y) [..., S]: [..., T + 1], bits."""
  found = []
  width = round(probabilities.shape[-1] ** (1 / num_steps))  # 2^N.
  for step in range(num_steps + 1):
    p = probabilities.reshape(*probabilities.shape[:-1], width**step, -1).sum(
      -1
    )
    found.append(-(p * np.log2(np.where(p > 0, p, 1.0))).sum(-1))
  return np.stack(found, -1)


def _shares(shares, count: int) -> np.ndarray:
  """P(x), [X]."""
  if shares is None:
    return np.full(count, 1 / count)
  shares = arrays.real("shares", shares, "X")
  if shares.shape != (count,) or (shares < 0).any() or not shares.sum():
    raise ValueError(
      f"shares: expected {count} numbers >= 0, not all 0, got {shares.tolist()}"
    )
  return shares / shares.sum()


def _check_size(inputs, num_readout) -> None:
  """Refuses more trains than `MOST_VALUES` allows."""
  if np.ndim(inputs) < 2 or not np.size(inputs):
    raise ValueError(
      f"inputs: expected [X, T, ...], got shape {np.shape(inputs)}"
    )
  count, num_steps = np.shape(inputs)[:2]
  places = num_steps * num_readout
  if places < 1 or count * places << min(places, 64) > MOST_VALUES:
    raise ValueError(
      f"inputs, num_readout: expected X T N 2^(T N) <= {MOST_VALUES} logits,"
      f" got X {count}, T {num_steps}, N {num_readout}"
    )


def _evaluate(logits: Given, inputs, trains: np.ndarray) -> np.ndarray:
  """Logits of all trains under all inputs, [X, S, T, N]."""
  over_trains = jax.jit(jax.vmap(logits, (None, 0)))
  found = np.stack([over_trains(x, trains) for x in inputs]).astype(np.float64)
  if found.shape[1:] != trains.shape or np.isnan(found).any():
    raise ValueError(
      f"logits: expected {trains.shape[1:]} numbers of one train, got shape"
      f" {found.shape[2:]}, {np.isnan(found).sum()} NaN among those of all"
    )
  return found


def exact_information(
  logits: Given,
  inputs: np.ndarray,
  num_readout: int,
  shares: np.ndarray | None = None,
) -> ExactInformation:
  """I(x -> y) of a small network, by all trains that it may emit.

  Args:
    logits: of P(y_t | x^t, y^{t-1}), as `given` makes it.
    inputs: all that x may be, [X, T, ...].
    num_readout: N.
    shares: P(x), [X], scaled to a sum of 1; None: all alike.

  Raises:
    ValueError: too many trains (`MOST_VALUES`), other shapes, NaN, logits of
      a step that depend on its own spikes or later ones.
  """
  _check_size(inputs, num_readout)
  count, num_steps = np.shape(inputs)[:2]
  shares, trains = _shares(shares, count), _all_trains(num_steps, num_readout)
  found = _evaluate(logits, inputs, trains)
  each = np.exp(-np.logaddexp(0.0, (1.0 - 2.0 * trains) * found))
  likelihoods = each.prod((2, 3))
  if not np.allclose(likelihoods.sum(1), 1.0, atol=1e-4):
    raise ValueError(
      "logits: expected those of a step to follow from the spikes before it,"
      f" got probabilities that add up to {likelihoods.sum(1).tolist()}"
    )
  joint = shares[:, None] * likelihoods
  information = _entropies(joint.sum(0), num_steps)
  information -= shares @ _entropies(likelihoods, num_steps)
  return ExactInformation(
    float(information[-1]), np.diff(information), trains, found, likelihoods,
    joint,
  )  # fmt: skip
