"""What processes of one run know of each other: a store, and who is lost."""

import itertools
import threading
import time

import jax

_PULSE, _ENDED = "timedecode/pulse", "ended"
_SILENCE = 20.0  # Seconds after which a process is lost; JAX would take 100.


class LostProcessError(RuntimeError):
  """Another process is not there any more, or can't be reached."""


def store():
  """Keys and values that all processes see; JAX has no public name for it."""
  from jax._src import distributed

  return distributed.global_state.client


class Pulse:
  """By which processes notice that one of them is lost."""

  def __init__(self):
    self._count, self._ended = itertools.count(), False
    self._turn = threading.Lock()
    now, others = time.monotonic(), range(jax.process_count())
    self._heard = {str(index): ("", now) for index in others}

  def _tell(self, text: str) -> None:
    place = f"{_PULSE}/{jax.process_index()}"
    store().key_value_set(place, text, allow_overwrite=True)

  def end(self) -> None:
    """From now on nothing is to be heard of this process."""
    with self._turn:
      self._ended = True
      self._tell(_ENDED)

  def check(self) -> None:
    """Raises LostProcessError for one of which nothing new was heard."""
    with self._turn:
      if self._ended:
        return
      self._tell(str(next(self._count)))
    told, now = dict(store().key_value_dir_get(_PULSE)), time.monotonic()
    for index, (before, since) in self._heard.items():
      text = told.get(f"{_PULSE}/{index}", "")
      if text not in (before, _ENDED):
        self._heard[index] = text, now
      elif text != _ENDED and now - since > _SILENCE:
        raise LostProcessError(
          f"process {index} is lost: nothing was heard of it for"
          f" {_SILENCE:.0f} s; what was saved is kept, and the same commands"
          " go on"
        )
