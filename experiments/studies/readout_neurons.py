"""How few neurons will do, for a learned decoder and for hand-made ones.

Command: python -m experiments.study --study=readout_neurons --workdir=DIR
"""

from experiments import studies

SIZES = (2, 4, 8, 16, 32, 64, 256)
# Best of `tuning` on validation at the nearest size that it tried (2, 8, 64).
SCALES = {"full": 0.0, "rate": 4.0, "first_spike": 8.0}
RATES = {
  "full": {2: 1e-2, 8: 2e-2, 64: 1e-2},
  "rate": {2: 4e-2, 8: 4e-2, 64: 2e-2},
  "first_spike": {2: 5e-3, 8: 5e-3, 64: 5e-3},
}
NEAREST = {2: 2, 4: 2, 8: 8, 16: 8, 32: 64, 64: 64, 256: 64}


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, N_y {size}": {
      "view": view,
      "baseline_view": "",
      "steps": 1400,
      "optimizer.learning_rate": rates[NEAREST[size]],
      "view_scale": SCALES[view],
      "encoder.num_readout": size,
    }
    for size in SIZES
    for view, rates in RATES.items()
  }
  return studies.Study(
    "readout_neurons",
    "A decoder that sees when the neurons fire needs fewer of them.",
    "mnist_time", rows, seeds=5,
  )  # fmt: skip
