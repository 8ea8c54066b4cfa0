"""Runs binaries as several processes on loopback."""

import contextlib
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]


def spawn(command, environment):
  """A process that tells into a file: a pipe that is not read holds it up."""
  told = tempfile.TemporaryFile("w+")  # Closed with the process's object.
  process = subprocess.Popen(
    [sys.executable, *command], cwd=ROOT, text=True, stderr=told,
    stdout=subprocess.DEVNULL,
    env=dict(os.environ, PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu")
    | environment,
  )  # fmt: skip
  process.told = told
  return process


def told(process):
  """What a process has told so far."""
  process.told.seek(0)
  return process.told.read()


def free_port():
  """Below those that systems give to clients, which could take it meanwhile."""
  while True:
    port = random.randrange(20_000, 30_000)
    with socket.socket() as taken, contextlib.suppress(OSError):
      taken.bind(("localhost", port))
      return port


def start(name, folder, port, index, *fields):
  """Process `index` of two of a binary, two devices each."""
  flags = "--xla_force_host_platform_device_count=2"
  return spawn(
    [
      "-m", f"experiments.{name}",
      "--config=experiments/configs/smoke.py", "--config.parallel=mesh",
      "--config.baseline_view=", "--config.batch_size=8",
      "--config.num_steps=10", "--config.eval_samples=1",
      "--config.data.target=label",
      f"--coordinator_address=localhost:{port}", "--num_processes=2",
      f"--process_id={index}", f"--workdir={folder}", *fields,
    ],
    {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"},
  )  # fmt: skip


def ends(both, seconds=400):
  """Codes of processes that end in this time, and what they told."""
  codes = [process.wait(timeout=seconds) for process in both]
  return codes, [told(process) for process in both]
