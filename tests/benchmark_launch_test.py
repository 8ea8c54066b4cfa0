"""The benchmark from end to end in small, and what cannot take part."""

import json
import os
import subprocess
import sys

import binaries
import numpy as np
import pytest

from experiments.bench import contestants, launch, reference, table, workloads

CORES = len(os.sched_getaffinity(0))
TINY = [
  "--scale=tiny", "--device=cpu", "--rounds=2", "--steps=2",
]  # fmt: skip


def test_our_contestants_from_end_to_end(tmp_path):
  path = tmp_path / "results" / "found.json"
  told = binaries.run(
    "benchmark", "--workloads=a,b,d,e,f",
    "--contestants=timedecode/fused,timedecode/recomputed,machine/copy,"
    "timedecode/fused+pmap,timedecode/events+pmap,timedecode/events+parts4,"
    "timedecode/events+parts4+pmap",
    f"--output={path}", *TINY,
  )  # fmt: skip
  assert told.returncode == 0, told.stderr
  found = json.loads(path.read_text())
  assert found["device"] == "cpu" and found["machine"]["cores"] >= 1
  assert binaries.names_a_commit(found)
  labels = [size["label"] for size in found["workloads"]]
  assert labels == [
    "a: T 20, B 8, 40-24-7", "b: T 20, B 8, 40-24-7", "d: T 20, B 8, 24",
    "e: T 20, B 1, 40-24-7", "f: T 20, B 8, 40-24",
  ]  # fmt: skip
  for size in found["workloads"]:
    names = [(row["contestant"], row["variant"]) for row in size["rows"]]
    ours = ["fused"]
    if size["kind"] in ("training", "layer"):
      ours += ["fused+pmap"] * (CORES > 1)
    if size["kind"] == "training":
      ours += [
        f"events{how}" for how in ("+pmap", "+parts4", "+parts4+pmap")
        if CORES > 1 or "pmap" not in how
      ]  # fmt: skip
    ours += ["recomputed"] * (size["letter"] == "b")
    wanted = [("timedecode", name) for name in ours] + [("machine", "copy")]
    assert names == wanted
    for row in size["rows"]:
      assert len(row["ms"]) == 4 and min(row["ms"]) > 0
      assert row["error"] < 1e-3 and row["versions"]["jax"]
      spread = row["variant"].endswith("+pmap")
      cores = range(2, CORES + 1)
      parts = 4 if "parts4" in row["variant"] else 1
      assert row["devices"] == (
        max(n for n in cores if 8 % (n * parts) == 0) if spread else 1
      )
    assert min(row.get("per_ours", 9.0) for row in size["rows"]) == 1.0
    assert "### " + size["label"] in told.stdout
  assert not path.with_suffix(".png").exists()  # One size is no curve.


STEPS_IN = """
import jax
from experiments.bench import contestants, worker, workloads

programs = map(contestants.module, ("timedecode", "machine"))
worker._set_precision({precision!r})
size = workloads.Workload("a", "training", 64, 64, (256, 256))
found, compiled = [], jax.stages.Lowered.compile


def seen(lowered, *args, **options):
  found.append("bf16" in lowered.as_text())
  return compiled(lowered, *args, **options)


jax.stages.Lowered.compile = seen
for program, variant in zip(programs, ("fused", "products alone")):
  program.build(size, workloads.arrays(size), variant, "cpu").step()
assert found == 2 * [{rounded}], found
"""


@pytest.mark.parametrize("precision, rounded", [
  ("float32", False), ("bfloat16", True),
])  # fmt: skip
def test_the_precision_of_steps(precision, rounded):
  """In a process of its own, as it is set for good."""
  code = STEPS_IN.format(precision=precision, rounded=rounded)
  told = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True,
    cwd=binaries.ROOT, env=os.environ,
  )  # fmt: skip
  assert told.returncode == 0, told.stderr


def _rows(monkeypatch, folder, library, limit=60.0, names=("eager", "scan")):
  """Rows of snntorch, whose package is `library`'s text, and of ours."""
  package = folder / "snntorch"
  package.mkdir()
  (package / "__init__.py").write_text(library)
  monkeypatch.setenv("PYTHONPATH", str(folder))
  size = workloads.tiny(workloads.named("d", False)[0])
  specs = launch.chosen(size, ["snntorch", "timedecode"], "cpu", "float32")
  specs = [spec for spec in specs if spec["variant"] in names]
  return size, launch.measure(size, specs, 1, 1, limit, "cpu")


def test_a_library_that_is_not_installed_is_a_row(tmp_path, monkeypatch):
  text = "raise ModuleNotFoundError(\"No module named 'snntorch'\")"
  size, rows = _rows(monkeypatch, tmp_path, text)
  reason = "ModuleNotFoundError: No module named 'snntorch'"
  assert rows[0]["reason"] == reason and "ms" not in rows[0]
  assert len(rows[1]["ms"]) == 1
  page = table.markdown(table.summarise(size, rows, "cpu"))
  assert f"- snntorch eager: {reason}" in page
  assert "| timedecode scan |" in page


def test_a_process_that_dies_is_a_row(tmp_path, monkeypatch):
  text = "import os, sys; print('told', file=sys.stderr); os._exit(3)"
  _, rows = _rows(monkeypatch, tmp_path, text)
  assert rows[0]["reason"] == "ended with status 3: told"
  assert "ms" in rows[1]


def test_whoever_takes_too_long_is_a_row(tmp_path, monkeypatch):
  text = "import time; time.sleep(600)"
  _, rows = _rows(monkeypatch, tmp_path, text, limit=0.5, names=("eager",))
  assert [row["reason"] for row in rows] == ["no answer in 0.5 s"]


def test_mistakes_are_told():
  for flag, text in (
    ("--workloads=z", "expected letters of a, b"),
    ("--contestants=brian", "expected of timedecode"),
    ("--sizes=500x256", "expected text of one of a: T 100, B 128, 700-256-20"),
  ):
    told = binaries.run("benchmark", flag, "--device=cpu")
    assert told.returncode and text in told.stderr


def test_a_size_can_be_chosen():
  """A larger one too, here in small."""
  told = binaries.run(
    "benchmark", "--workloads=a,f", "--sizes=8192-8192",
    "--contestants=machine/copy", *TINY,
  )  # fmt: skip
  assert told.returncode == 0, told.stderr
  headings = [x for x in told.stdout.splitlines() if x.startswith("###")]
  assert headings == ["### f: T 20, B 8, 40-24"]


def test_no_more_is_imported_than_machines_with_a_gpu_have():
  """The launcher needs no JAX; our contestant only JAX, optax and NumPy."""
  absent = (
    "platformdirs ml_collections orbax tensorflow_datasets sklearn mlxtend"
    " importlib_resources torch"
  )
  code = (
    f"import sys\nfor name in '{absent}'.split(): sys.modules[name] = None\n"
    "import experiments.benchmark\n"
    "assert 'optax' not in sys.modules and 'flax' not in sys.modules\n"
    "from experiments.bench import contestants, worker\n"
    "contestants.module('timedecode'); contestants.module('machine')\n"
  )
  told = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True,
    cwd=binaries.ROOT, env=os.environ,
  )  # fmt: skip
  assert told.returncode == 0, told.stderr


def test_operations_and_bytes_by_hand():
  size = workloads.Workload("x", "training", 100, 128, (700, 256, 20))
  rows = 100 * 128
  products = 2 * 700 * 256 + 3 * 256 * 20  # No gradient by the input.
  assert workloads.product_flops(size) == 2 * rows * products
  layers = 5 * (256 + 20)
  around = 2 * (256 + 700) + 3 * (256 + 20)
  adam = 10 * (700 * 256 + 256 * 20)
  assert workloads.least_bytes(size) == 4 * (rows * (layers + around) + adam)
  layer = workloads.Workload("x", "layer", 100, 16, (512,))
  assert workloads.product_flops(layer) == 0
  assert workloads.least_bytes(layer) == 5 * 4 * 100 * 16 * 512


def test_rates_are_of_all_neurons_that_others_see():
  size = workloads.Workload("x", "training", 12, 6, (30, 300, 5))
  given = workloads.arrays(size)
  run = lambda currents: reference.forward(currents, reference.Semantics())[0]
  hidden = run(given.inputs[:, :4] @ given.weights[0])
  outputs = run(hidden @ given.weights[1])
  expected = [float(hidden.mean()), float(outputs.mean())]
  assert min(expected) > 0
  assert reference.rates("training", given) == expected


def test_largest_sizes_are_of_gpus_or_asked_for():
  few, all_of_them = (workloads.named("f", how) for how in (False, True))
  widths = [size.widths[0] for size in all_of_them]
  assert few == all_of_them[:1] and widths == [4096, 8192, 16384]


@pytest.mark.parametrize("letter", "ade")
def test_layers_fire_and_seeds_repeat(letter):
  size = workloads.named(letter, False)[0]
  given = workloads.arrays(size)
  for rate in reference.rates(size.kind, given):
    assert 0.02 < rate < 0.2
  for array, again in zip(given, workloads.arrays(size), strict=True):
    if array is not None and not isinstance(array, tuple):
      np.testing.assert_array_equal(array, again)


def test_ratios_and_shares_of_a_table():
  size = workloads.Workload("x", "training", 100, 128, (700, 256, 20))
  side, length = contestants.MACHINE["cpu"]
  rows = [
    {"contestant": name, "variant": variant, "ms": [ms] * 3, "peak_bytes": 2e6,
     "compiled_bytes": None, "build_seconds": 1.0}
    for name, variant, ms in (
      ("timedecode", "scan", 80.0), ("timedecode", "fused", 60.0),
      ("spyx", "run", 90.0), ("machine", "product", 2e-9 * side**3),
      ("machine", "copy", 12e-7 * length), ("machine", "products alone", 40.0),
    )
  ]  # fmt: skip
  found = table.summarise(size, rows, "cpu")
  assert found["flops_per_second"] == pytest.approx(1e12)
  assert found["bytes_per_second"] == pytest.approx(1e10)
  limit = found["product_flops"] / 1e9 + found["least_bytes"] / 1e7
  assert found["limit_ms"] == pytest.approx(limit)
  spyx = rows[2]
  assert spyx["per_ours"] == pytest.approx(1.5)
  assert spyx["per_products_alone"] == pytest.approx(2.25)
  assert spyx["share_of_limit"] == pytest.approx(limit / 90)
  lines = table.markdown(found).splitlines()
  shown = [line.split("|")[1].strip() for line in lines if line[:1] == "|"][2:]
  assert shown == ["timedecode fused", "timedecode scan", "spyx run"]


def test_what_does_not_fit_a_cpu_is_left_out():
  largest = workloads.Workload("x", "layer", 10_000, 10_000, (10_000,))
  assert "needs about 64000 GB" in launch.too_large(largest, "cpu")
  assert launch.too_large(largest, "cuda") is None


@pytest.mark.parametrize(("count", "alone"), ((1, False), (13, True)))
def test_what_does_not_fit_together_runs_one_by_one(monkeypatch, count, alone):
  """(f), whose contestants take 2 GB each, where 21 GB are free."""
  monkeypatch.setattr(launch, "_free_bytes", lambda: 21 * 10**9)
  yardstick = workloads.named("f", False)[0]
  assert launch.one_by_one(yardstick, count, "cpu") is alone
  assert not launch.one_by_one(workloads.named("b", False)[0], 16, "cpu")


def test_a_table_says_that_rows_were_timed_alone():
  size = workloads.Workload("x", "layer", 100, 16, (512,))
  row = {"contestant": "spyx", "variant": "run", "ms": [1.0], "alone": True,
         "build_seconds": 1.0}  # fmt: skip
  said = "timed one after the other"
  assert said in table.markdown(table.summarise(size, [row], "cpu"))
  together = row | {"alone": False}
  assert said not in table.markdown(table.summarise(size, [together], "cpu"))


@pytest.mark.parametrize("cores, batch, variant, count, there", [
  (12, 32, "events+parts4+pmap", 8, True), (12, 32, "hoisted+pmap", 8, True),
  (6, 128, "events+pmap", 4, True), (12, 32, "events+parts4", 1, True),
  (2, 6, "events+parts4+pmap", 1, False), (1, 32, "events+pmap", 1, False),
])  # fmt: skip
def test_cores_as_devices_share_a_batch(
  monkeypatch, cores, batch, variant, count, there
):
  """The most that do so evenly; what would be no sharing is not run."""
  monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
  size = workloads.named("b", False, batch)[0]
  assert launch.cpu_devices({"variant": variant, "workload": size}) == count
  specs = launch.chosen(size, ["timedecode", "spyx"], "cpu", "float32")
  assert (variant in [spec["variant"] for spec in specs]) == there


def test_a_long_train_in_a_tenth_of_the_memory():
  """Temporary memory of the compiled steps of (b), which are not run."""
  size = workloads.named("b", False)[0]
  given, module = workloads.arrays(size), contestants.module("timedecode")
  scan, fused, recomputed, parts = (
    module.build(size, given, variant, "cpu").compiled_bytes
    for variant in ("scan", "fused", "recomputed", "events+parts16")
  )
  assert 0 < recomputed <= scan / 10 and recomputed <= fused / 8
  assert 0 < parts <= scan / 10 and parts <= fused / 8
