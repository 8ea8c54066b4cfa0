"""Several processes as one run: `jax.distributed`, from flags or the cluster.

  python -m experiments.train --coordinator_address=HOST:PORT \
      --num_processes=2 --process_id=0 --config.parallel=mesh

and the same with --process_id=1 on the other machine. On clusters that JAX
knows (TPU pods, Slurm, Open MPI) --distributed alone does. A process that has
waited for the others for --join_seconds ends with 69. What ends one of
them with an error ends all with it (`together`), and they have to be given the
same (`agree`). What they tell each other goes through the store of JAX's
coordination service, and not through collectives, in which one that waits can't
be told anything.

Where one is lost (killed, or its machine is), the others end with 69 within
40 s. The end of process 0 is that of the store: JAX ends the others by
an abort, 134. What was saved is kept, and the same commands go on.
"""

import atexit
import contextlib
import itertools
import json
import os
import sys
import threading
import time
from typing import Any

import jax
from absl import flags

from experiments import interruptions, joining, peers, workdir
from timedecode import parallel

_TOGETHER = ("coordinator_address", "num_processes", "process_id")
_FAILED, _LEFT, _FACTS = (
  f"timedecode/{name}" for name in ("failed", "left", "facts")
)
_EVERY, _GRACE, _LONGEST = 0.5, 3.0, 10.0  # Seconds.
_A_DAY = 86_400_000  # Milliseconds; for others to load their data.
_EXPECTED = (OSError, ValueError, RuntimeError)  # Their text says enough.
_questions = itertools.count()  # All processes ask the same ones in one order.


def define(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the flags."""
  flags.DEFINE_bool(
    "distributed", False, "Join the cluster's other processes, as JAX finds"
    " them.", flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    "coordinator_address", None, "host:port of process 0.", flag_values=values
  )
  for name, default, text, least in (
    ("num_processes", None, "How many processes run together.", 1),
    ("process_id", None, "Which of them this one is, from 0.", 0),
    ("join_seconds", 300, "How long to wait for the others to join.", 1),
  ):
    flags.DEFINE_integer(name, default, text, least, flag_values=values)


def start(values: flags.FlagValues = flags.FLAGS) -> None:
  """Joins the other processes, before JAX is used for anything.

  Raises:
    ValueError: some of the three flags without the others, a process that
      isn't below their number, or a cluster that can't be joined.
  """
  given = {name: values[name].value for name in _TOGETHER}
  missing = [name for name in _TOGETHER if given[name] is None]
  if len(missing) == len(_TOGETHER) and not values.distributed:
    return
  if missing and not values.distributed:
    raise ValueError(f"{', '.join(missing)}: expected with the other two")
  if not missing and given["process_id"] >= given["num_processes"]:
    raise ValueError(
      f"process_id: expected below num_processes = {given['num_processes']},"
      f" got {given['process_id']}"
    )
  try:
    joining.join(values.join_seconds, **given)
  except (ValueError, RuntimeError) as error:
    told = " ".join(str(error).split())
    raise ValueError(f"distributed: could not join: {told}") from error


def in_a_line(error: BaseException) -> str:
  """What it says; of JAX's errors the beginning, without stack traces."""
  told = " ".join(str(error).split())
  jaxs = isinstance(error, jax.errors.JaxRuntimeError)
  return told[:500] if jaxs else told


def _is_of_memory(error: BaseException) -> bool:
  return "RESOURCE_EXHAUSTED" in str(error)


def exit_code(error: BaseException) -> int:
  """Of a process that an error ends.

  Of JAX's errors in one of several processes all but a lack of memory are
  taken for the loss of another: each kind of device has texts of its own.
  """
  lost = isinstance(error, peers.LostProcessError)
  if isinstance(error, jax.errors.JaxRuntimeError):
    lost = jax.process_count() > 1 and not _is_of_memory(error)
  return joining.EXIT_CODE if lost else 1


def end_with(error: jax.errors.JaxRuntimeError | peers.LostProcessError):
  """Ends the process with one line, unless its stack trace may be of use."""
  if exit_code(error) == 1 and not _is_of_memory(error):
    raise error
  print(f"error: {in_a_line(error)}", file=sys.stderr)
  sys.exit(exit_code(error))


def _tell(error: BaseException) -> tuple[int, str]:
  """Tells all of a failure; the code and text of the first that failed."""
  told = in_a_line(error)
  if not isinstance(error, _EXPECTED):
    told = f"{type(error).__name__}: {told}"
  told = f"{exit_code(error)} process {jax.process_index()}: {told}"
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    peers.store().key_value_set(_FAILED, told)  # Refused if there is one.
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    told = peers.store().key_value_try_get(_FAILED)
  code, told = told.split(" ", 1)
  return int(code), told


def _leave(code: int) -> None:
  """Ends this process at once: at its usual end JAX waits for the others.

  Process 0, whose end ends the store, and with it all, is the last.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    peers.store().key_value_set(f"{_LEFT}/{jax.process_index()}", "")
    late = time.monotonic() + _LONGEST
    while parallel.is_main() and time.monotonic() < late:
      if len(peers.store().key_value_dir_get(_LEFT)) == jax.process_count():
        break
      time.sleep(_EVERY / 5)
  os._exit(code)


def _failure(pulse: peers.Pulse) -> str | None:
  """What a process has told that failed, or that one is lost."""
  try:
    return peers.store().key_value_try_get(_FAILED)
  except jax.errors.JaxRuntimeError:  # There is no such key.
    pass
  try:
    pulse.check()
  except peers.LostProcessError as error:
    code, told = _tell(error)
    return f"{code} {told}"
  except jax.errors.JaxRuntimeError:  # The store is gone: JAX will end it.
    pass
  return None


def _watch(ended: threading.Event, pulse: peers.Pulse) -> None:
  """Ends this process if another fails, whatever it is waiting for.

  It gets a moment to end by itself: what fails in all ends in order.
  """
  while not ended.wait(_EVERY):
    if (told := _failure(pulse)) and not ended.wait(_GRACE):
      code, told = told.split(" ", 1)
      print(f"error: {told}", file=sys.stderr)
      _leave(int(code))


@contextlib.contextmanager
def together():
  """A context in which the failure of one process ends all of them.

  Each tells the error of the first one and exits with 1, within seconds; or
  with 69 where a process is lost.

  Raises:
    ValueError, LostProcessError: what another process told that failed before
      this one.
  """
  if jax.process_count() == 1:
    yield
    return
  ended = threading.Event()
  pulse = peers.Pulse()
  threading.Thread(target=_watch, args=(ended, pulse), daemon=True).start()
  try:
    yield
  except interruptions.InterruptedRunError:  # As all others.
    raise
  except (Exception, KeyboardInterrupt) as error:
    ended.set()
    code, told = _tell(error)
    atexit.register(_leave, code)  # Before what JAX has registered.
    if not told.startswith(f"process {jax.process_index()}:"):
      kind = peers.LostProcessError if code == joining.EXIT_CODE else ValueError
      raise kind(told) from error
    raise
  finally:
    ended.set()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      pulse.end()


def agree(facts: dict[str, Any]) -> None:
  """Holds what all processes were given against what process 0 was.

  Args:
    facts: nested, of what JSON can hold; of the same kind in all processes.

  Raises:
    ValueError: in process 0, that names what differs; see `together`.
  """
  if jax.process_count() == 1:
    return
  place, ours = f"{_FACTS}/{next(_questions)}", json.dumps(facts)
  if not parallel.is_main():
    peers.store().key_value_set(f"{place}/{jax.process_index()}", ours)
    return
  for index in range(1, jax.process_count()):
    theirs = peers.store().blocking_key_value_get(f"{place}/{index}", _A_DAY)
    if found := workdir.differing(json.loads(theirs), json.loads(ours)):
      raise ValueError(
        "processes: expected the same flags, data and packages in all; between"
        f" process {index} and process 0 differ {found}"
      )
