"""Every workload from a contestant's neurons in PyTorch.

A contestant makes ``neurons(currents [T, B, N]) -> spikes`` for every layer;
products are taken over all steps at once. On CUDA devices a variant with
`graph` is captured with its gradients and Adam, and a step is one replay.
"""

import numpy as np
import torch
import torch.nn.functional as F

from experiments.bench import contestants, reference

LEARNING_RATE = 1e-3
CHUNK = 20  # Steps that are compiled as one program.


def wrap(function, variant: str, part: str):
  """`function`, compiled where the variant says so of that part."""
  if part not in variant.split("+"):
    return function
  # Static sizes: what was compiled for the check must not make this slower.
  return torch.compile(function, dynamic=False)


def in_chunks(run, variant: str):
  """Spikes of a train, compiled by `CHUNK` steps where the variant says so.

  Args:
    run: ``(currents [t, B, N], state or None) -> (spikes, state)``.
    variant: its name.
  """
  if "chunks" not in variant.split("+"):
    return lambda currents: run(currents, None)[0]
  compiled = wrap(run, variant, "chunks")

  def neurons(currents):
    state, spikes = None, []
    for chunk in currents.split(CHUNK):
      fired, state = compiled(chunk, state)
      spikes.append(fired)
    return torch.cat(spikes)

  return neurons


def build(workload, given, make_neurons, variant, device, gain=1.0):
  """The program of one contestant.

  Args:
    workload: what is computed.
    given: its arrays.
    make_neurons: of the contestant, called once per layer.
    variant: its name, whose parts say what is compiled or captured.
    device: cpu or cuda.
    gain: its currents per ours.
  """
  if device == "cpu":
    torch.set_flush_denormal(True)  # XLA does so by itself.
  torch.compiler.reset()  # Of programs built before, as for a check.
  neurons = [make_neurons() for _ in given.weights or (None,)]
  weights = [
    torch.tensor(np.ascontiguousarray(gain * matrix.T), device=device)
    for matrix in given.weights
  ]

  def run(train):
    if not weights:
      return neurons[0](train)
    for matrix, layer in zip(weights, neurons, strict=True):
      # Autocast leaves currents in bfloat16; potentials are float32 for all.
      train = layer(F.linear(train, matrix).float())
    return train

  makers = {
    "training": _training, "layer": _layer, "latency": _latency,
    "dense": _dense,
  }  # fmt: skip
  way = _Way(device, variant)
  return makers[workload.kind](given, run, weights, way, gain)


class _Way:
  """How a step is run on a device: as it is, or as a CUDA graph; in parts."""

  def __init__(self, device, variant):
    self.device, self.graph = device, "graph" in variant.split("+")
    self.parts = contestants.parts(variant)

  def place(self, values):
    return torch.tensor(values, device=self.device)

  def products(self):
    """A context of products in their precision; caches casts within it."""
    enabled = contestants.PRODUCTS == "bfloat16"
    return torch.autocast(self.device, torch.bfloat16, enabled=enabled)

  def wait(self):
    if self.device == "cuda":
      torch.cuda.synchronize()

  def captured(self, function):
    """A function of nothing, and the tensors that it returns or fills."""
    if not self.graph:
      return function
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
      for _ in range(3):
        function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
      results = function()

    def replay():
      graph.replay()
      return results

    return replay

  def waited(self, function):
    """`captured`, and done when it returns."""
    step = self.captured(function)

    def once():
      results = step()
      self.wait()
      return results

    return once


def _numpy(tensors):
  return tuple(tensor.detach().cpu().numpy() for tensor in tensors)


def _training(given, run, weights, way, gain):
  del gain
  parts = [
    (way.place(given.inputs[:, k :: way.parts]),
     way.place(given.targets[k :: way.parts]).long())
    for k in range(way.parts)
  ]  # fmt: skip
  start = [matrix.clone() for matrix in weights]
  for matrix in weights:
    matrix.requires_grad_()
  optimiser = torch.optim.Adam(
    weights, lr=LEARNING_RATE, fused=True, capturable=way.graph
  )

  def step():
    optimiser.zero_grad(set_to_none=True)
    total = 0.0
    for inputs, targets in parts:
      with way.products():
        loss = F.cross_entropy(run(inputs).sum(0), targets) / way.parts
      loss.backward()
      total = total + loss.detach()
    optimiser.step()
    return total

  once = way.waited(step)

  def outcome():
    with torch.no_grad():  # Captures have trained already.
      for matrix, first in zip(weights, start, strict=True):
        matrix.copy_(first)
    loss = once()
    gradients = _numpy(matrix.grad for matrix in weights)
    return reference.Outcome(float(loss), gradients)

  return contestants.Program(once, outcome)


def _layer(given, run, weights, way, gain):
  del weights
  inputs = way.place(given.inputs * np.float32(gain)).requires_grad_()
  cotangents = way.place(given.cotangents)

  def step():
    spikes = run(inputs)
    return spikes, torch.autograd.grad(spikes, inputs, cotangents)[0]

  once = way.waited(step)

  def outcome():
    spikes, gradients = _numpy(once())
    return reference.Outcome(None, (gradients,), spikes)

  return contestants.Program(once, outcome)


def _dense(given, run, weights, way, gain):
  del gain
  inputs, cotangents = way.place(given.inputs), way.place(given.cotangents)
  for matrix in weights:
    matrix.requires_grad_()

  def step():
    with way.products():
      loss = torch.vdot(run(inputs).flatten(), cotangents.flatten())
    return loss, torch.autograd.grad(loss, weights)

  once = way.waited(step)

  def outcome():
    loss, gradients = once()
    return reference.Outcome(float(loss.detach()), _numpy(gradients))

  return contestants.Program(once, outcome)


def _latency(given, run, weights, way, gain):
  del weights, gain
  sample = torch.from_numpy(given.inputs)  # On the host: the way counts.
  inputs = torch.empty_like(sample, device=way.device)

  @torch.inference_mode()
  def step():
    with way.products():
      counts = run(inputs).sum(0)
    return counts.argmax(-1), counts

  step = way.captured(step)

  def once():
    inputs.copy_(sample)
    return int(step()[0])

  def outcome():
    once()
    return reference.Outcome(outputs=_numpy(step())[1])

  return contestants.Program(once, outcome)
