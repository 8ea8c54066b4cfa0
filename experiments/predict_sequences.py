"""Part of `predict`: sequences of drifting blobs, and guesses about them."""

import functools

import jax
import jax.numpy as jnp

from timedecode.datasets import blobs

LARGEST_DELTA = 5  # Sequences are made that much longer.
DATA_SEED = 2021  # Of the sequences that are judged, the same for all.
VALIDATION, TEST = 0, 1


def sequence(key, num_steps, delta):
  """One sequence: patterns of x and targets, int32 [num_steps] each.

  As `blobs.drifting_blobs`, but delta may be traced; |delta| is at most
  `LARGEST_DELTA`.
  """
  draws = blobs.draw(key, num_steps + LARGEST_DELTA)
  neurons = blobs.nearest_neuron(blobs.move(draws).position)
  index = blobs.pattern_index(neurons[:, 0], neurons[:, 1])
  cut_out = lambda begin: jax.lax.dynamic_slice_in_dim(index, begin, num_steps)
  return cut_out(jnp.maximum(-delta, 0)), cut_out(jnp.maximum(delta, 0))


def judged_keys(split, num_sequences):
  """Of the sequences of a split, the same for all members."""
  root = jax.random.fold_in(jax.random.key(DATA_SEED), split)
  return jax.random.split(root, num_sequences)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def references(delta, num_steps, num_sequences, long_steps):
  """Accuracies on the test set of guesses that need no learning.

  The pattern that is most frequent in 2,000 sequences of `num_steps`, and the
  present pattern (exact for delta 0); with "_start" over the first `num_steps`
  steps.
  """
  make = lambda steps: jax.vmap(lambda key: sequence(key, steps, delta))
  known = jax.random.split(jax.random.key(DATA_SEED + 1), 2_000)
  counts = jnp.bincount(
    make(num_steps)(known)[1].reshape(-1), length=blobs.NUM_PATTERNS
  )
  patterns, targets = make(long_steps)(judged_keys(TEST, num_sequences))
  right = {
    "most_frequent": targets == jnp.argmax(counts),
    "persistence": targets == patterns,
  }
  start = {f"{n}_start": r[:, :num_steps] for n, r in right.items()}
  return jax.tree.map(jnp.mean, right | start)
