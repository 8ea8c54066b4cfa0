"""norse: `lif_box_feed_forward_step`, in a loop over the steps of a train.

Its own loop, the module `SNN`, indexes the train: where currents have a
gradient, each step then adds to a whole train, which takes time as T^2.

Its SuperSpike has no scale: the derivative is 1 / (1 + |u|)^2 whatever alpha.
So potentials, threshold and weights are 25 times ours, by which its peak seen
from our potentials is 25. The reset is detached, by a reset method of our own:
with that peak a gradient through it would grow 20-fold per step.
"""

import torch
from norse.torch.functional import lif_box

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

    def run(currents, state):
      if state is None:
        state = lif_box.LIFBoxFeedForwardState(torch.zeros_like(currents[0]))
      spikes = []
      for current in currents:
        fired, state = step(current, state, parameters, _STEP_SIZE)
        spikes.append(fired)
      return torch.stack(spikes), state

    return torch_programs.in_chunks(run, variant)

  return torch_programs.build(
    workload, given, make_neurons, variant, device, _GAIN
  )
