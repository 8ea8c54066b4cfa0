"""Populations of LIF neurons over a whole train, forward and backward.

With x the state, I_t the current, b the bias (minus the threshold), psi the
surrogate derivative, r_{t+1} the gradient by x_{t+1}:

  x_t = decay x_{t-1} - s_{t-1} + [leaky] I_t                            (1)
  u_t = x_t + b + [not leaky] I_t        s_t = H(u_t), H(0) = 1          (2)

  du_t = du'_t + psi(u_t) (ds_t - r_{t+1})    r_t = du_t + decay r_{t+1}  (3)
  dI_t = r_t where leaky, else du_t           db = sum_t du_t            (4)

`leaky`: x is the membrane potential, which integrates the current; otherwise
it is the after-effect of earlier spikes alone. The gradient needs u and no
other array of a train. On CUDA devices each direction is one kernel
(`lif_kernel`), elsewhere a scan, of leaky neurons a loop (`lif_in_place`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from timedecode import lif_in_place, lif_kernel, platforms


def scan_forward(decay: float) -> Callable:
  """``(current [T, ...], bias, state, before [...]) -> (spikes, potential
  [T, ...], state after)``, (1) and (2) of neurons that are not leaky.

  One array of the train is written; spikes are a pass after the loop.
  """

  def run(current, bias, state, before):
    def step(carry, drive):
      x, _ = carry  # Of this step; of the one before.
      u = x + (drive + bias)
      return (decay * x - (u >= 0).astype(u.dtype), x), u

    first = decay * state - before, state
    (_, after), u = jax.lax.scan(step, first, current)
    return (u >= 0).astype(u.dtype), u, after

  return run


def scan_backward(decay: float, derivative: Callable) -> Callable:
  """``(potential [T, ...], d_after [...], d_spikes[, d_potential]) ->
  (d_current, d_bias, d_state, d_before)``, (3) and (4) of the same."""

  def run(potential, d_after, d_spikes, d_potential=None):
    def step(carry, inputs):
      r, by_decay = carry
      du = derivative(inputs[0]) * (inputs[1] - r)
      if d_potential is not None:
        du = inputs[2] + du
      r = du + by_decay
      return (r, decay * r), du

    given = (potential, d_spikes, d_potential)[: 2 + (d_potential is not None)]
    first = jnp.zeros_like(d_after), d_after
    (r, by_decay), d_current = jax.lax.scan(step, first, given, reverse=True)
    return d_current, jnp.sum(d_current, axis=0), by_decay, -r

  return run


def _by_platform(loop, kernel):
  """The loop, or on CUDA devices the kernel over one flat population."""

  def flat(*arrays):
    shape = arrays[1].shape
    lead = lambda a: a.shape[: a.ndim - len(shape)]
    found = kernel(*(a.reshape(*lead(a), -1) for a in arrays))
    return tuple(a.reshape(*a.shape[:-1], *shape) for a in found)

  return platforms.choose(flat, lambda *a: tuple(loop(*a)))


def _instantiate(cotangent):
  if isinstance(cotangent, SymbolicZero):
    return jnp.zeros(cotangent.shape, cotangent.dtype)
  return cotangent


def make_run(
  derivative: Callable[[jax.Array], jax.Array],
  decay: float,
  leaky: bool,
) -> Callable:
  """Builds ``run(current, bias, state, before) -> (spikes, potential, after)``.

  Args:
    derivative: psi, element-wise.
    decay: of the state, per step.
    leaky: which of the two neurons, see above.

  Returns:
    run: current [T, ...], T >= 1, the others [...], all of one type in the
    end; differentiable in reverse mode once; batch with `jax.vmap`. ValueError
    for T = 0.
  """
  if leaky:
    loops = (
      lif_in_place.forward(decay),
      lif_in_place.backward(decay, derivative),
    )
    loops = map(lif_in_place.time_first, loops)
  else:
    loops = scan_forward(decay), scan_backward(decay, derivative)
  kernels = (
    lif_kernel.forward(decay, leaky),
    lif_kernel.backward(decay, leaky, derivative),
  )
  forward, backward = map(_by_platform, loops, kernels)

  @jax.custom_vjp
  def run(current, bias, state, before):
    return forward(current, bias, state, before)

  def run_forward(*arguments):
    found = run(*(argument.value for argument in arguments))
    return found, found[1]

  def run_backward(potential, cotangents):
    d_spikes, d_potential, d_after = cotangents
    given = [_instantiate(d_after), _instantiate(d_spikes)]
    if not isinstance(d_potential, SymbolicZero):
      given.append(d_potential)
    return backward(potential, *given)

  run.defvjp(run_forward, run_backward, symbolic_zeros=True)

  def checked(*arguments):
    if not len(arguments[0]):
      raise ValueError("current: expected [T, ...] with T >= 1, got T = 0")
    dtype = jnp.result_type(*arguments)
    return run(*(argument.astype(dtype) for argument in arguments))

  return checked
