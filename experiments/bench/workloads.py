"""What is timed: named sizes, their arrays, and the least work they need.

Every array comes from a seed, so that all contestants get the same numbers.
Sizes of one workload: T steps, B examples, widths of the input and of every
layer of neurons. Kinds:

  training  forward, backward and Adam of a classifier by spike counts
  layer     a layer of neurons alone: spikes, and gradients of its currents
  latency   one example from the host to its decision, forward alone
  dense     one product and one layer: the loss and its weights' gradient
"""

import math
from typing import NamedTuple

import numpy as np

RATE = 0.05  # Of input spikes, per step.
# Weights of this deviation (at 700 inputs) let both layers fire.
SPREAD, SPREAD_AT = 0.09, 700
CURRENTS = (-0.35, 0.65)  # Of a layer alone, uniform.
# Least passes over weights in a training step: read forward and backward,
# gradients written and read, Adam reads and writes weights and moments.
PASSES = 2 + 2 + 6
USUAL = {"steps": 100, "batch": 128, "width": 256}  # Of (a).
NETWORK = (700, USUAL["width"], 20)


class Workload(NamedTuple):
  """One size of one workload.

  Attributes:
    letter: of the list in `experiments.benchmark`.
    kind: training, layer, latency or dense.
    num_steps: T.
    batch: B.
    widths: of the input and of the layers; of a layer alone its own.
  """

  letter: str
  kind: str
  num_steps: int
  batch: int
  widths: tuple[int, ...]

  @property
  def label(self) -> str:
    """The sizes as one word."""
    widths = "-".join(str(width) for width in self.widths)
    return f"{self.letter}: T {self.num_steps:,}, B {self.batch}, {widths}"

  @property
  def layers(self) -> list[tuple[int, int]]:
    """Inputs and outputs of every product."""
    return list(zip(self.widths[:-1], self.widths[1:], strict=True))


class Arrays(NamedTuple):
  """What a workload is computed from, float32 in NumPy.

  Attributes:
    inputs: [T, B, N]: spikes, or the currents of a layer alone.
    weights: [inputs, outputs] of every layer.
    targets: [B], classes; None where there is no training.
    cotangents: [T, B, N] of the last layer's spikes; None for a classifier.
  """

  inputs: np.ndarray
  weights: tuple[np.ndarray, ...]
  targets: np.ndarray | None
  cotangents: np.ndarray | None


def arrays(workload: Workload, seed: int = 0) -> Arrays:
  """The arrays of a workload."""
  rng = np.random.default_rng(seed)
  rows = workload.num_steps, workload.batch

  def uniform(low, high, width):
    values = rng.random((*rows, width), np.float32)
    values *= high - low
    values += low
    return values

  targets = cotangents = None
  if workload.kind == "layer":
    inputs = uniform(*CURRENTS, workload.widths[-1])
  else:
    inputs = rng.random((*rows, workload.widths[0]), np.float32)
    inputs = (inputs < RATE).astype(np.float32)
  weights = []
  for shape in workload.layers:
    values = rng.standard_normal(shape, np.float32)
    values *= np.float32(SPREAD * np.sqrt(SPREAD_AT / shape[0]))
    weights.append(values)
  if workload.kind == "training":
    targets = rng.integers(0, workload.widths[-1], workload.batch, np.int32)
  if workload.kind in ("layer", "dense"):
    cotangents = uniform(-1, 1, workload.widths[-1])
  return Arrays(inputs, tuple(weights), targets, cotangents)


def product_flops(workload: Workload) -> int:
  """Operations of all products, 2 per multiply-add.

  Backward a product for the weights, and one for its inputs where those are
  spikes of a layer.
  """
  total = 0
  for number, (inputs, outputs) in enumerate(workload.layers):
    times = {"latency": 1}.get(workload.kind, 2 + (number > 0))
    total += times * 2 * inputs * outputs
  return total * workload.num_steps * workload.batch


def least_bytes(workload: Workload) -> int:
  """Traffic of whole arrays that no order of work avoids, float32.

  A layer reads currents twice (forward, and to find its potentials again) and
  cotangents once, writes spikes and gradients. A product reads its inputs and
  writes its outputs; backward it reads inputs and gradients, and writes the
  gradient of spikes. Weights: `PASSES` in training.
  """
  values = 4 * workload.num_steps * workload.batch
  if workload.kind == "layer":
    return 5 * values * workload.widths[-1]
  if workload.kind == "latency":
    per_step = sum(i + 3 * o for i, o in workload.layers)
    return values * per_step + 4 * sum(i * o for i, o in workload.layers)
  per_step = 0
  for number, (inputs, outputs) in enumerate(workload.layers):
    per_step += 2 * inputs + 2 * outputs + 5 * outputs
    per_step += (inputs + outputs) if number else 0
  passes = PASSES if workload.kind == "training" else 2
  size = sum(inputs * outputs for inputs, outputs in workload.layers)
  return values * per_step + 4 * passes * size


def tiny(workload: Workload, parts: int = 1) -> Workload:
  """The same in small: what a contestant is checked on.

  Args:
    workload: in full.
    parts: that the batch has to have.
  """
  small = (40, 24, 7)[: len(workload.widths)]
  widths = tuple(map(min, workload.widths, small))
  if workload.kind == "layer":
    widths = (24,)
  return workload._replace(
    num_steps=min(workload.num_steps, 20),
    batch=min(workload.batch, parts * math.ceil(8 / parts)),
    widths=widths,
  )  # fmt: skip


def _classifier(letter: str, **sizes: int) -> Workload:
  """(a), but for some of its sizes."""
  sizes = USUAL | sizes
  widths = (NETWORK[0], sizes["width"], NETWORK[2])
  return Workload(letter, "training", sizes["steps"], sizes["batch"], widths)


def _sizes() -> list[Workload]:
  """Around (a): time against T, batch and width."""
  found = [{"steps": n} for n in (20, 40, 200, 400)]
  found += [{"batch": n} for n in (8, 32, 512)]
  found += [{"width": n} for n in (64, 1024, 4096)]
  return [_classifier("s", **sizes) for sizes in found]


def named(letter: str, large: bool, batch_b: int = 32) -> list[Workload]:
  """The sizes of a letter.

  Args:
    letter: a, b, d, e, f, or s for sizes around (a).
    large: also those whose step takes many seconds without a GPU.
    batch_b: examples of (b).

  Raises:
    ValueError: another letter.
  """
  layer = [(100, 16, 512), (100, 128, 1024), (500, 256, 4096)]
  dense = [4096, 8192, 16384]
  every = {
    "a": [_classifier("a")],
    "b": [_classifier("b", steps=1000, batch=batch_b)],
    "d": [Workload("d", "layer", t, b, (n,)) for t, b, n in layer],
    "e": [Workload("e", "latency", 100, 1, NETWORK)],
    "f": [Workload("f", "dense", 500, 16, (n, n)) for n in dense],
    "s": _sizes(),
  }
  if letter not in every:
    raise ValueError(
      f"workloads: expected letters of {', '.join(every)}, got {letter!r}"
    )
  if letter == "f" and not large:
    return every["f"][:1]
  return every[letter]
