"""norse: `lif_box_feed_forward_step`, run over time by its `SNN` module.

Its SuperSpike has no scale: the derivative is 1 / (1 + |u|)^2 whatever alpha.
So potentials, threshold and weights are 25 times ours, by which its peak seen
from our potentials is 25. The reset is detached, by a reset method of our own:
with that peak a gradient through it would grow 20-fold per step.
"""

import torch
from norse.torch.functional import lif_box
from norse.torch.module import snn

from experiments.bench import reference
from experiments.bench.contestants import torch_programs

_SCALE = reference.SCALE
_GAIN = _SCALE / (1.0 - reference.DECAY)
_STEP_SIZE = 1e-3


def semantics(variant):
  """Reset before decay; the currents' share and the scale in the weights."""
  del variant
  return reference.Semantics(
    reset_decays=True, detached=True, peak=_SCALE, gain=_GAIN,
    outputs_first=True,
  )  # fmt: skip


def _reset(spikes, potential, value, threshold):
  del value
  return potential - spikes.detach() * threshold


def build(workload, given, variant, device):
  """The program of a variant."""
  parameters = lif_box.LIFBoxParameters(
    tau_mem_inv=torch.as_tensor((1.0 - reference.DECAY) / _STEP_SIZE),
    v_th=torch.as_tensor(_SCALE), alpha=torch.as_tensor(_SCALE),
    reset_method=_reset,
  )  # fmt: skip

  def make_neurons():
    step = lif_box.lif_box_feed_forward_step
    step = torch_programs.wrap(step, variant, "compiled")
    loop = snn.SNN(step, None, parameters, dt=_STEP_SIZE)

    def run(currents, state):
      if state is None:
        state = lif_box.LIFBoxFeedForwardState(torch.zeros_like(currents[0]))
      return loop(currents, state)

    return torch_programs.in_chunks(run, variant)

  return torch_programs.build(
    workload, given, make_neurons, variant, device, _GAIN
  )
