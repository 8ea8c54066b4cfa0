"""Judges models that were trained on simulated recordings on real ones.

  python -m experiments.reality --runs=A,B --data_dir=MNIST_DVS --output=FOLDER

The runs are of `experiments.train` on mnist_dvs_sim with pictures as targets.
The real recordings are all of --digit and scale 4 in the folder, binned as the
run's, none of them trained on. Reports the share that the judge takes for each
digit, of each run and of runs that differ in their seed together, and the gap
between the domains: spikes of input, hidden and readout neurons, information,
and the share of events near the middle, beside the simulated test recordings of
the same digit.
Digits before the real camera are mirrored or turned against MNIST, which a zero
cannot tell; others would have to be turned back.
Writes reality.json, reality.md and reality.png.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments import evaluate, inputs, reality_report, workdir
from timedecode import datasets, metrics, plots, training
from timedecode import judge as judge_lib
from timedecode.datasets import mnist_dvs, sources

SHOWN = 10
NEAR = 4.0  # Pixels from the middle.
_AT_ONCE = 50  # Recordings; a thousand of 2 s would take many gigabytes.


def real_rows(config, folder: str, digit: int) -> sources.Rows:
  """All real recordings of a digit, binned as the configuration says."""
  options = inputs.options(config)
  found = mnist_dvs.load(
    folder, datasets.cache_folder(), dt_ms=options.dt_ms,
    duration_s=options.duration_s, scale=4, digits=(digit,),
  )  # fmt: skip
  return sources.Rows(found.spikes, found.labels)


def _near(height: int, width: int, polarities: int) -> np.ndarray:
  """1 within `NEAR` pixels of the middle, else 0."""
  y, x = np.mgrid[:height, :width]
  far = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
  return np.float32(np.repeat((far <= NEAR)[..., None], polarities, axis=-1))


def make_look(config, run, source, judge_params):
  """Builds ``(rows, keys) -> (figures by recording, what is drawn)``."""
  step = training.make_eval_step(run.built.model, config.eval_samples)
  near = _near(*inputs.sensor_shape(config))

  @jax.jit
  def look_at(rows, keys):
    halves = jax.vmap(jax.random.split)(keys)
    batch = source.decode(rows, halves[:, 0])
    found = step(run.state.params, batch.inputs, batch.targets, halves[:, 1])
    pictures = jax.nn.sigmoid(found.outputs).reshape(-1, 28, 28)
    decided = judge_lib.predict(judge_params, pictures)
    decided = decided.reshape(config.eval_samples, -1)
    axes = (0, *range(2, batch.inputs.ndim))
    nats, bits = found.losses.information, jnp.sum(batch.inputs, axis=axes)
    mask = near.reshape(1, 1, *batch.inputs.shape[2:])
    inside = jnp.sum(batch.inputs * mask, axis=axes)
    return {
      "set_bits": bits,
      "share_near_the_middle": inside / jnp.maximum(bits, 1),
      "share_of_set_bits": jnp.mean(batch.inputs, axis=axes),
      "readout_rate": jnp.mean(found.spikes, axis=(0, 1, 3)),
      "information_bits": jnp.mean(metrics.nats_to_bits(nats), axis=0),
      "judged_right": jnp.mean(decided == rows.labels[None], axis=0),
      "hidden_rate": jnp.broadcast_to(
        jnp.mean(found.hidden_rates), rows.labels.shape
      ),
      "decided": decided.T,
    }, {
      "events": jnp.sum(batch.inputs[:, :SHOWN], axis=0),
      "decoded": pictures[: min(SHOWN, len(rows.labels))],
    }

  return look_at


def look(config, run, source, judge_params, rows) -> tuple[dict, dict]:
  """Figures of some recordings, and what is drawn of the first of them."""
  keys = inputs.example_keys(jax.random.key(config.seed), len(rows.labels))
  look_at, parts = make_look(config, run, source, judge_params), []
  for start in range(0, len(keys), _AT_ONCE):
    some = slice(start, start + _AT_ONCE)
    found, drawn = look_at(sources.gather(rows, some), keys[some])
    parts.append(jax.tree.map(np.asarray, found | drawn))
  values = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
  shown = {k: values.pop(k)[:SHOWN] for k in ("events", "decoded")}
  decided = values.pop("decided")
  summary = {
    name: {"mean": float(np.mean(v)), "standard_deviation": float(np.std(v))}
    for name, v in values.items()
  }
  summary["judged_right"]["by_recording"] = values["judged_right"].tolist()
  summary["hidden_rate"] = summary["hidden_rate"]["mean"]
  summary["recordings"] = len(rows.labels)
  counts = np.bincount(decided.ravel(), minlength=10)
  summary["judged_as"] = (counts / counts.sum()).tolist()
  height, width = inputs.sensor_shape(config)[:2]
  events = shown["events"]
  events = events.reshape(len(events), height, width, -1).sum(-1)
  events /= np.maximum(events.max((1, 2), keepdims=True), 1)
  return summary, {"events": events, "decoded": shown["decoded"]}


def compare(folder: pathlib.Path, data_dir: str, digit: int):
  """Kind of recordings, view and seed -> figures; what is drawn of them."""
  config, runs, source = evaluate.load(folder)
  if config.data.source != "mnist_dvs_sim" or config.data.target == "label":
    raise ValueError(
      "run: expected one on mnist_dvs_sim with pictures as targets, got"
      f" {config.data.source} with {config.data.target}"
    )
  judge_params, figures, shown = inputs.judge(config, source), {}, {}
  test = source.rows("test")
  some = {
    "real": real_rows(config, data_dir, digit),
    "simulated": sources.gather(test, np.asarray(test.labels) == digit),
  }
  if not len(some["simulated"].labels):
    raise ValueError(f"digit: {folder} has no simulated test one of {digit}")
  for kind, rows in some.items():
    for view, run in runs.items():
      name = f"{kind}, {view}, seed {config.seed}"
      figures[name], found = look(config, run, source, judge_params, rows)
      shown[f"{kind.upper()}, summed events"] = found["events"]
      shown[f"{kind.upper()}, {view} view"] = found["decoded"]
      print(
        f"{name}: {figures[name]['recordings']} recordings,"
        f" {figures[name]['judged_right']['mean']:.3f} judged as {digit}"
      )
  return figures, shown


def compare_all(folders: list[str], data_dir: str, digit: int):
  """`compare` of several runs; pictures of the first with each view."""
  figures, shown, known = {}, {}, {}
  for folder in map(pathlib.Path, folders):
    theirs = workdir.flat(workdir.complete(workdir.read_config(folder)))
    theirs |= dict.fromkeys(("seed", *workdir.ELSEWHERE))
    first = known.setdefault(theirs["view"], theirs)
    if fields := workdir.differing(first, theirs):
      raise ValueError(
        "runs: expected runs of a view to differ in their seed alone, got"
        f" {folder}, which differs in {fields}"
      )
    found, drawn = compare(folder, data_dir, digit)
    twice = sorted(set(found) & set(figures))
    if twice:
      raise ValueError(
        f"runs: expected runs of other views or seeds, got twice: {twice[0]}"
      )
    figures, shown = figures | found, drawn | shown
  order = lambda name: (name.split(",")[0], "events" not in name, name)
  return figures, {name: shown[name] for name in sorted(shown, key=order)}


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_list("runs", [], "Folders of trained runs.")
  flags.DEFINE_string("data_dir", None, "Folder of MNIST-DVS.")
  flags.DEFINE_integer("digit", 0, "Which recordings.", 0, 9)
  flags.DEFINE_string("output", ".", "Folder of the results.")


def main(argv):
  """Parses the flags and turns errors of use into one line."""
  if len(argv) > 1 or not flags.FLAGS.runs or not flags.FLAGS.data_dir:
    raise app.UsageError("expected --runs=A,B and --data_dir=DIR")
  folder = pathlib.Path(flags.FLAGS.output)
  try:
    workdir.make_writable(folder)
    figures, shown = compare_all(
      flags.FLAGS.runs, flags.FLAGS.data_dir, flags.FLAGS.digit
    )
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  text = json.dumps(figures, indent=1)
  (folder / "reality.json").write_text(text + "\n")
  (folder / "reality.md").write_text(reality_report.table(figures))
  fewest = min(len(images) for images in shown.values())
  plots.reconstructions(
    folder / "reality.png",
    {name: images[:fewest] for name, images in shown.items()},
    f"digit {flags.FLAGS.digit}: trained on simulated recordings only",
  )


if __name__ == "__main__":
  define()
  app.run(main)
