"""Sums of rows of a table that bits choose, by lists of indices, for CPUs.

  s_r = sum over the k whose bit is set in row r of T_k                   (1)

Bits are packed 32 to a word. The next places of all lists are read off the
words at once; the rows of the table at eight places are added in one pass,
which XLA makes one loop of vector code. Lists are followed as long as more than
an eighth of all rows have a longer one; the rest of those few is summed apart,
so that a busy row does not hold up the others. Where the table is long it is
gone through in chunks that stay in a core's cache.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import layout

_BITS = 32  # Of a word.
_LISTED = 32  # Places of the lists that are found at once.
_SUMMED = 8  # Rows of the table that are added in one pass.
_CHUNK = 1280  # Rows of the table at most that are gone through at once.
_NEAR = 16  # Places that are not worth to be summed apart.
_BUSY = 8  # One row in so many may have a longer list than is followed for all.


def _pack(values: jax.Array) -> jax.Array:
  """What of [R, K] is not 0, as bits: a word of 32 rows of a column.

  The same for both sums: where they are in one computation, XLA reads the
  values once.

  Returns:
    [ceil(R / 32), 32 ceil(K / 32)].
  """
  rows, columns = values.shape
  chosen = jnp.pad(values != 0, ((0, -rows % _BITS), (0, -columns % _BITS)))
  bits = chosen.reshape(-1, _BITS, chosen.shape[1]).astype(jnp.uint32)
  places = lax.broadcasted_iota(jnp.uint32, bits.shape, 1)
  words = jnp.sum(bits << places, axis=1, dtype=jnp.uint32)
  # Else XLA may turn the sum, and read the values across memory.
  words = layout.with_layout_constraint(words, layout.Layout((0, 1)))
  return lax.optimization_barrier(words)


def _turn(words: jax.Array) -> jax.Array:
  """Words of columns [B, 32 W] as words of rows, [32 B, W].

  Bit k of word w is column ``k W + w``: words that lie together in memory are
  found together.
  """
  blocks = words.reshape(len(words), 1, _BITS, -1)
  shape = len(words), _BITS, *blocks.shape[2:]
  rows, places = (lax.broadcasted_iota(jnp.uint32, shape, n) for n in (1, 2))
  bits = (blocks >> rows) & jnp.uint32(1)
  words = jnp.sum(bits << places, axis=2, dtype=jnp.uint32)
  return words.reshape(-1, shape[3])


def row_sums(table: jax.Array, values: jax.Array) -> jax.Array:
  """Equation (1) with a bit for each value that is not 0.

  Args:
    table: [K, M].
    values: [R, K].

  Returns:
    [R, M], summed in float32 at least, of the table's type.
  """
  words = _turn(_pack(values))[: len(values)]
  # Its rows lie as bits and words count them (`_turn`), so that a place in a
  # word is one in the table: numbers with gaps cost more than this copy.
  table = jnp.pad(table, ((0, -len(table) % _BITS), (0, 0)))
  table = table.reshape(_BITS, -1, table.shape[1]).swapaxes(0, 1)
  return _sums(table.reshape(-1, table.shape[2]), words)


def column_sums(table: jax.Array, values: jax.Array) -> jax.Array:
  """``row_sums(table, values.T)``: [K, M], [K, R] to [R, M]."""
  return _sums(table, _pack(values)[:, : values.shape[1]].T)


def _sums(table, words):
  """Chunk by chunk of the table."""
  chunks = math.ceil(len(table) / _CHUNK)
  words = jnp.pad(words, ((0, 0), (0, -words.shape[1] % chunks)))
  words = jnp.swapaxes(words.reshape(len(words), chunks, -1), 0, 1)
  size = _BITS * words.shape[2]
  longer = jnp.pad(table, ((0, chunks * size - len(table)), (0, 0)))

  def add(total, chunk):
    rows, words = chunk
    rows = jnp.concatenate([rows, jnp.zeros_like(rows[:1])])
    return _add_chosen(total, rows, words), None

  kind = jnp.promote_types(table.dtype, jnp.float32)
  total = jnp.zeros((words.shape[1], table.shape[1]), kind)
  tables = longer.reshape(chunks, size, -1)
  # In memory in this order: what reads them often would read across it.
  words = lax.optimization_barrier(words)
  return lax.scan(add, total, (tables, words))[0].astype(table.dtype)


def _add_chosen(total, table, words):
  """`total` [R, M] plus the chosen rows; the table's last row is zeros."""
  few = math.ceil(len(words) / _BUSY)
  lengths = _lengths(words)

  def add_busy(state):
    place, total = state
    busy = lengths > place
    number = jnp.cumsum(busy.astype(jnp.int32))
    which = jnp.searchsorted(number, jnp.arange(few, dtype=jnp.int32) + 1)
    theirs = words.at[which].get(mode="fill", fill_value=0)
    rest = jnp.zeros((few, total.shape[1]), total.dtype)
    place, rest = _add_lists(rest, table, theirs, place, 0)
    which = jnp.where(busy, number - 1, few)
    return place, total + rest.at[which].get(mode="fill", fill_value=0)

  state = _add_lists(total, table, words, jnp.uint32(0), few)
  # Once, or not at all; a loop adds in place, where a branch would copy.
  return lax.while_loop(lambda s: jnp.any(lengths > s[0]), add_busy, state)[1]


def _add_lists(total, table, words, first, spared):
  """Adds what lists name from place `first` on, eight places at a time.

  Args:
    total: [R, M].
    table: [K + 1, M], the last row zeros.
    words: [R, W].
    first: scalar, places that have been added.
    spared: it ends where at most so many lists go on, and far.

  Returns:
    (places that have been added, total).
  """
  lengths = _lengths(words)
  longest = jnp.max(lengths)

  def go_on(place):
    near = (place < longest) & (longest <= place + _NEAR)
    return near | (jnp.sum(lengths > place) > spared)

  def add_some(indices, start, total):
    some = lax.dynamic_slice_in_dim(indices, start * _SUMMED, _SUMMED, 1)
    for row in some.T:
      total = total + table.at[row].get(mode="promise_in_bounds")
    return total

  def add_listed(state):
    place, total = state
    # Without the barrier indices would be found again for each output.
    indices = _list(words, place, empty=len(table) - 1)
    indices = lax.optimization_barrier(indices)
    starts = place + jnp.arange(0, _LISTED, _SUMMED, dtype=jnp.uint32)
    times = jnp.sum(jax.vmap(go_on)(starts), dtype=jnp.int32)
    add = lambda start, total: add_some(indices, start, total)
    total = lax.fori_loop(0, times, add, total)
    return place + _SUMMED * times.astype(jnp.uint32), total

  return lax.while_loop(lambda s: go_on(s[0]), add_listed, (first, total))


def _lengths(words):
  """Bits that are set in each row."""
  return jnp.sum(lax.population_count(words), axis=1, dtype=jnp.uint32)


def _list(words, first, empty) -> jax.Array:
  """Places `first` to `first + _LISTED` of every row's list of set bits.

  Args:
    words: [R, W].
    first: scalar.
    empty: stands behind the end of a list.

  Returns:
    int32 [R, _LISTED].
  """
  nth = first + jnp.arange(_LISTED, dtype=jnp.uint32)[None]
  passed = jnp.zeros((len(words), 1), jnp.uint32)
  at, word, before = (
    jnp.zeros((len(words), _LISTED), jnp.uint32) for _ in range(3)
  )
  for number in range(words.shape[1]):
    here, bits = passed <= nth, words[:, number, None]
    at = jnp.where(here, jnp.uint32(number), at)
    word = jnp.where(here, bits, word)
    before = jnp.where(here, passed, before)
    passed = passed + lax.population_count(bits)
  index = _BITS * at + _nth_bit(word, nth - before)
  return jnp.where(nth < passed, index, empty).astype(jnp.int32)


def _nth_bit(word: jax.Array, nth: jax.Array) -> jax.Array:
  """Place of the n-th bit that is set, from 0, by halving the word."""
  place = jnp.zeros_like(word)
  for width in (16, 8, 4, 2, 1):
    lower = (word >> place) & jnp.uint32(2**width - 1)
    below = lax.population_count(lower)
    above = nth >= below
    nth = jnp.where(above, nth - below, nth)
    place = jnp.where(above, place + width, place)
  return place
