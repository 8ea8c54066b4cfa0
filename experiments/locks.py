"""Locks of folders, which no process waits for and none leaves behind.

The system takes a lock from a process that ends, by a kill as well. Where a
file system has no locks, all goes on without.
"""

import errno
import fcntl
import os
import pathlib
import socket

NAME = ".lock"
_NONE = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_held = {}  # (device, inode) -> the open file; to the end of the process.


def hold(folder: pathlib.Path) -> None:
  """Makes this process the owner of a folder, until it ends.

  Raises:
    ValueError: another process owns it.
    OSError: its lock can't be written.
  """
  file = (folder / NAME).open("a+")
  stat = os.fstat(file.fileno())
  if (stat.st_dev, stat.st_ino) in _held:
    file.close()
    return
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    with file:
      file.seek(0)
      owner = file.read().strip() or "another process"
    raise ValueError(
      f"workdir: {folder} is in use by {owner}; wait for its end, or end it"
    ) from error
  except OSError as error:
    file.close()
    if error.errno not in _NONE:
      raise
    return
  file.truncate(0)
  file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
  file.flush()
  _held[stat.st_dev, stat.st_ino] = file
