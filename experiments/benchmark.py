"""The benchmark against other libraries, and against the machine.

  python -m experiments.benchmark --workloads=a,b,d,e,f --output=FILE.json
  python -m experiments.benchmark --workloads=c --config=CONFIG.py

Same arrays, network, loss and optimiser for all; each contestant in its own
process, checked against a second computation before it is timed, compiled and
warm; steps of all contestants interleaved, each waited for. Workloads:

  a  training step of a LIF classifier 700-256-20, T 100, batch 128
  b  the same with T 1,000, batch 32 (`--batch`)
  c  the training step of a configuration, against the machine alone
  d  a layer of neurons alone, forward and backward
  e  one example, from the host to its decision
  f  one dense layer n x n, T 500, batch 16, forward and backward
  s  sizes around (a), for the figure

(f) is the yardstick that the field's libraries publish. Its published rows of
JAX ran 16 steps of batch 500 and did not wait for the device; here time is the
first axis for all, and every step is waited for.

Peak memory is what steps have in use at most beside what the process had before
its arrays, freed memory given back; on CPUs the pages that are resident.
Temporary memory is by the compiler's own count, of all devices.

Prints Markdown. `--output` also writes JSON after every workload, and beside
it a figure once sizes differ, as with `--workloads=a,s`. The extra `bench`
lists the other libraries; one that is not installed is named with that reason.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys

from absl import app, flags

from experiments import origin
from experiments.bench import contestants, launch, reference, table, workloads

_WORKLOADS = flags.DEFINE_list("workloads", ["a"], "Letters; see above.")
_CONTESTANTS = flags.DEFINE_list(
  "contestants", list(contestants.CONTESTANTS), "Names, or name/variant."
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")
_ROUNDS = flags.DEFINE_integer("rounds", 10, "Turns of each contestant.", 1)
_STEPS = flags.DEFINE_integer("steps", 3, "Steps in a turn.", 1)
_LIMIT = flags.DEFINE_float(
  "limit", 300.0, "Seconds for a contestant to be ready, and for a turn.", 1.0
)
_DEVICE = flags.DEFINE_enum(
  "device", None, ["cpu", "cuda"], "By default what JAX finds."
)
_PRECISION = flags.DEFINE_enum(
  "precision", "float32", ["float32", "tf32", "bfloat16"],
  "Of products: tf32 on a GPU; bfloat16 by `timedecode.precision` of steps in"
  " JAX, by autocast in PyTorch, all else in float32; checks and their errors"
  " are of float32.",
)  # fmt: skip
_BATCH = flags.DEFINE_integer("batch", 32, "Examples of (b).", 1)
_SCALE = flags.DEFINE_enum(
  "scale", "full", ["full", "tiny"], "tiny: the sizes of the checks."
)
_SIZES = flags.DEFINE_string(
  "sizes",
  "",
  "Only those whose heading has this text, say 8192-8192; without a GPU the"
  " larger ones of (f) run only so.",
)
_CONFIG = flags.DEFINE_string(
  "config", "experiments/configs/mnist_time_published.py", "Of (c)."
)


def _device() -> str:
  """Where JAX computes by default; asked of a process that ends."""
  ask = "import jax; print(jax.default_backend())"
  told = subprocess.run(
    [sys.executable, "-c", ask], capture_output=True, text=True
  )
  return "cuda" if told.stdout.strip() in ("gpu", "cuda") else "cpu"


def _machine() -> dict:
  """The processor and what runs on it."""
  model = platform.processor()
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = [line for line in lines if line.startswith("model name")]
    model = names[0].split(":")[1].strip() if names else model
  except OSError:
    pass
  cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else None
  return {
    "processor": model,
    "cores": cores or os.cpu_count(),
    "python": platform.python_version(),
    "system": platform.platform(),
  }


def _specs(workload, device: str) -> list[dict]:
  """Those who were asked for and have something to say."""
  names = dict.fromkeys(name.split("/")[0] for name in _CONTESTANTS.value)
  found = launch.chosen(workload, list(names), device, _PRECISION.value)
  wanted = set(_CONTESTANTS.value)
  return [
    spec for spec in found
    if {spec["contestant"], f"{spec['contestant']}/{spec['variant']}"} & wanted
  ]  # fmt: skip


def _run(workload, device: str) -> dict:
  """A workload's part of the results."""
  reason = launch.too_large(workload, device)
  if reason:
    return {"label": workload.label, "kind": workload.kind, "skipped": reason}
  rows = launch.measure(
    workload, _specs(workload, device), _ROUNDS.value, _STEPS.value,
    _LIMIT.value, device,
  )  # fmt: skip
  found = table.summarise(workload, rows, device)
  if workload.num_steps * max(workload.widths) ** 2 < 2**30:
    given = workloads.arrays(workload)
    found["spike_rates"] = reference.rates(workload.kind, given)
  return found


def _step_of_configuration(extra: list[str]) -> dict:
  """(c), in a process of its own."""
  command = [sys.executable, "-m", "experiments.bench.vdib"]
  precision = "bfloat16" if _PRECISION.value == "bfloat16" else "float32"
  told = subprocess.run(
    [
      *command, f"--config={_CONFIG.value}",
      f"--config.precision={precision}", *extra,
    ],
    stdout=subprocess.PIPE, text=True,
  )  # fmt: skip
  if told.returncode:
    raise SystemExit(told.returncode)
  print(told.stdout)
  return {"label": "c", "kind": "configuration"} | json.loads(told.stdout)


def _write(results, device: str, commit: str | None) -> None:
  told = {
    "command": sys.argv[1:], "commit": commit, "machine": _machine(),
    "device": device, "precision": _PRECISION.value, "workloads": results,
  }  # fmt: skip
  table.write(told, pathlib.Path(_OUTPUT.value))


def _sizes(letters: list[str], device: str) -> list[workloads.Workload]:
  """Those that were asked for."""
  large = device == "cuda" or bool(_SIZES.value)
  try:
    found = [
      size for letter in letters
      for size in workloads.named(letter, large, _BATCH.value)
    ]  # fmt: skip
  except ValueError as error:
    raise app.UsageError(str(error)) from error
  chosen = [size for size in found if _SIZES.value in size.label]
  if found and not chosen:
    headings = "; ".join(size.label for size in found)
    raise app.UsageError(
      f"sizes: expected text of one of {headings}, got {_SIZES.value!r}"
    )
  return chosen


def main(argv):
  """Runs the workloads that were asked for; arguments after -- go to (c)."""
  names = {name.split("/")[0] for name in _CONTESTANTS.value}
  unknown = names - set(contestants.CONTESTANTS)
  if unknown:
    raise app.UsageError(
      f"contestants: expected of {', '.join(contestants.CONTESTANTS)}, got"
      f" {', '.join(sorted(unknown))}"
    )
  letters, results, commit = _WORKLOADS.value, [], origin.commit()
  device = _DEVICE.value or (_device() if letters != ["c"] else "cpu")
  sizes = _sizes([letter for letter in letters if letter != "c"], device)
  if "c" in letters:
    results.append(_step_of_configuration(argv[1:]))
  elif len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  if _SCALE.value == "tiny":
    sizes = dict.fromkeys(map(workloads.tiny, sizes))
  for size in sizes:
    results.append(_run(size, device))
    told = results[-1].get("skipped")
    label = results[-1]["label"]
    print(f"### {label}\n\nNot run: {told}." if told
          else table.markdown(results[-1]), flush=True)  # fmt: skip
    if _OUTPUT.value:
      _write(results, device, commit)
  if _OUTPUT.value:
    _write(results, device, commit)


if __name__ == "__main__":
  app.run(main)
