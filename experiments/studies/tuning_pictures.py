"""Rates and factors for pictures of recordings, on validation.

Prototypes, 25 ms bins, a third of the steps of `naturalisation`; both views get
the same rates, and counts their factor as well.
Command: python -m experiments.study --study=tuning_pictures --workdir=DIR
"""

from experiments import studies

RATES = (5e-3, 1e-2, 2e-2)
FACTORS = (2.0, 8.0)  # The factor of images is among the rows of rates.


def _row(view, rate, factor):
  return {
    "view": view, "view_scale": factor, "baseline_view": "", "steps": 1120,
    "precision": "bfloat16", "optimizer.encoder_learning_rate": rate,
  }  # fmt: skip


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, encoder {rate}": _row(view, rate, studies.SCALES[view])
    for view in ("full", "rate")
    for rate in RATES
  } | {
    f"rate, encoder 0.01, factor {factor:g}": _row("rate", 1e-2, factor)
    for factor in FACTORS
  }
  return studies.Study(
    "tuning_pictures",
    "What is each view trained with on recordings?",
    "mnist_dvs_prototypes", rows, seeds=1, first_seed=100,
  )  # fmt: skip
