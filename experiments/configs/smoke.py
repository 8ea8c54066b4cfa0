"""Seconds, not accuracy: every part of the main job in small, for tests.

Command: python -m experiments.train --config=experiments/configs/smoke.py
Cost: under 25 seconds on 2 cores.
Result: none is claimed; its reconstructions are not digits.
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.name = "smoke"
  config.steps = 40
  config.batch_size = 16
  config.num_steps = 10
  config.eval_every = 20
  config.eval_samples = 2
  config.judge_epochs = 2
  config.baseline_view = "rate"
  config.encoder.hidden = (32,)
  config.decoder_width = 32
  return config
