"""Price of information on validation, for either decoder.

Command: python -m experiments.study --study=tuning_price --workdir=DIR
"""

from experiments import studies

BETAS = (1e-3, 1e-2, 3e-2)
SIZES = (8, 32)
STEPS = 1400


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, beta {beta}, N_y {size}": {
      "view": view,
      "baseline_view": "",
      "steps": STEPS,
      "view_scale": studies.SCALES[view],
      "encoder.num_readout": size,
      "beta": beta,
    }
    for size in SIZES
    for view in ("full", "rate")
    for beta in BETAS
  }
  return studies.Study(
    "tuning_price",
    "A price of information keeps learned decoding from going astray.",
    "mnist_time", rows, seeds=2, first_seed=100,
  )  # fmt: skip
