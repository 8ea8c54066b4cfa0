"""The judge: architecture by hand, training on real digits, its cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import datasets, judge

EPOCHS = 3


@pytest.fixture(scope="module")
def splits():
  return datasets.load()


@pytest.fixture(scope="module")
def trained(splits, tmp_path_factory):
  lines = []
  folder = tmp_path_factory.mktemp("cache")
  result = judge.load_or_train(splits.train, folder, EPOCHS, lines.append)
  return result, folder, lines


def _pool(x):
  rows, columns, channels = x.shape
  return x.reshape(rows // 2, 2, columns // 2, 2, channels).max((1, 3))


def test_network_equals_loops():
  image = np.random.default_rng(0).random((28, 28)).astype(np.float32)
  variables = judge.LeNet5().init(jax.random.key(0), jnp.zeros((28, 28)))
  params = jax.tree.map(np.asarray, variables["params"])
  x = image[..., None]
  for name, pad in (("Conv_0", 2), ("Conv_1", 0)):
    kernel, bias = params[name]["kernel"], params[name]["bias"]
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    size = len(x) - 4
    out = np.zeros((size, size, kernel.shape[-1])) + bias
    for i in range(5):
      for j in range(5):
        out += x[i : i + size, j : j + size] @ kernel[i, j]
    x = _pool(np.maximum(out, 0))
  x = x.reshape(-1)
  for name in ("Dense_0", "Dense_1", "Dense_2"):
    x = x @ params[name]["kernel"] + params[name]["bias"]
    x = np.maximum(x, 0) if name != "Dense_2" else x
  got = judge.logits(variables, image[None])[0]
  np.testing.assert_allclose(got, x, rtol=1e-3, atol=1e-5)
  sizes = [np.size(leaf) for leaf in jax.tree.leaves(params)]
  assert sum(sizes) == 61_706  # The count of LeNet-5 with full connections.


def test_it_learns_real_digits(splits, trained):
  """A few epochs give a fair judge; the full recipe is in the README."""
  result, _, lines = trained
  images = np.float32(splits.test.images) / 255
  accuracy = float(judge.accuracy(result.params, images, splits.test.labels))
  assert accuracy > 0.9
  shuffled = np.roll(splits.test.labels, 1)
  assert float(judge.accuracy(result.params, images, shuffled)) < 0.1
  assert not result.cached and len(lines) >= 5


def test_cache_is_used_and_bound_to_data_and_recipe(splits, trained):
  result, folder, _ = trained
  lines = []
  again = judge.load_or_train(splits.train, folder, EPOCHS, lines.append)
  assert again.cached and again.path == result.path and not lines
  for a, b in zip(
    *map(jax.tree.leaves, (again.params, result.params)), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  key = judge.cache_key(*splits.train, EPOCHS)
  assert key != judge.cache_key(*splits.train, EPOCHS + 1)
  assert key != judge.cache_key(*splits.test, EPOCHS)


def test_a_damaged_cache_is_named_and_replaced(splits, tmp_path):
  few = datasets.Images(splits.train.images[:70], splits.train.labels[:70])
  first = judge.load_or_train(few, tmp_path, 1, lambda line: None)
  whole = first.path.read_bytes()
  first.path.write_bytes(whole[:-100])
  lines = []
  second = judge.load_or_train(few, tmp_path, 1, lines.append)
  assert not second.cached and first.path.name in lines[0]
  assert "training it again" in lines[0]
  assert first.path.read_bytes() == whole  # The same seed: the same judge.


def test_an_unwritable_cache_costs_a_training_only(splits, tmp_path):
  few = datasets.Images(splits.train.images[:70], splits.train.labels[:70])
  blocked = tmp_path / "file"
  blocked.write_text("in the way")
  lines = []
  result = judge.load_or_train(few, blocked, 1, lines.append)
  assert any("not cached" in line for line in lines)
  assert np.isfinite(judge.logits(result.params, jnp.zeros((1, 28, 28)))).all()


def test_warps_move_the_image_a_little(splits):
  image = jnp.asarray(splits.train.images[0], jnp.float32) / 255
  keys = jax.random.split(jax.random.key(0), 64)
  warped = np.asarray(jax.vmap(lambda k: judge.warp(image, k))(keys))
  grid = np.arange(28) - 13.5
  centre = lambda im: np.array(
    [(im.sum(1) * grid).sum(), (im.sum(0) * grid).sum()]
  ) / im.sum()  # fmt: skip
  moves = np.array([centre(w) for w in warped]) - centre(np.asarray(image))
  assert 0.5 < moves.std() < 2.5 and np.abs(moves).max() < 5.0
  assert warped.min() >= 0.0 and warped.max() <= 1.0


def test_wrong_shapes_are_refused():
  with pytest.raises(ValueError, match=r"image: expected shape \(28, 28\)"):
    judge.LeNet5().init(jax.random.key(0), jnp.zeros((32, 32)))
