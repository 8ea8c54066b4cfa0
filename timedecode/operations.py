"""What an encoding SNN computes, as counts, against an ANN of its size.

A spike costs an accumulation per synapse that it reaches, of which there are
several between two neurons where each has several kernels; a dense layer of an
ANN costs a multiply-accumulate per weight, once, on the whole input:

  accumulations = sum_l (spikes into layer l) x (its width) x (kernels)   (1)
  multiply-accumulates of the ANN = sum_l (inputs of l) x (its width)     (2)

Multiplications of traces, kernels and refractory terms, per neuron and step
whether there are spikes or not, are counted apart. Decoders are not counted.
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
    updates: multiplications of all neurons in all steps, per layer, [L].
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
  spikes_in: list[float],
  inputs: list[int],
  widths: list[int],
  num_steps: int,
  kernels: list[int],
  multiplications: list[int],
) -> Operations:
  """Operations of dense layers.

  Args:
    spikes_in: mean number of spikes per example into every layer.
    inputs: of every layer.
    widths: neurons of every layer.
    num_steps: T.
    kernels: synapses between two neurons, of every layer.
    multiplications: per neuron and step, of every layer.

  Raises:
    ValueError: lists of different lengths, or values that are no counts.
  """
  lists = spikes_in, inputs, widths, kernels, multiplications
  if len({len(values) for values in lists}) != 1:
    raise ValueError(
      "spikes_in, inputs, widths, kernels, multiplications: expected one entry"
      f" per layer, got {', '.join(str(len(values)) for values in lists)}"
    )
  every = np.concatenate([*map(np.asarray, lists), [num_steps]])
  if not (np.isfinite(every) & (every >= 0)).all():
    raise ValueError(f"expected finite numbers >= 0, got {every.tolist()}")
  spikes, width = np.asarray(spikes_in, float), np.asarray(widths)
  return Operations(
    spikes,
    spikes * width * np.asarray(kernels),
    width * num_steps * np.asarray(multiplications),
    np.asarray(inputs) * width,
  )
