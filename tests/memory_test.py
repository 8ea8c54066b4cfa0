"""Freed memory stays, so that arrays cost no page faults, until told."""

import pathlib
import platform
import resource

import numpy as np

from experiments import memory


def test_freed_pages_are_reused():
  supported = platform.libc_ver()[0] == "glibc"
  assert memory.keep_freed() == supported

  def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

  faults()
  again = min(faults() for _ in range(3))
  # 16,384 pages when mapped afresh; other threads have some of their own.
  assert again < 1600 or not supported


def test_freed_pages_can_be_given_back():
  supported = platform.libc_ver()[0] == "glibc"

  def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1])

  np.ones(2**24, np.float32)  # 16,384 pages that stay.
  before = resident() if supported else 0
  assert memory.release() == supported
  assert not supported or before - resident() > 15_000
