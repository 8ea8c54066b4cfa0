"""The process of one contestant on one workload.

  python -m experiments.bench.worker SPEC

SPEC is JSON: contestant, variant, workload (its fields), device, precision.
The process imports the library and checks it on the workload in small, and
prints ``{"checked": error}``. At the line ``build`` of its standard input it
builds its size, warms up, and prints ``{"ready": {...}}``; at a number k it
runs k steps and prints ``{"ms": [...]}``. It ends with its input, or with
``{"reason": "..."}``.
"""

import gc
import importlib.metadata
import json
import os
import pathlib
import sys
import time

import numpy as np

from experiments import memory
from experiments.bench import contestants, reference, workloads

# Of the largest value, and of the angle: float32 against float64.
TOLERANCE, LEAST_COSINE = 1e-3, 0.99999


class WrongResult(ValueError):
  """A contestant computes something else."""


def compare(found: reference.Outcome, right: reference.Outcome) -> float:
  """The largest relative error.

  Raises:
    WrongResult: beyond `TOLERANCE` or `LEAST_COSINE`, or of another shape.
  """
  pairs = [(f"gradient {number}", *pair) for number, pair in enumerate(
    zip(found.gradients, right.gradients, strict=True)
  )]  # fmt: skip
  if right.loss is not None:
    pairs.append(("loss", found.loss, right.loss))
  if right.outputs is not None:
    pairs.append(("spikes", found.outputs, right.outputs))
  largest = 0.0
  for name, value, wanted in pairs:
    value, wanted = np.asarray(value, np.float64), np.asarray(wanted)
    if value.shape != wanted.shape:
      raise WrongResult(
        f"{name}: expected shape {wanted.shape}, got {value.shape}"
      )
    error = np.max(np.abs(value - wanted)) / np.max(np.abs(wanted))
    norms = np.linalg.norm(value) * np.linalg.norm(wanted)
    cosine = np.sum(value * wanted) / norms
    if not (error <= TOLERANCE and cosine >= LEAST_COSINE):
      raise WrongResult(
        f"{name}: expected a relative error up to {TOLERANCE} and a cosine of"
        f" {LEAST_COSINE}, got {error:.2g} and {cosine:.6f}"
      )
    largest = max(largest, float(error))
  return largest


def check(module, workload, variant: str, device: str) -> float:
  """The error of a contestant on a workload in small; see `compare`."""
  devices = int(os.environ.get("JAX_NUM_CPU_DEVICES", 1))
  small = workloads.tiny(workload, contestants.parts(variant) * devices)
  given = workloads.arrays(small, seed=1)
  program = module.build(small, given, variant, device)
  if program.outcome is None:
    return 0.0
  right = reference.outcome(small.kind, given, module.semantics(variant))
  return compare(program.outcome(), right)


def _resident(now: bool = False) -> int | None:
  """Resident memory, bytes: its peak since it was forgotten, or now.

  See `memory.release` for what is freed and still resident.
  """
  name = "VmRSS:" if now else "VmHWM:"
  try:
    status = pathlib.Path("/proc/self/status").read_text()
  except OSError:
    return None
  for line in status.splitlines():
    if line.startswith(name):
      return 1024 * int(line.split()[1])
  return None


def _forget_peak() -> None:
  """From here on the peak counts anew, where the system can do so.

  Of what is in use: memory that is free, as compilers leave it, is given back.
  """
  gc.collect()
  memory.release()
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  except OSError:
    pass


def _device_peak(packages) -> int | None:
  """Peak of the allocator of the framework in use."""
  if "torch" in packages:
    import torch

    return torch.cuda.max_memory_allocated()
  import jax

  return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def _device_kind(device, packages) -> str | None:
  """What a GPU calls itself."""
  if device != "cuda":
    return None
  if "torch" in packages:
    import torch

    return torch.cuda.get_device_name()
  import jax

  return jax.devices()[0].device_kind


def _set_precision(name: str) -> None:
  """Of products, in whatever framework is there."""
  contestants.PRODUCTS = "bfloat16" if name == "bfloat16" else "float32"
  if "torch" in sys.modules:
    import torch

    level = "high" if name == "tf32" else "highest"
    torch.set_float32_matmul_precision(level)
  if "jax" in sys.modules:
    import jax

    level = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": None}
    jax.config.update("jax_default_matmul_precision", level[name])


def build(module, workload, spec: dict):
  """The program at its size, warm, and what is to be told of it."""
  _set_precision(spec["precision"])
  _forget_peak()
  before = _resident(now=True)
  given = workloads.arrays(workload)
  start = time.perf_counter()
  program = module.build(workload, given, spec["variant"], spec["device"])
  program.step()
  seconds = time.perf_counter() - start
  _forget_peak()
  for _ in range(2):
    program.step()
  packages = contestants.CONTESTANTS[spec["contestant"]].packages
  ready = {
    "build_seconds": seconds,
    "peak_bytes": _peak(spec["device"], packages, before),
    "compiled_bytes": program.compiled_bytes,
    "devices": program.devices,
    "device_kind": _device_kind(spec["device"], packages),
    "versions": {name: importlib.metadata.version(name) for name in packages},
  }
  return program, ready


def _peak(device: str, packages, before: int | None) -> int | None:
  """Bytes that steps need at most, beside what was there before."""
  if device == "cuda":
    return _device_peak(packages)
  after = _resident()
  return None if None in (before, after) else after - before


def _answers():
  """What is said to the launcher; all else that is printed is an error's."""
  kept = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)

  def answer(**values):
    print(json.dumps(values), file=kept, flush=True)

  return answer


def _timed(program, steps: int) -> list[float]:
  """Milliseconds of so many steps, after one that wakes caches and threads."""
  times = []
  for _ in range(steps + 1):
    start = time.perf_counter()
    program.step()
    times.append(1e3 * (time.perf_counter() - start))
  return times[1:]


def main() -> None:
  """See the module's text."""
  answer = _answers()
  spec = json.loads(sys.argv[1])
  *sizes, widths = spec["workload"]
  workload = workloads.Workload(*sizes, tuple(widths))
  program = None
  try:
    module = contestants.module(spec["contestant"])
    _set_precision("float32")
    answer(checked=check(module, workload, spec["variant"], spec["device"]))
    for line in sys.stdin:
      if line.strip() == "build":
        program, ready = build(module, workload, spec)
        answer(ready=ready)
      else:
        answer(ms=_timed(program, int(line)))
  except Exception as error:
    text = str(error).strip() or "no message"
    answer(reason=f"{type(error).__name__}: {text[:500]}")
    raise


if __name__ == "__main__":
  main()
