"""Silhouette scores against loops; the trains are those of the encoder."""

import jax
import numpy as np
import pytest
import recordings_training_test

from experiments import build, embedding, inputs


def _silhouette(points, labels):
  """By its definition, one point at a time."""
  scores = []
  for i, point in enumerate(points):
    distance = np.sqrt(((points - point) ** 2).sum(-1))
    own = labels == labels[i]
    a = distance[own].sum() / (own.sum() - 1)
    b = min(distance[labels == k].mean() for k in set(labels) - {labels[i]})
    scores.append((b - a) / max(a, b))
  return np.mean(scores)


def test_scores_are_silhouettes_and_classes_that_differ_lie_apart():
  generator = np.random.default_rng(0)
  labels = np.repeat(np.arange(3), 12)
  times = np.arange(10)[None, :, None]
  likely = np.where(times // 3 == labels[:, None, None], 0.9, 0.1)
  spikes = (generator.random((36, 10, 4)) < likely).astype(np.float32)
  scores, embedded = embedding.measure(spikes, labels)
  flat = spikes.reshape(36, -1).astype(np.float64)
  counts = spikes.sum(1).astype(np.float64)
  for name, points in (
    ("silhouette_of_trains", flat), ("silhouette_of_counts", counts),
    ("silhouette_of_embedding", embedded.astype(np.float64)),
  ):  # fmt: skip
    assert scores[name] == pytest.approx(_silhouette(points, labels), abs=1e-4)
  # The classes differ in when they fire, not in how often.
  assert scores["silhouette_of_trains"] > 0.2
  assert scores["silhouette_of_counts"] < 0.1
  figure = embedding.draw([("some data", scores, embedded, labels)] * 2)
  (legend,) = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]
  for axis in figure.axes:
    assert "some data\nsilhouette: trains 0." in axis.get_title()
    drawn = np.concatenate([line.get_xydata() for line in axis.lines])
    assert sorted(drawn[:, 0]) == pytest.approx(sorted(embedded[:, 0]))


def test_means_over_seeds():
  """0.1 and 0.3: deviation sqrt(2 * 0.1^2); of a single run none."""
  make = lambda view, seed, score, beta=0.1: {
    "view": view, "neurons": 4, "data": "some", "seed": seed,
    "settings": {"beta": beta}, "silhouette_of_trains": score,
    "silhouette_of_counts": 0.5, "silhouette_of_embedding": -0.25,
  }  # fmt: skip
  runs = [make("full", 0, 0.1), make("rate", 0, 0.2), make("full", 1, 0.3)]
  runs.append(make("full", 2, 0.9, 0.2))  # Another model.
  assert embedding.table(runs).splitlines()[2:] == [
    "| full | 4 | some | 0, 1 | 0.200 ± 0.141 | 0.500 ± 0.000"
    " | -0.250 ± 0.000 |",
    "| rate | 4 | some | 0 | 0.200 | 0.500 | -0.250 |",
    "| full | 4 | some | 2 | 0.900 | 0.500 | -0.250 |",
  ]


def test_trains_are_of_the_encoder(tmp_path):
  config = recordings_training_test.tiny("mnist_dvs_sim", "label")
  built, source = build.build(config, "full"), inputs.load(config)
  state = build.init_state(config, built)
  run = type("Run", (), {"built": built, "state": state})
  spikes, labels = embedding.sample(config, run, source, 6)
  rows = source.rows("test")
  np.testing.assert_array_equal(labels, rows.labels[:6])
  assert spikes.shape == (6, 4, 3) and set(np.unique(spikes)) <= {0.0, 1.0}
  key = jax.random.fold_in(jax.random.key(config.seed + 5), 0)
  halves = jax.vmap(jax.random.split)(inputs.example_keys(key, 6))
  few = jax.tree.map(lambda leaf: leaf[:6], rows)
  batch = source.decode(few, halves[:, 0])
  for i in range(6):
    want = built.model.encoder.sample(
      state.params.encoder, batch.inputs[:, i], halves[i, 1]
    )
    np.testing.assert_array_equal(spikes[i], want.spikes)
