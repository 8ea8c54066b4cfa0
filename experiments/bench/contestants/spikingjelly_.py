"""spikingjelly: `LIFNode` over a whole train, with detached reset.

  eager   on GPUs its reference in PyTorch, which is all there is on CPUs
  triton  its fused kernels in Triton

The kernels have their own surrogates alone; SoftSign has our shape, with a
peak of half its scale.
"""

import functools
import os

import torch
from spikingjelly.activation_based import functional, neuron, surrogate

from experiments.bench import reference
from experiments.bench.contestants import torch_programs

_TAU = 1.0 / (1.0 - reference.DECAY)
_SOFTSIGN = surrogate.SoftSign(reference.SCALE)


def semantics(variant):
  """Reset before decay; the peak of SoftSign."""
  del variant
  return reference.Semantics(
    reset_decays=True, detached=True, peak=reference.SCALE / 2,
    outputs_first=True,
  )  # fmt: skip


def build(workload, given, variant, device):
  """The program of a variant."""
  chosen = "triton" if "triton" in variant else "torch"
  # Read when the first operator is chosen, on CUDA devices alone.
  os.environ["SJ_LIF_CUDA_IMPLEMENTATION"] = chosen
  make_neurons = functools.partial(
    _step_by_step if "compiled" in variant else _whole_train, variant
  )
  return torch_programs.build(workload, given, make_neurons, variant, device)


def _whole_train(variant):
  node = neuron.LIFNode(
    tau=_TAU, decay_input=False, v_reset=None, surrogate_function=_SOFTSIGN,
    detach_reset=True, step_mode="m",
  )  # fmt: skip
  spikes = torch_programs.in_chunks(
    lambda currents, _: (node(currents), None), variant
  )

  def neurons(currents):
    functional.reset_net(node)
    return spikes(currents)

  return neurons


def _step_by_step(variant):
  step = torch_programs.wrap(functional.lif_step, variant, "compiled")

  def neurons(currents):
    potential = torch.zeros_like(currents[0])
    spikes = []
    for current in currents:
      fired, potential = step(
        current, potential, _TAU, False, 1.0, None, _SOFTSIGN, True
      )
      spikes.append(fired)
    return torch.stack(spikes)

  return neurons
