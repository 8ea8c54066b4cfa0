"""How tight each prior makes the information bound of a trained encoder.

  python -m experiments.priors --workdir=DIR

DIR is a finished run of `experiments.train`. Its encoder stays as it is; each
learned prior is fitted to the spikes of the training images. Prints the bound
on I(x -> y) on the test images, bits per example, and writes DIR/priors.json.
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from experiments import build, evaluate, files, options, trains
from timedecode import bottleneck, datasets, metrics, priors
from timedecode.datasets import sources

DRAWS = flags.DEFINE_integer("prior_draws", 4, "Samples of y per image.", 1)
STEPS = flags.DEFINE_integer("prior_steps", 1500, "Steps of each fit.", 1)
BATCH = flags.DEFINE_integer("prior_batch", 100, "Images per step.", 1)
_RATE = 1e-2  # Learning rate at the first step; it decays to 0.


def make_bound(prior):
  """``bound(prior params, spikes, logits) -> [B]``, nats."""

  def one(params, spikes, logits):
    prior_logits = prior.logits(params, spikes)
    return jnp.sum(bottleneck.divergence(logits, prior_logits))

  return jax.vmap(one, in_axes=(None, 0, 0))


def fit(prior, spikes, logits, steps: int, batch_size: int):
  """Parameters of a prior that are fitted to trains [M, T, N_y]."""
  optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, steps))
  bound = make_bound(prior)
  params = prior.init(spikes.shape[-1])
  if not jax.tree.leaves(params):
    return params

  def step(data, carry, rows):
    params, state = carry
    loss = lambda p: jnp.mean(bound(p, *(part[rows] for part in data)))
    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return (optax.apply_updates(params, updates), state), None

  rows = [
    datasets.batch_indices(len(spikes), batch_size, 0, index)
    for index in range(steps)
  ]
  scan = jax.jit(  # Of arguments: constants would be compiled in.
    lambda data, carry, rows: jax.lax.scan(
      functools.partial(step, data), carry, rows
    )[0][0]
  )
  params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
  begin = params, optimizer.init(params)
  return scan((spikes, logits), begin, np.stack(rows))


def draw(sample, rows, key, num_draws):
  """Trains of rows, one draw after the other: each [draws M, T, N_y]."""
  places = [
    (index, start)
    for index in range(num_draws)
    for start in range(0, len(rows.labels), BATCH.value)
  ]
  found = [
    sample(
      sources.gather(rows, slice(start, start + BATCH.value)),
      jax.random.fold_in(jax.random.fold_in(key, index), start),
    )
    for index, start in places
  ]
  return tuple(
    jnp.concatenate([getattr(part, name) for part in found])
    for name in ("spikes", "logits")
  )


def run(folder: pathlib.Path) -> dict:
  """Prior -> mean bound on the test images in bits, and of the difference to
  the prior before (the same trains) mean and standard error."""
  config, runs, source = evaluate.load(folder)
  trained, fields = runs[config.view], ("spikes", "logits")
  sample = functools.partial(
    trains.make_sampler(source, trained.built.model, fields),
    trained.state.params,
  )
  keys = jax.random.split(jax.random.key(config.seed + 4))
  train = draw(sample, source.rows("train"), keys[0], DRAWS.value)
  test = draw(sample, source.rows("test"), keys[1], 1)
  result, before = {}, None
  for name in priors.PRIORS:
    config.prior = name
    prior = build.build_prior(config)
    fitted = fit(prior, *train, STEPS.value, BATCH.value)
    nats = jax.jit(make_bound(prior))(fitted, *test)
    bits = metrics.nats_to_bits(np.asarray(nats, np.float64))
    result[name] = _figures(bits, bits - (bits if before is None else before))
    before = bits
    print(f"{name}: {result[name]}", flush=True)
  return result | {"data_source": source.name, "task": config.name}


def _figures(bits, difference):
  error = lambda values: float(values.std(ddof=1) / np.sqrt(len(values)))
  return {
    "bits": float(bits.mean()), "standard_error": error(bits),
    "difference": float(difference.mean()),
    "difference_standard_error": error(difference),
  }  # fmt: skip


def main(argv):
  """Parses the flags, fits, and turns errors of use into one line."""
  if len(argv) > 1 or not options.WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and nothing else")
  folder = pathlib.Path(options.WORKDIR.value)
  try:
    text = json.dumps(run(folder), indent=2)
    files.replace_text(folder / "priors.json", text + "\n")
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main)
