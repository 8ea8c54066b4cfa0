"""Part of `predict`: its flags, and the rows of the table that they ask for."""

import math
from typing import NamedTuple

from absl import flags

from experiments import predict_runs, predict_sequences
from timedecode import online_learning

DELTAS = flags.DEFINE_list("deltas", ["-3", "-1", "0", "1", "3"], "Steps.")
FULL = flags.DEFINE_list("full_deltas", ["0", "1"], "With all of --betas.")
BETAS = flags.DEFINE_list(
  "betas", ["0.1", "0", "0.03", "0.3"], "Nats per nat; the first everywhere."
)
SEEDS = flags.DEFINE_integer("seeds", 5, "Seeds of each condition.")
SEQUENCES = flags.DEFINE_integer("sequences", 50_000, "To learn from.")
STEPS = flags.DEFINE_integer("num_steps", 100, "T of these.")
BATCH = flags.DEFINE_integer("batch_size", 50, "Sequences side by side.")
ESTIMATOR = flags.DEFINE_enum(
  "estimator", "straight_through", online_learning.ESTIMATORS, "When tuned."
)
RATES = flags.DEFINE_list(
  "rates",
  ["0.001", "0.003", "0.01", "0.03", "0.1"],
  "Learning rates to try.",
)
FACTORS = flags.DEFINE_list("factors", ["0.1", "0.3", "1"], "Factors to try.")
TUNE = flags.DEFINE_integer("tune_sequences", 10_000, "Per trial.")
TEST_SEQUENCES = flags.DEFINE_integer("test_sequences", 200, "Judged.")
TEST_STEPS = flags.DEFINE_integer("test_steps", 1_000, "T of these.")

# Members of one folder agree in these.
SETTINGS = (
  SEQUENCES, STEPS, BATCH, ESTIMATOR, RATES, FACTORS, TUNE, TEST_SEQUENCES,
  TEST_STEPS,
)  # fmt: skip


class Condition(NamedTuple):
  """A row of the table."""

  delta: int
  beta: float
  view: str
  rule: str


class Plan(NamedTuple):
  """The flags, checked; of each list the first is the default."""

  deltas: list[int]
  full_deltas: list[int]
  betas: list[float]
  rates: list[float]
  factors: list[float]

  def conditions(self) -> list[Condition]:
    """All rows."""
    rows = []
    for delta in self.deltas:
      full = delta in self.full_deltas
      for view in predict_runs.VIEWS:
        betas = self.betas if full else self.betas[:1]
        rows += [Condition(delta, beta, view, "tuned") for beta in betas]
        if full:
          rows.append(Condition(delta, self.betas[0], view, "published"))
    return rows


def _numbers(flag, cast, valid, expected):
  try:
    values = [cast(text) for text in flag.value]
  except ValueError:
    values = []
  if not values or not all(map(valid, values)) or len({*values}) < len(values):
    raise ValueError(
      f"{flag.name}: expected {expected}, each once, got {flag.value}"
    )
  return values


def read_flags() -> Plan:
  """The plan; ValueError for flags that mean nothing."""
  largest = predict_sequences.LARGEST_DELTA
  near = lambda delta: abs(delta) <= largest
  positive = lambda value: math.isfinite(value) and value > 0
  plan = Plan(
    _numbers(DELTAS, int, near, f"whole numbers in -{largest}..{largest}"),
    [int(text) for text in FULL.value if text.lstrip("-").isdigit()],
    _numbers(
      BETAS, float, lambda b: math.isfinite(b) and b >= 0, "numbers >= 0"
    ),
    _numbers(RATES, float, positive, "numbers > 0"),
    _numbers(FACTORS, float, positive, "numbers > 0"),
  )
  if len(plan.full_deltas) < len(FULL.value):
    raise ValueError(f"full_deltas: expected whole numbers, got {FULL.value}")
  least = {
    "seeds": 2, "num_steps": predict_runs.WINDOW, "test_steps": STEPS.value
  }  # fmt: skip
  for flag in (SEEDS, *SETTINGS):
    bound = least.get(flag.name, 1)
    if isinstance(flag.value, int) and flag.value < bound:
      raise ValueError(
        f"{flag.name}: expected at least {bound}, got {flag.value}"
      )
  return plan
