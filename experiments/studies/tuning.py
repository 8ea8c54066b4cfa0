"""Learning rate and scale of every view on validation, before any is compared.

Command: python -m experiments.study --study=tuning --workdir=DIR
"""

from experiments import studies

RATES = {
  "full": (5e-3, 1e-2, 2e-2, 4e-2),
  "rate": (5e-3, 1e-2, 2e-2, 4e-2),
  "first_spike": (1e-3, 2.5e-3, 5e-3),
}
SCALES = {
  "full": (0.0,), "rate": (2.0, 4.0, 8.0), "first_spike": (1.0, 2.0, 4.0)
}  # fmt: skip
STEPS = 1400


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, rate {rate}, scale {scale or 1}": {
      "view": view,
      "baseline_view": "",
      "steps": STEPS,
      "optimizer.learning_rate": rate,
      "view_scale": scale,
    }
    for view, scales in SCALES.items()
    for scale in scales
    for rate in RATES[view]
  }
  return studies.Study(
    "tuning",
    "What each view is trained with; hand-made ones try three scales more.",
    "mnist_time", rows, seeds=1, first_seed=100,
  )  # fmt: skip
