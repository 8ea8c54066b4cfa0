"""Part of `build`: from the spikes to the decoder's output."""

import functools
from collections.abc import Callable

import jax

from timedecode import channel, decoder, readout


def build_view(config, view: str) -> Callable[[jax.Array], jax.Array]:
  """What the decoder sees."""
  options = {}
  if view == "window":
    options["length"] = config.window
  if config.view_scale and view in ("rate", "first_spike"):
    options["scale"] = config.view_scale
  return readout.view(view, **options)


def build_decoder(config, num_outputs: int):
  """The decoder; its channels are those for whole trains, whatever the view."""
  options = {}
  if config.decoder == "mlp":
    options["width"] = config.decoder_width or None
  if config.decoder == "conv":
    number = config.decoder_channels or max(config.num_steps // 2, 1)
    options["channels"] = (number, 20)
  return decoder.make(config.decoder, num_outputs, **options)


def build_channel(config):
  """Noise between spikes and decoder, None where there is none."""
  if not config.channel_flip:
    return None
  return functools.partial(channel.binary_symmetric, flip=config.channel_flip)
