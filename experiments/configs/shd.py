"""Classification of Spiking Heidelberg Digits: spoken digits in 700 channels.

Claim: a label decoder that sees when 64 neurons fire needs no rule for it.
Command: python -m experiments.train --config=experiments/configs/shd.py
  --config.data.data_dir=DIR
DIR is where tonic (extra `tonic`) has the set, or puts it with
--config.data.download=True. The first 1.4 s in steps of 10 ms.
Cost, result: not measured, the set was not at hand; no number is claimed. Tests
run it on files that they write.
"""

from experiments.configs import nmnist


def get_config():
  config = nmnist.get_config()
  config.name = config.data.source = "shd"
  config.num_steps = 140
  config.data.dt_ms = 10.0
  return config
