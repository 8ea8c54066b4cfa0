"""A second computation of every workload: NumPy, float64, step by step.

Libraries agree on leaky integration, a threshold of 1 and subtraction, and
differ in detail; `Semantics` says how. With u = v - 1 and s = [u > 0]:

  v_t = decay v_{t-1} + I_t - r s_{t-1}   r = decay where the reset decays   (1)
  dv_t = psi(u_t) (ds_t - r dv_{t+1}) + decay dv_{t+1}                       (2)
  psi(u) = peak / (1 + scale |u|)^2                                          (3)

The term r dv of (2) is absent where the reset is detached.
"""

from typing import NamedTuple

import numpy as np

from experiments.bench import workloads

DECAY, SCALE = 0.9, 25.0


class Semantics(NamedTuple):
  """How a library's neuron and its weights differ.

  Attributes:
    reset_decays: the reset happens before the decay, not after it.
    detached: no gradient passes through the reset.
    delay: steps by which spikes leave late.
    peak: of the surrogate derivative.
    gain: the library's currents (so its weights) per ours.
    outputs_first: its weights are [outputs, inputs].
  """

  reset_decays: bool = False
  detached: bool = False
  delay: int = 0
  peak: float = 1.0
  gain: float = 1.0
  outputs_first: bool = False


class Outcome(NamedTuple):
  """What a contestant computed.

  Attributes:
    loss: a number; None where there is none.
    gradients: of every weight, or of the currents of a layer alone.
    outputs: spikes of a layer alone, [T, B, N]; counts of one example, [B, N].
  """

  loss: float | None = None
  gradients: tuple[np.ndarray, ...] = ()
  outputs: np.ndarray | None = None


def forward(currents: np.ndarray, semantics: Semantics):
  """``[T, ...] -> (spikes as they leave, potentials u)``, equation (1)."""
  potentials = np.zeros(currents.shape, currents.dtype)
  fired = np.zeros(currents.shape, currents.dtype)
  reset = DECAY if semantics.reset_decays else 1.0
  membrane = last = np.zeros(currents.shape[1:], currents.dtype)
  for t, current in enumerate(currents):
    membrane = DECAY * membrane + current - reset * last
    potentials[t] = membrane - 1.0
    fired[t] = last = (membrane > 1.0).astype(currents.dtype)
  return _delayed(fired, semantics.delay), potentials


def _delayed(values, steps):
  """Later by so many steps; before a time for negative ones."""
  moved = np.zeros_like(values)
  if steps >= 0:
    moved[steps:] = values[: len(values) - steps]
  else:
    moved[:steps] = values[-steps:]
  return moved


def backward(cotangents, potentials, semantics: Semantics) -> np.ndarray:
  """``d loss / d currents`` from that by the spikes, equation (2)."""
  cotangents = _delayed(cotangents, -semantics.delay)
  psi = semantics.peak / (1.0 + SCALE * np.abs(potentials)) ** 2
  reset = DECAY if semantics.reset_decays else 1.0
  reset = 0.0 if semantics.detached else reset
  gradients = np.zeros_like(potentials)
  later = np.zeros(potentials.shape[1:])
  for t in reversed(range(len(potentials))):
    later = psi[t] * (cotangents[t] - reset * later) + DECAY * later
    gradients[t] = later
  return gradients


def _cross_entropy(counts, targets):
  """Mean over examples, and its gradient by the counts."""
  shifted = counts - counts.max(axis=-1, keepdims=True)
  log_sum = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
  rows = np.arange(len(targets))
  loss = -(shifted - log_sum)[rows, targets].mean()
  gradient = np.exp(shifted - log_sum)
  gradient[rows, targets] -= 1.0
  return float(loss), gradient / len(targets)


def outcome(kind: str, given: workloads.Arrays, semantics: Semantics):
  """What a right contestant finds, in its own units and layout."""
  trains, potentials = [given.inputs.astype(np.float64)], []
  if kind == "layer":
    spikes, u = forward(trains[0], semantics)
    by_currents = backward(given.cotangents, u, semantics) / semantics.gain
    return Outcome(None, (by_currents,), spikes)
  for weights in given.weights:
    spikes, u = forward(trains[-1] @ weights.astype(np.float64), semantics)
    trains.append(spikes)
    potentials.append(u)
  counts = trains[-1].sum(axis=0)
  if kind == "latency":
    return Outcome(outputs=counts)
  if kind == "dense":
    by_spikes = given.cotangents.astype(np.float64)
    loss = float((trains[-1] * by_spikes).sum())
  else:
    loss, by_counts = _cross_entropy(counts, given.targets)
    by_spikes = np.broadcast_to(by_counts, trains[-1].shape)
  gradients = []
  for number in reversed(range(len(given.weights))):
    by_currents = backward(by_spikes, potentials[number], semantics)
    found = np.einsum("tbi,tbo->io", trains[number], by_currents)
    gradients.insert(0, found / semantics.gain)
    by_spikes = by_currents @ given.weights[number].astype(np.float64).T
  if semantics.outputs_first:
    gradients = [gradient.T for gradient in gradients]
  return Outcome(loss, tuple(gradients))


def rates(kind: str, given: workloads.Arrays, semantics=Semantics()):
  """Mean spikes per step of every layer, of four examples.

  Of a wide layer that is the last its first 256 neurons.
  """
  train, found = given.inputs[:, :4], []
  if kind == "layer":
    return [float(forward(train[..., :256], semantics)[0].mean())]
  *before, last = given.weights
  for weights in (*before, last[:, :256]):
    train, _ = forward(train @ weights, semantics)
    found.append(float(train.mean()))
  return found
