"""The paper's learning rule with mini-batches of 64.

Claim: as mnist_time_paper, with the mean over 64 examples and a learning rate
of the encoder that was chosen for it on validation images.
Command: python -m experiments.train \
    --config=experiments/configs/mnist_time_paper_batched.py
Cost, result: not measured yet; no number is claimed.
"""

from experiments.configs import mnist_time_paper


def get_config():
  config = mnist_time_paper.get_config()
  config.name = "mnist_time_paper_batched"
  config.batch_size = 64
  config.steps = 2800
  config.eval_every = 500
  config.optimizer.encoder_learning_rate = 1e-4
  return config
