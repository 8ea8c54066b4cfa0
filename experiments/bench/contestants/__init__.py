"""Who takes part: a name, its packages, and its variants by device.

A contestant is a module with ``semantics(variant) -> reference.Semantics`` and
``build(workload, given, variant, device) -> Program``; only the process that
runs it imports it. Parts of a variant's name of a library on PyTorch:

  eager     as its documentation shows, products over all steps at once
  compiled  `torch.compile` of the neuron's step
  chunks    `torch.compile` of 20 steps; all of them would take minutes
  graph     the whole training step as one CUDA graph

Of any library, on CPUs, how a step goes through its batch:

  parts4    in four parts, one after the other, whose gradients are added up
  pmap      in JAX: each core is a device with its part of the batch
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple

from experiments.bench import reference, workloads


class Contestant(NamedTuple):
  """What the launcher knows without importing a library.

  Attributes:
    module: of this package.
    packages: whose versions count.
    cpu: variants on a CPU.
    cuda: variants on a GPU.
  """

  module: str
  packages: tuple[str, ...]
  cpu: tuple[str, ...]
  cuda: tuple[str, ...]


class Program(NamedTuple):
  """A built workload.

  Attributes:
    step: computes it once and waits for the device.
    outcome: ``() -> reference.Outcome`` of one step from the start.
    compiled_bytes: temporary memory of a compiled program; None where no
      compiler tells.
    devices: how many share the batch.
  """

  step: Callable[[], object]
  outcome: Callable[[], reference.Outcome] | None
  compiled_bytes: int | None = None
  devices: int = 1


# Sizes of the machine's square product and of its scaled sum.
MACHINE = {"cpu": (2048, 2**25), "cuda": (8192, 2**28)}
# Precision of products in steps; all else is float32 for all.
PRODUCTS = "float32"
_TORCH_CPU = ("eager", "compiled", "chunks", "chunks+parts4")
_TORCH_CUDA = ("eager", "graph", "compiled+graph", "chunks", "chunks+graph")
CONTESTANTS = {
  "timedecode": Contestant(
    "timedecode_", ("jax",),
    ("scan", "fused", "fused+pmap", "events", "events+pmap",
     "events+parts4", "events+parts16", "events+parts4+pmap", "recomputed"),
    ("scan", "fused", "recomputed"),
  ),
  "snntorch": Contestant(
    "snntorch_", ("snntorch", "torch"), _TORCH_CPU, _TORCH_CUDA
  ),
  "norse": Contestant("norse_", ("norse", "torch"), _TORCH_CPU, _TORCH_CUDA),
  "spikingjelly": Contestant(
    "spikingjelly_", ("spikingjelly", "torch"), _TORCH_CPU,
    ("eager", "triton", "triton+graph", "chunks+graph"),
  ),
  "spyx": Contestant(
    "spyx_", ("spyx", "flax", "jax"),
    ("run", "run+pmap", "hoisted", "hoisted+pmap", "hoisted+parts4+pmap"),
    ("run", "hoisted"),
  ),
  "jaxpike": Contestant(
    "jaxpike_", ("jaxpike", "jax"),
    ("unroll", "unroll-1", "unroll-1+pmap", "unroll-1+parts4+pmap",
     "checkpointed"),
    ("unroll", "unroll-1", "checkpointed"),
  ),
  "machine": Contestant(
    "machine_", ("jax",), ("product", "copy", "products alone"),
    ("product", "copy", "products alone"),
  ),
}  # fmt: skip


def parts(variant: str) -> int:
  """Parts that a variant goes through a batch in."""
  found = [n for n in variant.split("+") if n.startswith("parts")]
  return int(found[0].removeprefix("parts")) if found else 1


def takes_part(name: str, variant: str, workload: workloads.Workload) -> bool:
  """Whether a variant has anything to say about a workload."""
  if variant in ("checkpointed", "recomputed", "events+parts16"):
    return workload.letter == "b"
  way, *batch = variant.split("+")
  if way == "events" and workload.kind not in ("training", "latency"):
    return False  # Only spikes can be added up.
  if way == "hoisted" and workload.kind == "layer":
    return False  # The same as `run` without products.
  if parts(variant) > 1:
    return workload.kind == "training" and not workload.batch % parts(variant)
  if "pmap" in batch:
    return workload.kind in ("training", "layer")
  if variant == "products alone":
    return workload.kind not in ("layer", "latency")
  return True


def module(name: str):
  """The contestant's module, imported.

  Raises:
    ImportError: its library is not installed.
  """
  return importlib.import_module(
    f"{__name__}.{CONTESTANTS[name].module}", __name__
  )
