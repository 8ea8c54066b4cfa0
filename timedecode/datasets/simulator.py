"""mnist_dvs_sim: simulated event recordings of moving digits.

What a dynamic vision sensor would report of a digit that a monitor moves
about, for runs without the recordings of MNIST-DVS. The result is simulated:
call it so wherever it appears. Per pixel of the window, with I the digit in
[0, 1] where the display's frame shows it, its pixels squares with soft edges:

  L = log(background + amplitude I), constant during a frame                (1)
  v <- v + (1 - exp(-2 pi cutoff step)) (L - v)                             (2)
  m <- m - leak C_on step                                                   (3)
  ON  if v - m >= C_on,   then m <- m + C_on                                (4)
  OFF if v - m <= -C_off, then m <- m - C_off                               (5)

in this order at each step. After an event a pixel is silent for the
refractory time; the remainder of a change is kept: reported late, not lost. A
shot event (of a pixel that is ready and has nothing to report) leaves m alone.
Digits stand upright, as the images do; MNIST-DVS has them mirrored or turned.

Calibrated by random search on the real recordings 1..20 of digit 0, scale 4,
and the statistics of `experiments/simulator.py`: background, blur, cutoff,
thresholds, their spread over pixels, refractory time, magnification, size of
the path: effective values, an edge makes about five events. Shot events: dark
corners. Path, period, display: as measured. Leak, other spreads: by hand.

Source: models of ESIM (Rebecq et al., 2018), v2e (Hu et al. arXiv:2006.07722).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from timedecode.datasets.simulator_settings import BLOCK, Settings, check

SIDE = 26
NUM_NEURONS = SIDE * SIDE * 2
_IMAGE = 28


class Draws(NamedTuple):
  """Everything random of one recording of S steps, float32."""

  amplitude: jax.Array  # [].
  magnification: jax.Array  # [].
  centre: jax.Array  # [2], x and y, window pixels.
  start_s: jax.Array  # [], seconds.
  display_phase: jax.Array  # [] in [0, 1), share of frame 0 that is over.
  thresholds: jax.Array  # [676, 2], C_off and C_on.
  begin: jax.Array  # [676] in [0, 1): where v - m starts, -C_off to C_on.
  # [ceil(S / 10), 676] in [0, 1): u < p = shot_hz x 10 steps is a shot event,
  shots: jax.Array  # at step floor(10 u / p), ON in that step's second half.


def draw(key: jax.Array, settings: Settings, num_steps: int) -> Draws:
  """The random numbers of a recording of S = num_steps, from a typed key."""
  keys = dict(zip(Draws._fields, jax.random.split(key, 8), strict=True))
  pixel_key, factor_key = jax.random.split(keys["thresholds"])
  normal, uniform, pixels = jax.random.normal, jax.random.uniform, SIDE * SIDE

  def vary(key, mean, spread):  # Far draws are cut: none is negative.
    return mean * jnp.maximum(1.0 + spread * normal(key), 0.25)

  nominal = jnp.array([[settings.threshold_off, settings.threshold_on]])
  spread = settings.magnification_spread
  factor = vary(factor_key, 1.0, settings.threshold_spread)
  offsets = settings.pixel_threshold_spread * normal(pixel_key, (pixels, 2))
  return Draws(
    vary(keys["amplitude"], settings.amplitude, settings.amplitude_spread),
    vary(keys["magnification"], settings.magnification, spread),
    settings.centre_spread * normal(keys["centre"], (2,)),
    settings.start_spread_s * normal(keys["start_s"]),
    uniform(keys["display_phase"]),
    jnp.maximum(factor * (nominal + offsets), 0.25 * nominal),
    uniform(keys["begin"], (pixels,)),
    uniform(keys["shots"], (-(-num_steps // BLOCK), pixels)),
  )


def render(settings: Settings, image: jax.Array, draws: Draws) -> jax.Array:
  """Logarithm of the light in every frame, equation (1), float32 [F, 676].

  Frame f begins display_phase frames before time f / refresh_hz and shows the
  image, [28, 28] in [0, 1], where it is then; around it is black.
  """
  duration_s = BLOCK * len(draws.shots) * settings.step_ms * 1e-3
  frame = jnp.arange(math.ceil(duration_s * settings.refresh_hz) + 1)
  time = (frame - draws.display_phase) / settings.refresh_hz + draws.start_s
  knots = jnp.array(settings.path)

  def weights(axis):  # [F, 26, 28]: what a window pixel sees of an image pixel
    place = draws.centre[axis] + jnp.interp(
      time, knots[:, 0], knots[:, 1 + axis], period=settings.period_s
    )
    seen = jnp.arange(SIDE)[None] - (SIDE - 1) / 2 - place[:, None]
    source = seen / draws.magnification + (_IMAGE - 1) / 2
    distance = jnp.abs(source[:, :, None] - jnp.arange(_IMAGE)[None, None])
    inside = 0.5 + 0.5 * settings.blur - distance
    return jnp.clip(inside / settings.blur, 0.0, 1.0)

  rows = jnp.einsum("fyi,ij->fyj", weights(1), image, precision="highest")
  shown = jnp.einsum("fyj,fxj->fyx", rows, weights(0), precision="highest")
  shown = shown.reshape(len(frame), SIDE * SIDE)
  return jnp.log(settings.background + draws.amplitude * shown)


def _step(settings, draws, state, now):
  """Equations (2) to (5): v, m [676], steps to wait [676] -> OFF, ON."""
  (v, m, wait), (light, inside, halves) = state, now
  c_off, c_on = draws.thresholds[:, 0], draws.thresholds[:, 1]
  step_s = settings.step_ms * 1e-3
  silent = math.ceil(settings.refractory_ms / settings.step_ms - 1e-6)
  v = v - math.expm1(-2 * math.pi * settings.cutoff_hz * step_s) * (light - v)
  m = m - settings.leak_hz * step_s * c_on
  ready = wait <= 0
  on, off = ready & (v - m >= c_on), ready & (v - m <= -c_off)
  m = m + jnp.where(on, c_on, 0.0) - jnp.where(off, c_off, 0.0)
  quiet = ready & ~on & ~off
  on = on | (quiet & (halves == 2 * inside + 1))
  off = off | (quiet & (halves == 2 * inside))
  wait = jnp.where(on | off, silent, wait) - 1
  return (v, m, wait), (off, on)


def sense(settings: Settings, frames: jax.Array, draws: Draws, reduce):
  """Events of a sensor that sees `frames` [F, 676]: equations (2) to (5).

  ``reduce`` turns the events of 10 steps, bool [10, 676, 2], OFF before ON,
  into what is kept of them; the result has ceil(S / 10) of that.
  """
  inside = jnp.arange(BLOCK)
  step_s = settings.step_ms * 1e-3
  chance = settings.shot_hz * BLOCK * step_s
  phase, rate = draws.display_phase, settings.refresh_hz * step_s

  def block(state, now):
    number, uniforms = now
    halves = jnp.floor(uniforms * (2 * BLOCK / max(chance, 1e-9)))
    halves = jnp.where(uniforms < chance, halves, -1.0).astype(jnp.int32)
    index = jnp.floor((number * BLOCK + inside) * rate + phase)
    step = lambda state, now: _step(
      settings, draws, state, (frames[now[0]], now[1], halves)
    )
    xs = index.astype(jnp.int32), inside
    state, events = jax.lax.scan(step, state, xs)
    return state, reduce(jnp.stack(events, axis=-1))

  c_off, c_on = draws.thresholds[:, 0], draws.thresholds[:, 1]
  m = frames[0] + c_off - draws.begin * (c_off + c_on)
  state = frames[0], m, jnp.zeros(SIDE * SIDE, jnp.int32)
  numbers = jnp.arange(len(draws.shots))
  return jax.lax.scan(block, state, (numbers, draws.shots))[1]


def mnist_dvs_sim(
  key: jax.Array, image: jax.Array, settings: Settings = Settings(),
  duration_s: float = 2.0, bin_ms: float = 10.0,
) -> jax.Array:  # fmt: skip
  """The spikes of one simulated recording, as bits; `vmap` makes a batch.

  Call it inside jit: then only bits leave the device. A recording of 2 s takes
  4.5 MB while it is made. Bins of 25 ms are those of 5 ms, joined; with
  bin_ms = step_ms no two events share a bin: the bits are all events.

  Args:
    key: typed key.
    image: [28, 28], uint8 0..255 or floating point in [0, 1].
    settings: `Settings`.
    duration_s: a multiple of bin_ms.
    bin_ms: time step of the spikes, a multiple of settings.step_ms.

  Returns:
    uint8 [T, 169] for `packing.unpack(..., NUM_NEURONS)`. Neuron (26 y + x) 2
    + polarity (1: ON) spikes in a bin that holds an event of it.

  Raises:
    ValueError: another shape or dtype, times that are no multiples, or a
      setting out of its range.
  """
  bin_steps, num_bins = check(settings, duration_s, bin_ms)
  if image.shape != (_IMAGE, _IMAGE):
    raise ValueError(f"image: expected shape [28, 28], got {image.shape}")
  scale = 255.0 if image.dtype == jnp.uint8 else 1.0
  if scale == 1 and not jnp.issubdtype(image.dtype, jnp.floating):
    raise ValueError(f"image: expected uint8 or float, got {image.dtype}")
  draws = draw(key, settings, num_bins * bin_steps)
  frames = render(settings, jnp.asarray(image, jnp.float32) / scale, draws)
  part = math.gcd(bin_steps, BLOCK)

  def pack(events):  # Of 10 steps; bins are put together afterwards.
    bits = jnp.any(events.reshape(-1, part, NUM_NEURONS), axis=1)
    return jnp.packbits(bits, axis=-1, bitorder="little")

  parts = sense(settings, frames, draws, pack).reshape(-1, NUM_NEURONS // 8)
  parts = parts[: num_bins * bin_steps // part]
  parts = parts.reshape(num_bins, bin_steps // part, NUM_NEURONS // 8)
  return jnp.bitwise_or.reduce(parts, axis=1)
