"""Intervals against other solutions of the same equations, and coverage."""

import numpy as np
import pytest
from scipy import optimize, stats

from timedecode import intervals


@pytest.mark.parametrize(
  "right, count", [(0, 10), (3, 10), (998, 1000), (1, 1)]
)
def test_shares_by_scipy(right, count):
  found = intervals.of_share(right / count, count)
  exact = stats.binomtest(right, count).proportion_ci(method="wilson")
  np.testing.assert_allclose(found, (exact.low, exact.high), atol=1e-7)
  assert 0 <= found[0] < found[1] <= 1


def test_shares_near_1_are_covered():
  """Of 60 examples at 0.98 the normal interval covers 0.70 of the draws."""
  draws = np.random.default_rng(0).binomial(60, 0.98, 4000)
  ends = np.array([intervals.of_share(x / 60, 60) for x in draws])
  assert ((ends[:, 0] <= 0.98) & (0.98 <= ends[:, 1])).mean() > 0.93
  p = draws / 60
  half = 1.96 * np.sqrt(p * (1 - p) / 60)
  assert (np.abs(p - 0.98) <= half).mean() < 0.75


def test_the_difference_of_the_published_example():
  """Newcombe 1998, table II, method 10: 56/70 - 48/80, and 9/10 - 3/10."""
  found = intervals.of_difference(56 / 70, 48 / 80, 70, 80)
  np.testing.assert_allclose(found, (0.0524, 0.3339), atol=5e-5)
  found = intervals.of_difference(9 / 10, 3 / 10, 10, 10)
  np.testing.assert_allclose(found, (0.1705, 0.8090), atol=5e-5)
  same = intervals.of_difference(0.5, 0.5, 50, 50)
  assert same[0] == pytest.approx(-same[1])


def test_means():
  values = np.random.default_rng(0).normal(3.0, 2.0, 400)
  low, high = intervals.of_mean(values)
  exact = stats.norm.interval(0.95, values.mean(), stats.sem(values))
  np.testing.assert_allclose((low, high), exact, rtol=1e-6)
  assert intervals.of_mean(np.array([2.0])) == (2.0, 2.0)


def test_ratios_in_pairs():
  """Fieller's theorem, solved: independent of any resampling."""
  generator = np.random.default_rng(0)
  below = generator.normal(2.0, 1.0, 2000)
  above = 0.5 * below + generator.normal(0.1, 0.2, 2000)
  low, high = intervals.of_ratio(above, below)
  covariance = np.cov(above, below) / 2000

  def excess(ratio):
    difference = above.mean() - ratio * below.mean()
    vector = np.array([1.0, -ratio])
    return difference**2 - 1.96**2 * vector @ covariance @ vector

  ratio = above.mean() / below.mean()
  exact = [optimize.brentq(excess, ratio + d, ratio) for d in (-0.2, 0.2)]
  np.testing.assert_allclose((low, high), exact, atol=1e-3)
  assert high - low < 0.02
  assert intervals.of_ratio(above, -np.abs(below)) is None


@pytest.mark.parametrize("share, count", [(-0.1, 5), (1.1, 5), (0.5, 0),
                                          (np.nan, 5)])  # fmt: skip
def test_no_share(share, count):
  with pytest.raises(ValueError, match="share, count: expected a share in"):
    intervals.of_share(share, count)
