"""Long trains: time and memory of stored, recomputed and online gradients.

  python -m experiments.benchmark_long

A loss at every step from a window of 5 steps, network 784-600-8, batch 8,
straight-through. `stored` keeps the whole train and differentiates at the
end, `recomputed` keeps a state every `remat_every` steps, `online` adds the
gradient up on the way (`local` only). The last two have one loss at the end,
of the spike counts; `online` then goes through the train twice. Memory is what
the compiled program needs beside its arguments, by its own analysis; time is
the median of calls, for lengths up to `--timed`. Prints a table and JSON.
"""

import functools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from timedecode import (
  bottleneck,
  credit,
  encoder,
  glm,
  online,
  online_final,
  priors,
  readout,
  training,
)

LENGTHS = flags.DEFINE_list("lengths", ["100", "1000", "5000", "10000"], "T.")
TIMED = flags.DEFINE_integer("timed", 1000, "Longest T that is run.", 1)

BATCH, NUM_IN, NUM_UNITS, NUM_READOUT, WINDOW, CLASSES = 8, 784, 600, 8, 5, 10
CHUNK = 64


def make_model(rule, remat_every=0, view=readout.whole_train):
  """The model; what its decoder sees is the callers' choice."""
  snn = encoder.make_encoder(
    (NUM_IN,), [encoder.dense(NUM_UNITS)], NUM_READOUT, credit=rule,
    remat_every=remat_every,
  )  # fmt: skip
  losses = functools.partial(
    bottleneck.vdib, beta=1e-3, distortion=bottleneck.categorical_distortion
  )
  decode = lambda weights, view: view.reshape(-1) @ weights
  prior = priors.independent(0.2)
  return training.Model(snn, decode, view, losses, prior)


def init(model):
  """Parameters of the model."""
  rows = 1 if model.view is readout.counts else WINDOW
  weights = 0.1 * jax.random.normal(
    jax.random.key(1), (rows * NUM_READOUT, CLASSES)
  )
  return training.ModelParams(model.encoder.init(jax.random.key(0)), weights)


def stored_gradient(model):
  """``(params, inputs [B, T, N], targets [B, T], keys) -> gradients``."""

  def one(params, x, targets, key):
    u = jax.random.uniform(key, (len(x), NUM_READOUT))
    sample = model.encoder.run(
      params.encoder, x, u, sampler=glm.bernoulli_straight_through
    )
    views = readout.sliding_window(sample.spikes, WINDOW)
    prior_logits = model.prior.logits((), sample.spikes)
    losses = jax.vmap(
      lambda view, target, *step: model.losses(
        model.decode(params.decoder, view), target, *[row[None] for row in step]
      )
    )(views, targets, sample.spikes, sample.logits, prior_logits)
    return jnp.sum(losses.total)

  def loss(params, *batch):
    return jnp.mean(jax.vmap(functools.partial(one, params))(*batch))

  return jax.grad(loss)


def stored_final_gradient(model):
  """The same for a loss at the end, of the last step's target."""

  def one(params, x, targets, key):
    u = jax.random.uniform(key, (len(x), NUM_READOUT))
    sample = model.encoder.run(
      params.encoder, x, u, sampler=glm.bernoulli_straight_through
    )
    return model.objective(params, sample, targets[-1]).total

  def loss(params, *batch):
    return jnp.mean(jax.vmap(functools.partial(one, params))(*batch))

  return jax.grad(loss)


def contestants():
  """Name -> (model, gradient, batch on axis 0 of the inputs)."""
  local, exact = credit.local(), credit.bptt()
  result = {}
  for name, rule, remat in (
    ("bptt, stored", exact, 0), ("bptt, recomputed every 32", exact, 32),
    ("bptt, recomputed every 100", exact, 100), ("local, stored", local, 0),
  ):  # fmt: skip
    model = make_model(rule, remat)
    result[name] = model, stored_gradient(model), True
  model = make_model(local)
  gradient = online.make_online_gradient(model, WINDOW, CHUNK)
  only = lambda *arguments: gradient(*arguments).gradients
  result[f"local, online in chunks of {CHUNK}"] = model, only, False
  model = make_model(local, view=readout.counts)
  name = "local, loss at the end"
  result[f"{name}, stored"] = model, stored_final_gradient(model), True
  final = online_final.make_final_gradient(model, CHUNK)
  at_end = lambda params, x, targets, keys: (
    final(params, x, targets[-1], keys).gradients
  )
  result[f"{name}, online in chunks of {CHUNK}"] = model, at_end, False
  return result


def batch(length, batch_first):
  """Inputs, targets and keys."""
  rng = np.random.default_rng(0)
  inputs = (rng.random((length, BATCH, NUM_IN)) < 0.05).astype(np.float32)
  targets = rng.integers(0, CLASSES, (length, BATCH)).astype(np.int32)
  if batch_first:
    inputs, targets = inputs.swapaxes(0, 1), targets.swapaxes(0, 1)
  keys = jax.random.split(jax.random.key(2), BATCH)
  return jnp.asarray(inputs), jnp.asarray(targets), keys


def measure(lengths, timed, repeats=7) -> list[dict]:
  """A row per contestant and length; timed calls alternate."""
  rows = []
  for length in lengths:
    ready = {}
    for name, (model, gradient, batch_first) in contestants().items():
      arguments = init(model), *batch(length, batch_first)
      compiled = jax.jit(gradient).lower(*arguments).compile()
      size = compiled.memory_analysis().temp_size_in_bytes
      rows.append({"rule": name, "steps": length, "bytes": size})
      ready[name] = compiled, arguments, rows[-1], []
    if length > timed:
      continue
    for _ in range(repeats + 1):
      for compiled, arguments, _, times in ready.values():
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - start)
    for _, _, row, times in ready.values():
      row["milliseconds"] = 1e3 * float(np.median(times[1:]))
  return rows


def main(argv):
  """Parses the flags and prints what was measured."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  rows = measure([int(n) for n in LENGTHS.value], TIMED.value)
  print("| gradient | T | temporary memory | time |\n|---|---|---|---|")
  for row in rows:
    spent = row.get("milliseconds")
    shown = f"{spent:,.0f} ms" if spent else "-"
    size = f"{row['bytes'] / 1e6:,.1f} MB"
    print(f"| {row['rule']} | {row['steps']:,} | {size} | {shown} |")
  print(json.dumps(rows))


if __name__ == "__main__":
  app.run(main)
