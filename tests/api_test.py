"""The public names, the light import, and one version everywhere."""

import importlib.metadata
import json
import subprocess
import sys

import timedecode

MODULES = [
  "bottleneck", "channel", "coding", "credit", "encoder", "estimation",
  "estimators", "neurons", "online", "online_final", "priors", "published",
  "readout", "surrogate", "synapses",
]  # fmt: skip

_PROBE = """
import json, sys
import jax, jax.numpy
before = set(sys.modules)
import timedecode
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_public_names():
  assert sorted(timedecode.__all__) == MODULES
  for name in MODULES:
    assert getattr(timedecode, name).__doc__


def test_import_is_light():
  """No heavy package comes with the root: JAX is what it costs."""
  out = subprocess.run(
    [sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True
  ).stdout
  added = {name.split(".")[0] for name in json.loads(out)}
  heavy = {"flax", "optax", "tensorflow", "tensorflow_datasets", "tonic",
           "matplotlib", "mlxtend", "pandas"}  # fmt: skip
  assert "timedecode" in added and not heavy & added


def test_installed_packages_are_in_the_declared_ranges():
  """An environment with the JAX that computes wrong numbers is named."""
  assert importlib.metadata.version("timedecode")
  assert importlib.metadata.version("jax") != "0.10.2"
