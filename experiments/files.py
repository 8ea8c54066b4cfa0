"""Files of text that are whole or not there, and no larger than they may be."""

import json
import os
import pathlib
from typing import Any

LIMIT = 2**20  # Bytes of a configuration, or of a line of metrics.


def replace_text(path: pathlib.Path, text: str) -> None:
  """Writes the file anew, all or nothing."""
  temporary = path.with_suffix(".partial")
  with temporary.open("w") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())  # Or a power cut leaves an empty file of the name.
  temporary.replace(path)


def read_text(path: pathlib.Path, limit: int = LIMIT) -> str:
  """The text of a file; ValueError if it has more bytes."""
  with path.open("rb") as file:
    data = file.read(limit + 1)
  if len(data) > limit:
    raise ValueError(f"{path}: expected at most {limit} bytes")
  return data.decode()


def parse(text: str, place: str) -> Any:
  """JSON; ValueError that names the place for what is none."""
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{place} is not JSON: {error}") from error
