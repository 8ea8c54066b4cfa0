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

from experiments import build, evaluate, options
from timedecode import bottleneck, datasets, metrics, priors

DRAWS = flags.DEFINE_integer("prior_draws", 4, "Samples of y per image.", 1)
STEPS = flags.DEFINE_integer("prior_steps", 1500, "Steps of each fit.", 1)
BATCH = flags.DEFINE_integer("prior_batch", 100, "Images per step.", 1)
_RATE = 1e-2  # Learning rate at the first step; it decays to 0.


def make_sampler(config, model):
  """``sample(params, images, key) -> (spikes, logits)``, each [B, T, N_y]."""

  @jax.jit
  def sample(params, images, key):
    keys = build.example_keys(key, len(images))
    halves = jax.vmap(jax.random.split)(keys)
    inputs, _ = build.encode_images(config, images, halves[:, 0])
    run = functools.partial(model.encoder.sample, params.encoder)
    found = jax.vmap(run, in_axes=(1, 0))(inputs, halves[:, 1])
    return found.spikes, found.logits

  return sample


def make_bound(prior):
  """``bound(prior params, spikes, logits) -> [B]``, nats."""

  def one(params, spikes, logits):
    prior_logits = prior.logits(params, spikes)
    return jnp.sum(bottleneck.divergence(logits, prior_logits))

  return jax.vmap(one, in_axes=(None, 0, 0))


def fit(prior, sample, images, num_readout, seed=0):
  """Parameters of a prior that are fitted to the spikes of `images`."""
  optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, STEPS.value))
  bound = make_bound(prior)
  params = prior.init(num_readout)

  @jax.jit
  def step(params, state, spikes, logits):
    gradients = jax.grad(lambda p: jnp.mean(bound(p, spikes, logits)))(params)
    updates, state = optimizer.update(gradients, state)
    return optax.apply_updates(params, updates), state

  if not jax.tree.leaves(params):
    return params
  state = optimizer.init(params)
  for index in range(STEPS.value):
    rows = datasets.batch_indices(len(images), BATCH.value, seed, index)
    key = jax.random.fold_in(jax.random.key(seed), index)
    params, state = step(params, state, *sample(images[rows], key))
  return params


def run(folder: pathlib.Path) -> dict:
  """Prior -> mean bound on the test images and its standard error, bits."""
  config, runs, splits = evaluate.load(folder)
  trained = runs[config.view]
  model, params = trained.built.model, trained.state.params
  sample = functools.partial(make_sampler(config, model), params)
  num_readout, result = config.encoder.num_readout, {}
  for name, make in priors.PRIORS.items():
    prior = make(config.prior_rate)
    learned = fit(prior, sample, splits.train.images, num_readout)
    bound = jax.jit(make_bound(prior))
    key = jax.random.key(config.seed + 4)
    nats = bound(learned, *sample(splits.test.images, key))
    bits = metrics.nats_to_bits(np.asarray(nats, np.float64))
    result[name] = {
      "bits": float(bits.mean()),
      "standard_error": float(bits.std(ddof=1) / np.sqrt(len(bits))),
    }
    print(f"{name}: {bits.mean():.1f} ± {result[name]['standard_error']:.1f}"
          " bits/example", flush=True)  # fmt: skip
  return result | {"data_source": splits.source, "task": config.name}


def main(argv):
  """Parses the flags, fits, and turns errors of use into one line."""
  if len(argv) > 1 or not options.WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and nothing else")
  folder = pathlib.Path(options.WORKDIR.value)
  try:
    result = run(folder)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  (folder / "priors.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
  app.run(main)
