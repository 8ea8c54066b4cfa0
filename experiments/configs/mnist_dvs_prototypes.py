"""Naturalisation: recordings of moving digits into one picture per digit.

Claim: a learned decoder that sees the whole train turns recordings of an event
camera into the prototype of their digit better than one that counts spikes.
Command: python -m experiments.train
  --config=experiments/configs/mnist_dvs_prototypes.py
On MNIST-DVS itself: --config.data.source=mnist_dvs --config.data.data_dir=DIR
Cost: 21 minutes on one core, for each of both decoders (twice what 1,680 steps
took); with --config.precision=bfloat16 11 minutes on a CPU with AMX.
Result (with the simulator and bfloat16, 3 seeds): judge accuracy 0.953 ± 0.001
with whole trains, 0.945 ± 0.002 with counts.
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.name = "mnist_dvs_prototypes"
  config.steps = 3360  # 215,040 recordings: 60 times all.
  config.eval_every = 560
  config.num_steps = 80  # 2 s.
  config.baseline_view = "rate"
  config.data.source = "mnist_dvs_sim"
  config.data.target = "prototype"
  config.data.max_shift = 2
  config.data.max_rotation = 15.0
  config.data.max_zoom = 0.1
  config.data.dt_ms = 25.0
  config.encoder.hidden = (800,)
  config.encoder.num_readout = 64  # Of the paper's 256.
  config.decoder = "conv"
  config.encoder.surrogate = "fast_sigmoid"
  config.optimizer.encoder_learning_rate = 1e-2
  config.beta = 1e-2
  return config
