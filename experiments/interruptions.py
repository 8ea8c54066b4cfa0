"""A run that is asked to end: SIGTERM, or the notice of a machine's end.

The step that is under way is finished, its state is saved, and the process
exits with `EXIT_CODE`; the same command goes on from there. An evaluation of a
process that is alone ends at its next batch, and is made again; of several
processes, which have to agree, it is made to its end.
"""

import itertools
import signal

import jax

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again.
_asked = False
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


def listen() -> None:
  """From now on SIGTERM is noted and not obeyed at once."""
  global _asked
  _asked = False
  signal.signal(signal.SIGTERM, _note)


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
