"""Which of two ways to compute the same: by the platform of the program."""

import contextlib
from collections.abc import Callable

import jax

_kernels: bool | None = None  # None: where a CUDA device is.


@contextlib.contextmanager
def _tracing(kernels: bool):
  global _kernels
  before, _kernels = _kernels, kernels
  try:
    yield
  finally:
    _kernels = before


@contextlib.contextmanager
def tracing_for_cuda():
  """Programs that are traced in here have their CUDA kernels anywhere.

  For a program that is exported to CUDA from a machine without such devices;
  elsewhere kernels are traced only where there is a device for them. What was
  traced before is forgotten, as it has none.
  """
  jax.clear_caches()
  with _tracing(True):
    yield


def is_divided() -> bool:
  """Whether what is traced now is for a compiler to divide among devices."""
  return _kernels is False


def without_kernels(function: Callable) -> Callable:
  """`function`, traced without kernels: compilers can't partition these."""

  def wrapped(*arguments):
    with _tracing(False):
      return function(*arguments)

  return wrapped


def choose(cuda: Callable, default: Callable) -> Callable:
  """The same function of arrays, by `cuda` on CUDA devices."""

  def chosen(*arguments):
    here = jax.default_backend() == "gpu" if _kernels is None else _kernels
    if not here:
      return default(*arguments)
    return jax.lax.platform_dependent(*arguments, cuda=cuda, default=default)

  return chosen
