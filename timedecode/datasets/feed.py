"""Batches of rows for the steps of a training.

Rows that fit are kept on the device, `Resident`; of others a thread gathers
the next batches and moves them to the device while a step runs, `Stream`.
`batches` chooses. Which rows a batch holds follows from (seed, step), the same
for both: a feed that starts at a later step goes on exactly. They count the
time that steps wait for data.
"""

import queue
import threading
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from timedecode import datasets, parallel
from timedecode.datasets import sources

DEVICE_BYTES = 2**31  # Rows that take more are streamed.


Seed = int | Sequence[int]


def _indices(count: int, batch_size: int, seed: Seed, step: int) -> np.ndarray:
  """[B] of one seed, [M, B] of several."""
  order = lambda one: datasets.batch_indices(count, batch_size, one, step)
  if isinstance(seed, Sequence):
    return np.stack([order(one) for one in seed])
  return order(seed)


def batches(
  rows: sources.Rows,
  batch_size: int,
  seed: Seed,
  first_step: int = 0,
  last_step: int | None = None,
  device_bytes: int = DEVICE_BYTES,
  layout: parallel.Layout | None = None,
) -> "Resident | Stream":
  """An iterator of ``(step, Rows on the device)``; use it with `with`.

  Args:
    rows: of a split, on the host.
    batch_size: examples per step.
    seed: of the order; several: each has its batch, on a leading axis that
      is then what the devices of the layout share.
    first_step: where to begin.
    last_step: where to end, exclusive; None: never.
    device_bytes: rows that take no more are kept on the device.
    layout: which devices get what part of a batch; None: one gets it all.
  """
  kind = Resident if sources.nbytes(rows) <= device_bytes else Stream
  options = {"layout": parallel.layout() if layout is None else layout}
  return kind(rows, batch_size, seed, first_step, last_step, **options)


class _Feed:
  """An iterator of ``(step, Rows on the device)``; use it with `with`.

  Attributes:
    waited: seconds that `next` took.
    total: seconds since the first `next`.
  """

  def __init__(self):
    self.waited, self._since = 0.0, None

  def __iter__(self) -> Iterator:
    return self

  def __next__(self):
    start = time.perf_counter()
    self._since = start if self._since is None else self._since
    try:
      return self._take()
    finally:
      self.waited += time.perf_counter() - start

  @property
  def total(self) -> float:
    """Seconds since the first batch was asked for."""
    return 0.0 if self._since is None else time.perf_counter() - self._since

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self.close()


class Resident(_Feed):
  """Batches of rows that are kept on the device."""

  def __init__(
    self,
    rows: sources.Rows,
    batch_size: int,
    seed: Seed,
    first_step: int = 0,
    last_step: int | None = None,
    layout: parallel.Layout | None = None,
  ):
    """Places the rows; arguments are those of `batches`."""
    super().__init__()
    self._layout = parallel.layout() if layout is None else layout
    self._rows = sources.place(rows, limit=sources.nbytes(rows))
    self._order = batch_size, seed
    self._gather = jax.jit(sources.gather)
    self._step, self._last_step = first_step, last_step

  def _take(self):
    step = self._step
    if self._last_step is not None and step >= self._last_step:
      raise StopIteration
    self._step += 1
    count = len(self._rows.labels)
    indices = _indices(count, *self._order, step)
    batch = self._gather(self._rows, self._layout.share(indices))
    return step, self._layout.place(batch)

  def close(self) -> None:
    """Lets go of the rows; `next` then says that there is no more."""
    self._rows, self._last_step = sources.Rows((), ()), 0


class Stream(_Feed):
  """Batches that a thread makes ready ahead; close it, or use `with`."""

  def __init__(
    self,
    rows: sources.Rows,
    batch_size: int,
    seed: Seed,
    first_step: int = 0,
    last_step: int | None = None,
    depth: int = 2,
    layout: parallel.Layout | None = None,
  ):
    """Starts to make batches ready.

    Args:
      rows: of a split, on the host; memory-mapped arrays will do.
      batch_size: examples per step.
      seed: of the order.
      first_step: where to begin.
      last_step: where to end, exclusive; None: never.
      depth: batches that are made ready ahead, >= 1.
      layout: as in `batches`.

    Raises:
      ValueError: depth < 1.
    """
    if depth < 1:
      raise ValueError(f"depth: expected at least 1 batch, got {depth}")
    super().__init__()
    self._ready: queue.Queue = queue.Queue(maxsize=depth)
    self._stop = threading.Event()
    self._layout = parallel.layout() if layout is None else layout
    arguments = rows, batch_size, seed, first_step, last_step
    self._thread = threading.Thread(
      target=self._work, args=arguments, daemon=True
    )
    self._thread.start()

  def _work(self, rows, batch_size, seed, step, last_step):
    count = len(rows.labels)
    try:
      while last_step is None or step < last_step:
        indices = _indices(count, batch_size, seed, step)
        part = sources.gather(rows, self._layout.share(indices))
        batch = self._layout.place(part)
        if not self._put((step, batch)):
          return
        step += 1
      self._put(None)
    except BaseException as error:  # Raised where the batch is asked for.
      self._put(error)

  def _put(self, item) -> bool:
    while not self._stop.is_set():
      try:
        self._ready.put(item, timeout=0.1)
        return True
      except queue.Full:
        continue
    return False

  def _take(self):
    item = self._ready.get()
    if item is None or isinstance(item, BaseException):
      self._ready.put(item)  # The same again, if asked again.
      raise StopIteration if item is None else item
    return item

  def close(self) -> None:
    """Stops the thread; `next` then says that there is no more."""
    self._stop.set()
    self._thread.join()
    while not self._ready.empty():  # Nobody else puts or gets any more.
      self._ready.get_nowait()
    self._ready.put(None)
