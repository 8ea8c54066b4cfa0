"""How few neurons will do, for a learned decoder and for hand-made ones.

Command: python -m experiments.study --study=readout_neurons --workdir=DIR
"""

from experiments import studies

SIZES = (2, 4, 8, 16, 32, 64, 256)


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, N_y {size}": (
      studies.tuned(view, size)
      | {"baseline_view": "", "steps": 1400, "beta": studies.BETA}
    )
    for size in SIZES
    for view in studies.SCALES
  }
  return studies.Study(
    "readout_neurons",
    "Does a decoder that sees when the neurons fire need fewer of them?",
    "mnist_time", rows,
  )  # fmt: skip
