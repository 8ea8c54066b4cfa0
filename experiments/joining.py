"""How a process joins the others of its run, and what it says as it waits.

JAX waits in silence, and where others never come it ends the process by an
abort of its C++ library. So a thread tells whom the process waits for, and ends
it in order, before JAX does.
"""

import contextlib
import os
import socket
import sys
import threading

import jax

from timedecode import parallel

EXIT_CODE = 69  # EX_UNAVAILABLE of sysexits.h: another process isn't there.
_PATIENCE = 3.0  # Seconds before it says that it waits.
_LONGER = 60  # Seconds that JAX is given more.


def join(seconds: int, **given) -> None:
  """Returns when all processes have joined; ends this one if it is too late.

  Args:
    seconds: to wait for the others.
    **given: of `jax.distributed.initialize`; None: as the cluster says.

  Raises:
    ValueError, RuntimeError: of JAX.
  """
  joined = threading.Event()
  threading.Thread(target=_watch, args=(joined, seconds), daemon=True).start()
  try:
    jax.distributed.initialize(
      **given, initialization_timeout=seconds + _LONGER
    )
    parallel.meet()
  finally:
    joined.set()


def _watch(joined: threading.Event, seconds: int) -> None:
  if joined.wait(min(_PATIENCE, seconds)):
    return
  _print(f"waits for {_missing()}, up to {seconds} s in all (--join_seconds)")
  if joined.wait(max(0.0, seconds - _PATIENCE)):
    return
  _print(f"error: waited {seconds} s (--join_seconds) for {_missing()}")
  os._exit(EXIT_CODE)


def _print(text: str) -> None:
  with contextlib.suppress(OSError):
    print(text, file=sys.stderr, flush=True)


def _missing() -> str:
  """Who is awaited, as far as this process can know, and where."""
  from jax._src import distributed  # It has no public name.

  state = distributed.global_state
  address, number = state.coordinator_address, state.num_processes
  if address is None or number is None:
    return "what the cluster says of its processes"
  if state.process_id == 0:
    others = "process 1" if number == 2 else f"processes 1 to {number - 1}"
    return f"{others} to join process 0 at {address}"
  host, _, port = address.rpartition(":")
  try:
    socket.create_connection((host.strip("[]"), int(port)), 2.0).close()
  except (OSError, ValueError) as error:
    return f"process 0 at {address}, which can't be reached: {error}"
  return f"others of {number} processes to join process 0 at {address}"
