"""How few neurons will do, for a learned decoder and for hand-made ones.

Command: python -m experiments.study --study=readout_neurons --workdir=DIR
"""

from experiments import studies

SIZES = (2, 4, 8, 16, 32, 64, 256)
# Best on validation of `tuning`: learning rate and scale.
TUNED = {"full": (5e-3, 0.0), "rate": (5e-3, 4.0), "first_spike": (5e-3, 1.0)}


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, N_y {size}": {
      "view": view,
      "baseline_view": "",
      "steps": 1400,
      "optimizer.learning_rate": rate,
      "view_scale": scale,
      "encoder.num_readout": size,
    }
    for size in SIZES
    for view, (rate, scale) in TUNED.items()
  }
  return studies.Study(
    "readout_neurons",
    "A decoder that sees when the neurons fire needs fewer of them.",
    "mnist_time", rows, seeds=5,
  )  # fmt: skip
