"""What makes a neuron fire: averages of the input before its spikes.

  a_n[d] = E[x_{t-d} - mean_m x_{t-d} | y_t,n = 1, t >= d]                (1)

The mean over trains at the same step is what a neuron would see that fires at
these steps whatever the input: a course in time that all trains share is no
field. Source: de Boer and Kuyper 1968, with a shuffle predictor.
"""

import numpy as np

from timedecode import arrays


def spike_triggered_average(
  inputs: np.ndarray, spikes: np.ndarray, lags: list[int]
) -> np.ndarray:
  """Equation (1), of all spikes of all trains.

  Args:
    inputs: x, [M, T, D].
    spikes: [M, T, N].
    lags: d in steps, >= 0.

  Returns:
    [N, len(lags), D]; NaN where no spike comes so late.

  Raises:
    ValueError: shapes, inputs that are not finite, spikes other than 0 and 1,
      no lag, or one that isn't in 0 .. T - 1.
  """
  inputs = arrays.real("inputs", inputs, "M T D")
  spikes = arrays.spikes("spikes", spikes)
  if spikes.shape[:2] != inputs.shape[:2]:
    raise ValueError(
      "inputs, spikes: expected [M, T, D] and [M, T, N], got"
      f" {inputs.shape} and {spikes.shape}"
    )
  num_steps = inputs.shape[1]
  if not lags or min(lags) < 0 or max(lags) >= num_steps:
    raise ValueError(
      f"lags: expected steps in 0 .. {num_steps - 1}, got {lags}"
    )
  centred = inputs - inputs.mean(0)
  averages = []
  for lag in lags:
    later, earlier = spikes[:, lag:], centred[:, : num_steps - lag]
    total = np.einsum("mtn,mtd->nd", later, earlier, optimize=True)
    count = later.sum((0, 1))[:, None]
    averages.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
  return np.stack(averages, 1)
