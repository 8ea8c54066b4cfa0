"""Time-coded digits, 256 readout neurons, convolutional decoder.

Claim: the published convolutional decoder in place of the mlp.
Command: python -m experiments.train \
    --config=experiments/configs/mnist_time_conv.py
Cost: 6 minutes on 2 cores.
Result: judge accuracy 0.976 on the 1,000 test images of mnist_5k
(clean images 0.988), 0.0809 nats/pixel.
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
