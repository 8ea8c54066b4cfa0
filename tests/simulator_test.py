"""Simulated recordings: twins, physics, bits, settings, the comparison."""

import functools
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import simulator as comparison
from timedecode.datasets import aedat, events, packing, simulator

ROOT = pathlib.Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "data" / "mnist_dvs"
PIXELS = 26 * 26
STEPS = 600
QUIET = simulator.Settings(leak_hz=0.0, shot_hz=0.0)
STILL = QUIET._replace(path=((0.0, 0.0, 0.0),))


def _digit():
  """A ring on black, float32 [28, 28]."""
  y, x = np.mgrid[:28, :28] - 13.5
  radius = np.hypot(x, y)
  return np.clip(2.5 - np.abs(radius - 7), 0, 1).astype(np.float32)


def _draws(settings, num_steps, seed=0):
  return simulator.draw(jax.random.key(seed), settings, num_steps)


@functools.partial(jax.jit, static_argnums=0)
def _sense(settings, frames, draws):
  """All events, bool [S, 676, 2]."""
  out = simulator.sense(settings, frames, draws, lambda events: events)
  return out.reshape(-1, PIXELS, 2)


_render = jax.jit(simulator.render, static_argnums=0)


def _record(settings, num_steps):
  draws = _draws(settings, num_steps)
  frames = _render(settings, jnp.asarray(_digit()), draws)
  return np.asarray(_sense(settings, frames, draws))


def _sense_twin(settings, frames, draws, num_steps):
  """Loops over steps and pixels: events, and each pixel's closest decision."""
  c_off, c_on = np.asarray(draws.thresholds, np.float64).T
  begin, shots = (np.asarray(a, np.float64) for a in (draws.begin, draws.shots))
  step_s = settings.step_ms / 1e3
  gain = 1 - np.exp(-2 * np.pi * settings.cutoff_hz * step_s)
  chance = settings.shot_hz * 10 * step_s
  out = np.zeros((num_steps, PIXELS, 2), bool)
  margin = np.full(PIXELS, np.inf)
  for p in range(PIXELS):
    v = frames[0, p]
    m = v - (-c_off[p] + begin[p] * (c_off[p] + c_on[p]))
    last = -np.inf
    for s in range(num_steps):
      frame = int(s * step_s * settings.refresh_hz + float(draws.display_phase))
      v += gain * (frames[frame, p] - v)
      m -= settings.leak_hz * step_s * c_on[p]
      if (s - last) * settings.step_ms < settings.refractory_ms:
        continue
      margin[p] = min(margin[p], abs(v - m - c_on[p]), abs(v - m + c_off[p]))
      u = shots[s // 10, p]
      if v - m >= c_on[p]:
        out[s, p, 1], m, last = True, m + c_on[p], s
      elif v - m <= -c_off[p]:
        out[s, p, 0], m, last = True, m - c_off[p], s
      elif u < chance and int(10 * u / chance) == s % 10:
        out[s, p, int(20 * u / chance) % 2], last = True, s
  return out, margin


def test_sense_twin():
  settings = simulator.Settings(
    refresh_hz=300.0, cutoff_hz=70.0, leak_hz=2.0, shot_hz=40.0,
    threshold_on=0.3, threshold_off=0.25, refractory_ms=1.6,
  )  # fmt: skip
  num_steps = 120
  draws = _draws(settings, num_steps)
  walk = np.random.default_rng(0).normal(size=(20, PIXELS)).cumsum(0)
  frames = (0.2 * walk).astype(np.float32)
  got = np.asarray(_sense(settings, jnp.asarray(frames), draws))
  want, margin = _sense_twin(settings, frames, draws, num_steps)
  clear = margin > 2e-6
  assert clear.mean() > 0.98 and want.sum() > 3_000
  np.testing.assert_array_equal(got[:, clear], want[:, clear])


def test_render_twin():
  settings = simulator.Settings(blur=0.4)
  draws = _draws(settings, 100, seed=3)
  image = np.random.default_rng(1).random((28, 28)).astype(np.float32)
  got = np.asarray(simulator.render(settings, jnp.asarray(image), draws))
  assert got.shape == (5, PIXELS)
  knots = np.array([*settings.path, (settings.period_s, *settings.path[0][1:])])

  def share(place, i, magnification):  # Of pixel i of the image
    distance = abs(place / magnification + 13.5 - i)
    return min(1.0, max(0.0, (0.5 + 0.2 - distance) / 0.4))

  magnification = float(draws.magnification)
  for f in (0, 3):
    time = (f - float(draws.display_phase)) / 75 + float(draws.start_s)
    time %= settings.period_s
    x0, y0 = (
      float(draws.centre[i]) + np.interp(time, knots[:, 0], knots[:, 1 + i])
      for i in (0, 1)
    )
    for y, x in ((0, 0), (12, 3), (7, 20), (25, 25)):
      light = sum(
        share(y - 12.5 - y0, i, magnification)
        * share(x - 12.5 - x0, j, magnification)
        * image[i, j]
        for i in range(28)
        for j in range(28)
      )
      want = np.log(settings.background + float(draws.amplitude) * light)
      np.testing.assert_allclose(got[f, 26 * y + x], want, atol=1e-3)


def test_nothing_moves_nothing_happens():
  assert _record(STILL, STEPS).sum() == 0
  assert _record(QUIET, STEPS).sum() > 500


def test_leak_and_shot_events_come_at_their_rates():
  got = _record(STILL._replace(leak_hz=20.0, shot_hz=4.0), STEPS)
  seconds = STEPS * 0.5e-3
  shots = seconds * 4 / 2 * PIXELS  # Of one polarity.
  assert abs(got[..., 0].sum() - shots) < 5 * np.sqrt(shots)
  # Shot events leave the reference alone, so the leak's are as many as ever.
  leaked = got[..., 1].sum() - shots
  # The first one takes 0 to 2 periods, uniformly: half an event less.
  np.testing.assert_allclose(leaked / PIXELS, 20 * seconds - 0.5, rtol=0.03)


def test_doubled_threshold_halves_events_or_more():
  double = QUIET._replace(threshold_on=1.88, threshold_off=1.84)
  once, twice = _record(QUIET, STEPS).sum(), _record(double, STEPS).sum()
  assert 0.2 * once < twice < 0.6 * once


def test_inverted_contrast_swaps_polarities():
  draws = _draws(QUIET, STEPS)
  same = jnp.broadcast_to(draws.thresholds[:, :1], (PIXELS, 2))
  draws = draws._replace(thresholds=same, begin=jnp.full(PIXELS, 0.5))
  frames = _render(QUIET, jnp.asarray(_digit()), draws)
  got, inverted = _sense(QUIET, frames, draws), _sense(QUIET, -frames, draws)
  assert got[..., 0].sum() != got[..., 1].sum()
  np.testing.assert_array_equal(got, inverted[..., ::-1])


@pytest.mark.parametrize("refractory_ms, steps", [(0.0, 1), (1.6, 4)])
def test_refractory_time(refractory_ms, steps):
  settings = QUIET._replace(
    refractory_ms=refractory_ms, cutoff_hz=500.0, threshold_on=0.2,
    threshold_off=0.2,
  )  # fmt: skip
  any_polarity = _record(settings, STEPS).any(-1)
  step, pixel = np.nonzero(any_polarity)
  order = np.lexsort((step, pixel))
  gaps = np.diff(step[order])[np.diff(pixel[order]) == 0]
  assert gaps.min() == steps


def test_events_add_up_to_the_change_of_light():
  """A pixel's reference follows the light: |ON C_on - OFF C_off - dL| < C."""
  settings = QUIET._replace(refractory_ms=0.5, cutoff_hz=1e4)
  draws = _draws(settings, STEPS)
  frames = _render(settings, jnp.asarray(_digit()), draws)
  got = np.asarray(_sense(settings, frames, draws))[:-1]
  off, on = got.sum(0).T
  c_off, c_on = np.asarray(draws.thresholds).T
  last = int((STEPS - 2) * 0.5e-3 * 75 + float(draws.display_phase))
  change = np.asarray(frames[last] - frames[0])
  rest = change - (on * c_on - off * c_off)
  assert on.sum() > 300
  assert (np.abs(rest) <= c_off + c_on + 1e-4).all()


BATCH, WIDTHS = 3, (0.5, 10, 25)


@functools.cache
def _bits():
  """Bin width -> bits of 0.3 s; keys; images. One program: less to compile."""
  keys = jax.random.split(jax.random.key(5), BATCH)
  image = np.round(255 * _digit()).astype(np.uint8)
  images = jnp.asarray(np.stack([image, image.T, image[::-1]]))
  one = lambda key, image: {
    bin_ms: simulator.mnist_dvs_sim(key, image, duration_s=0.3, bin_ms=bin_ms)
    for bin_ms in WIDTHS
  }
  bits = jax.jit(jax.vmap(one))(keys, images)
  return jax.tree.map(np.asarray, bits), keys, images


def test_bins_are_the_steps_joined():
  unpack = lambda bits: np.asarray(packing.unpack(jnp.asarray(bits), 1352))
  bits = _bits()[0]
  every = unpack(bits[0.5])
  for bin_ms in (10, 25):
    num_bins = 300 // bin_ms
    assert bits[bin_ms].shape == (BATCH, num_bins, 169)
    assert bits[bin_ms].dtype == np.uint8
    steps = every.reshape(BATCH, num_bins, 2 * bin_ms, 1352)
    np.testing.assert_array_equal(unpack(bits[bin_ms]), steps.max(2))


def test_bits_are_the_events_in_the_order_of_the_binning():
  every, keys, images = _bits()
  bits = every[10]
  settings = simulator.Settings()
  draws = simulator.draw(keys[1], settings, STEPS)
  image = images[1].astype(jnp.float32) / 255.0
  frames = _render(settings, image, draws)
  occurred = np.asarray(_sense(settings, frames, draws))
  step, pixel, polarity = np.nonzero(occurred)
  recording = events.Events(pixel % 26, pixel // 26, polarity, 500 * step)
  want = events.bin_events(recording, (26, 26, 2), 10_000, 30, start_us=0)
  different = np.unpackbits(want ^ bits[1]).sum()
  # Compiled apart, rounding may move an event over an edge of a bin.
  assert np.unpackbits(want).sum() > 1_000 and different <= 4


def test_keys_decide_and_single_is_batch():
  every, keys, images = _bits()
  bits = every[10]
  again = jax.jit(
    lambda key, image: simulator.mnist_dvs_sim(key, image, duration_s=0.3)
  )
  for i in (0, 2):
    first = np.asarray(again(keys[i], images[i]))
    np.testing.assert_array_equal(first, again(keys[i], images[i]))
    assert np.unpackbits(first ^ bits[i]).sum() <= 4
  other = np.asarray(again(keys[1], images[0]))
  assert np.unpackbits(other ^ bits[0]).sum() > 500


@pytest.mark.parametrize("changes, message", [
  ({"step_ms": 0.0}, "settings.step_ms: .* a positive number, got 0.0"),
  ({"leak_hz": -1.0}, "settings.leak_hz: .* positive number or 0, got -1.0"),
  ({"threshold_on": float("nan")}, "settings.threshold_on: expected a pos"),
  ({"path": ()}, "settings.path: .* got "),
  ({"path": ((0.0, 0, 0), (2.0, 1, 1))}, "settings.path: .*1.24, got"),
])  # fmt: skip
def test_rejects_settings(changes, message):
  settings = simulator.Settings()._replace(**changes)
  with pytest.raises(ValueError, match=message):
    simulator.mnist_dvs_sim(jax.random.key(0), jnp.zeros((28, 28)), settings)


def test_rejects_arguments():
  make = functools.partial(simulator.mnist_dvs_sim, jax.random.key(0))
  blank = jnp.zeros((28, 28))
  with pytest.raises(ValueError, match=r"expected shape \[28, 28\], got"):
    make(jnp.zeros((784,)))
  with pytest.raises(ValueError, match="expected uint8 or float, got int32"):
    make(jnp.zeros((28, 28), jnp.int32))
  with pytest.raises(
    ValueError, match="bin_ms: expected a multiple of step_ms"
  ):
    make(blank, bin_ms=0.7)
  with pytest.raises(
    ValueError, match="duration_s: expected a multiple of bin"
  ):
    make(blank, duration_s=0.025)


def test_statistics_of_a_known_recording():
  recording = events.Events(
    np.array([3, 3, 3, 3, 4]), np.array([5, 5, 5, 5, 5]),
    np.array([1, 1, 1, 0, 1]), np.array([0, 2_000, 14_000, 15_000, 15_000]),
  )  # fmt: skip
  want = [5, 4 / (200 * 1352), 0.8, 3.0, 7.0, 11.0, 2, 3]
  np.testing.assert_allclose(comparison.statistics(recording), want)


def test_simulated_are_like_the_held_out_real_recordings():
  if not REAL.is_dir():
    pytest.skip(f"no real recordings in {REAL}")
  real = comparison.real_statistics(REAL, 36, 40)
  rows = comparison.compare(real, comparison.simulated_statistics(36, 40))
  assert all(row["within_tolerance"] for row in rows), comparison.table(rows)
  assert json.loads(json.dumps(rows))[0]["statistic"] == "events"
  assert comparison.table(rows).count("yes") == len(comparison.STATISTICS)


def _write(path, timestamps):
  records = np.zeros((len(timestamps), 2), ">u4")
  records[:, 0] = (60 << 8) | ((127 - 60) << 1)
  records[:, 1] = timestamps
  path.write_bytes(b"#!AER-DAT2.0\r\n" + records.tobytes())


def test_comparison_rejects(tmp_path):
  with pytest.raises(ValueError, match="data_dir: expected a folder, got"):
    comparison.real_statistics(tmp_path / "none", 1, 2)
  _write(tmp_path / "mnist_0_scale04_0001.aedat", [5, 5 + 2_000_000])
  with pytest.raises(ValueError, match="expected at least 2 recordings"):
    comparison.real_statistics(tmp_path, 1, 2)
  with pytest.raises(ValueError, match="first: expected at most last = 1"):
    comparison.real_statistics(tmp_path, 2, 1)
  np.testing.assert_allclose(
    comparison.real_statistics(tmp_path, 1, 1)[0, [0, 2, 6]], [1, 1, 1]
  )
  short = tmp_path / "mnist_0_scale04_0002.aedat"
  _write(short, [5, 1_000_000])
  assert len(aedat.read(short).events.x) == 2
  with pytest.raises(ValueError, match="a recording of 2 s or more"):
    comparison.real_statistics(tmp_path, 1, 2)


def test_binary_says_what_is_wrong(tmp_path):
  result = subprocess.run(
    [sys.executable, "-m", "experiments.simulator", f"--data_dir={tmp_path}"],
    capture_output=True, text=True, cwd=ROOT,
  )  # fmt: skip
  assert result.returncode == 1
  assert (
    result.stderr.strip()
    .splitlines()[-1]
    .startswith("error: data_dir: expected at least 40 recordings")
  )
