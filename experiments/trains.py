"""Spike trains of a trained model: one sample of y per example of a split."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import inputs
from timedecode.datasets import sources

AT_ONCE = 100  # Examples.


class Trains(NamedTuple):
  """Of M examples of a split, one sample of y each, NumPy.

  Attributes:
    inputs: x, [M, T, D].
    hidden: spikes of the first hidden layer, [M, T, H]; [M, T, 0] without one.
    hidden_counts: spikes of every hidden layer, [M, L].
    spikes, logits: of the readout, [M, T, N].
    targets: what the decoder is to say, [M, ...].
    labels: [M].
  """

  inputs: np.ndarray
  hidden: np.ndarray
  hidden_counts: np.ndarray
  spikes: np.ndarray
  logits: np.ndarray
  targets: np.ndarray
  labels: np.ndarray


def make_sampler(source, model, fields=Trains._fields):
  """``sample(params, rows, key)`` -> `Trains` of JAX, compiled once.

  Args:
    source: turns rows into inputs and targets.
    model: `training.Model`.
    fields: which are wanted, others are ().
  """

  @jax.jit
  def sample(params, rows, key):
    keys = inputs.example_keys(key, len(rows.labels))
    halves = jax.vmap(jax.random.split)(keys)
    batch = source.decode(rows, halves[:, 0])
    run = functools.partial(model.encoder.sample, params.encoder)
    found = jax.vmap(run, in_axes=(1, 0))(batch.inputs, halves[:, 1])
    flat = lambda x: x.reshape(*x.shape[:2], -1)
    counts = [jnp.sum(flat(h), (1, 2)) for h in found.hidden]
    counts = jnp.stack(counts, 1) if counts else jnp.zeros((len(keys), 0))
    some = flat(found.hidden[0]) if found.hidden else found.spikes[..., :0]
    whole = Trains(
      flat(jnp.moveaxis(batch.inputs, 1, 0)), some, counts, found.spikes,
      found.logits, batch.targets, batch.labels,
    )  # fmt: skip
    return Trains(*(
      value if name in fields else ()
      for name, value in whole._asdict().items()
    ))  # fmt: skip

  return sample


def draw(sample, params, rows, key, count: int) -> Trains:
  """`Trains` of the first rows, whole batches of them where there are some."""
  count = min(count, len(rows.labels))
  parts = []
  for start in range(0, count, AT_ONCE):
    at = np.arange(start, start + AT_ONCE)
    some = sample(
      params, sources.gather(rows, at % len(rows.labels)),
      jax.random.fold_in(key, start),
    )  # fmt: skip
    parts.append(jax.tree.map(np.asarray, some))
  join = lambda *some: np.concatenate(some)[:count]
  return jax.tree.map(join, *parts)
