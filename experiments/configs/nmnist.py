"""Classification of N-MNIST: MNIST before a moving event camera, 34x34 pixels.

Claim: a label decoder that sees when 64 neurons fire needs no rule for it.
Command: python -m experiments.train --config=experiments/configs/nmnist.py
  --config.data.data_dir=DIR
DIR is where tonic (extra `tonic`) has the set, or puts it with
--config.data.download=True. The first 0.3 s in steps of 10 ms.
Cost, result: not measured, the set was not at hand; no number is claimed. Tests
run it on files that they write.
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.name = "nmnist"
  config.num_steps = 30
  config.baseline_view = "rate"
  config.decoder = "linear"
  config.data.source = "nmnist"
  config.data.target = "label"
  config.data.max_shift = 0
  config.data.dt_ms = 10.0
  config.encoder.hidden = (800,)
  config.encoder.num_readout = 64
  return config
