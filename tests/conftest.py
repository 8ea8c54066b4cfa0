"""Strict shapes: ranks are never promoted silently in this library."""

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
  """Tests that share the smoke run go to one worker: it is made once."""
  for item in items:
    if "smoke_run" in getattr(item, "fixturenames", ()):
      item.add_marker(pytest.mark.xdist_group("smoke"))
