"""`lif_recurrence` as one GPU kernel in each direction, in Pallas.

Threads share the neurons, and time runs inside: forward reads the currents
once and writes spikes and potentials once; backward reads the potentials and
the spikes' cotangent once and writes the currents' gradient once. The loads of
the next `unroll` steps are under way while those before are worked on.

The scan is their reference. With `interpret` they run on any device, slowly,
for tests.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton


class Tiling(NamedTuple):
  """How a kernel is cut: it has no effect on values.

  Attributes:
    block: neurons per program, a power of two.
    warps: threads per program over 32, a power of two.
    unroll: steps whose loads are issued together.
  """

  block: int
  warps: int
  unroll: int


def default_tiling(count: int) -> Tiling:
  """For `count` neurons, examples of a batch together; measured on an H200."""
  return Tiling(128 if count >= 2**14 else 64, 2, 16)


class Rows:
  """Rows of time of the neurons that this program has."""

  def __init__(self, count, block):
    self.example = pl.program_id(0)
    self.columns = pl.program_id(1) * block + jnp.arange(block)
    self.present = self.columns < count

  def read(self, ref, *step, wanted=True):
    """The values of one step; zeros where there is no neuron."""
    at = (self.example, *step, self.columns)
    return triton.load(ref.at[at], mask=self.present & wanted, other=0.0)

  def write(self, ref, values, *step):
    """Stores the values of one step."""
    at = (self.example, *step, self.columns)
    triton.store(ref.at[at], values, mask=self.present)


def over_time(num_steps, unroll, load, work, carry):
  """``carry = work(i, carry, load(i))`` for i < T, loads run ahead."""
  ahead = lambda first: [load(first + k) for k in range(unroll)]

  def chunk(index, state):
    carry, loaded = state
    following = ahead((index + 1) * unroll)
    for k, values in enumerate(loaded):
      carry = work(index * unroll + k, carry, values)
    return carry, following

  count, rest = divmod(num_steps, unroll)
  carry, loaded = jax.lax.fori_loop(0, count, chunk, (carry, ahead(0)))
  for k in range(rest):
    carry = work(count * unroll + k, carry, loaded[k])
  return carry


def _forward_kernel(
  current, bias, state, before, spikes, potential, after,
  *, decay, leaky, tiling,
):  # fmt: skip
  _, num_steps, count = current.shape
  rows = Rows(count, tiling.block)
  threshold = rows.read(bias)

  def load(t):
    return rows.read(current, t, wanted=t < num_steps)

  def work(t, carry, drive):
    x, fired = carry
    x = decay * x - fired
    if leaky:
      x = x + drive
    u = x + threshold if leaky else x + (drive + threshold)
    fired = (u >= 0).astype(u.dtype)
    rows.write(spikes, fired, t)
    rows.write(potential, u, t)
    return x, fired

  first = rows.read(state), rows.read(before)
  x, _ = over_time(num_steps, tiling.unroll, load, work, first)
  rows.write(after, x)


def _backward_kernel(*refs, decay, leaky, derivative, tiling, with_potential):
  potential, d_after, d_spikes = refs[:3]
  d_potential = refs[3] if with_potential else None
  d_current, d_bias, d_state, d_before = refs[-4:]
  _, num_steps, count = potential.shape
  rows = Rows(count, tiling.block)
  inputs = [potential, d_spikes] + [d_potential] * with_potential

  def load(i):
    t = jnp.maximum(num_steps - 1 - i, 0)
    return [rows.read(ref, t, wanted=i < num_steps) for ref in inputs]

  def work(i, carry, values):
    r, by_decay, total = carry  # Of the step after: r, decay r; sum of du.
    du = derivative(values[0]) * (values[1] - r)
    if with_potential:
      du = values[2] + du
    r = du + by_decay
    rows.write(d_current, r if leaky else du, num_steps - 1 - i)
    return r, decay * r, total + du

  zero = jnp.zeros(tiling.block, potential.dtype)
  first = zero, rows.read(d_after), zero
  r, by_decay, total = over_time(
    num_steps, tiling.unroll, load, work, first
  )  # fmt: skip
  rows.write(d_bias, total)
  rows.write(d_state, by_decay)
  rows.write(d_before, -r)


def call(kernel, outputs, arguments, tiling, interpret):
  """The kernel over [B, ..., M]: a program per example and block."""
  batch, count = arguments[0].shape[0], arguments[0].shape[-1]
  tiling = default_tiling(batch * count) if tiling is None else tiling
  return pl.pallas_call(
    functools.partial(kernel, tiling=tiling),
    out_shape=[jax.ShapeDtypeStruct(s, arguments[0].dtype) for s in outputs],
    grid=(batch, pl.cdiv(count, tiling.block)),
    interpret=interpret,
    compiler_params=triton.CompilerParams(num_warps=tiling.warps),
  )(*arguments)


def one_grid(function):
  """``function`` of [B, ...] arrays, for arrays without B: mapped, they get
  it, so that a batch is one kernel over arrays that stay where they lie."""
  call = jax.custom_batching.custom_vmap(
    lambda *arguments: tuple(
      out[0] for out in function(*(a[None] for a in arguments))
    )
  )
  batched = jax.custom_batching.custom_vmap(
    lambda *arguments: tuple(function(*arguments))
  )

  def spread(size, mapped, arguments):
    return [
      a if has else jnp.broadcast_to(a, (size, *a.shape))
      for a, has in zip(arguments, mapped, strict=True)
    ]

  @call.def_vmap
  def rule(size, mapped, *arguments):
    found = batched(*spread(size, mapped, arguments))
    return found, (True,) * len(found)

  @batched.def_vmap
  def again(size, mapped, *arguments):
    whole = spread(size, mapped, arguments)
    found = batched(*(a.reshape(-1, *a.shape[2:]) for a in whole))
    found = tuple(out.reshape(size, -1, *out.shape[1:]) for out in found)
    return found, (True,) * len(found)

  return call


def forward(
  decay: float, leaky: bool, tiling: Tiling | None = None,
  interpret: bool = False,
) -> Callable:  # fmt: skip
  """``(current [T, M], bias, state, before [M]) -> (spikes, potential
  [T, M], state after [M])``; see `lif_recurrence`."""
  kernel = functools.partial(_forward_kernel, decay=decay, leaky=leaky)

  def run(current, bias, state, before):
    outputs = current.shape, current.shape, bias.shape
    arguments = current, bias, state, before
    return call(kernel, outputs, arguments, tiling, interpret)

  return one_grid(run)


def backward(
  decay: float, leaky: bool, derivative: Callable[[jax.Array], jax.Array],
  tiling: Tiling | None = None, interpret: bool = False,
) -> Callable:  # fmt: skip
  """``(potential [T, M], d_after [M], d_spikes[, d_potential] [T, M]) ->
  (d_current [T, M], d_bias, d_state, d_before [M])``."""

  def run(potential, d_after, *cotangents):
    kernel = functools.partial(
      _backward_kernel, decay=decay, leaky=leaky, derivative=derivative,
      with_potential=len(cotangents) > 1,
    )  # fmt: skip
    outputs = [potential.shape] + [d_after.shape] * 3
    arguments = potential, d_after, *cotangents
    return call(kernel, outputs, arguments, tiling, interpret)

  return one_grid(run)
