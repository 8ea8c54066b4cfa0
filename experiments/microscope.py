"""How an encoder codes: in times or counts, how soon, at what price.

  python -m experiments.microscope --workdir=DIR [--view=rate --output=FOLDER]
  python -m experiments.microscope --encoder=MODULE:FUNCTION --output=FOLDER

DIR is a run of `experiments.train`, whose encoder stays as it is, on one sample
of y for each of the first --examples test examples. FUNCTION is of one's own:
see `microscope_own`.

  timing       decoding after shuffles, jitter, merged neurons, dropped and
               added spikes, beside decoders retrained on counts and on trains;
               the share of what a probe decodes that lies in spike times
  anytime      decoding of the first steps, by the decoder as it is and by one
               that is trained further on random prefixes
  information  the bound on I(x -> y) by step and neuron, with priors fitted to
               the training spikes
  structure    times, intervals, variability, correlations, selectivity, t-SNE
  fields       weights of hidden neurons, input before spikes of theirs and of
               the readout's
  cost         synaptic operations against an ANN of the same size

Writes microscope.json, pictures, and microscope.html, which needs nothing else.
"""

import json
import pathlib
import time

from absl import app, flags

from experiments import (
  build,
  evaluate,
  inputs,
  microscope_fields,
  microscope_figures,
  microscope_look,
  microscope_own,
  microscope_page,
  microscope_subject,
  options,
)


def draw(found: dict, arrays: dict, folder: pathlib.Path, title: str) -> dict:
  """Name -> path of the pictures."""
  figures = {
    "timing": microscope_figures.timing(found, title),
    "anytime": microscope_figures.anytime(found, title),
    "structure": microscope_figures.structure(found, arrays, title),
    "fields": microscope_fields.draw(arrays, title),
  }
  paths = {}
  for name, figure in figures.items():
    if figure is not None:
      paths[name] = folder / f"{name}.png"
      figure.savefig(paths[name], dpi=130, metadata={"Software": None})
  return paths


def write(
  subject: microscope_subject.Subject, folder: str | pathlib.Path
) -> dict:
  """Looks, writes figures, pictures and the page into a folder.

  Args:
    subject: of `microscope_own.of_encoder`, `microscope_own.of_trains` or
      `microscope_subject.of_run`.
    folder: is made if it isn't there.

  Returns:
    What microscope.json holds.
  """
  folder = pathlib.Path(folder)
  found, arrays = microscope_look.look(subject)
  folder.mkdir(parents=True, exist_ok=True)
  text = json.dumps(found, allow_nan=False) + "\n"
  (folder / "microscope.json").write_text(text)
  paths = draw(found, arrays, folder, subject.title)
  page = microscope_page.page(found, paths, subject.title)
  (folder / "microscope.html").write_text(page)
  return found


def of_folder(
  place: pathlib.Path, view: str, count: int
) -> microscope_subject.Subject:
  """A run of `experiments.train`, or its baseline."""
  config, runs, source = evaluate.load(place)
  view = view or config.view
  if view not in runs:
    raise ValueError(f"view: expected one of {', '.join(runs)}, got {view!r}")
  config = build.for_view(config, view)
  judge_params = inputs.judge(config, source)
  return microscope_subject.of_run(
    config, runs[view], source, judge_params, count
  )


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_string("view", "", "Of the run, or of its baseline.")
  flags.DEFINE_integer("examples", 1000, "Of the run's test set.", 2)
  flags.DEFINE_string("encoder", "", "MODULE:FUNCTION, in place of a run.")
  flags.DEFINE_string("output", "", "Folder; DIR/microscope by default.")


def main(argv):
  """Parses the flags, looks, draws, writes."""
  values, start = flags.FLAGS, time.perf_counter()
  place, own = options.WORKDIR.value, values.encoder
  if len(argv) > 1 or bool(place) == bool(own) or (own and not values.output):
    raise app.UsageError(
      "expected --workdir=DIR, or --encoder=MODULE:FUNCTION with"
      " --output=FOLDER, and no other arguments"
    )
  for name in ("view", "examples"):
    if own and values[name].present:
      raise app.UsageError(f"--{name}: is of a run, not of --encoder")
  folder = pathlib.Path(values.output or pathlib.Path(place) / "microscope")
  try:
    if own:
      subject = microscope_own.load(own)
    else:
      where = pathlib.Path(place)
      subject = of_folder(where, values.view, values.examples)
    found = write(subject, folder)
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  print(*microscope_page.statements(found), sep="\n")
  spent = time.perf_counter() - start
  print(f"total {spent:.0f} s; {folder / 'microscope.html'}")


if __name__ == "__main__":
  define()
  app.run(main)
