"""One shape for every source of examples.

A `Source` holds the rows of its splits as arrays [M, ...]: images as bytes,
recordings as bits, generated examples as their numbers. One pure function
turns gathered rows into inputs, targets and labels, inside the compiled step:

  rows[indices], keys -> decode -> inputs [T, B, ...], targets [B, ...], labels

Which rows a step takes follows from (seed, step) alone, see
`datasets.batch_indices`, so a run can go on at any step; `feed.batches` brings
them, from the device (`place`) where all fit, else from the host.
"""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from timedecode.datasets import augmentation, packing
from timedecode.datasets import blobs as blobs_lib

SPLITS = ("train", "validation", "test")


class Batch(NamedTuple):
  """B examples.

  Attributes:
    inputs: spikes, float32 0/1, [T, B, ...].
    targets: what the decoder is to say, [B, ...] (one per step: [T, B, ...]).
    labels: int32 [B].
  """

  inputs: jax.Array
  targets: jax.Array
  labels: jax.Array


class Rows(NamedTuple):
  """data: array or pytree of arrays [M, ...]; labels: int32 [M]."""

  data: Any
  labels: np.ndarray


def unchanged(rows: Rows, keys: jax.Array) -> Rows:
  """No augmentation."""
  del keys
  return rows


class Source(NamedTuple):
  """Examples of one kind.

  Attributes:
    name: printed wherever results are.
    splits: name of a split -> `Rows`.
    decode: ``(Rows of a batch, keys [B]) -> Batch``, pure.
    input_shape: of one step's input.
    num_steps: T.
    augment: ``(Rows of a batch, keys [B]) -> Rows``, pure: how training rows
      are varied before they are decoded with the same keys.
    remarks: what the files hold that was left out or is odd, in lines.
  """

  name: str
  splits: dict[str, Rows]
  decode: Callable[[Rows, jax.Array], Batch]
  input_shape: tuple[int, ...]
  num_steps: int
  augment: Callable[[Rows, jax.Array], Rows] = unchanged
  remarks: str = ""

  def size(self, split: str) -> int:
    """Number of examples M of a split; ValueError if there is no such one."""
    return len(self.rows(split).labels)

  def rows(self, split: str) -> Rows:
    """The rows of a split; ValueError if there is no such one."""
    if split not in self.splits:
      raise ValueError(
        f"split: expected one of {', '.join(self.splits)}, got {split!r}"
      )
    return self.splits[split]


def gather(rows: Rows, indices: Any) -> Rows:
  """The rows at `indices`, on the host or on the device."""
  return jax.tree.map(lambda leaf: leaf[indices], rows)


def nbytes(rows: Rows) -> int:
  """Bytes that the rows take."""
  return sum(leaf.nbytes for leaf in jax.tree.leaves(rows))


def digest(rows: Rows) -> str:
  """A digest of all that the rows hold, in hex."""
  found = hashlib.blake2b(digest_size=16)
  for leaf in jax.tree.leaves(rows):
    found.update(f"{leaf.dtype} {leaf.shape}".encode())
    found.update(np.ascontiguousarray(leaf).data)
  return found.hexdigest()


def place(rows: Rows, limit: int = 2**31) -> Rows:
  """The rows as device arrays.

  Args:
    rows: on the host.
    limit: bytes that they may take.

  Raises:
    ValueError: they take more; `feed.batches` then brings them batch by batch.
  """
  size = nbytes(rows)
  if size > limit:
    raise ValueError(
      f"rows: expected at most {limit} bytes to keep on the device, got {size};"
      " use feed.batches"
    )
  return jax.tree.map(jnp.asarray, rows)


Target = Callable[[jax.Array, jax.Array], jax.Array]


def label_targets(labels: jax.Array, keys: jax.Array) -> jax.Array:
  """The label itself, for a categorical decoder."""
  del keys
  return labels


def prototype_targets(prototypes: np.ndarray) -> Target:
  """One picture per class, float32 [classes, ...], whatever the example."""
  pictures = jnp.asarray(prototypes, jnp.float32)
  return lambda labels, keys: pictures[labels]


def random_targets(images_of_class: np.ndarray) -> Target:
  """A random picture of the class; pictures are uint8 [classes, K, ...]."""
  pictures = jnp.asarray(images_of_class)

  def target(labels, keys):
    choose = lambda key: jax.random.randint(key, (), 0, pictures.shape[1])
    chosen = pictures[labels, jax.vmap(choose)(keys)]
    return chosen.astype(jnp.float32) / 255.0

  return target


def recordings(
  name: str,
  splits: dict[str, Rows],
  shape: tuple[int, ...],
  targets: Target = label_targets,
  flat: bool = True,
  moves: augmentation.Moves = augmentation.Moves(),
) -> Source:
  """Binned recordings, bits until they are inside the step.

  Args:
    name: of the source.
    splits: rows whose data are uint8 [M, T, ceil(N / 8)], see `packing`.
    shape: of one step, N = its product, say (26, 26, 2) or (700,).
    targets: ``(labels [B], keys [B]) -> targets``.
    flat: inputs [T, B, N] for dense layers, else [T, B, *shape].
    moves: how far `augment` moves training recordings.

  Raises:
    ValueError: no split, splits of other shapes, moves out of range, or of
      what has no height and width.
  """
  num_neurons = int(np.prod(shape))
  steps = {rows.data.shape[1] for rows in splits.values()}
  width = packing.packed_size(num_neurons)
  for split, rows in splits.items():
    if rows.data.shape[2:] != (width,) or len(rows.data) != len(rows.labels):
      raise ValueError(
        f"splits[{split!r}]: expected data [{len(rows.labels)}, T, {width}],"
        f" got {rows.data.shape}"
      )
  if len(steps) != 1:
    raise ValueError(f"splits: expected one number of steps, got {steps}")

  def decode(rows, keys):
    spikes = packing.unpack(jnp.moveaxis(rows.data, 0, 1), num_neurons)
    if not flat:
      spikes = spikes.reshape(*spikes.shape[:2], *shape)
    return Batch(spikes, targets(rows.labels, keys), rows.labels)

  input_shape = (num_neurons,) if flat else tuple(shape)
  source = Source(name, splits, decode, input_shape, steps.pop())
  augmentation.check(moves, shape)
  if not any(moves):
    return source
  return source._replace(augment=_moved(shape, moves))


def _moved(shape: tuple[int, ...], moves: augmentation.Moves):
  """Moves whole recordings, bits [B, T, ceil(N / 8)], each by its own key."""

  def move(packed, key):
    # Recordings have their random target from the key itself.
    key = jax.random.split(key)[0]
    return augmentation.moved_bits(packed, key, moves, shape)

  return lambda rows, keys: rows._replace(data=jax.vmap(move)(rows.data, keys))


_BLOB_SEEDS = dict(zip(SPLITS, (1, 2, 3), strict=True))


def blobs(
  num_steps: int = 100,
  delta: int = 0,
  ring: bool = False,
  sizes: tuple[int, int, int] = (50_000, 500, 500),
) -> Source:
  """Drifting blobs, generated in the step: an example is its number.

  Args:
    num_steps: T.
    delta: how many steps ahead the target is, see `blobs.drifting_blobs`.
    ring: distances round the ring.
    sizes: examples of training, validation and test.

  Returns:
    A source whose targets are patterns, int32 [T, B]; labels are the numbers.
  """
  splits = {
    name: Rows(np.full((size,), _BLOB_SEEDS[name], np.uint32),
               np.arange(size, dtype=np.int32))
    for name, size in zip(SPLITS, sizes, strict=True)
  }  # fmt: skip

  def decode(rows, keys):
    del keys  # Example i is the same in every epoch.

    def one(seed, number):
      key = jax.random.fold_in(jax.random.key(seed), number)
      return blobs_lib.drifting_blobs(key, num_steps, delta, ring)

    inputs, targets = jax.vmap(one, out_axes=1)(rows.data, rows.labels)
    return Batch(inputs, targets, rows.labels)

  return Source("blobs", splits, decode, (blobs_lib.NUM_NEURONS,), num_steps)
