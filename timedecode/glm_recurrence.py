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

from timedecode import glm_kernel, platforms


def _ahead(pending, kernel, value):
  """What the next L steps get of the past, after a step that adds `value`."""
  later = jnp.pad(pending[1:], ((0, 1), (0, 0)))
  return later + kernel[:, None] * value[None]


def _scan_forward(kernel, sampler):
  def run(drive, bias, feedback, history, uniforms):
    def step(pending, inputs):
      drive, uniforms = inputs
      u = drive + bias + pending[0] * feedback
      spikes = sampler(u, uniforms)
      return _ahead(pending, kernel, spikes), (spikes, u)

    # One by one, as in the train: in chunks it is the same to the last bit.
    remember = lambda pending, spikes: (_ahead(pending, kernel, spikes), None)
    pending = jax.lax.scan(remember, jnp.zeros_like(history), history[::-1])[0]
    return jax.lax.scan(step, pending, (drive, uniforms))[1]

  return run


def _scan_backward(kernel, sampler):
  def run(logits, feedback, uniforms, d_spikes, d_logits):
    def step(pending, inputs):
      u, drawn, by_spike, direct = inputs
      _, slope = jax.vjp(lambda u: sampler(u, drawn), u)
      du = direct + slope(by_spike + feedback * pending[0])[0]
      return _ahead(pending, kernel, du), du

    pending = jnp.zeros((len(kernel), *feedback.shape), logits.dtype)
    inputs = logits, uniforms, d_spikes, d_logits
    return jax.lax.scan(step, pending, inputs, reverse=True)[1]

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
  return feedback[None] * jnp.matmul(band, du[:seen], precision="highest")


def is_key(source: jax.Array) -> bool:
  """Whether randomness is given as a key and not as uniforms."""
  return jnp.issubdtype(source.dtype, jax.dtypes.prng_key)


def draw_uniforms(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """What a key stands for: float32 in [0, 1), whatever JAX's default is."""
  return jax.random.uniform(key, shape, jnp.float32)


def _drawn_there(source):
  """Whether a kernel can draw what ``jax.random.uniform`` would."""
  default = str(jax.random.key_impl(source)) == "threefry2x32"
  return default and jax.config.jax_threefry_partitionable


def _forward(kernel, sampler):
  plain = _scan_forward(kernel, sampler)

  told = platforms.choose(glm_kernel.forward(kernel, sampler), plain)

  def drawn(*arguments):
    *given, key = arguments
    words = jax.random.key_data(key)
    return glm_kernel.forward(kernel, sampler, draws=True)(*given, words)

  def forward(*arguments):
    *given, source = arguments
    if not is_key(source):
      return told(*arguments)
    draw = lambda *a: told(*a[:-1], draw_uniforms(a[-1], a[0].shape))
    if not _drawn_there(source):
      return draw(*arguments)
    return platforms.choose(drawn, draw)(*arguments)

  return forward


def make_run(kernel: np.ndarray, sampler: Callable) -> Callable:
  """Builds ``run(drive, bias, feedback, history, source)``.

  Args:
    kernel: g, [L], concrete; entry 0 is one step back.
    sampler: f, element-wise.

  Returns:
    run: of [T, N], [N], [N], [L, N] and uniforms [T, N] or a key, which stands
    for `draw_uniforms` of it: to (spikes, logits), [T, N] each.
    T >= 1; differentiable in reverse mode, not by the uniforms; batch with
    `jax.vmap`.
  """
  kernel = np.asarray(kernel, np.float32)
  forward = _forward(kernel, sampler)

  backward = platforms.choose(
    lambda *a: glm_kernel.backward(kernel, sampler)(*a)[0],
    _scan_backward(kernel, sampler),
  )

  @jax.custom_vjp
  def run(drive, bias, feedback, history, source):
    return forward(drive, bias, feedback, history, source)

  def run_forward(drive, bias, feedback, history, source):
    spikes, logits = run(drive, bias, feedback, history, source)
    return (spikes, logits), (spikes, logits, feedback, history, source)

  def run_backward(kept, cotangents):
    spikes, logits, feedback, history, source = kept
    if is_key(source):
      uniforms = draw_uniforms(source, logits.shape)
      none = np.zeros(source.shape, jax.dtypes.float0)
    else:
      uniforms, none = source, jnp.zeros_like(source)
    du = backward(logits, feedback, uniforms, *cotangents)
    by_feedback = jnp.sum(du * past_trace(kernel, history, spikes), axis=0)
    by_history = _history_gradient(kernel, feedback, du)
    return du, jnp.sum(du, axis=0), by_feedback, by_history, none

  run.defvjp(run_forward, run_backward)

  def cast(*arguments):
    *given, source = arguments
    uniforms = [] if is_key(source) else [source]
    dtype = jnp.result_type(*given, *uniforms, jnp.float32)
    as_one = lambda a: a if is_key(a) else a.astype(dtype)
    return run(*map(as_one, arguments))

  return cast
