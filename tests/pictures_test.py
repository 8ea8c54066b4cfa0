"""Pictures of several runs: of the same examples, by each run's own weights."""

import pathlib

import jax
import numpy as np
import pytest

from experiments import evaluate, finish, pictures, train
from experiments.configs import smoke


def _config(**fields):
  config = smoke.get_config()
  config.update({"steps": 2, "eval_every": 2, "eval_samples": 1,
                 "baseline_view": "", "decoder_width": 8} | fields)  # fmt: skip
  config.encoder.hidden, config.encoder.num_readout = (6,), 3
  return config


@pytest.fixture(name="folders", scope="module")
def _folders(tmp_path_factory):
  base, folders = tmp_path_factory.mktemp("pictures"), []
  for view in ("full", "rate"):
    folders.append(str(base / view))
    train.run(_config(view=view), base / view)
  return folders


def test_each_run_decodes_the_same_examples(folders, tmp_path):
  config, batch, name, decoded = pictures.gather(folders)
  assert list(decoded) == [
    "learned time decoding, seed 0", "rate decoding, seed 0"
  ]  # fmt: skip
  assert name == "mnist_5k" and config.view == "full"
  for folder, found in zip(folders, decoded.values(), strict=True):
    _, runs, source = evaluate.load(pathlib.Path(folder))
    (run,) = runs.values()
    labels = source.rows("test").labels
    np.testing.assert_array_equal(
      np.asarray(pictures.chosen_rows(source).labels), np.unique(labels)
    )
    model, params = run.built.model, run.state.params
    keys = jax.random.split(jax.random.key(0), 10)
    for index in (0, 7):
      x = batch.inputs[:, index]
      spikes = model.encoder.sample(params.encoder, x, keys[index]).spikes
      logits = np.float64(model.decode(params.decoder, model.view(spikes)))
      np.testing.assert_allclose(
        found[index].ravel(), 1 / (1 + np.exp(-logits)), rtol=1e-4
      )
  finish.draw_reconstructions(
    config, batch, decoded, tmp_path / "p.png", "title"
  )
  assert (tmp_path / "p.png").stat().st_size > 10_000


def test_runs_that_do_not_go_together(folders, tmp_path):
  with pytest.raises(ValueError, match="got twice: learned time decoding, se"):
    pictures.gather([folders[0], folders[0]])
  other = _config(num_steps=9)
  train.run(other, tmp_path / "other")
  with pytest.raises(ValueError, match=r"the same data, got .*differs in T"):
    pictures.gather([folders[0], str(tmp_path / "other")])
  labels = _config(decoder="linear")
  labels.data.target = "label"
  train.run(labels, tmp_path / "labels")
  with pytest.raises(ValueError, match="expected pictures as targets, got"):
    pictures.gather([str(tmp_path / "labels")])
