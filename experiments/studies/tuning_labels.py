"""Prices and rates for labels of recordings, on validation.

Labels are worth 2.3 nats, so that prices lie below that of pictures.
Command: python -m experiments.study --study=tuning_labels --workdir=DIR
"""

from experiments import studies
from experiments.studies import classification

BETAS = {8: (1e-2, 1e-3), 64: (1e-2, 1e-3, 1e-4)}
SLOWER = 5e-3  # At twice this rate, the configuration's, one had gone astray.


def _row(view, size, beta):
  fields = classification.fields(view, size)
  return fields | {"steps": 560, "eval_every": 140, "beta": beta}


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, N_y {size}, beta {beta:g}": _row(view, size, beta)
    for size, betas in BETAS.items()
    for beta in betas
    for view in classification.VIEWS
  }
  for size in BETAS:
    for view in classification.VIEWS:
      name = f"{view}, N_y {size}, beta 0.001, encoder {SLOWER}"
      slower = {"optimizer.encoder_learning_rate": SLOWER}
      rows[name] = _row(view, size, 1e-3) | slower
  return studies.Study(
    "tuning_labels",
    "What is each view trained with to name labels of recordings?",
    "mnist_dvs_prototypes", rows, seeds=1, first_seed=100,
  )  # fmt: skip
