"""Moved images and recordings against SciPy's affine transform."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from timedecode.datasets import augmentation, packing

MOVES = augmentation.Moves(shift=2, rotation=25.0, zoom=0.2)
HEIGHT, WIDTH, STEPS = 11, 14, 3
KEYS = jax.random.split(jax.random.key(3), 40)
RNG = np.random.default_rng(0)


def _drawn(key, moves):
  """Shift, angle and factor of a key, by the documented ranges."""
  shift = jax.random.randint(key, (2,), 0, 2 * moves.shift + 1) - moves.shift
  angle, zoom = jax.random.uniform(
    jax.random.fold_in(key, 1), (2,), minval=-1.0
  )
  return (
    np.asarray(shift), np.radians(moves.rotation) * angle,
    1 + moves.zoom * zoom,
  )  # fmt: skip


def _by_scipy(picture, key, moves, order):
  """Equation (1) by SciPy: out[p] = in[matrix p + offset]."""
  shift, angle, factor = map(np.float64, _drawn(key, moves))
  rotation = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  matrix = factor * np.array(rotation)
  centre = (np.array(picture.shape) - 1) / 2
  return ndimage.affine_transform(
    picture, matrix, centre - matrix @ centre + shift, order=order,
    mode="grid-constant",
  )  # fmt: skip


def _moved_recording(bits, key, moves):
  packed = packing.pack(bits.reshape(STEPS, -1))
  move = jax.jit(augmentation.moved_bits, static_argnums=(2, 3))
  found = move(packed, key, moves, bits.shape[1:])
  assert found.shape == packed.shape and found.dtype == np.uint8
  unpacked = packing.unpack(found, bits[0].size)
  return np.asarray(unpacked).reshape(bits.shape)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH, 2), (HEIGHT, WIDTH)])
def test_recordings_take_the_nearest_pixel_at_all_steps(shape):
  bits = RNG.integers(0, 2, (STEPS, *shape))
  differing = 0
  for key in KEYS:
    found = _moved_recording(bits, key, MOVES).reshape(STEPS, HEIGHT, WIDTH, -1)
    planes = bits.reshape(STEPS, HEIGHT, WIDTH, -1).astype(np.float64)
    for step in range(STEPS):
      for channel in range(planes.shape[-1]):
        want = _by_scipy(planes[step, ..., channel], key, MOVES, order=0)
        differing += np.sum(found[step, ..., channel] != want)
  # float32 and float64 may round a place between two pixels differently.
  assert differing <= 1e-3 * bits.size * len(KEYS)
  assert (found != planes).mean() > 0.1


def test_images_are_interpolated():
  image = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
  for key in KEYS:
    found = augmentation.moved_image(image, key, MOVES)
    want = _by_scipy(image.astype(np.float64), key, MOVES, order=1)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, want, atol=0.51)


@pytest.mark.parametrize("moves", [(0, 0, 0), (2, 0, 0), (2, 1e-9, 0)])
def test_whole_pixels_are_moved_exactly(moves):
  moves = augmentation.Moves(*moves)
  image = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
  for key in KEYS[:10]:
    row, column = _drawn(key, moves)[0]
    want = np.zeros_like(image)
    for i in range(HEIGHT):
      for j in range(WIDTH):
        if 0 <= i + row < HEIGHT and 0 <= j + column < WIDTH:
          want[i, j] = image[i + row, j + column]
    np.testing.assert_array_equal(
      augmentation.moved_image(image, key, moves), want
    )


def test_what_is_drawn_reaches_both_ends():
  """Corners of the grid tell angle and factor: both signs, near the ends."""
  angles, factors = [], []
  for key in jax.random.split(jax.random.key(0), 300):
    at = np.asarray(augmentation.places(key, MOVES, HEIGHT, WIDTH))
    along = at[:, 0, -1] - at[:, 0, 0]
    factors.append(np.hypot(*along) / (WIDTH - 1))
    angles.append(np.degrees(np.arctan2(-along[0], along[1])))
  assert -25 < min(angles) < -24 and 24 < max(angles) < 25
  assert 0.8 < min(factors) < 0.81 and 1.19 < max(factors) < 1.2
  assert abs(np.corrcoef(angles, factors)[0, 1]) < 0.15


@pytest.mark.parametrize("moves, message", [
  ((-1, 0, 0), r"moves.shift: expected a number in \[0, .* got -1"),
  ((5, 0, 0), r"moves.shift: expected a number in \[0, 4\].* got 5"),
  ((1.5, 0, 0), "moves.shift: expected an integer, got 1.5"),
  ((0, 181, 0), r"moves.rotation: expected .*\[0, 180\].* got 181"),
  ((0, 0, 1.0), r"moves.zoom: expected .*\[0, 0.99\].* got 1.0"),
  ((0, float("nan"), 0), "moves.rotation: .* got nan"),
])  # fmt: skip
def test_moves_out_of_range(moves, message):
  with pytest.raises(ValueError, match=message):
    augmentation.check(augmentation.Moves(*moves), (4, 4))


@pytest.mark.parametrize("moves", [(1, 0, 0), (0, 5.0, 0), (0, 0, 0.1)])
def test_moves_of_what_has_no_pixels(moves):
  augmentation.check(augmentation.Moves(), (700,))
  with pytest.raises(ValueError, match=r"no height .* shape \(700,\)"):
    augmentation.check(augmentation.Moves(*moves), (700,))
