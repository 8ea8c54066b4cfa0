"""Checks of arguments: what passes, what is named; one copy in the folder."""

import ast
import math
import pathlib

import numpy as np
import pytest

from timedecode import datasets
from timedecode.datasets import arguments


def test_whole():
  assert arguments.whole("a", np.int64(-3)) == -3
  assert type(arguments.whole("a", np.uint8(3), 3)) is int
  for value in (2.0, "2", None, np.float32(1), [1]):
    with pytest.raises(ValueError, match="^a: expected a whole number, got "):
      arguments.whole("a", value)
  with pytest.raises(ValueError, match="^a: expected at least 4, got 3"):
    arguments.whole("a", 3, 4)


def test_positive():
  assert arguments.positive("a", 0.5) == 0.5
  assert arguments.positive("a", 0, or_zero=True) == 0
  for value in (0, -1, math.inf, math.nan, "2", None, 10**400):
    with pytest.raises(ValueError, match="^a: expected a positive number, got"):
      arguments.positive("a", value)
  for value in (-1e-9, math.nan):
    with pytest.raises(ValueError, match="^a: .*positive number or 0, got"):
      arguments.positive("a", value, or_zero=True)


def test_multiple():
  for unit in (0.1, 0.3, 1 / 3, 7.0):
    for count in (1, 3, 1000):
      assert arguments.multiple("a", count * unit, "b", unit) == count
  assert arguments.multiple("a", 2.01, "b", 30, per=1e3) == 67
  for value in (0.5, 1.5, 1.000001, 1e308):
    with pytest.raises(ValueError, match="^a: expected a multiple of b = "):
      arguments.multiple("a", value, "b", 1e-5 if value > 2 else 1.0, per=10.1)
  with pytest.raises(ValueError, match="^b: expected a positive number, got 0"):
    arguments.multiple("a", 1, "b", 0)


def test_steps():
  assert arguments.steps(10, "duration_s", 2, 1e3) == (10_000, 200)
  assert arguments.steps(0.001, "duration_ms", 0.003) == (1, 3)
  assert arguments.steps(2.5, "duration_ms", 250) == (2_500, 100)
  for dt_ms in (5e-4, 1.5e-3, 1 / 3):
    with pytest.raises(ValueError, match="^dt_ms: expected whole microsec"):
      arguments.steps(dt_ms, "duration_ms", 3 * dt_ms)
  message = "^duration_s: expected a multiple of dt_ms = 30, got 2$"
  with pytest.raises(ValueError, match=message):
    arguments.steps(30, "duration_s", 2, 1e3)
  with pytest.raises(ValueError, match="^duration_s: expected a positive num"):
    arguments.steps(30, "duration_s", -2, 1e3)


MINE = (
  "aedat", "archives", "blobs", "events", "mnist_dvs", "mnist_dvs_files",
  "simulator", "tonic_sources",
)  # fmt: skip


@pytest.mark.parametrize("name", MINE)
def test_no_module_has_its_own(name):
  folder = pathlib.Path(datasets.__file__).parent
  tree = ast.parse((folder / f"{name}.py").read_text())
  functions = {
    node.name.strip("_")
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef)
  }
  own = {"whole", "natural", "steps", "multiple", "positive"}
  assert not functions & own
