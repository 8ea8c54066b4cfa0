"""Perturbations: what they keep, what they destroy, against NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timedecode import perturbations

T, N, M = 24, 5, 400


@pytest.fixture(name="trains", scope="module")
def _trains():
  """Trains whose rate rises with time and differs between neurons."""
  rates = np.linspace(0.05, 0.9, T)[:, None] * np.linspace(0.3, 1, N)
  uniform = np.random.default_rng(0).random((M, T, N))
  return jnp.asarray((uniform < rates).astype(np.float32))


def _apply(name, trains, strength):
  keys = jax.random.split(jax.random.key(1), len(trains))
  change = jax.vmap(perturbations.PERTURBATIONS[name], in_axes=(0, 0, None))
  return np.asarray(jax.jit(change)(trains, keys, strength))


@pytest.mark.parametrize("name, strength", [
  ("shuffle", 1), ("jitter", 0), ("merge", 0.0), ("drop", 0.0), ("add", 0.0)
])  # fmt: skip
def test_nothing_is_asked_and_nothing_happens(trains, name, strength):
  np.testing.assert_array_equal(_apply(name, trains, strength), trains)


@pytest.mark.parametrize("window", [2, 5, 24])
def test_shuffling_keeps_the_counts_of_every_window(trains, window):
  found = _apply("shuffle", trains, window)
  assert (found != trains).mean() > 0.1
  for first in range(0, T, window):
    part = slice(first, first + window)
    np.testing.assert_array_equal(
      found[:, part].sum(1), np.asarray(trains)[:, part].sum(1)
    )


def test_a_whole_shuffle_is_uniform_over_times(trains):
  """Every step has a neuron's mean rate, within 5 standard errors."""
  found, rates = _apply("shuffle", trains, T), np.asarray(trains).mean((0, 1))
  error = np.sqrt(rates * (1 - rates) / M)
  assert (np.abs(found.mean(0) - rates) < 5 * error).all()
  assert (np.abs(np.asarray(trains).mean(0) - rates) > 5 * error).any()


@pytest.mark.parametrize("reach", [1, 3, 7])
def test_jitter_moves_no_step_further_than_its_reach(reach):
  """Of trains with a single spike the move is seen."""
  single = jnp.eye(T)[:, :, None]  # Train i fires at step i.
  single = jnp.tile(single, (200, 1, 1))
  found = _apply("jitter", single, reach)
  assert (found.sum(1) == 1).all()
  moves = found[..., 0].argmax(1) - np.tile(np.arange(T), 200)
  assert np.abs(moves).max() <= reach
  assert {-(reach // 2) - 1, reach // 2 + 1} <= set(moves)
  assert abs(moves.mean()) < 5 * moves.std() / np.sqrt(len(moves))
  inner = moves.reshape(200, T)[:, reach:-reach]  # Both ways are open.
  assert inner.std() == pytest.approx((reach + 1) / np.sqrt(12), rel=0.25)


def test_merging_keeps_what_all_neurons_do_together(trains):
  found = _apply("merge", trains, 1.0)
  np.testing.assert_array_equal(found.sum(2), np.asarray(trains).sum(2))
  rates = found.mean((0, 1))  # Who fires is lost.
  assert np.ptp(rates) < 0.03 < 0.2 < np.ptp(np.asarray(trains).mean((0, 1)))
  before = np.asarray(trains)
  half = (_apply("merge", trains, 0.5) != before).any(2).mean()
  whole = (found != before).any(2).mean()
  assert half == pytest.approx(whole / 2, rel=0.1)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_dropping_and_adding(trains, share):
  before = np.asarray(trains)
  dropped, added = _apply("drop", trains, share), _apply("add", trains, share)
  assert (dropped <= before).all() and (added >= before).all()
  lost = 1 - dropped.sum() / before.sum()
  assert lost == pytest.approx(share, abs=0.01)
  won = (added - before).sum() / (1 - before).sum()
  assert won == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("name", perturbations.PERTURBATIONS)
def test_a_batch_is_refused(name):
  with pytest.raises(ValueError, match=r"spikes: expected \[T, N\] of one tra"):
    perturbations.PERTURBATIONS[name](
      jnp.zeros((2, 3, 4)), jax.random.key(0), 1
    )


@pytest.mark.parametrize("name, strength, message", [
  ("shuffle", 0, "window: expected at least 1, got 0"),
  ("jitter", -5, "reach: expected at least 0, got -5"),
  ("merge", 1.5, r"share: expected a number in \[0, 1\], got 1.5"),
  ("drop", -1.0, r"share: expected a number in \[0, 1\], got -1.0"),
  ("add", float("nan"), r"share: expected a number in \[0, 1\], got nan"),
])  # fmt: skip
def test_a_strength_out_of_range_is_refused(name, strength, message):
  with pytest.raises(ValueError, match=message):
    perturbations.PERTURBATIONS[name](
      jnp.zeros((3, 4)), jax.random.key(0), strength
    )
