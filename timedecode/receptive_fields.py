"""What makes a neuron fire: averages of the input before its spikes.

  a_n[d] = E[x_{t-d} | y_t,n = 1] - E[x]                                  (1)

Time steps before the train count as silent. Source: de Boer and Kuyper 1968.
"""

import numpy as np


def spike_triggered_average(
  inputs: np.ndarray, spikes: np.ndarray, lags: list[int]
) -> np.ndarray:
  """Equation (1), of all spikes of all trains.

  Args:
    inputs: x, [M, T, D].
    spikes: [M, T, N].
    lags: d in steps, >= 0.

  Returns:
    [N, len(lags), D]; NaN for a neuron that never fires.

  Raises:
    ValueError: shapes, or a lag below 0.
  """
  if inputs.ndim != 3 or spikes.shape[:2] != inputs.shape[:2]:
    raise ValueError(
      "inputs, spikes: expected [M, T, D] and [M, T, N], got"
      f" {inputs.shape} and {spikes.shape}"
    )
  if min(lags) < 0:
    raise ValueError(f"lags: expected steps >= 0, got {lags}")
  count = spikes.sum((0, 1))[:, None]
  averages = []
  for lag in lags:
    later, earlier = spikes[:, lag:], inputs[:, : inputs.shape[1] - lag]
    total = np.einsum("mtn,mtd->nd", later, earlier, optimize=True)
    averages.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
  return np.stack(averages, 1) - inputs.mean((0, 1))
