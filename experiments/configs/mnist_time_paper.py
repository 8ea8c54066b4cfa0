"""The paper's learning rule to the letter: one example at a time.

Claim: score function with the per-parameter baseline (averages in the right
direction, of the examples before), random feedback to the hidden layer, SGD
for the encoder, Adam for the decoder, one example per step. The published
learning rates, the encoder's for a loss that is a mean over 784 pixels.
Command: python -m experiments.train \
    --config=experiments/configs/mnist_time_paper.py
Cost: 70 seconds on 2 cores.
Result: judge accuracy 0.100 on the 1,000 test images of mnist_5k (a frozen
encoder has 0.100, clean images 0.988), 0.2641 nats/pixel: at one example a
step and this rate 20,000 examples teach the encoder nothing.
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.name = "mnist_time_paper"
  config.estimator = "published"
  config.credit = "feedback"
  config.information = "sampled"
  config.batch_size = 1
  config.steps = 20_000
  config.eval_every = 5_000
  config.optimizer.encoder_name = "sgd"
  config.optimizer.encoder_learning_rate = 1e-3 / 784
  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup_fraction = 0.0
  config.optimizer.final_fraction = 1.0
  config.optimizer.max_norm = 0.0
  return config
