"""The stochastic threshold over a whole train, forward and backward.

With d_t the drive, b the bias, w the feedback on each neuron's own past, g its
kernel, f the sampler of spikes from logits and uniforms:

  u_t = d_t + b + w sum_l g_l y_{t-1-l}        y_t = f(u_t, uniform_t)   (1)

  du_t = du'_t + f'(u_t) (dy_t + w sum_l g_l du_{t+1+l})                 (2)
  dd_t = du_t    db = sum_t du_t    dw = sum_t du_t sum_l g_l y_{t-1-l}  (3)

On CUDA devices each direction is one kernel (`glm_kernel`), elsewhere a scan.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from timedecode import glm_kernel


def _scan_forward(kernel, sampler):
  def run(drive, bias, feedback, history, uniforms):
    def step(history, inputs):
      drive, uniforms = inputs
      trace = jnp.tensordot(kernel, history, axes=1)
      u = drive + bias + trace * feedback
      spikes = sampler(u, uniforms)
      return jnp.concatenate([spikes[None], history[:-1]]), (spikes, u)

    return jax.lax.scan(step, history, (drive, uniforms))[1]

  return run


def _scan_backward(kernel, sampler):
  def run(logits, feedback, uniforms, d_spikes, d_logits):
    def step(later, inputs):
      u, drawn, by_spike, direct = inputs
      _, slope = jax.vjp(lambda u: sampler(u, drawn), u)
      back = feedback * jnp.tensordot(kernel, later, axes=1)
      du = direct + slope(by_spike + back)[0]
      return jnp.concatenate([du[None], later[:-1]]), du

    later = jnp.zeros((len(kernel), *feedback.shape), logits.dtype)
    inputs = logits, uniforms, d_spikes, d_logits
    return jax.lax.scan(step, later, inputs, reverse=True)[1]

  return run


def past_trace(
  kernel: np.ndarray, history: jax.Array, spikes: jax.Array
) -> jax.Array:
  """``sum_l g_l y_{t-1-l}`` of every step.

  Args:
    kernel: g, [L].
    history: [L, N] before the train, newest first.
    spikes: y, [T, N].

  Returns:
    [T, N].
  """
  length, num_steps = len(kernel), len(spikes)
  whole = jnp.concatenate([history[::-1], spikes])
  starts = range(length - 1, -1, -1)
  return sum(
    g * whole[start : start + num_steps]
    for g, start in zip(kernel, starts, strict=True)
  )


def history_after(history: jax.Array, spikes: jax.Array) -> jax.Array:
  """The last L spikes, newest first: [L, N] before and [T, N] -> [L, N]."""
  return jnp.concatenate([spikes[::-1], history])[: len(history)]


def _history_gradient(kernel, feedback, du):
  """Of history entry j by the steps that still saw it, [L, N]."""
  length, seen = len(kernel), min(len(kernel), len(du))
  band = np.zeros((length, seen), np.float32)
  for j in range(length):
    for t in range(min(seen, length - j)):
      band[j, t] = kernel[t + j]
  return feedback[None] * (band @ du[:seen])


def make_run(kernel: np.ndarray, sampler: Callable) -> Callable:
  """Builds ``run(drive, bias, feedback, history, uniforms)``.

  Args:
    kernel: g, [L], concrete; entry 0 is one step back.
    sampler: f, element-wise.

  Returns:
    run: of [T, N], [N], [N], [L, N] and [T, N], T >= 1, to (spikes, logits),
    [T, N] each; differentiable in reverse mode, not by the uniforms; batch
    with `jax.vmap`.
  """
  kernel = np.asarray(kernel, np.float32)
  scan_back = _scan_backward(kernel, sampler)

  def forward(*arguments):
    return jax.lax.platform_dependent(
      *arguments,
      cuda=glm_kernel.forward(kernel, sampler),
      default=_scan_forward(kernel, sampler),
    )

  def backward(*arguments):
    return jax.lax.platform_dependent(
      *arguments,
      cuda=lambda *a: glm_kernel.backward(kernel, sampler)(*a)[0],
      default=scan_back,
    )

  @jax.custom_vjp
  def run(drive, bias, feedback, history, uniforms):
    return forward(drive, bias, feedback, history, uniforms)

  def run_forward(drive, bias, feedback, history, uniforms):
    spikes, logits = run(drive, bias, feedback, history, uniforms)
    return (spikes, logits), (spikes, logits, feedback, history, uniforms)

  def run_backward(kept, cotangents):
    spikes, logits, feedback, history, uniforms = kept
    du = backward(logits, feedback, uniforms, *cotangents)
    trace = past_trace(kernel, history, spikes)
    return (
      du,
      jnp.sum(du, axis=0),
      jnp.sum(du * trace, axis=0),
      _history_gradient(kernel, feedback, du),
      jnp.zeros_like(uniforms),
    )

  run.defvjp(run_forward, run_backward)
  return run


def make_sample(kernel: np.ndarray, sampler: Callable) -> Callable:
  """Builds ``sample(drive, bias, feedback, history, key)``, no gradient.

  The same as `make_run` with ``jax.random.uniform(key, (T, N))``; on CUDA
  devices the kernel draws them itself, where the key is JAX's default kind.
  """
  kernel = np.asarray(kernel, np.float32)

  def plain(drive, bias, feedback, history, key):
    uniforms = jax.random.uniform(key, drive.shape)
    return _scan_forward(kernel, sampler)(
      drive, bias, feedback, history, uniforms
    )

  def fused(drive, bias, feedback, history, key):
    words = jax.random.key_data(key)
    draw = glm_kernel.forward(kernel, sampler, draws=True)
    return draw(drive, bias, feedback, history, words)

  def sample(*arguments):
    default = str(jax.random.key_impl(arguments[-1])) == "threefry2x32"
    if not (default and jax.config.jax_threefry_partitionable):
      return plain(*arguments)
    return jax.lax.platform_dependent(*arguments, cuda=fused, default=plain)

  return sample
