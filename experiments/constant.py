"""What can be said of targets without any spikes: where information begins.

With D_0 the distortion of the best answer that is the same for every example,
a decoder of distortion D takes D_0 - D from the spikes: of labels a lower bound
of I(y; r), whose entropy is D_0; of pictures the information that a decoder
with independent pixels can use (Xu et al., arXiv:2002.10689), which counts what
several pixels share several times and so may exceed I(y; r).
"""

import jax
import numpy as np

from experiments import inputs
from timedecode import metrics


def distortions(task: inputs.Task, fitted, judged) -> np.ndarray:
  """Nats of every example under the best answer without spikes, [M].

  Args:
    task: of the configuration.
    fitted: (targets [M, ...], labels [M]), of which the answer is made.
    judged: the same of the examples that it is judged on.
  """
  (targets, labels), (judged_targets, judged_labels) = fitted, judged
  if task.metric == "accuracy":
    shares = np.bincount(labels, minlength=task.num_outputs) / len(labels)
    return -np.log(np.maximum(shares, 1e-12))[judged_labels]
  mean = np.clip(np.mean(targets, 0, np.float64), 1e-6, 1 - 1e-6)
  dark = (1 - judged_targets) * np.log1p(-mean)
  return -(judged_targets * np.log(mean) + dark).sum(1)


def distortion(task: inputs.Task, fitted, judged) -> float:
  """D_0 in nats per example: the mean of `distortions`."""
  return float(distortions(task, fitted, judged).mean())


def answers(source, split: str, key: jax.Array) -> tuple:
  """(targets [M, ...], labels [M]) of a split, NumPy; inputs aren't made."""
  rows = source.rows(split)
  decode = jax.jit(lambda rows, keys: source.decode(rows, keys).targets)
  targets = decode(rows, inputs.example_keys(key, len(rows.labels)))
  return np.asarray(targets), np.asarray(rows.labels)


def of_source(config, source, split: str) -> float:
  """`distortion` on a split of the best answer for the training examples."""
  return distortion(
    inputs.task(config),
    answers(source, "train", inputs.training_key(config.seed)),
    answers(source, split, inputs.validation_key(config.seed)),
  )


def taken(without: float, distorted: float) -> float:
  """D_0 - D in bits per example."""
  return float(metrics.nats_to_bits(without - distorted))
