"""Compiled steps cost what is stored: a step that grew is seen here."""

import json
import re

import jax
import pytest

from experiments import build, costs

STORED = json.loads(costs.STORED.read_text())


@pytest.mark.parametrize("name", [*costs.NAMES, *costs.CLASSIFIERS])
def test_a_step_costs_what_is_stored(name):
  """Made anew by `python -m experiments.costs --write` where it should grow."""
  found = costs.measure(name)
  assert found.keys() == STORED[name].keys()
  assert found["product_flops"] == STORED[name]["product_flops"]
  for figure in ("flops", "bytes", "temporary_bytes"):
    # Compilers of other processors may join loops in another way.
    assert found[figure] == pytest.approx(STORED[name][figure], rel=0.25), (
      figure
    )


def test_products_of_the_published_step_by_hand():
  """Batch 64, T 30: forward and both gradients, but none to the inputs.

  Synapses of the readout have 8 kernels of 10 taps.
  """
  hidden, readout, kernels = 784 * 600, 600 * 256 * 8, 256 * 8 * (30 + 10 - 1)
  decoder = 7680 * 3840 + 3840 * 784
  per_example = 30 * (2 * hidden + 3 * readout + 2 * kernels) + 3 * decoder
  found = STORED["mnist_time_published"]["product_flops"]
  assert 2 * 64 * per_example == pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize("letter, rows", [("a", 100 * 128), ("b", 1000 * 32)])
def test_products_of_the_classifier_by_hand(letter, rows):
  """700-256-20: forward and both gradients, but none to the inputs."""
  products = 2 * rows * (2 * 700 * 256 + 3 * 256 * 20)
  found = STORED[f"classifier_{letter}_fused"]["flops"]
  assert products < found < 1.01 * products


@pytest.mark.parametrize("name", ["mnist_time", "mnist_time_published"])
def test_the_exchange_of_gradients_is_what_the_formula_gives(name):
  """The table of several devices on paper, in the README of experiments."""
  config = costs.NAMES[name]()
  built = build.build(config, config.view)
  params = jax.eval_shape(built.init, jax.random.key(0)).params
  count = sum(leaf.size for leaf in jax.tree.leaves(params))
  text = (costs.STORED.parents[1] / "README.md").read_text()
  assert f"({count:,})" in text
  per_example = STORED[name]["product_flops"] / config.batch_size
  told = re.search(r"where F is .*?, ([0-9.]+) and\s+([0-9.]+)\s", text, re.S)
  assert f"{per_example / 1e6:.1f}" in told.groups()
  for devices in (8, 64, 256):
    moved = 2 * (devices - 1) / devices * 4 * count
    times = moved / 100e9, 2 * (devices - 1) * 1e-6
    least = 9 * 100e12 * sum(times) / per_example
    told = " | ".join(f"{1e3 * seconds:.3f} ms" for seconds in times)
    assert (
      f"| `{name}` | {devices} | {moved / 1e6:.2f} MB | {told} | {least:,.0f} |"
    ) in text


def test_the_table_names_every_step():
  assert set(STORED) == {*costs.NAMES, *costs.CLASSIFIERS}
