"""Checks of arguments that the modules of this folder share.

Each returns the value that is to be used, or raises a ValueError that names
the argument, what was expected and what came.
"""

import math
import operator
from typing import Any

_CLOSE = 1e-9  # Relative; a product and a quotient of floats err by 1e-15.


def whole(
  name: str,
  value: Any,
  minimum: int | None = None,
  maximum: int | None = None,
) -> int:
  """A whole number from `minimum` to `maximum`; 2.0 is none."""
  try:
    number = operator.index(value)
  except TypeError:
    raise ValueError(
      f"{name}: expected a whole number, got {value!r}"
    ) from None
  if minimum is not None and number < minimum:
    raise ValueError(f"{name}: expected at least {minimum}, got {number}")
  if maximum is not None and number > maximum:
    raise ValueError(f"{name}: expected at most {maximum}, got {number}")
  return number


def wholes(
  name: str, values: Any, count: int | None = None, minimum: int | None = None
) -> tuple[int, ...]:
  """Whole numbers, `count` of them, each at least `minimum`."""
  try:
    values = tuple(values)
  except TypeError:
    raise ValueError(f"{name}: expected numbers, got {values!r}") from None
  numbers = tuple(whole(name, value, minimum) for value in values)
  if count is not None and len(numbers) != count:
    raise ValueError(f"{name}: expected {count} numbers, got {numbers}")
  return numbers


def positive(name: str, value: Any, or_zero: bool = False) -> float:
  """A finite number > 0, or >= 0 with `or_zero`."""
  kind = "a positive number or 0" if or_zero else "a positive number"
  try:
    fine = math.isfinite(value) and (value > 0 or or_zero and value == 0)
  except (TypeError, OverflowError):
    fine = False
  if not fine:
    raise ValueError(f"{name}: expected {kind}, got {value!r}")
  return value


def multiple(
  name: str, value: float, unit_name: str, unit: float, per: float = 1.0
) -> int:
  """How many units a value is: a whole number, at least 1.

  Args:
    name: of the value.
    value: of which `per` units of `unit` are meant: 1000 for seconds where
      the unit is in milliseconds.
    unit_name: of the unit.
    unit: positive, as the value.
    per: units of `unit` in one of `value`.
  """
  ratio = per * positive(name, value) / positive(unit_name, unit)
  count = round(ratio) if math.isfinite(ratio) else 0
  if count < 1 or not math.isclose(count, ratio, rel_tol=_CLOSE):
    raise ValueError(
      f"{name}: expected a multiple of {unit_name} = {unit}, got {value}"
    )
  return count


def steps(
  dt_ms: float, name: str, duration: float, per: float = 1.0
) -> tuple[int, int]:
  """Microseconds per step, and steps in a duration.

  Args:
    dt_ms: milliseconds per step, whole microseconds.
    name: of the duration.
    duration: a multiple of dt_ms.
    per: milliseconds in a unit of the duration, 1000 for seconds.
  """
  dt_us = round(1e3 * positive("dt_ms", dt_ms))
  if dt_us < 1 or not math.isclose(dt_us, 1e3 * dt_ms, rel_tol=_CLOSE):
    raise ValueError(f"dt_ms: expected whole microseconds, got {dt_ms} ms")
  return dt_us, multiple(name, duration, "dt_ms", dt_ms, per)
