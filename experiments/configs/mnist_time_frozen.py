"""The control: the main job's decoder, the encoder as it was drawn.

Claim: what the learned decoder makes of a random encoder's 8 spike trains.
Command: python -m experiments.train \
    --config=experiments/configs/mnist_time_frozen.py
Cost: 2 minutes of training on 2 cores.
Result: judge accuracy 0.100 on the 1,000 test images of mnist_5k
(trained encoder 0.933; clean images 0.988), 0.2610 nats/pixel.
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.name = "mnist_time_frozen"
  config.optimizer.encoder_name = "frozen"
  return config
