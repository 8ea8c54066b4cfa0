"""Spiking neural networks whose spikes are decoded by a learned network.

The variational directed information bottleneck (arXiv:2106.01177) in JAX, as
pure functions of one example: see the README for how they compose.
`timedecode.decoder` and `timedecode.judge` import flax, and
`timedecode.plots` matplotlib: import them where you use them.
"""

from timedecode import (
  bottleneck,
  channel,
  coding,
  credit,
  encoder,
  estimation,
  estimators,
  neurons,
  online,
  online_final,
  priors,
  published,
  readout,
  surrogate,
  synapses,
)

__all__ = [
  "bottleneck",
  "channel",
  "coding",
  "credit",
  "encoder",
  "estimation",
  "estimators",
  "neurons",
  "online",
  "online_final",
  "priors",
  "published",
  "readout",
  "surrogate",
  "synapses",
]
