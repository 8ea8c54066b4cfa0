"""Price of information on validation, for either decoder, and rates at it.

Command: python -m experiments.study --study=tuning_price --workdir=DIR
"""

from experiments import studies

BETAS = (1e-3, 1e-2, 3e-2)
SIZES = (8, 32)
STEPS = 1400
# The two best of `tuning` for the first spikes of 64, encoder and decoder.
FIRST_SPIKE = ((2e-2, 5e-3), (1e-2, 5e-3))


def _row(view, size, beta):
  return {
    "view": view,
    "baseline_view": "",
    "steps": STEPS,
    "view_scale": studies.SCALES[view],
    "encoder.num_readout": size,
    "beta": beta,
  }


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, beta {beta}, N_y {size}": _row(view, size, beta)
    for size in SIZES
    for view in ("full", "rate")
    for beta in BETAS
  }
  for encoder, decoder in FIRST_SPIKE:
    name = f"first_spike, encoder {encoder}, decoder {decoder}, N_y 64"
    rows[name] = _row("first_spike", 64, studies.BETA) | {
      "optimizer.encoder_learning_rate": encoder,
      "optimizer.learning_rate": decoder,
    }
  return studies.Study(
    "tuning_price",
    "Does a price of information keep learned decoding from going astray?",
    "mnist_time", rows, seeds=2, first_seed=100,
  )  # fmt: skip
