"""A run that is asked to end: SIGTERM, or the notice of a machine's end.

The step that is under way is finished, its state is saved, and the process
exits with `EXIT_CODE`; the same command goes on from there. An evaluation of a
process that is alone ends at its next batch, and is made again; of several
processes, which have to agree, it is made to its end.

Before the first step (data are loaded, programs compiled, others waited for)
nothing is lost by an end at once. Python runs no handler while it is in
compiled code, so a thread reads what the system's own handler has written.
"""

import contextlib
import itertools
import os
import signal
import sys
import threading

import jax

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again.
_asked = False
_unsaved = threading.Event()  # Set: an end at once would lose steps.
_turn = threading.Lock()  # For who decides about the end.
_wake = None  # Where the system's handler writes to.
# Of all questions of a process: steps begin anew with each view and group, and
# JAX ends at a number that it has not seen yet.
_questions = itertools.count(1)


class InterruptedRunError(RuntimeError):
  """The run ended early because it was asked to; its state is saved."""

  def __init__(self, step: int, saved: bool = True):
    told = "which is saved; the same command goes on"
    if not saved:
      told = (
        "which could not be saved; the same command goes on from the checkpoint"
        " before"
      )
    super().__init__(f"asked to end at step {step}, {told}")


class InterruptedEvaluationError(InterruptedRunError):
  """An evaluation ended early because the process was asked to end."""

  def __init__(self):
    told = "asked to end in an evaluation, which the same command makes again"
    RuntimeError.__init__(self, told)


def _note(number, frame):
  del number, frame
  global _asked
  _asked = True


def _read(pipe: int) -> None:
  """Ends the process at each SIGTERM that comes while nothing is unsaved."""
  while told := os.read(pipe, 1):
    with _turn:
      if told[0] == signal.SIGTERM and not _unsaved.is_set():
        with contextlib.suppress(OSError, ValueError):
          text = "asked to end before a first step; the same command goes on"
          print(text, file=sys.stderr, flush=True)
          sys.stdout.flush()
        os._exit(EXIT_CODE)


def listen() -> None:
  """From now on SIGTERM ends the process at once, or is noted once steps are
  taken. Of several processes, those that have joined leave it to JAX."""
  global _asked, _wake
  _asked = False
  _unsaved.clear()
  if _wake is None:
    pipe, _wake = os.pipe()
    os.set_blocking(_wake, False)
    threading.Thread(target=_read, args=(pipe,), daemon=True).start()
  signal.set_wakeup_fd(_wake, warn_on_full_buffer=False)
  signal.signal(signal.SIGTERM, _note)


def nothing_unsaved(step: int) -> None:
  """Says that all steps so far are saved.

  Raises:
    InterruptedRunError: a process that is alone was asked to end.
  """
  if _asked and jax.process_count() == 1:
    raise InterruptedRunError(step)
  with _turn:
    _unsaved.clear()


def step_taken() -> None:
  """From now on the end has to wait until the state is saved."""
  with _turn:
    _unsaved.set()


def wanted(step: int) -> bool:
  """Whether to end after this step.

  Several processes, which all ask after every step, all get the same answer.
  """
  del step
  if jax.process_count() == 1:
    return _asked
  from jax.experimental import multihost_utils

  return multihost_utils.reached_preemption_sync_point(next(_questions))


def check_evaluation() -> None:
  """Raises InterruptedEvaluationError in a process that is alone and asked."""
  if _asked and jax.process_count() == 1:
    raise InterruptedEvaluationError
