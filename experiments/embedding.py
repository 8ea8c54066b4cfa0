"""How far the spike trains of different classes lie apart: t-SNE, silhouette.

  python -m experiments.embedding --runs=A,B --output=FOLDER

Of each run of `experiments.train`, and of its baseline, one sample of y for the
first test examples. The silhouette score (Rousseeuw 1987; mean over examples of
(b - a) / max(a, b), a the mean distance to the own class, b to the nearest
other one) is computed on y itself [T N_y], on the counts [N_y], and on the
t-SNE embedding of y, whose distances have no scale. Writes embedding.json,
embedding.md (means over seeds) and embedding.png (of each model its first run).
"""

import json
import pathlib

import jax
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

from experiments import (
  evaluate,
  finish,
  inputs,
  study_records,
  trains,
  workdir,
)

PERPLEXITY = 30.0


def sample(config, run, source, count: int) -> tuple[np.ndarray, np.ndarray]:
  """(y [M, T, N_y], labels [M]) of the first M test examples."""
  found = trains.draw(
    trains.make_sampler(source, run.built.model, ("spikes", "labels")),
    run.state.params,
    source.rows("test"), jax.random.key(config.seed + 5), count,
  )  # fmt: skip
  return found.spikes, found.labels


def measure(spikes: np.ndarray, labels: np.ndarray) -> tuple[dict, np.ndarray]:
  """Silhouette scores, and the embedding [M, 2]; seeded.

  Args:
    spikes: [M, T, N_y].
    labels: [M].
  """
  from sklearn import manifold
  from sklearn import metrics as sklearn_metrics

  flat = spikes.reshape(len(spikes), -1)
  perplexity = min(PERPLEXITY, (len(flat) - 1) / 3)
  tsne = manifold.TSNE(perplexity=perplexity, init="pca", random_state=0)
  embedded = tsne.fit_transform(flat)
  score = lambda points: float(sklearn_metrics.silhouette_score(points, labels))
  return {
    "silhouette_of_trains": score(flat),
    "silhouette_of_counts": score(spikes.sum(axis=1)),
    "silhouette_of_embedding": score(embedded),
    "examples": len(labels),
  }, embedded


def draw(panels: list[tuple[str, dict, np.ndarray, np.ndarray]]) -> Figure:
  """A panel per model: title, scores, embedding, labels."""
  figure = Figure((5.2 * len(panels) + 0.8, 5.0), layout="constrained")
  axes = figure.subplots(1, len(panels), squeeze=False)[0]
  for axis, (title, scores, embedded, labels) in zip(axes, panels, strict=True):
    for label in np.unique(labels):
      x, y = embedded[labels == label].T
      axis.plot(
        x, y, linestyle="none", marker=f"${label}$", markersize=5,
        color=f"C{label % 10}", label=str(label),
      )  # fmt: skip
    axis.set(xticks=[], yticks=[])
    axis.set_title(
      f"{title}\nsilhouette: trains {scores['silhouette_of_trains']:.3f},"
      f" counts {scores['silhouette_of_counts']:.3f},"
      f" t-SNE {scores['silhouette_of_embedding']:.3f}",
      fontsize="medium",
    )
  handles, names = axes[0].get_legend_handles_labels()
  figure.legend(handles, names, title="label", loc="outside right upper")
  return figure


SCORES = ("trains", "counts", "embedding")


def _row(run: dict) -> str:
  """What runs have in common that differ in their seed alone."""
  return json.dumps([run["view"], run["settings"]], sort_keys=True)


def table(found: list[dict]) -> str:
  """Mean ± standard deviation over runs that differ in their seed alone."""
  head = ["view", "neurons", "data", "seeds"]
  lines = [[*head, *(f"silhouette, {name}" for name in SCORES)]]
  lines.append(["---"] * len(lines[0]))
  groups: dict[str, list] = {}
  for run in found:
    groups.setdefault(_row(run), []).append(run)
  for runs in groups.values():
    cells = [str(runs[0][name]) for name in head[:-1]]
    cells.append(", ".join(str(run["seed"]) for run in runs))
    for name in SCORES:
      values = [run[f"silhouette_of_{name}"] for run in runs]
      spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
      cells.append(f"{np.mean(values):.3f}{spread}")
    lines.append(cells)
  return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_list("runs", [], "Folders of trained runs.")
  flags.DEFINE_integer("examples", 1000, "Of the test set.", 30)
  flags.DEFINE_string("output", ".", "Folder of the results.")


def main(argv):
  """Parses the flags and turns errors of use into one line."""
  if len(argv) > 1 or not flags.FLAGS.runs:
    raise app.UsageError("expected --runs=A,B and no other arguments")
  folder, found, panels = pathlib.Path(flags.FLAGS.output), [], []
  try:
    workdir.make_writable(folder)
    for place in flags.FLAGS.runs:
      config, runs, source = evaluate.load(pathlib.Path(place))
      for view, run in runs.items():
        spikes, labels = sample(config, run, source, flags.FLAGS.examples)
        scores, embedded = measure(spikes, labels)
        title = (
          f"{finish.LABELS[view]}, {config.encoder.num_readout} neurons, seed"
          f" {config.seed}, {inputs.describe(config)}"
        )
        about = {
          "view": view, "neurons": config.encoder.num_readout,
          "seed": config.seed, "data": source.name,
          "settings": study_records.settings_of(config),
        }  # fmt: skip
        if _row(about) not in map(_row, found):
          panels.append((title, scores, embedded, labels))
        found.append(about | scores)
        print(f"{title}: {scores}", flush=True)
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  (folder / "embedding.json").write_text(json.dumps(found, indent=1) + "\n")
  (folder / "embedding.md").write_text(table(found))
  picture = folder / "embedding.png"
  draw(panels).savefig(picture, dpi=150, metadata={"Software": None})
  print(picture)


if __name__ == "__main__":
  define()
  app.run(main)
