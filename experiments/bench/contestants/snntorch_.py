"""snntorch: `snntorch.Leaky`, step by step.

Its other neurons that take a whole train at once have no reset.
"""

import snntorch
import snntorch.surrogate
import torch

from experiments.bench import reference
from experiments.bench.contestants import torch_programs


def semantics(variant):
  """No gradient through the reset."""
  del variant
  return reference.Semantics(detached=True, outputs_first=True)


def build(workload, given, variant, device):
  """The program of a variant."""

  def make_neurons():
    leaky = snntorch.Leaky(
      beta=reference.DECAY,
      spike_grad=snntorch.surrogate.fast_sigmoid(reference.SCALE),
    ).to(device)
    step = torch_programs.wrap(leaky, variant, "compiled")

    def run(currents, membrane):
      if membrane is None:
        membrane = torch.zeros_like(currents[0])
      spikes = []
      for current in currents:
        fired, membrane = step(current, membrane)
        spikes.append(fired)
      return torch.stack(spikes), membrane

    return torch_programs.in_chunks(run, variant)

  return torch_programs.build(workload, given, make_neurons, variant, device)
