"""Decoding networks q_phi(r | y): from a view of the spikes to the signal.

Each is a Flax Linen module for one example, ``[D, N] -> [num_outputs]``: D
rows (time steps, or one row of counts or latencies) by N readout neurons.
The outputs are logits (labels, pixels) or means (real values): what they are
is the objective's affair. Source: arXiv:2106.01177, section 4.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from timedecode import products


def _check(view: jax.Array, **sizes: int | None) -> None:
  if view.ndim != 2 or not view.size:
    raise ValueError(
      f"view: expected shape [D, N] with D, N >= 1, got {view.shape}"
    )
  for name, size in sizes.items():
    if size is not None and size < 1:
      raise ValueError(f"{name}: expected at least 1, got {size}")


class Affine(nn.Module):
  """``kernel x + bias``, with the kernel stored as [outputs, inputs].

  `nn.Dense` keeps [inputs, outputs]. XLA's CPU products reach the rate of
  large square ones only where the long sides of a small batch's product are
  the rows of a row-major left factor, which this layout gives forward. The
  initial values are those of `nn.Dense`.

  Attributes:
    size: outputs.
  """

  size: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [N] to [size]."""

    def init(key, shape):
      return nn.initializers.lecun_normal()(key, shape[::-1]).T

    kernel = self.param("kernel", init, (self.size, len(x)))
    bias = self.param("bias", nn.initializers.zeros, (self.size,))
    return products.over_rows(kernel, x) + bias


class LinearDecoder(nn.Module):
  """One affine map of the flattened view.

  Attributes:
    num_outputs: size of the result.
  """

  num_outputs: int

  @nn.compact
  def __call__(self, view: jax.Array) -> jax.Array:
    """Decodes one view [D, N] into [num_outputs]."""
    _check(view, num_outputs=self.num_outputs)
    return Affine(self.num_outputs, name="output")(view.reshape(-1))


class MLPDecoder(nn.Module):
  """One hidden layer of ReLU units on the flattened view.

  Attributes:
    num_outputs: size of the result.
    width: hidden units; None stands for D N / 2 as published, at least 1,
      which grows as the square of the view's size.
  """

  num_outputs: int
  width: int | None = None

  @nn.compact
  def __call__(self, view: jax.Array) -> jax.Array:
    """Decodes one view [D, N] into [num_outputs]."""
    _check(view, num_outputs=self.num_outputs, width=self.width)
    width = max(view.size // 2, 1) if self.width is None else self.width
    hidden = nn.relu(Affine(width, name="hidden")(view.reshape(-1)))
    return Affine(self.num_outputs, name="output")(hidden)


class ConvDecoder(nn.Module):
  """Two convolutions over the neuron axis, then an affine map.

  The D rows of the view are the channels. Kernel 3, stride 2, zero padding 1;
  ReLU after the second convolution only. Neurons have no order, so the
  kernels mix neighbours that training makes meaningful; what it buys is a
  size linear in D N.

  Attributes:
    num_outputs: size of the result.
    channels: of the first and the second convolution; None for the first
      stands for D / 2 as published, at least 1.
  """

  num_outputs: int
  channels: tuple[int | None, int] = (None, 20)

  @nn.compact
  def __call__(self, view: jax.Array) -> jax.Array:
    """Decodes one view [D, N] into [num_outputs]."""
    if len(self.channels) != 2:
      raise ValueError(f"channels: expected 2 numbers, got {self.channels}")
    first, second = self.channels
    _check(view, num_outputs=self.num_outputs, channels=first)
    _check(view, channels=second)
    first = max(view.shape[0] // 2, 1) if first is None else first
    hidden = jnp.swapaxes(view, 0, 1)
    for name, channels in (("first", first), ("second", second)):
      hidden = nn.Conv(channels, (3,), (2,), padding=1, name=name)(hidden)
    return Affine(self.num_outputs, name="output")(nn.relu(hidden).reshape(-1))


_DECODERS = {
  "linear": (LinearDecoder, ()),
  "mlp": (MLPDecoder, ("width",)),
  "conv": (ConvDecoder, ("channels",)),
}


def make(name: str, num_outputs: int, **options) -> nn.Module:
  """Builds a decoder by name.

  Args:
    name: 'linear', 'mlp' or 'conv'.
    num_outputs: size of the result, at least 1.
    **options: of the decoder: ``width`` of 'mlp', ``channels`` of 'conv'.

  Returns:
    The module: ``init(key, view)`` and ``apply(variables, view)``.

  Raises:
    ValueError: unknown name or option, or a size below 1.
  """
  if name not in _DECODERS:
    raise ValueError(f"name: expected one of {list(_DECODERS)}, got {name!r}")
  decoder, known = _DECODERS[name]
  unknown = sorted(set(options) - set(known))
  if unknown:
    raise ValueError(
      f"options of {name!r}: expected some of {list(known)}, got {unknown}"
    )
  if num_outputs < 1:
    raise ValueError(f"num_outputs: expected at least 1, got {num_outputs}")
  return decoder(num_outputs, **options)
