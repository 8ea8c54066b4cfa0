"""What bringing recordings into a training step costs.

  python -m experiments.benchmark_feeding [--decoder=mlp] [--batch=64]

The step is that of the VDIB on simulated recordings, 26x26x2 neurons in 80
steps of 25 ms, with one picture per digit as the target. Two questions:

  unpacking  the step that takes rows of bits on the device and unpacks them,
             against the same step on ready float32 inputs: alternating calls,
             medians; and unpacking alone.
  waiting    the step fed by `feed.Stream` with rows from the host: share of
             the time in which it waits for a batch, and its rate against that
             of rows on the device.

Prints a table and JSON.
"""

import functools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from timedecode import (
  bottleneck,
  decoder,
  encoder,
  estimators,
  priors,
  readout,
  training,
)
from timedecode.datasets import feed, recordings, simulator, sources

DT_MS = 25.0
WARM_UP = 3  # Steps that are not counted.
DECODERS = ("conv", "mlp")


def define(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
  """Defines the flags."""
  for name, default, help_text in (
    ("repeats", 15, "Steps of each kind that are timed."),
    ("batch", 64, "Examples per step."),
    ("hidden", 800, "Hidden neurons."),
    ("readout", 256, "Readout neurons."),
    ("recordings", 256, "Simulated recordings to draw batches from."),
  ):
    flags.DEFINE_integer(
      name, default, help_text, lower_bound=1, flag_values=values
    )
  flags.DEFINE_float(
    "duration_s", 2.0, "Of a recording, seconds.", flag_values=values
  )
  flags.DEFINE_enum(
    "decoder", "conv", DECODERS, "Decoding network; mlp has 512 hidden units.",
    flag_values=values,
  )  # fmt: skip
  return values


def build(values: flags.FlagValues, num_steps: int):
  """The step ``(state, sources.Batch, keys)``, and a function to begin."""
  snn = encoder.make_encoder(
    (simulator.NUM_NEURONS,), [encoder.dense(values.hidden)],
    num_readout=values.readout,
  )  # fmt: skip
  options = {"width": 512} if values.decoder == "mlp" else {}
  ann = decoder.make(values.decoder, 784, **options)
  losses = functools.partial(bottleneck.vdib, beta=1e-3)
  model = training.Model(
    snn, ann.apply, readout.view("full"), losses, priors.independent(0.3)
  )
  rule, optimizer = estimators.straight_through(), optax.adam(1e-3)
  train_step = training.make_train_step(model, rule, optimizer)

  def step(state, batch, keys):
    targets = batch.targets.reshape(len(keys), -1)
    return train_step(state, batch.inputs, targets, keys)

  @jax.jit
  def init():
    silent = jnp.zeros((num_steps, values.readout))
    params = training.ModelParams(
      snn.init(jax.random.key(0)), ann.init(jax.random.key(1), silent)
    )
    return training.init_state(params, optimizer, rule)

  return step, init


def _timed(function, *arguments):
  start = time.perf_counter()
  result = jax.block_until_ready(function(*arguments))
  return time.perf_counter() - start, result


def unpacking(source, step, init, rows, repeats: int) -> dict:
  """Seconds of a step on bits, of one on float32, and of unpacking alone.

  Each step keeps its own state, and both take the same batch.
  """
  keys = jax.random.split(jax.random.key(2), len(rows.labels))
  decode = jax.jit(source.decode)
  steps = {
    "bits": lambda state, rows, keys: step(
      state, source.decode(rows, keys), keys
    ),
    "float32": step,
  }
  steps = {k: jax.jit(f, donate_argnums=0) for k, f in steps.items()}
  given = {"bits": rows, "float32": jax.block_until_ready(decode(rows, keys))}
  states = {name: init() for name in steps}
  seconds = {name: [] for name in (*steps, "unpacking alone")}
  for number in range(repeats + WARM_UP):
    # Each is first as often as second.
    for name in list(steps)[:: 1 if number % 2 else -1]:
      taken, result = _timed(steps[name], states[name], given[name], keys)
      states[name] = result[0]
      seconds[name].append(taken)
    seconds["unpacking alone"].append(_timed(decode, rows, keys)[0])
  medians = {k: float(np.median(v[WARM_UP:])) for k, v in seconds.items()}
  quarter, most = np.quantile(seconds["float32"][WARM_UP:], (0.25, 0.75))
  return {
    "step_bits_ms": 1e3 * medians["bits"],
    "step_float32_ms": 1e3 * medians["float32"],
    "unpacking_alone_ms": 1e3 * medians["unpacking alone"],
    "unpacking_share": 1.0 - medians["float32"] / medians["bits"],
    "step_spread": float(most - quarter) / medians["float32"],
    "unpacking_alone_share": medians["unpacking alone"] / medians["bits"],
  }


def waiting(source, step, init, rows, batch: int, repeats: int) -> dict:
  """Share of the time for which a fed step waits, after the first steps."""

  @functools.partial(jax.jit, donate_argnums=0)
  def fed(state, rows):
    key = jax.random.fold_in(jax.random.key(3), state.step)
    keys = jax.random.split(key, batch)
    return step(state, source.decode(rows, keys), keys)

  state, pending, begin = init(), None, None
  with feed.Stream(rows, batch, seed=0) as stream:
    for number, taken in stream:
      state, metrics = fed(state, taken)
      if pending is not None:  # One step late, as the training loop does.
        jax.block_until_ready(pending)
      pending = metrics.loss
      if number + 1 == WARM_UP:
        begin = stream.waited, stream.total
      if number + 1 == WARM_UP + repeats:
        break
    waited, total = stream.waited - begin[0], stream.total - begin[1]
  return {
    "waiting_share": waited / total,
    "fed_step_ms": 1e3 * total / repeats,
    "waited_ms": 1e3 * waited / repeats,
  }


def measure(values: flags.FlagValues) -> dict:
  """Both measurements.

  Raises:
    ValueError: recordings that can't be made.
  """
  options = recordings.Options(
    dt_ms=DT_MS, duration_s=values.duration_s,
    simulated=(values.recordings, 1, 1),
  )  # fmt: skip
  source = recordings.load("mnist_dvs_sim", None, options, "prototype")
  rows = source.rows("train")
  step, init = build(values, source.num_steps)
  indices = np.arange(values.batch) % len(rows.labels)
  placed = sources.place(sources.gather(rows, indices))
  found = unpacking(source, step, init, placed, values.repeats)
  found |= waiting(source, step, init, rows, values.batch, values.repeats)
  return {
    "data": "mnist_dvs_sim (simulated)", "backend": jax.default_backend(),
    "batch": values.batch, "hidden": values.hidden, "readout": values.readout,
    "decoder": values.decoder, "steps": source.num_steps,
    "repeats": values.repeats,
  } | found  # fmt: skip


def table(found: dict) -> str:
  """Markdown."""
  lines = ["| | ms | share of the step |", "|---|---|---|"]
  for name, milliseconds, share in (
    ("step on bits", "step_bits_ms", None),
    ("step on float32", "step_float32_ms", None),
    ("middle half of the steps on float32", None, "step_spread"),
    ("unpacking, by difference", None, "unpacking_share"),
    ("unpacking, alone", "unpacking_alone_ms", "unpacking_alone_share"),
    ("step fed from the host", "fed_step_ms", None),
    ("waiting for rows", "waited_ms", "waiting_share"),
  ):
    cells = [
      name,
      f"{found[milliseconds]:,.2f}" if milliseconds else "-",
      f"{100 * found[share]:.2f} %" if share else "-",
    ]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def main(argv, values: flags.FlagValues = flags.FLAGS):
  """Measures and prints; errors of use are one line."""
  if len(argv) > 1:
    raise SystemExit(f"error: unexpected arguments: {argv[1:]}")
  try:
    found = measure(values)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  print(table(found))
  print(json.dumps(found))


if __name__ == "__main__":
  define()
  app.run(main)
