"""A line of metrics: what it holds, and what a person sees of it."""

from typing import Any

import numpy as np

from experiments import inputs
from timedecode import metrics


def describe(metrics_) -> dict:
  """Metrics of a step as plain numbers, information in bits."""
  diagnostics = metrics_.diagnostics
  row = {
    "train_loss": float(metrics_.loss),
    "train_distortion": float(metrics_.distortion),
    "train_information_bits": float(metrics.nats_to_bits(metrics_.information)),
    "train_readout_rate": float(metrics_.readout_rate),
    "train_readout_entropy_bits": float(metrics.nats_to_bits(metrics_.entropy)),
  }
  for name, value in diagnostics._asdict().items():
    row[name] = [float(v) for v in value]
  return row


def finite(value: Any) -> Any:
  """The value; None in place of a number that JSON and tables can't hold."""
  unfit = isinstance(value, float) and not np.isfinite(value)
  return None if unfit else value


def row(config, source, step, seconds, figures) -> dict:
  """A line of metrics: where the run is, and the figures."""
  seen = step * config.batch_size
  return {
    "step": step, "examples_seen": seen, "train_seconds": seconds,
    "examples_per_second": seen / max(seconds, 1e-9),
    "data_source": source, "split": "validation",
  } | figures  # fmt: skip


def line(config, view, row) -> str:
  """What a person wants to see while it runs."""
  metric = inputs.task(config).metric
  left = (config.steps - row["step"]) * row["train_seconds"] / row["step"]
  return (
    f"[{view}] step {row['step']}/{config.steps}"
    f"  {row['examples_per_second']:,.0f} examples/s  {left:4.0f} s left"
    f"  distortion {row['distortion']:.1f} nats"
    f"  information {row['information_bits']:.1f} bits"
    f"  {metric.replace('_', ' ')} {row[metric]:.3f} (validation)"
  )
