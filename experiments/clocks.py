"""When to save between evaluations: after the same step in all processes."""

import time

import jax
import numpy as np

from timedecode import parallel

_PART = 8  # Of the time between saves, after which processes ask again.
_NEVER = 2**30  # Steps.


class Clock:
  """Tells when a checkpoint is due, by the clock of process 0."""

  def __init__(self, every: float, step: int):
    """Counts from now.

    Args:
      every: seconds between saves, 0: none. Process 0's is that of all.
      step: that is done.
    """
    self._every, self._stride, self._next = every, 1, step + 1
    self._asked = step, time.monotonic()
    self.saved()

  def saved(self) -> None:
    """Counts from now."""
    self._since = time.monotonic()

  def is_due(self, step: int) -> bool:
    """Whether to save after this step, which all processes ask about."""
    if jax.process_count() == 1:
      return self._is_late()
    if step < self._next:
      return False
    answer = self._is_late(), self._steps_to_next(step)
    late, stride = np.asarray(parallel.from_main(np.array(answer, np.int32)))
    self._next = step + int(stride)
    return bool(late)

  def _is_late(self) -> bool:
    return 0 < self._every < time.monotonic() - self._since

  def _steps_to_next(self, step: int) -> int:
    """Steps until processes ask again: what they take for a part of the time.

    An answer takes as long as a small step, so they don't ask at each.
    """
    if self._every <= 0:
      return _NEVER
    (before, since), now = self._asked, time.monotonic()
    self._asked = step, now
    pace = (step - before) / max(now - since, 1e-6)
    most = min(pace * self._every / _PART, 2 * self._stride, _NEVER)
    self._stride = max(1, int(most))
    return self._stride
