"""What was found of MNIST-DVS and what not, in words."""

import json
from typing import Any

import numpy as np

from timedecode.datasets import mnist_dvs_files as files

_NAMED = 20  # Recordings that are named of each kind.


def _named(pairs: np.ndarray) -> str:
  """How many recordings, and the first of them."""
  names = [f"{number} of digit {digit}" for digit, number in pairs[:_NAMED]]
  return _listed(names, len(pairs), "recordings ")


def _printable(name: str) -> str:
  """In one line, with escapes for bytes that are no UTF-8."""
  name = name.encode("utf-8", "backslashreplace").decode()
  return name.replace("\n", "\\n")


def _listed(names: list[str], count: int, what: str = "") -> str:
  """How many, the first of them, and how many more there are."""
  if count > len(names):
    names = [*names, f"and {count - len(names)} more"]
  return f"{count}: {what}{', '.join(names)}"


def describe(recordings: Any) -> str:
  """What `load` found and what not, a line per digit and remark.

  Args:
    recordings: `mnist_dvs.Recordings`.

  A complete digit has the numbers 1..1000; a file without an event is empty
  and not missing, one of which only a cut is there is missing.
  """
  lines = []
  for digit in np.unique(recordings.labels):
    numbers = recordings.numbers[recordings.labels == digit]
    known = len(numbers) + int((recordings.empty[:, 0] == digit).sum())
    lines.append(
      f"digit {digit}: {len(numbers)} recordings, numbers"
      f" {numbers.min()}..{numbers.max()} ({files.NUM_RECORDINGS - known} of"
      f" 1..{files.NUM_RECORDINGS} missing)"
    )
  for name, what in (
    ("empty", "left out, empty"),
    ("cut", "left out, cut"),
    ("short", "short, silent at the end"),
  ):
    if len(pairs := getattr(recordings, name)):
      lines.append(f"{what}: {_named(pairs)}")
  if len(pairs := recordings.repeated):
    named = [
      f"{number} of digit {digit} is {other} of digit {of}"
      for digit, number, of, other in pairs[:_NAMED]
    ]
    lines.append(f"equal spikes: {_listed(named, len(pairs))}")
  if names := json.loads(recordings.unmatched.tobytes()):
    names = [_printable(name) for name in names]
    what = "passed over, not named as a recording"
    lines.append(f"{what}: {_listed(names[:_NAMED], len(names))}")
  for name, what in (("special", "left out"), ("late", "moved")):
    if count := int(getattr(recordings, name).sum()):
      lines.append(f"{count} {name} events {what}")
  return "\n".join(lines) or "nothing was found"
