"""Main job: time-coded digits through 8 readout neurons.

Claim: a learned decoder that sees when the 8 neurons fire reconstructs real
digits better than one that sees how often, under the same budget.
Command: python -m experiments.train
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.name = "mnist_time"
  config.baseline_view = "rate"
  return config
