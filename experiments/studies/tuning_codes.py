"""The encoder's learning rate for other codes and decoders, on validation.

`tuning` was made with latency codes and the mlp. Both views get the same grid.
Command: python -m experiments.study --study=tuning_codes --workdir=DIR
"""

from experiments import studies

RATES = (5e-3, 1e-2, 2e-2)
PAIRS = (("rate", "mlp"), ("latency", "conv"), ("rate", "conv"))
FEW = "conv of 1 channel"  # What the published rule makes of counts.


def get_study() -> studies.Study:
  """The study."""
  groups = [
    (view, code, decoder)
    for code, decoder in PAIRS
    for view in ("full", "rate")
  ] + [("rate", "latency", FEW), ("rate", "rate", FEW)]  # fmt: skip
  rows = {
    f"{view}, {code} code, {decoder}, encoder {rate}": {
      "view": view, "view_scale": studies.SCALES[view], "baseline_view": "",
      "steps": 1400, "encoder.num_readout": 32, "beta": studies.BETA,
      "data.coding": code, "decoder": decoder.split()[0],
      "optimizer.encoder_learning_rate": rate,
    } | ({"decoder_channels": 1} if decoder == FEW else {})
    for view, code, decoder in groups
    for rate in RATES
  }  # fmt: skip
  return studies.Study(
    "tuning_codes",
    "What is each view trained with on other codes and decoders?",
    "mnist_time", rows, seeds=1, first_seed=100,
  )  # fmt: skip
