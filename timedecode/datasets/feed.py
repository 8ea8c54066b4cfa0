"""Batches of rows that don't fit on the device, made ready ahead of time.

A thread gathers the next batches and moves them to the device while a step
runs. Which rows they hold follows from (seed, step): a feed that starts at a
later step goes on exactly. It counts the time that steps wait for data.
"""

import queue
import threading
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from timedecode import datasets
from timedecode.datasets import sources


class Stream:
  """An iterator of ``(step, Rows on the device)``; close it, or use `with`.

  Attributes:
    waited: seconds for which `next` had nothing ready.
    total: seconds since the first `next`.
  """

  def __init__(
    self,
    rows: sources.Rows,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    last_step: int | None = None,
    depth: int = 2,
  ):
    """Starts to make batches ready.

    Args:
      rows: of a split, on the host; memory-mapped arrays will do.
      batch_size: examples per step.
      seed: of the order.
      first_step: where to begin.
      last_step: where to end, exclusive; None: never.
      depth: batches that are made ready ahead, >= 1.

    Raises:
      ValueError: depth < 1.
    """
    if depth < 1:
      raise ValueError(f"depth: expected at least 1 batch, got {depth}")
    self.waited, self._since = 0.0, None
    self._ready: queue.Queue = queue.Queue(maxsize=depth)
    self._stop = threading.Event()
    arguments = rows, batch_size, seed, first_step, last_step
    self._thread = threading.Thread(
      target=self._work, args=arguments, daemon=True
    )
    self._thread.start()

  def _work(self, rows, batch_size, seed, step, last_step):
    count = len(rows.labels)
    try:
      while last_step is None or step < last_step:
        indices = datasets.batch_indices(count, batch_size, seed, step)
        batch = jax.tree.map(jnp.asarray, sources.gather(rows, indices))
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

  def __iter__(self) -> Iterator:
    return self

  def __next__(self):
    start = time.perf_counter()
    self._since = start if self._since is None else self._since
    item = self._ready.get()
    self.waited += time.perf_counter() - start
    if item is None or isinstance(item, BaseException):
      self._ready.put(item)  # The same again, if asked again.
      raise StopIteration if item is None else item
    return item

  @property
  def total(self) -> float:
    """Seconds since the first batch was asked for."""
    return 0.0 if self._since is None else time.perf_counter() - self._since

  def close(self) -> None:
    """Stops the thread; `next` then says that there is no more."""
    self._stop.set()
    self._thread.join()
    while not self._ready.empty():  # Nobody else puts or gets any more.
      self._ready.get_nowait()
    self._ready.put(None)

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self.close()
