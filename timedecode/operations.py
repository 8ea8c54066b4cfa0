"""What an encoding SNN computes, as counts, against an ANN of its size.

A spike costs an accumulation per synapse that it reaches; a dense layer of an
ANN costs a multiply-accumulate per weight, once, on the whole input:

  accumulations = sum_l (spikes into layer l) x (its width)               (1)
  multiply-accumulates of the ANN = sum_l (inputs of l) x (its width)     (2)

Leaks and thresholds, one multiplication per neuron and step, are counted apart.
"""

from typing import NamedTuple

import numpy as np

# Picojoules of 32-bit floating point in 45 nm (Horowitz, ISSCC 2014): an
# addition 0.9, a multiplication 3.7.
ADDITION_PJ, MULTIPLICATION_PJ = 0.9, 3.7


class Operations(NamedTuple):
  """Per example.

  Attributes:
    spikes: into every layer, the inputs first, [L].
    accumulations: equation (1), per layer, [L].
    updates: neurons x steps, per layer, [L]: a multiplication each.
    dense: equation (2), per layer, [L].
  """

  spikes: np.ndarray
  accumulations: np.ndarray
  updates: np.ndarray
  dense: np.ndarray

  def energy_pj(self) -> tuple[float, float]:
    """An estimate, (SNN, ANN), picojoules: arithmetic alone, no memory."""
    both = ADDITION_PJ + MULTIPLICATION_PJ
    snn = ADDITION_PJ * self.accumulations.sum()
    snn += MULTIPLICATION_PJ * self.updates.sum()
    return float(snn), float(both * self.dense.sum())


def count(
  spikes_in: list[float], inputs: list[int], widths: list[int], num_steps: int
) -> Operations:
  """Operations of dense layers.

  Args:
    spikes_in: mean number of spikes per example into every layer.
    inputs: of every layer.
    widths: neurons of every layer.
    num_steps: T.

  Raises:
    ValueError: lists of different lengths.
  """
  if not len(spikes_in) == len(inputs) == len(widths):
    raise ValueError(
      "spikes_in, inputs, widths: expected one entry per layer, got"
      f" {len(spikes_in)}, {len(inputs)}, {len(widths)}"
    )
  spikes, width = np.asarray(spikes_in, float), np.asarray(widths)
  return Operations(
    spikes, spikes * width, width * num_steps, np.asarray(inputs) * width
  )
