"""Products with weights, in the order that CPUs do fastest.

  d_t = W x_t for all steps at once; weights lie as [outputs, inputs]     (1)
  d = W x for one example, to be mapped over a batch                      (2)

On CPU XLA's library multiplies long arrays with weights that lie so at the
rate of square products, and sums the weights' gradient faster in two halves
than in one piece (in float32; in bfloat16 one piece is faster): together 12 %
of the training step of a network 700-256-20 over 100 steps of 128 examples on
two cores. Give (1) a whole batch: mapped over examples it would keep a gradient
of the weights for each of them.

Of (2) the gradient by x, a sum over thousands of outputs for each example, is
done in sums over at most 256 outputs each: XLA's CPU library is far from its
rate in the whole sum for 64 examples and a matrix such as 3,840 x 7,680.
"""

import functools

import jax
import jax.numpy as jnp

from timedecode import platforms

_HALVES = 2
_LONGEST = 256
_SHORTEST = 64
_LARGE = 2**22  # Numbers of a matrix; smaller ones are at their rate already.


def _rows(train):
  return train.reshape(-1, train.shape[-1])


def _contract(a, b, of_a, of_b):
  return jax.lax.dot_general(a, b, (((of_a,), (of_b,)), ((), ())))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def over_train(
  weights: jax.Array, train: jax.Array, halves: bool = True
) -> jax.Array:
  """Equation (1); reverse mode only.

  Args:
    weights: [N, N_in].
    train: [..., N_in], say [T, B, N_in].
    halves: whether CPUs sum the weights' gradient in two halves; in bfloat16
      one sum is faster, see `precision`.

  Returns:
    [..., N].

  Raises:
    ValueError: weights of another shape.
  """
  if weights.ndim != 2 or weights.shape[1:] != train.shape[-1:]:
    raise ValueError(
      f"weights: expected shape [N, {train.shape[-1]}], got {weights.shape}"
    )
  found = _contract(_rows(train), weights, 1, 1)
  return found.reshape(*train.shape[:-1], len(weights))


def _forward(weights, train, halves):
  return over_train(weights, train, halves), (weights, train)


def _in_one(errors, inputs):
  return _contract(errors, inputs, 0, 0)


def _in_halves(errors, inputs):
  if len(inputs) % _HALVES:
    return _in_one(errors, inputs)
  halves = lambda a: a.reshape(_HALVES, -1, a.shape[-1])
  both = jnp.einsum("hro,hri->hoi", halves(errors), halves(inputs))
  return jnp.sum(both, axis=0)


def _backward(halves, kept, cotangent):
  weights, train = kept
  errors, inputs = _rows(cotangent), _rows(train)
  by_train = _contract(errors, weights, 1, 0).reshape(train.shape)
  default = _in_halves if halves else _in_one
  by_weights = platforms.choose(cuda=_in_one, default=default)
  return by_weights(errors, inputs), by_train


over_train.defvjp(_forward, _backward)


def _part(matrix):
  """How many rows are summed at once: such that all parts are as long."""
  rows = len(matrix)
  some = range(_LONGEST, _SHORTEST - 1, -1) if matrix.size >= _LARGE else ()
  return next((part for part in some if rows % part == 0), rows)


def _whole(matrix, vector):
  return matrix @ vector


def _in_parts(matrix, vector):
  """As `_whole`; its transpose sums over each part, and then over parts."""
  part = _part(matrix)
  if part == len(matrix):
    return _whole(matrix, vector)
  parts = matrix.reshape(-1, part, matrix.shape[1])
  copies = jnp.broadcast_to(vector, (len(parts), len(vector)))
  return jnp.einsum("koi,ki->ko", parts, copies).reshape(-1)


@jax.custom_jvp
def matrix_vector(matrix: jax.Array, vector: jax.Array) -> jax.Array:
  """Equation (2): [N, N_in] and [N_in] to [N]."""
  return matrix @ vector


@matrix_vector.defjvp
def _matrix_vector_jvp(primals, tangents):
  (matrix, vector), (by_matrix, by_vector) = primals, tangents
  moved = platforms.choose(cuda=_whole, default=_in_parts)(matrix, by_vector)
  return matrix @ vector, by_matrix @ vector + moved
