"""The best answer without spikes, by loops; what a decoder takes from them."""

import jax
import numpy as np
import pytest
import tiny

from experiments import constant, inputs

PICTURES = inputs.Task((784,), 784, "bernoulli", "judge_accuracy")
LABELS = inputs.Task((784,), 3, "categorical", "accuracy")


def test_pictures_by_loops():
  generator = np.random.default_rng(0)
  fitted, judged = generator.random((6, 784)), generator.random((4, 784))
  mean, total = fitted.mean(0), 0.0
  for picture in judged:
    for p, q in zip(picture, mean, strict=True):
      total -= p * np.log(q) + (1 - p) * np.log(1 - q)
  found = constant.distortion(PICTURES, (fitted, None), (judged, None))
  assert found == pytest.approx(total / 4, rel=1e-9)


def test_labels_by_their_shares():
  fitted, judged = np.array([0, 0, 1, 2]), np.array([0, 1])
  found = constant.distortion(LABELS, (fitted, fitted), (judged, judged))
  assert found == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-12)
  # A decoder that knows the label takes all of its entropy.
  own = constant.distortion(LABELS, (fitted, fitted), (fitted, fitted))
  assert constant.taken(own, 0.0) == pytest.approx(1.5, rel=1e-6)


def test_answers_are_those_that_training_is_given():
  config = tiny.configuration(data__max_shift=0)
  source = inputs.load(config)
  targets, labels = constant.answers(source, "validation", jax.random.key(0))
  rows = source.rows("validation")
  np.testing.assert_allclose(
    targets, rows.data.reshape(len(targets), -1) / 255, rtol=1e-6
  )
  np.testing.assert_array_equal(labels, rows.labels)
  want = constant.distortion(
    PICTURES, (source.rows("train").data.reshape(-1, 784) / 255, None),
    (targets, None),
  )  # fmt: skip
  found = constant.of_source(config, source, "validation")
  assert found == pytest.approx(want, rel=1e-5)
