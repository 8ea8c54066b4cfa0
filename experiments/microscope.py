"""How a trained model codes: in times or counts, how soon, at what price.

  python -m experiments.microscope --workdir=DIR [--view=rate --output=FOLDER]

DIR is a run of `experiments.train`. Its encoder stays as it is. On one sample
of y for each of the first --examples test examples:

  timing       decoding after shuffles, jitter, merged neurons, dropped and
               added spikes, beside decoders retrained on counts and on trains;
               the share of what a probe decodes that lies in spike times
  anytime      decoding of the first steps, by the decoder as it is and by one
               that is trained further on random prefixes
  information  the bound on I(x -> y) by step and neuron, with priors fitted to
               the training spikes
  structure    times, intervals, variability, correlations, selectivity, t-SNE
  fields       weights of hidden neurons, input before spikes of the readout
  cost         synaptic operations against an ANN of the same size

Writes microscope.json, pictures, and microscope.html, which needs nothing else.
"""

import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments import (
  build,
  constant,
  embedding,
  evaluate,
  finish,
  inputs,
  microscope_decoding,
  microscope_figures,
  microscope_page,
  options,
  priors,
)
from experiments import microscope_measure as measure
from experiments import trains as trains_lib
from timedecode import information, receptive_fields, spike_statistics, timing
from timedecode import priors as priors_lib

PRIOR_STEPS = 400
LAGS = (0, 1, 2, 3, 5, 7, 10)


def decode(config, run, judge_params, train, test) -> dict:
  """Curves, retrained decoders, prefixes, and what no spikes would give."""
  decoding = microscope_decoding.Decoding(
    config, run.built, run.built.model.view, judge_params, test
  )
  params, num_steps = run.state.params.decoder, test.spikes.shape[1]
  counts = microscope_decoding.Decoding(
    config, run.built, measure.count_view, judge_params, test
  )
  prefixes = decoding.retrain(train, params, measure.random_prefix)
  found = {
    "curves": measure.curves(decoding, params, num_steps),
    "retrained": {
      "counts": counts.quality(counts.retrain(train))._asdict(),
      "trains": decoding.quality(decoding.retrain(train))._asdict(),
    },
    "anytime": {
      "as trained": measure.anytime(decoding, params, test),
      "prefixes": measure.anytime(decoding, prefixes, test),
    },
    "constant_distortion": constant.distortion(
      inputs.task(config),
      (train.targets, train.labels),
      (test.targets, test.labels),
    ),
  }
  found["latency"] = {
    name: measure.latency(points) for name, points in found["anytime"].items()
  }
  return found


def _priors(config, spikes) -> dict:
  """Name -> `priors.Prior`, and the one that knows the step."""
  found = {}
  for name in priors_lib.PRIORS:
    config = config.copy_and_resolve_references()
    config.prior = name
    found[name] = build.build_prior(config)
  rates = (spikes.sum(0) + 0.5) / (len(spikes) + 1)
  found["glm in time"] = priors_lib.glm_in_time(rates, config.prior_length)
  return found


def bounds(config, train, test) -> tuple[dict, np.ndarray]:
  """Prior -> information figures; and the map of the tightest."""
  found, arrays, tightest = {}, {}, None
  spikes, logits = map(jnp.asarray, (train.spikes, train.logits))
  for name, prior in _priors(config, train.spikes).items():
    params = priors.fit(prior, spikes, logits, PRIOR_STEPS, 100)
    fitted = jax.jit(jax.vmap(prior.logits, (None, 0)))(params, test.spikes)
    one = information.information_map(
      test.spikes, test.logits, np.asarray(fitted)
    )
    arrays[name] = one.bits
    found[name] = {
      "per_step": one.per_step.tolist(),
      "per_neuron": one.per_neuron.tolist(),
      "total": one.total, "standard_error": one.standard_error,
      "per_spike": one.per_spike,
    }  # fmt: skip
    if tightest is None or one.total < found[tightest]["total"]:
      tightest = name
  return found, arrays[tightest]


def share_of_times(train, test) -> dict:
  """`timing.TimingShare` for JSON."""
  found = timing.timing_share(
    (train.spikes, train.labels), (test.spikes, test.labels)
  )
  plain = lambda p: p and {k: v for k, v in p._asdict().items() if k != "gains"}
  return found._asdict() | {
    "intact": plain(found.intact), "counts": plain(found.counts)
  }  # fmt: skip


def look(config, run, source, judge_params, count: int) -> tuple[dict, dict]:
  """(figures for JSON, arrays for pictures) of a run."""
  params, keys = run.state.params, jax.random.split(jax.random.key(config.seed))
  draw = lambda fields, split, key, most: trains_lib.draw(
    trains_lib.make_sampler(source, run.built.model, fields),
    params, source.rows(split), key, most,
  )  # fmt: skip
  some = ("spikes", "logits", "targets", "labels")
  train = draw(some, "train", keys[0], 4 * count)
  test = draw(trains_lib.Trains._fields, "test", keys[1], count)
  bits, bits_map = bounds(config, train, test)
  statistics = spike_statistics.measure(test.spikes, test.labels)
  scores, embedded = None, None
  if len(test.labels) >= 30 and test.spikes.std(0).any():
    scores, embedded = embedding.measure(test.spikes, test.labels)
  spent = measure.cost(config, run.built.model.encoder, params.encoder, test)
  shape = inputs.sensor_shape(config)
  found = {
    "metric": inputs.task(config).metric, "examples": len(test.labels),
    "data": inputs.describe(config), "view": run.view,
    "num_readout": config.encoder.num_readout, "num_steps": config.num_steps,
    "spikes_per_example": float(test.spikes.sum((1, 2)).mean()),
    "timing_share": share_of_times(train, test),
    "information": bits, "silhouette": scores,
    "statistics": {k: _plain(v) for k, v in statistics._asdict().items()},
    "information_map_bits": _plain(bits_map),
    "cost": spent and {
      k: v.tolist() for k, v in spent._asdict().items()
    } | {"energy_pj_estimate": spent.energy_pj()},
    **decode(config, run, judge_params, train, test),
  }  # fmt: skip
  arrays = {
    "information_bits": bits_map, "statistics": statistics,
    "embedding": embedded, "spikes": test.spikes, "labels": test.labels,
    "input_shape": shape[:2] if shape[2:] in ((), (1,)) else shape,
    **_fields(config, run, test),
  }  # fmt: skip
  return found, arrays


def _plain(values: np.ndarray) -> list:
  """Nested lists of 4 digits, None for what is not defined."""
  told = np.round(values.astype(float), 4).astype(object)
  return np.where(np.isfinite(values), told, None).tolist()


def _fields(config, run, test) -> dict:
  """Weights of the hidden neurons that fire most, and averages."""
  lags = [lag for lag in LAGS if lag < test.inputs.shape[1]]
  averages = receptive_fields.spike_triggered_average(
    test.inputs, test.spikes, lags
  )
  weights = np.zeros((0, test.inputs.shape[-1]))
  if config.encoder.kind == "dense" and config.encoder.hidden:
    order = np.argsort(-test.hidden.sum((0, 1)))[:10]
    layer = run.state.params.encoder.hidden[0]
    weights = np.asarray(layer.weights)[:, order].T
  return {"weights": weights, "averages": averages, "lags": lags}


def draw(found: dict, arrays: dict, folder: pathlib.Path, title: str) -> dict:
  """Name -> path of the pictures."""
  figures = {
    "timing": microscope_figures.timing(found, title),
    "anytime": microscope_figures.anytime(found, title),
    "structure": microscope_figures.structure(found, arrays, title),
    "fields": microscope_figures.fields(arrays, title),
  }
  paths = {}
  for name, figure in figures.items():
    if figure is not None:
      paths[name] = folder / f"{name}.png"
      figure.savefig(paths[name], dpi=130, metadata={"Software": None})
  return paths


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_string("view", "", "Of the run, or of its baseline.")
  flags.DEFINE_integer("examples", 1000, "Of the test set.", 2)
  flags.DEFINE_string("output", "", "Folder; DIR/microscope by default.")


def main(argv):
  """Parses the flags, looks, draws, writes."""
  values, start = flags.FLAGS, time.perf_counter()
  if len(argv) > 1 or not options.WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and no other arguments")
  place = pathlib.Path(options.WORKDIR.value)
  folder = pathlib.Path(values.output or place / "microscope")
  try:
    config, runs, source = evaluate.load(place)
    view = values.view or config.view
    if view not in runs:
      raise ValueError(f"view: expected one of {', '.join(runs)}, got {view!r}")
    config = build.for_view(config, view)
    judge_params = inputs.judge(config, source)
    found, arrays = look(
      config, runs[view], source, judge_params, values.examples
    )
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  folder.mkdir(parents=True, exist_ok=True)
  title = (
    f"{config.name}: {finish.LABELS[view]}, {found['num_readout']} readout"
    f" neurons, {found['examples']} test examples of {found['data']}"
  )
  text = json.dumps(found, allow_nan=False) + "\n"
  (folder / "microscope.json").write_text(text)
  paths = draw(found, arrays, folder, title)
  page = microscope_page.page(found, paths, title)
  (folder / "microscope.html").write_text(page)
  print(*microscope_page.statements(found), sep="\n")
  spent = time.perf_counter() - start
  print(f"total {spent:.0f} s; {folder / 'microscope.html'}")


if __name__ == "__main__":
  define()
  app.run(main)
