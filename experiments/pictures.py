"""Pictures of several runs: what each makes of the same test examples.

  python -m experiments.pictures --runs=A,B --output=FILE.png

A and B are folders of `experiments.train` with pictures as targets and the same
data; a run's baseline gets a row too. One test example per class, one sample of
y each.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments import evaluate, finish, inputs, workdir
from timedecode.datasets import sources

_SEED = 3  # Of the inputs, where they are drawn.
_MOVED = ("shift", "rotation", "zoom")  # Of training examples alone.


def chosen_rows(source) -> sources.Rows:
  """The first test example of each class."""
  rows = source.rows("test")
  chosen = np.unique(rows.labels, return_index=True)[1]
  return jax.tree.map(jnp.asarray, sources.gather(rows, chosen))


def decode(run, batch, seed: int) -> np.ndarray:
  """Intensities in [0, 1], [classes, 28, 28], of one sample of y each."""
  model, params = run.built.model, run.state.params

  def one(x, key):
    sample = model.encoder.sample(params.encoder, x, key)
    return model.decode(params.decoder, model.view(sample.spikes))

  keys = jax.random.split(jax.random.key(seed), batch.inputs.shape[1])
  outputs = jax.jit(jax.vmap(one, in_axes=(1, 0)))(batch.inputs, keys)
  return np.asarray(jax.nn.sigmoid(outputs)).reshape(-1, 28, 28)


def _data(config) -> dict:
  """What test examples follow from."""
  fields = workdir.flat(config.to_dict())
  ignored = {*workdir.OF_A_MACHINE, *(f"data.max_{m}" for m in _MOVED)}
  return {
    name: value
    for name, value in fields.items()
    if name == "num_steps" or name.startswith("data.") and name not in ignored
  }


def gather(folders: list[str]):
  """(first configuration, batch, name of the data, name of a row -> pictures).

  Raises:
    ValueError: runs of labels, or of different data.
  """
  first = batch = name = None
  decoded = {}
  for folder in folders:
    config, runs, source = evaluate.load(pathlib.Path(folder))
    if inputs.task(config).metric != "judge_accuracy":
      raise ValueError(f"runs: expected pictures as targets, got {folder}")
    if first is None:
      first, name = config, inputs.describe(config)
      rows = chosen_rows(source)
      keys = inputs.example_keys(jax.random.key(_SEED), len(rows.labels))
      batch = jax.jit(source.decode)(rows, keys)
    if fields := workdir.differing(*map(_data, (first, config))):
      raise ValueError(
        f"runs: expected runs of the same data, got {folder}, which differs in"
        f" {fields}"
      )
    for view, run in runs.items():
      size = config.encoder.num_readout
      row = f"{finish.LABELS[view]}, {size} neurons, seed {config.seed}"
      if row in decoded:
        raise ValueError(
          "runs: expected runs of other views, sizes or seeds, got twice:"
          f" {row}"
        )
      decoded[row] = decode(run, batch, config.seed)
  return first, batch, name, decoded


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_list("runs", [], "Folders of trained runs.")
  flags.DEFINE_string("output", "reconstructions.png", "The picture's file.")


def main(argv):
  """Parses the flags and turns errors of use into one line."""
  if len(argv) > 1 or not flags.FLAGS.runs:
    raise app.UsageError("expected --runs=A,B and no other arguments")
  path = pathlib.Path(flags.FLAGS.output)
  try:
    workdir.make_writable(path.parent)
    config, batch, name, decoded = gather(flags.FLAGS.runs)
    title = f"test examples of {name}, one sample of y each"
    finish.draw_reconstructions(config, batch, decoded, path, title)
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  print(path)


if __name__ == "__main__":
  define()
  app.run(main)
