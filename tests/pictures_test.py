"""Pictures of several runs: of the same examples, by each run's own weights."""

import pathlib
import types

import jax
import numpy as np
import pytest

from experiments import evaluate, pictures, train
from experiments.configs import smoke
from timedecode import plots


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


def test_each_run_decodes_the_same_examples(folders):
  config, batch, name, decoded = pictures.gather(folders)
  assert list(decoded) == [
    "learned time decoding, 3 neurons, seed 0",
    "rate decoding, 3 neurons, seed 0",
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


def test_the_command_draws_all_rows(folders, tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(
    plots, "reconstructions", lambda *arguments: drawn.append(arguments)
  )
  path = tmp_path / "some" / "p.png"
  flags = {"runs": folders, "output": str(path)}
  monkeypatch.setattr(pictures.flags, "FLAGS", types.SimpleNamespace(**flags))
  pictures.main(["pictures"])
  ((place, rows, title),) = drawn
  assert place == path and path.parent.is_dir()
  assert title == "test examples of mnist_5k, one sample of y each"
  assert list(rows) == [
    "original", "learned time decoding, 3 neurons, seed 0",
    "rate decoding, 3 neurons, seed 0",
  ]  # fmt: skip


def test_runs_that_do_not_go_together(folders, tmp_path):
  with pytest.raises(ValueError, match="got twice: learned time decoding, 3 n"):
    pictures.gather([folders[0], folders[0]])
  other = _config(num_steps=9)
  train.run(other, tmp_path / "other")
  with pytest.raises(
    ValueError, match=r"the same data, got .*differs in num_steps"
  ):
    pictures.gather([folders[0], str(tmp_path / "other")])
  labels = _config(decoder="linear")
  labels.data.target = "label"
  train.run(labels, tmp_path / "labels")
  with pytest.raises(ValueError, match="expected pictures as targets, got"):
    pictures.gather([str(tmp_path / "labels")])
