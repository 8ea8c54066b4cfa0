"""`glm_recurrence` as one GPU kernel in each direction, in Pallas.

As `lif_kernel`, with the last L spikes of each neuron in registers. The kernel
that draws its own uniforms runs JAX's counter-based generator, so that its
spikes are those of ``jax.random.uniform(key, (T, N))``, bit for bit, without
an array of uniforms; the backward kernel takes one.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from timedecode import lif_kernel

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(key: tuple, counter: tuple) -> tuple:
  """Threefry-2x32, 20 rounds (Salmon et al. 2011), of uint32 arrays."""
  rotate = lambda x, by: (x << jnp.uint32(by)) | (x >> jnp.uint32(32 - by))
  keys = (*key, key[0] ^ key[1] ^ jnp.uint32(_PARITY))
  a, b = counter[0] + keys[0], counter[1] + keys[1]
  for group in range(5):
    for by in _ROTATIONS[group % 2]:
      a = a + b
      b = rotate(b, by) ^ a
    a = a + keys[(group + 1) % 3]
    b = b + keys[(group + 2) % 3] + jnp.uint32(group + 1)
  return a, b


def uniform(key: tuple, index: jax.Array) -> jax.Array:
  """Entry `index` (uint32, of the flat array) of ``jax.random.uniform``."""
  a, b = threefry(key, (jnp.zeros_like(index), index))
  bits = ((a ^ b) >> jnp.uint32(9)) | jnp.uint32(0x3F800000)
  return jax.lax.bitcast_convert_type(bits, jnp.float32) - 1.0


def _forward_kernel(
  drive, bias, feedback, history, source, spikes, logits,
  *, kernel, sampler, draws, tiling,
):  # fmt: skip
  _, num_steps, count = drive.shape
  rows = lif_kernel.Rows(count, tiling.block)
  threshold, weight = rows.read(bias), rows.read(feedback)
  if draws:
    key = source[rows.example, 0], source[rows.example, 1]

  def load(t):
    wanted = t < num_steps
    row = rows.read(drive, t, wanted=wanted)
    return row if draws else (row, rows.read(source, t, wanted=wanted))

  def work(t, past, values):
    if draws:
      index = t * count + rows.columns
      values = values, uniform(key, index.astype(jnp.uint32))
    trace = sum(g * y for g, y in zip(kernel, past, strict=True))
    u = values[0] + threshold + trace * weight
    fired = sampler(u, values[1])
    rows.write(spikes, fired, t)
    rows.write(logits, u, t)
    return (fired, *past[:-1])

  past = tuple(rows.read(history, lag) for lag in range(len(kernel)))
  lif_kernel.over_time(num_steps, tiling.unroll, load, work, past)


def _backward_kernel(
  logits, feedback, uniforms, d_spikes, d_logits, d_drive,
  *, kernel, sampler, tiling,
):  # fmt: skip
  _, num_steps, count = logits.shape
  rows = lif_kernel.Rows(count, tiling.block)
  weight = rows.read(feedback)
  inputs = logits, uniforms, d_spikes, d_logits

  def load(i):
    t = jnp.maximum(num_steps - 1 - i, 0)
    return [rows.read(ref, t, wanted=i < num_steps) for ref in inputs]

  def work(i, later, values):
    u, drawn, by_spike, direct = values
    back = sum(g * du for g, du in zip(kernel, later, strict=True))
    _, slope = jax.vjp(lambda u: sampler(u, drawn), u)
    du = direct + slope(by_spike + weight * back)[0]
    rows.write(d_drive, du, num_steps - 1 - i)
    return (du, *later[:-1])

  later = (jnp.zeros(tiling.block, logits.dtype),) * len(kernel)
  lif_kernel.over_time(num_steps, tiling.unroll, load, work, later)


def forward(
  kernel: Sequence[float], sampler: Callable, draws: bool = False,
  tiling: lif_kernel.Tiling | None = None, interpret: bool = False,
) -> Callable:  # fmt: skip
  """``(drive [T, N], bias, feedback [N], history [L, N], source) -> (spikes,
  logits [T, N])``; source: uniforms [T, N], or where it `draws` the two words
  of a key, uint32 [2]."""
  body = functools.partial(
    _forward_kernel, kernel=tuple(map(float, kernel)), sampler=sampler,
    draws=draws,
  )  # fmt: skip

  def run(drive, *rest):
    outputs = drive.shape, drive.shape
    return lif_kernel.call(body, outputs, (drive, *rest), tiling, interpret)

  return lif_kernel.one_grid(run)


def backward(
  kernel: Sequence[float], sampler: Callable,
  tiling: lif_kernel.Tiling | None = None, interpret: bool = False,
) -> Callable:  # fmt: skip
  """``(logits [T, N], feedback [N], uniforms, d_spikes, d_logits [T, N]) ->
  (d_drive [T, N],)``."""
  body = functools.partial(
    _backward_kernel, kernel=tuple(map(float, kernel)), sampler=sampler
  )

  def run(logits, *rest):
    arguments = logits, *rest
    return lif_kernel.call(body, (logits.shape,), arguments, tiling, interpret)

  return lif_kernel.one_grid(run)
