"""Learning rate of the ANN autoencoder, on validation.

Command: python -m experiments.study --study=tuning_autoencoder --workdir=DIR
"""

from experiments import studies

RATES = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2)


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"autoencoder, {decoder}, rate {rate}": studies.autoencoder(decoder, rate)
    for decoder in ("mlp", "conv")
    for rate in RATES
  }
  return studies.Study(
    "tuning_autoencoder",
    "What is the autoencoder of `reconstruction` trained with?",
    "mnist_time", rows, seeds=1, first_seed=100,
    programs=dict.fromkeys(rows, studies.AUTOENCODER),
  )  # fmt: skip
