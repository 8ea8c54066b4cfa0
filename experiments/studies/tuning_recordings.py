"""Rates, factors and prices for recordings, on validation.

Pictures (`naturalisation`) and labels (`classification`), 25 ms bins. Every
view gets the same rates, counts their factor as well; labels, which are worth
2.3 nats, prices below that of pictures.
Command: python -m experiments.study --study=tuning_recordings --workdir=DIR
"""

from experiments import studies
from experiments.studies import classification

RATES = (5e-3, 1e-2, 2e-2)
FACTORS = (2.0, 8.0)  # The factor of images is among the rows of rates.
BETAS = {8: (1e-2, 1e-3), 64: (1e-2, 1e-3, 1e-4)}
SHORT = {"steps": 560, "eval_every": 140}  # Of labels.


def _pictures(view, rate, factor):
  return {
    "view": view, "view_scale": factor, "baseline_view": "", "steps": 1120,
    "precision": "bfloat16", "optimizer.encoder_learning_rate": rate,
  }  # fmt: skip


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"picture, {view}, encoder {rate}": _pictures(
      view, rate, studies.SCALES[view]
    )
    for view in ("full", "rate")
    for rate in RATES
  } | {
    f"picture, rate, encoder 0.01, factor {factor:g}": _pictures(
      "rate", 1e-2, factor
    )
    for factor in FACTORS
  }
  for size, betas in BETAS.items():
    for beta in betas:
      for view in classification.VIEWS:
        name = f"label, {view}, N_y {size}, beta {beta:g}"
        rows[name] = classification.fields(view, size) | SHORT | {"beta": beta}
  for size in BETAS:  # At twice this rate one had gone astray.
    for view in classification.VIEWS:
      name = f"label, {view}, N_y {size}, beta 0.001, encoder {RATES[0]}"
      rows[name] = classification.fields(view, size) | SHORT | {
        "beta": 1e-3, "optimizer.encoder_learning_rate": RATES[0]
      }  # fmt: skip
  return studies.Study(
    "tuning_recordings",
    "What is each view trained with on recordings?",
    "mnist_dvs_prototypes", rows, seeds=1, first_seed=100,
  )  # fmt: skip
