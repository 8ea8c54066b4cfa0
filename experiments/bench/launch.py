"""Runs contestants in processes of their own, in turns.

One works at a time. In every round each ready contestant runs a few steps, so
that whatever disturbs the machine disturbs all alike; the order turns from
round to round. Where memory cannot hold all of them, each has the machine to
itself, one after the other, and its row says so. What cannot run becomes a row
with its reason.
"""

import itertools
import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time

from experiments.bench import contestants, workloads

ROOT = pathlib.Path(__file__).parents[2]
# Beyond this size of one array each contestant has a GPU to itself.
ALONE_BYTES = 2**28
PROCESS_BYTES = 400e6  # Of a contestant before it makes anything, about.


def cpu_devices(spec: dict) -> int:
  """Of JAX: the most cores that share a batch, in its parts, evenly."""
  if not spec["variant"].endswith("+pmap"):
    return 1
  linux = sys.platform == "linux"
  cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count()
  parts, batch = contestants.parts(spec["variant"]), spec["workload"].batch
  even = [n for n in range(1, cores + 1) if batch % (n * parts) == 0]
  return max(even, default=1)


class Worker:
  """A process that takes part: started, then ready, then asked in turns."""

  def __init__(self, spec: dict, limit: float):
    """Starts it; `limit` seconds for whatever it is asked."""
    self.spec, self.limit = spec, limit
    self.row = {"contestant": spec["contestant"], "variant": spec["variant"]}
    self._errors = tempfile.TemporaryFile("w+", errors="replace")
    path = os.pathsep.join(
      filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    )
    env = dict(os.environ, PYTHONPATH=path, PYTHONUNBUFFERED="1")
    env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    env["JAX_PLATFORMS"] = spec["device"]
    env["JAX_NUM_CPU_DEVICES"] = str(cpu_devices(spec))
    env["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # Building counts.
    env["TORCHINDUCTOR_COMPILE_THREADS"] = "4"  # There are many of us.
    env["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    # Threads that wait spin for milliseconds, then sleep: the default.
    env.pop("OMP_WAIT_POLICY", None)
    self._process = subprocess.Popen(
      [sys.executable, "-m", "experiments.bench.worker", json.dumps(spec)],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
      text=True, env=env, cwd=ROOT,
    )  # fmt: skip
    self._lines: queue.Queue = queue.Queue()
    threading.Thread(target=self._read, daemon=True).start()
    self._deadline = time.monotonic() + limit

  def _read(self):
    for line in self._process.stdout:
      self._lines.put(line)
    self._lines.put(None)

  def _answer(self, key):
    """What it says next; None, and a reason in the row, where it cannot."""
    left = max(self._deadline - time.monotonic(), 0.0)
    try:
      line = self._lines.get(timeout=left)
    except queue.Empty:
      return self._fail(f"no answer in {self.limit:g} s")
    if line is None:
      status = self._process.wait()
      self._errors.seek(0)
      last = self._errors.read().strip().splitlines()[-1:] or ["no message"]
      return self._fail(f"ended with status {status}: {last[0][:300]}")
    told = json.loads(line)
    return told[key] if key in told else self._fail(told["reason"])

  def _fail(self, reason):
    self.row["reason"] = reason
    self._tell(reason)
    self.close()

  def _tell(self, text):
    """What happens, while it happens."""
    name = f"{self.row['contestant']} {self.row['variant']}"
    print(f"{name}: {text}", file=sys.stderr, flush=True)

  def checked(self) -> bool:
    """Waits until it was found right."""
    return self._take("checked", lambda error: {"error": error})

  def say(self, line) -> None:
    """Asks for something; its answer has `limit` seconds from now."""
    self._deadline = time.monotonic() + self.limit
    try:
      print(line, file=self._process.stdin, flush=True)
    except OSError:
      pass  # Its end is told by the answer.

  def ready(self) -> bool:
    """After ``say("build")``: waits until it is built and warm."""
    built = self._take("ready", lambda told: told)
    if built:
      self._tell(f"first step after {self.row['build_seconds']:.1f} s")
    return built

  def run(self, steps: int) -> None:
    """Runs so many steps."""
    self.say(steps)
    self._take("ms", lambda times: {"ms": self.row.get("ms", []) + times})

  def _take(self, key, fields):
    told = self._answer(key)
    if told is not None:
      self.row |= fields(told)
    return told is not None

  def close(self) -> None:
    """Ends the process."""
    try:
      self._process.stdin.close()
    except OSError:
      pass
    try:
      self._process.wait(timeout=0 if "reason" in self.row else 10)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()


def _free_bytes() -> int:
  """Of the machine's memory; a guess where it can't be asked."""
  try:
    text = pathlib.Path("/proc/meminfo").read_text()
    return 1024 * int(text.split("MemAvailable:")[1].split()[0])
  except (OSError, IndexError):
    return 8 * 2**30


def _array_bytes(workload) -> int:
  return 4 * workload.num_steps * workload.batch * max(workload.widths)


def too_large(workload, device: str) -> str | None:
  """Why a workload isn't run at all; None where it can be."""
  needed, free = 16 * _array_bytes(workload), _free_bytes()
  if device == "cuda" or needed <= free:
    return None
  return f"needs about {needed / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free"


def one_by_one(workload, count: int, device: str) -> bool:
  """Whether so many contestants do not fit beside each other."""
  if device == "cuda":
    return _array_bytes(workload) > ALONE_BYTES
  weights = 4 * sum(a * b for a, b in itertools.pairwise(workload.widths))
  each = PROCESS_BYTES + 8 * (_array_bytes(workload) + weights)
  return count * each > _free_bytes()


def chosen(workload, names: list[str], device: str, precision: str):
  """Specifications of all who take part in a workload."""
  specs = []
  for name in names:
    entry = contestants.CONTESTANTS[name]
    for variant in entry.cuda if device == "cuda" else entry.cpu:
      spec = {
        "contestant": name, "variant": variant, "workload": workload,
        "device": device, "precision": precision,
      }  # fmt: skip
      spread = variant.endswith("+pmap")  # Over one core it is none.
      if contestants.takes_part(name, variant, workload) and (
        not spread or cpu_devices(spec) > 1
      ):
        specs.append(spec)
  return specs


def _built(workers):
  """Those that are ready: built one after the other, as tuners need."""
  ready = []
  for worker in workers:
    worker.say("build")
    if worker.ready():
      ready.append(worker)
  return ready


def _turns(ready, rounds, steps):
  for turn in range(rounds):
    first = turn % max(len(ready), 1)
    for worker in ready[first:] + ready[:first]:
      if "reason" not in worker.row:
        worker.run(steps)


def measure(
  workload: workloads.Workload, specs, rounds, steps, limit, device
) -> list[dict]:
  """A row per contestant: its times, ms, or the reason why it has none."""
  together = device == "cuda"
  alone = one_by_one(workload, len(specs), device)
  workers = []
  try:
    for spec in specs:
      workers.append(Worker(spec, limit))
      if not together:
        workers[-1].checked()
    if together:
      for worker in workers:
        worker.checked()
    right = [worker for worker in workers if "reason" not in worker.row]
    for group in [[worker] for worker in right] if alone else [right]:
      _turns(_built(group), rounds, steps)
      if alone:
        group[0].row["alone"] = True
        group[0].close()
  finally:
    for worker in workers:
      worker.close()
  return [worker.row for worker in workers]
