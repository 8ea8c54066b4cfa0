"""What depends on the platform of a program: kernels, compiler options."""

import contextlib
import functools
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


# Of XLA's CPU compiler: to look at the order in which arrays are read, not only
# at what needs what, before it decides what may be overwritten. Else weights
# are copied in each step where a product could read them after their update.
_IN_PLACE = {"xla_cpu_copy_insertion_use_region_analysis": True}


@functools.cache
def in_place() -> dict[str, bool] | None:
  """`compiler_options` of `jax.jit` for steps that overwrite their state.

  None on other devices than CPUs, and if the compiler does not know them. JAX
  takes them for whole programs only.
  """
  if jax.default_backend() != "cpu":
    return None
  try:
    with jax.ensure_compile_time_eval():
      jax.jit(lambda x: x, compiler_options=_IN_PLACE)(0)
  except jax.errors.JaxRuntimeError:
    return None
  return _IN_PLACE


def jit(function: Callable, donate: bool, **shardings) -> Callable:
  """`jax.jit` of a step with `in_place`: a program of its own.

  In functions that JAX transforms or compiles use the step itself.

  Args:
    function: of positional arguments.
    donate: whether the first argument may be overwritten.
    **shardings: of `jax.jit`.
  """
  return jax.jit(
    function, donate_argnums=0 if donate else (),
    compiler_options=in_place(), **shardings,
  )  # fmt: skip
