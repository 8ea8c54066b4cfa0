"""The LIF recurrence as one GPU kernel in each direction, in Pallas.

Threads share the neurons, and time runs inside: forward reads the currents
once and writes spikes and potentials once; backward reads potentials and both
cotangents once and writes the currents' gradient once. With I_t = d_t + bias,
equations (1)-(3) of `neurons` and their reverse, psi the surrogate derivative
and r_{t+1} the gradient by the refractory term of the next step:

  rho_t = c rho_{t-1} - s_{t-1}        u_t = I_t + rho_t        s_t = H(u_t)
  dI_t  = du_t + psi(u_t) (ds_t - r_{t+1})          r_t = dI_t + c r_{t+1}

`jax.lax.scan` over `neurons.lif` is the reference; with `interpret` the kernel
runs on any device, slowly, for tests.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from timedecode import neurons

BLOCK = 128  # Neurons per program, a power of two.


def _columns(count):
  """Which neurons this program has, and which of them there are."""
  columns = pl.program_id(0) * BLOCK + jnp.arange(BLOCK)
  return columns, columns < count


def _read(ref, index, present):
  return triton.load(ref.at[index], mask=present, other=0.0)


def _write(ref, index, values, present):
  triton.store(ref.at[index], values, mask=present)


def _forward_kernel(
  current, refractory, before, spikes, potential, after, *, c
):
  num_steps, count = current.shape
  columns, present = _columns(count)

  def step(t, carry):
    rho, fired = carry
    rho = c * rho - fired
    u = _read(current, (t, columns), present) + rho
    fired = (u >= 0).astype(u.dtype)
    _write(spikes, (t, columns), fired, present)
    _write(potential, (t, columns), u, present)
    return rho, fired

  first = _read(refractory, columns, present), _read(before, columns, present)
  rho, _ = jax.lax.fori_loop(0, num_steps, step, first)
  _write(after, columns, rho, present)


def _backward_kernel(
  potential, d_spikes, d_potential, d_after, d_current, d_refractory, d_before,
  *, c, derivative,
):  # fmt: skip
  num_steps, count = potential.shape
  columns, present = _columns(count)

  def step(i, carry):
    by_refractory, by_spikes = carry  # Of the step after: c r and -r.
    at = num_steps - 1 - i, columns
    wanted = _read(d_spikes, at, present) + by_spikes
    psi = derivative(_read(potential, at, present))
    gradient = _read(d_potential, at, present) + psi * wanted
    _write(d_current, at, gradient, present)
    r = gradient + by_refractory
    return c * r, -r

  last = _read(d_after, columns, present)
  found = jax.lax.fori_loop(0, num_steps, step, (last, jnp.zeros_like(last)))
  _write(d_refractory, columns, found[0], present)
  _write(d_before, columns, found[1], present)


def _call(kernel, outputs, arguments, interpret):
  """The kernel over all neurons; outputs and arguments end in [..., N]."""
  return pl.pallas_call(
    kernel,
    out_shape=[jax.ShapeDtypeStruct(s, arguments[0].dtype) for s in outputs],
    grid=(pl.cdiv(arguments[0].shape[-1], BLOCK),),
    interpret=interpret,
    compiler_params=triton.CompilerParams(),
  )(*arguments)


def _flat_batch(function):
  """A batch of populations is one population: no copy where it follows time.

  Args:
    function: of arrays [T, N] or [N], element-wise in N.
  """
  wrapped = jax.custom_batching.custom_vmap(lambda *a: tuple(function(*a)))

  @wrapped.def_vmap
  def rule(size, batched, *arguments):
    flat = []
    for argument, has in zip(arguments, batched, strict=True):
      if has:
        argument = jnp.moveaxis(argument, 0, -2)
      else:
        shape = (*argument.shape[:-1], size, argument.shape[-1])
        argument = jnp.broadcast_to(argument[..., None, :], shape)
      flat.append(argument.reshape(*argument.shape[:-2], -1))
    results = wrapped(*flat)
    back = lambda x: jnp.moveaxis(x.reshape(*x.shape[:-1], size, -1), -2, 0)
    batched = (True,) * len(results)
    return tuple(back(result) for result in results), batched

  return wrapped


@functools.cache
def make_run(
  derivative: Callable[[jax.Array], jax.Array],
  refractory_decay: float = 0.65,
  interpret: bool = False,
) -> Callable:
  """Builds ``run(currents [T, N], state) -> (state, (spikes, potential))``.

  The same as `jax.lax.scan` of the step of `neurons.lif` over currents that
  have the bias in them, gradients included; batch with `jax.vmap`.

  Args:
    derivative: psi, element-wise.
    refractory_decay: c.
    interpret: run by the interpreter of Pallas, on any device.
  """
  forward_kernel = functools.partial(_forward_kernel, c=refractory_decay)
  backward_kernel = functools.partial(
    _backward_kernel, c=refractory_decay, derivative=derivative
  )

  @_flat_batch
  def forward(current, refractory, before):
    whole, one = current.shape, current.shape[1:]
    outputs = (whole, whole, one)
    arguments = current, refractory, before
    return _call(forward_kernel, outputs, arguments, interpret)

  @_flat_batch
  def backward(potential, d_spikes, d_potential, d_after):
    whole, one = potential.shape, potential.shape[1:]
    outputs = (whole, one, one)
    arguments = potential, d_spikes, d_potential, d_after
    return _call(backward_kernel, outputs, arguments, interpret)

  @jax.custom_vjp
  def fused(current, refractory, before):
    return forward(current, refractory, before)

  def fused_forward(current, refractory, before):
    found = fused(current, refractory, before)
    return found, found[1]

  def fused_backward(potential, cotangents):
    return backward(potential, *cotangents)

  fused.defvjp(fused_forward, fused_backward)

  def run(currents, state):
    if currents.ndim != 2 or not len(currents):
      raise ValueError(
        f"currents: expected [T, N] with T >= 1, got {currents.shape}; batch"
        " with jax.vmap"
      )
    spikes, potential, refractory = fused(currents, *state)
    return neurons.LIFState(refractory, spikes[-1]), (spikes, potential)

  return run
