"""Where and when an encoder speaks: the bound on I(x -> y), step by step.

The directed information bound of `bottleneck` is a sum over steps and readout
neurons, whose terms say when and by whom something of x is told:

  i_t,n = E[ KL( P(y_t,n | x^t, y^{t-1}) || q(y_t,n | y^{t-1}) ) ]        (1)

At the true marginal q the sum over t and n of (1) is I(x -> y) for readout
neurons that are independent given the past; another prior adds its distance.
Source: arXiv:2106.01177, section 2.
"""

import math
from typing import NamedTuple

import numpy as np

from timedecode import bottleneck


class InformationMap(NamedTuple):
  """Means over trains, in bits.

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
    ValueError: shapes that differ.
  """
  if not spikes.shape == logits.shape == prior_logits.shape or spikes.ndim != 3:
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
