"""Which of two ways to compute the same: by the platform of the program."""

import contextlib
from collections.abc import Callable

import jax

_for_cuda = False


@contextlib.contextmanager
def tracing_for_cuda():
  """Programs that are traced in here have their CUDA kernels anywhere.

  For a program that is exported to CUDA from a machine without such devices;
  elsewhere kernels are traced only where there is a device for them.
  """
  global _for_cuda
  before, _for_cuda = _for_cuda, True
  try:
    yield
  finally:
    _for_cuda = before


def choose(cuda: Callable, default: Callable) -> Callable:
  """The same function of arrays, by `cuda` on CUDA devices."""

  def chosen(*arguments):
    if not (_for_cuda or jax.default_backend() == "gpu"):
      return default(*arguments)
    return jax.lax.platform_dependent(*arguments, cuda=cuda, default=default)

  return chosen
