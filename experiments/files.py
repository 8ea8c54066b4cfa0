"""Files of text that are whole or not there."""

import os
import pathlib


def replace_text(path: pathlib.Path, text: str) -> None:
  """Writes the file anew, all or nothing."""
  temporary = path.with_suffix(".partial")
  with temporary.open("w") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())  # Or a power cut leaves an empty file of the name.
  temporary.replace(path)
