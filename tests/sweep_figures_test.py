"""The pictures of a sweep: a curve of the information plane by hand."""

import math
import types

import numpy as np

from experiments import sweep_figures, sweep_report


def _end(name, points):
  rows = [{"information_bits": x, "distortion": d} for x, d in points]
  member = types.SimpleNamespace(name=name)
  return sweep_report.End(member, None, rows, None)


def test_the_information_plane_by_hand():
  """x: the bound; y: D_0 - D in bits, D_0 each member's own; the end is large.

  Rows whose distortion isn't finite are journalled as None, and not drawn.
  """
  bit = math.log(2)
  ends = [
    _end("beta 0", [(9.0, 5 * bit), (7.5, None), (6.0, 3 * bit), (4.0, bit)]),
    _end("beta 1", [(2.0, 4 * bit)]),
  ]
  figure = sweep_figures.information_plane(ends, [4 * bit, 6 * bit], "a title")
  (axis,) = figure.axes
  curve, last, other, _, zero = axis.lines
  np.testing.assert_allclose(curve.get_xdata(), [9.0, 6.0, 4.0])
  np.testing.assert_allclose(curve.get_ydata(), [-1.0, 1.0, 3.0], atol=1e-12)
  assert last.get_xdata() == [4.0] and last.get_markersize() > 6
  np.testing.assert_allclose(last.get_ydata(), [3.0])
  np.testing.assert_allclose(other.get_xydata(), [[2.0, 2.0]])
  assert list(zero.get_ydata()) == [0, 0]
  assert axis.get_xlabel() == "information bound (bits per example)"
  assert axis.get_ylabel() == "taken about the target (bits per example)"
  words = [text.get_text() for text in axis.get_legend().get_texts()]
  assert words == ["beta 0", "beta 1"]
