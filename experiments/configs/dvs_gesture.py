"""Classification of DVS-Gesture: 11 gestures before a camera, 32x32 pixels.

Claim: a label decoder that sees when 64 neurons fire needs no rule for it.
Command: python -m experiments.train --config=experiments/configs/dvs_gesture.py
  --config.data.data_dir=DIR
DIR is where tonic (extra `tonic`) has the set, or puts it with
--config.data.download=True. The first 2 s in steps of 25 ms.
Cost, result: not measured, the set was not at hand; no number is claimed. Tests
run it on files that they write.
"""

from experiments.configs import nmnist


def get_config():
  config = nmnist.get_config()
  config.name = config.data.source = "dvs_gesture"
  config.num_steps = 80
  config.data.dt_ms = 25.0
  return config
