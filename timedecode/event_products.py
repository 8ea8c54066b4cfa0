"""Products of weights with trains of few spikes: sums of rows of weights.

  d_r = sum over the neurons i that fire in row r of W_i                  (1)
  dW_i = sum over the rows r in which neuron i fires of e_r               (2)

A row is one step of one example, e the errors of d. Where one neuron in
twenty fires, (1) and (2) are a twentieth of a dense product's operations. On
CPU both are computed as sums of rows picked by index, eight at a time, which
XLA turns into one pass of vector code; the lists of indices are read off the
spikes, packed 32 to a word, at each call. They are as long as the busiest row
needs, so that any train is summed exactly. Elsewhere, and where a compiler is
to divide the program among devices, the product is dense.

Weights lie as [inputs, outputs] here: a row is what one neuron sends.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import layout
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from timedecode import platforms

_BITS = 32  # Of a word.
_LISTED = 32  # Places of the lists that are found at once.
_SUMMED = 8  # Rows that are added in one pass.
_CHUNK = 1280  # Summands at most whose spikes are listed at once.

_product_p = core.Primitive("event_product")


def over_train(weights: jax.Array, train: jax.Array) -> jax.Array:
  """Equation (1): ``train @ weights``; any value but 0 counts as a spike.

  The gradient by the weights is (2). Spikes are data: a gradient by the train
  is refused. Batch with `jax.vmap` or by further leading axes.

  Args:
    weights: [N_in, N].
    train: [..., N_in], say [T, N_in].

  Returns:
    [..., N].

  Raises:
    ValueError: weights of another shape; a train that is differentiated.
  """
  if weights.ndim != 2 or weights.shape[:1] != train.shape[-1:]:
    raise ValueError(
      f"weights: expected shape [{train.shape[-1]}, N], got {weights.shape}"
    )
  divided = platforms.is_divided()
  return _product_p.bind(weights, train, divided=divided)


def _pack(fired: jax.Array) -> jax.Array:
  """Truth values [R, K] as words, [R, ceil(K / 32)]."""
  fired = jnp.pad(fired, ((0, 0), (0, -fired.shape[1] % _BITS)))
  bits = fired.reshape(len(fired), -1, _BITS).astype(jnp.uint32)
  places = lax.broadcasted_iota(jnp.uint32, bits.shape, 2)
  return jnp.sum(bits << places, axis=2, dtype=jnp.uint32)


def _pack_columns(fired: jax.Array) -> jax.Array:
  """``_pack(fired.T)``, with the words turned in place of the values."""
  fired = jnp.pad(fired, ((0, -len(fired) % _BITS), (0, 0)))
  bits = fired.reshape(-1, _BITS, fired.shape[1]).astype(jnp.uint32)
  places = lax.broadcasted_iota(jnp.uint32, bits.shape, 1)
  words = jnp.sum(bits << places, axis=1, dtype=jnp.uint32)
  return layout.with_layout_constraint(words, layout.Layout((0, 1))).T


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


def _list(words, first, none) -> jax.Array:
  """Places `first` to `first + _LISTED` of every row's list of set bits.

  Args:
    words: [R, W].
    first: scalar.
    none: stands behind the end of a list.

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
  return jnp.where(nth < passed, index, none).astype(jnp.int32)


def _add_rows(total, table, words):
  """`total` [R, M] plus the rows of the table whose bits are set in words.

  Args:
    total: [R, M].
    table: [K + 1, M], the last row zeros.
    words: [R, W]; bit b of word w stands for row ``32 w + b``.
  """
  counts = jnp.sum(lax.population_count(words), axis=1, dtype=jnp.uint32)
  longest = jnp.max(counts)

  def add_some(indices, start, total):
    some = lax.dynamic_slice_in_dim(indices, start * _SUMMED, _SUMMED, 1)
    for row in some.T:
      total = total + table.at[row].get(mode="promise_in_bounds")
    return total

  def add_listed(state):
    first, total = state
    indices = _list(words, first, len(table) - 1)
    # Without the barrier indices would be found again for each output.
    indices = lax.optimization_barrier(indices)
    left = jnp.minimum(longest - first, _LISTED) + _SUMMED - 1
    times = (left // _SUMMED).astype(jnp.int32)
    add = lambda start, total: add_some(indices, start, total)
    return first + _LISTED, lax.fori_loop(0, times, add, total)

  start = jnp.uint32(0), total
  return lax.while_loop(lambda s: s[0] < longest, add_listed, start)[1]


def _sums(table: jax.Array, words: jax.Array) -> jax.Array:
  """The sums of a table's rows whose bits are set: [K, M], [R, W] to [R, M]."""
  chunks = math.ceil(len(table) / _CHUNK)
  words = jnp.pad(words, ((0, 0), (0, -words.shape[1] % chunks)))
  words = jnp.swapaxes(words.reshape(len(words), chunks, -1), 0, 1)
  size = _BITS * words.shape[2]
  table = jnp.pad(table, ((0, chunks * size - len(table)), (0, 0)))

  def add(total, chunk):
    rows, words = chunk
    rows = jnp.concatenate([rows, jnp.zeros_like(rows[:1])])
    return _add_rows(total, rows, words), None

  total = jnp.zeros((words.shape[1], table.shape[1]), table.dtype)
  tables = table.reshape(chunks, size, -1)
  return lax.scan(add, total, (tables, lax.optimization_barrier(words)))[0]


def _choose(by_events, dense, divided, *arrays):
  """By events on CPUs that need not divide the program."""
  if divided:
    return dense(*arrays)
  return lax.platform_dependent(*arrays, cpu=by_events, default=dense)


def _product(weights, train, divided):
  """Equation (1)."""
  fired = train.reshape(-1, train.shape[-1]) != 0
  by_events = lambda weights, fired: _sums(weights, _pack(fired))
  dense = lambda weights, fired: fired.astype(weights.dtype) @ weights
  found = _choose(by_events, dense, divided, weights, fired)
  return found.reshape(*train.shape[:-1], weights.shape[1])


def _by_weights(errors, train, divided):
  """Equation (2)."""
  fired = train.reshape(-1, train.shape[-1]) != 0
  errors = errors.reshape(-1, errors.shape[-1])
  by_events = lambda errors, fired: _sums(errors, _pack_columns(fired))
  dense = lambda errors, fired: fired.T.astype(errors.dtype) @ errors
  return _choose(by_events, dense, divided, errors, fired)


def _of_members(function, members, *arrays):
  """A function mapped over as many leading axes, one after the other."""
  for _ in range(members):
    function = lambda *a, inner=function: lax.map(lambda each: inner(*each), a)
  return function(*arrays)


def _impl(weights, train, *, divided):
  """Each of both with leading axes of members with weights of their own."""
  one = lambda weights, train: _product(weights, train, divided)
  return _of_members(one, weights.ndim - 2, weights, train)


def _jvp(primals, tangents, *, divided):
  weights, train = primals
  by_weights, by_train = tangents
  if type(by_train) is not ad.Zero:
    raise ValueError("train: expected data, got what is differentiated")
  out = _product_p.bind(weights, train, divided=divided)
  if type(by_weights) is ad.Zero:
    return out, ad.Zero.from_primal_value(out)
  return out, _product_p.bind(by_weights, train, divided=divided)


def _transpose(errors, weights, train, *, divided):
  if type(errors) is ad.Zero:
    return ad.Zero(weights.aval), None
  one = lambda errors, train: _by_weights(errors, train, divided)
  return _of_members(one, weights.aval.ndim - 2, errors, train), None


def _batch(arguments, axes, *, divided):
  """A batch of trains is one long train; its steps stay together."""
  (weights, train), (of_weights, of_train) = arguments, axes
  if of_weights is None:
    axis = train.ndim - 2
    train = jnp.moveaxis(train, of_train, axis)
    return _product_p.bind(weights, train, divided=divided), axis
  weights = jnp.moveaxis(weights, of_weights, 0)
  if of_train is None:
    train = jnp.broadcast_to(train, (len(weights), *train.shape))
  else:
    train = jnp.moveaxis(train, of_train, 0)
  return _product_p.bind(weights, train, divided=divided), 0


def _abstract(weights, train, *, divided):
  del divided
  shape = *train.shape[:-1], weights.shape[-1]
  return jax.core.ShapedArray(shape, weights.dtype)


_product_p.def_impl(jax.jit(_impl, static_argnames="divided"))
_product_p.def_abstract_eval(_abstract)
ad.primitive_jvps[_product_p] = _jvp
ad.primitive_transposes[_product_p] = _transpose
batching.primitive_batchers[_product_p] = _batch
mlir.register_lowering(_product_p, mlir.lower_fun(_impl, False))
