"""The encoder's learning rate for other codes and decoders, on validation.

`tuning` was made with latency codes and the mlp. Both views get the same grid.
Command: python -m experiments.study --study=tuning_codes --workdir=DIR
"""

from experiments import studies

RATES = (5e-3, 1e-2, 2e-2)
PAIRS = (("rate", "mlp"), ("latency", "conv"), ("rate", "conv"))


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, {code} code, {decoder}, encoder {rate}": {
      "view": view, "view_scale": studies.SCALES[view], "baseline_view": "",
      "steps": 1400, "encoder.num_readout": 32, "beta": studies.BETA,
      "data.coding": code, "decoder": decoder,
      "optimizer.encoder_learning_rate": rate,
    }
    for code, decoder in PAIRS
    for view in ("full", "rate")
    for rate in RATES
  }  # fmt: skip
  return studies.Study(
    "tuning_codes",
    "What each view is trained with on other codes and decoders.",
    "mnist_time", rows, seeds=1, first_seed=100,
  )  # fmt: skip
