"""Compiled steps cost what is stored: a step that grew is seen here."""

import json

import pytest

from experiments import costs

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


def test_the_table_names_every_step():
  assert set(STORED) == {*costs.NAMES, *costs.CLASSIFIERS}
