"""How many GPU kernels of our own a program would have."""

import jax
import jax.export

from timedecode import platforms

_TARGET = "__gpu$xla.gpu.triton"


def count(function, platform, *arguments):
  """In the program for a platform, lowered on this machine."""
  allowed = [jax.export.DisabledSafetyCheck.custom_call(_TARGET)]
  with platforms.tracing_for_cuda():
    made = jax.export.export(
      jax.jit(function), platforms=[platform], disabled_checks=allowed
    )(*arguments)
  return made.mlir_module().count(f"custom_call @{_TARGET}")
