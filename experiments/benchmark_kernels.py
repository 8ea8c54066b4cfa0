"""Checks and times the kernels of recurrences on a CUDA device.

  python -m experiments.benchmark_kernels --output=FILE.json

First every kernel against its scan, values and gradients; a difference ends
the command with code 1. Then times against the scans and against the copy
bandwidth of the device, measured in the same run: forward reads currents and
writes spikes and potentials, backward reads potentials and the spikes'
cotangent and writes the currents' gradient, three arrays each. --tilings times
other cuts of the kernels too. Prints a table; the file has all of it.
"""

import concurrent.futures
import functools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from timedecode import (
  glm,
  glm_recurrence,
  lif_kernel,
  lif_recurrence,
  neurons,
  surrogate,
  synapses,
)

_OUTPUT = flags.DEFINE_string("output", "", "JSON file.")
_TILINGS = flags.DEFINE_bool("tilings", False, "Times other tilings too.")

DECAY = 0.9
PSI = surrogate.get("fast_sigmoid", scale=25.0)
# [T, M] for one flat population, or [B, T, M].
SIZES = (
  (100, 16 * 512), (100, 128 * 1024), (500, 256 * 4096), (128, 100, 256),
  (64, 30, 600),
)  # fmt: skip
READOUT = 64, 30, 256
CALLS = 20


def _difference(ours, theirs) -> float:
  """The largest relative distance of two lists of arrays, in float64."""
  worst = 0.0
  for a, b in zip(ours, theirs, strict=True):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    worst = max(worst, np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))
  return float(worst)


def _draw(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def check_lif(leaky: bool) -> dict:
  """One population of odd size, and a batch of it; all gradients."""
  neuron = (neurons.leaky if leaky else neurons.lif)(PSI, DECAY)
  run = lif_recurrence.make_run(PSI, DECAY, leaky)
  shape = 37, 1001
  arguments = (
    _draw(0, 3, *shape), _draw(1, 1001) / 4 - 0.5, _draw(2, 1001),
    (_draw(3, 1001) > 0).astype(jnp.float32),
  )  # fmt: skip
  state = neurons.LeakyState if leaky else neurons.LIFState

  def scan(current, bias, before, fired):
    after, found = jax.lax.scan(
      functools.partial(neuron.step, neurons.LIFParams(bias)),
      state(before, fired), current,
    )  # fmt: skip
    return *found, after[0]

  def both(run):
    mapped = jax.vmap(run, (0, None, None, None))
    found, back = jax.vjp(mapped, *arguments)
    cotangents = [_draw(5 + k, *a.shape) for k, a in enumerate(found)]
    return *found, *back(tuple(cotangents))

  name = "leaky" if leaky else "lif"
  ours, theirs = (
    jax.jit(both, static_argnums=0)(run),
    jax.jit(both, static_argnums=0)(scan),
  )
  return {"check": name, "difference": _difference(ours, theirs)}


def _readout_problem():
  batch, steps, count = READOUT
  given = (
    _draw(0, batch, steps, count), _draw(1, count), -jnp.abs(_draw(2, count)),
    jnp.zeros((10, count)),
  )  # fmt: skip
  return given, jax.random.split(jax.random.key(3), batch)


def check_glm() -> list[dict]:
  """Gradients of straight-through spikes, and the uniforms it draws."""
  g = synapses.raised_cosine_kernels(1, 10)[0]
  sampler = glm.bernoulli_straight_through
  given, keys = _readout_problem()
  axes = (0, None, None, None, 0)
  draw = lambda key: jax.random.uniform(key, READOUT[1:])
  uniforms = jax.vmap(draw)(keys)
  run = glm_recurrence.make_run(g, sampler)

  def plain(drive, bias, feedback, history, uniforms):
    params = glm.GLMParams(jnp.zeros(()), feedback, bias)
    same = lambda past: past
    return glm.readout(params, g, history, drive, uniforms, sampler, same)[1]

  def both(run):
    mapped = lambda *a: jax.vmap(run, axes)(*a, uniforms)
    found, back = jax.vjp(mapped, *given)
    cotangents = tuple(_draw(5 + k, *READOUT) for k in range(2))
    return *found, *back(cotangents)

  found = _difference(
    jax.jit(both, static_argnums=0)(run), jax.jit(both, static_argnums=0)(plain)
  )
  drawn = jax.jit(jax.vmap(run, axes))(*given, keys)
  told = jax.jit(jax.vmap(run, axes))(*given, uniforms)
  return [
    {"check": "glm", "difference": found},
    {"check": "glm, own uniforms", "difference": _difference(drawn, told)},
  ]


def seconds(compiled, arguments) -> float:
  """Per call, of the median of five rows of calls that are waited for."""
  jax.block_until_ready(compiled(*arguments))
  rows = []
  for _ in range(5):
    start = time.perf_counter()
    for _ in range(CALLS):
      found = compiled(*arguments)
    jax.block_until_ready(found)
    rows.append((time.perf_counter() - start) / CALLS)
  return float(np.median(rows))


def copy_bandwidth() -> float:
  """Bytes per second of ``x + 1`` over 2 GB, read and written."""
  x = jnp.zeros(2**29)
  compiled = jax.jit(lambda x: x + 1.0).lower(x).compile()
  return 2 * x.nbytes / seconds(compiled, (x,))


def _tilings():
  for block, warps in (
    (32, 1), (64, 1), (64, 2), (128, 1), (128, 2), (128, 4), (256, 2),
    (256, 4), (512, 4), (1024, 8),
  ):  # fmt: skip
    for unroll in (1, 4, 8, 16):
      yield lif_kernel.Tiling(block, warps, unroll)


def contestants(size, tilings):
  """name -> (forward, backward), of arrays of the given size."""
  batched = len(size) == 3

  def mapped(forward, backward):
    if not batched:
      return forward, backward
    return jax.vmap(forward, (0, None, None, None)), jax.vmap(backward)

  kernel = lambda tiling: mapped(
    lif_kernel.forward(DECAY, False, tiling),
    lif_kernel.backward(DECAY, False, PSI, tiling),
  )
  found = {
    "scan": mapped(
      lif_recurrence.scan_forward(DECAY),
      lif_recurrence.scan_backward(DECAY, PSI),
    ),
    "kernel": kernel(None),
  }
  for tiling in tilings:
    found["kernel {} {} {}".format(*tiling)] = kernel(tiling)
  return found


def measure(size, tilings, bandwidth) -> list[dict]:
  """Forward and backward of every contestant at one size."""
  one = (*size[:-2], size[-1])
  zeros = jnp.zeros(size[-1])
  inputs = _draw(0, *size), zeros - 1.0, zeros, zeros
  outputs = _draw(1, *size), jnp.zeros(one), _draw(2, *size)
  every = contestants(size, tilings)

  def build(pair):
    return tuple(
      jax.jit(f).lower(*a).compile()
      for f, a in zip(pair, (inputs, outputs), strict=True)
    )

  with concurrent.futures.ThreadPoolExecutor() as pool:
    made = dict(zip(every, pool.map(build, every.values()), strict=True))
  rows, traffic = [], 3 * inputs[0].nbytes
  for name, pair in made.items():
    times = [
      seconds(*each) for each in zip(pair, (inputs, outputs), strict=True)
    ]
    share = [traffic / t / bandwidth for t in times]
    both = 2 * traffic / sum(times) / bandwidth
    rows.append(
      {"size": size, "name": name, "forward_us": 1e6 * times[0],
       "backward_us": 1e6 * times[1], "forward_share": share[0],
       "backward_share": share[1], "share": both}
    )  # fmt: skip
  return rows


def main(argv):
  """Checks, then times."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  if jax.default_backend() != "gpu":
    raise SystemExit(
      f"error: expected a CUDA device, got {jax.devices()[0]}; the tests of"
      " the kernels run on any device: pytest tests/*_recurrence_test.py"
    )
  checks = [check_lif(False), check_lif(True), *check_glm()]
  for row in checks:
    print(json.dumps(row), flush=True)
  if not max(row["difference"] for row in checks) < 1e-5:
    raise SystemExit("error: a kernel differs from its scan, see above")
  bandwidth = copy_bandwidth()
  print(f"{jax.devices()[0].device_kind}: copies {bandwidth / 1e9:.0f} GB/s")
  rows = []
  for size in SIZES:
    rows += measure(size, _tilings() if _TILINGS.value else (), bandwidth)
    same = [row for row in rows if row["size"] == size]
    best = sorted(same[2:], key=lambda row: -row["share"])[:8]
    for row in same[:2] + best:
      print(
        f"{row['size']!s:18} {row['name']:18} forward {row['forward_us']:9.1f}"
        f" us {row['forward_share']:.2f}, backward {row['backward_us']:9.1f} us"
        f" {row['backward_share']:.2f}",
        flush=True,
      )
  if _OUTPUT.value:
    found = {
      "device": jax.devices()[0].device_kind, "jax": jax.__version__,
      "copy_bytes_per_second": bandwidth, "checks": checks, "rows": rows,
    }  # fmt: skip
    pathlib.Path(_OUTPUT.value).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
  app.run(main)
