"""What `microscope` measures of a trained model; numbers and arrays only."""

import jax
import numpy as np

from experiments import microscope_decoding
from experiments.trains import Trains
from timedecode import (
  channel,
  intervals,
  operations,
  perturbations,
  readout,
)

STRENGTHS = {
  "shuffle": (1, 2, 3, 5, 10, 20, 40),
  "jitter": (0, 1, 2, 3, 5, 10, 20),
  "merge": (0.0, 0.1, 0.25, 0.5, 0.75, 1.0),
  "drop": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
  "add": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
}


def curves(
  decoding: microscope_decoding.Decoding, params, num_steps: int
) -> dict[str, list[dict]]:
  """Kind -> points of strength and `microscope_decoding.Quality`."""
  found = {}
  for kind, change in perturbations.PERTURBATIONS.items():
    strengths = [s for s in STRENGTHS[kind] if s < num_steps]
    if kind == "shuffle":
      strengths.append(num_steps)
    found[kind] = [
      {"strength": s} | decoding.quality(params, change, s)._asdict()
      for s in strengths
    ]
  return found


def random_prefix(spikes: jax.Array, key: jax.Array) -> jax.Array:
  """The first 0 .. T steps, as many as chance says, and silence."""
  count = jax.random.randint(key, (), 0, len(spikes) + 1)
  return channel.prefix(spikes, key, count)


def anytime(
  decoding: microscope_decoding.Decoding, params, trains: Trains
) -> list[dict]:
  """Quality and spikes so far, for every number of steps that has arrived."""
  num_steps = trains.spikes.shape[1]
  lengths = np.unique(np.linspace(0, num_steps, min(num_steps, 40) + 1).round())
  spikes = trains.spikes.sum(2).cumsum(1).mean(0)
  return [
    {
      "steps": int(length),
      "spikes": float(spikes[int(length) - 1]) if length else 0.0,
    } | decoding.quality(params, channel.prefix, length)._asdict()
    for length in lengths
  ]  # fmt: skip


def latency(points: list[dict], count: int, share: float = 0.9) -> dict | None:
  """The first point with a step or more and `share` of the final accuracy.

  None where what all steps gain over none can't be told from 0. No steps are
  never the answer, also where chance alone is right so often.

  Args:
    points: of `anytime`, the first of no steps.
    count: examples.
    share: of the final accuracy.
  """
  ends = points[-1]["accuracy"], points[0]["accuracy"]
  if intervals.of_difference(*ends, count, count)[0] <= 0:
    return None
  wanted = share * ends[0]
  found = next(p for p in points[1:] if p["accuracy"] >= wanted)
  return {"steps": found["steps"], "spikes": found["spikes"]}


def cost(config, encoder, params, trains: Trains):
  """`operations.Operations` of the encoder; None where layers aren't dense.

  A hidden neuron has two traces and a refractory term; one of the readout adds
  its K kernels' and its feedback's L taps in every step.

  Args:
    config: of the run.
    encoder: `encoder.Encoder`.
    params: `encoder.EncoderParams`.
    trains: of which spikes are counted.
  """
  if config.encoder.kind != "dense":
    return None
  hidden = list(config.encoder.hidden)
  kernels, taps = params.readout.weights.shape[1], encoder.reach
  per_example = lambda x: float(x.sum((1, 2)).mean())
  return operations.count(
    [per_example(trains.inputs), *trains.hidden_counts.mean(0)],
    [trains.inputs.shape[-1], *hidden],
    [*hidden, config.encoder.num_readout],
    trains.inputs.shape[1],
    [1] * len(hidden) + [kernels],
    [3] * len(hidden) + [(kernels + 1) * taps],
  )


def count_view(spikes: jax.Array) -> jax.Array:
  """What a decoder of counts sees."""
  return readout.counts(spikes)
