"""Rate-coded digits through 8 readout neurons.

Claim: the hybrid autoencoder also learns from Bernoulli(pixel) input spikes.
Command: python -m experiments.train \
    --config=experiments/configs/mnist_rate.py
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.name = "mnist_rate"
  config.data.coding = "rate"
  config.baseline_view = "rate"
  return config
