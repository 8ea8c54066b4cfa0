"""Time-coded digits, 256 readout neurons, convolutional decoder.

Claim: the published convolutional decoder in place of the mlp.
Command: python -m experiments.train \
    --config=experiments/configs/mnist_time_conv.py
"""

from experiments.configs import base
from timedecode import bottleneck


def get_config():
  config = base.get_config()
  config.name = "mnist_time_conv"
  config.encoder.num_readout = 256
  config.decoder = "conv"
  config.beta = bottleneck.beta_from_means(1e-3, 784, 30, 256)
  return config
