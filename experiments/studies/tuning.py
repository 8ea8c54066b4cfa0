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
  "full": (0.0,), "rate": (2.0, 4.0, 8.0),
  "first_spike": (1.0, 2.0, 4.0, 8.0, 16.0),
}  # fmt: skip
STEPS = 1400


# The best of these also at other sizes, each with the next best rate.
BEST = {
  "full": (0.0, (1e-2, 2e-2)),
  "rate": (4.0, (2e-2, 4e-2)),
  "first_spike": (8.0, (2.5e-3, 5e-3)),
}
SIZES = (2, 64)
PAIRS = ((2e-2, 5e-3), (1e-2, 5e-3), (1e-2, 2e-2))


def _row(view, size, rate, scale):
  return {
    "view": view,
    "baseline_view": "",
    "steps": STEPS,
    "beta": 1e-3,
    "optimizer.learning_rate": rate,
    "optimizer.encoder_learning_rate": 0.0,
    "view_scale": scale,
    "encoder.num_readout": size,
  }


def get_study() -> studies.Study:
  """The study."""
  rows = {
    f"{view}, rate {rate}, scale {scale or 1}": _row(view, 8, rate, scale)
    for view, scales in SCALES.items()
    for scale in scales
    for rate in RATES[view]
    if scale < 8.0 or rate >= 5e-3  # Smaller ones got worse with the scale.
  }
  rows |= {
    f"{view}, rate {rate}, N_y {size}": _row(view, size, rate, scale)
    for size in SIZES
    for view, (scale, rates) in BEST.items()
    for rate in rates
  }
  rows |= {  # With the budget of the main job.
    f"{view}, rate {rate}, {2 * STEPS} steps": (
      _row(view, 8, rate, scale) | {"steps": 2 * STEPS}
    )
    for view, (scale, rates) in BEST.items()
    if view != "first_spike"
    for rate in rates
  }
  rows |= {  # The encoder and the decoder at rates of their own.
    f"{view}, encoder {first}, decoder {second}, N_y 16": (
      _row(view, 16, second, BEST[view][0])
      | {"optimizer.encoder_learning_rate": first}
    )
    for view in ("full", "rate")
    for first in (1e-2, 2e-2, 4e-2)
    for second in (2e-3, 5e-3, 2e-2)
  }
  rows |= {  # The same rates of their own for every view, few neurons to many.
    f"{view}, encoder {first}, decoder {second}, N_y {size}": (
      _row(view, size, second, scale)
      | {"optimizer.encoder_learning_rate": first}
    )
    for size in (2, 8, 64)
    for view, (scale, _) in BEST.items()
    for first, second in PAIRS
  }
  rows |= {  # Between 2 and 8 the best of either.
    "full, rate 0.01, N_y 4": _row("full", 4, 1e-2, 0.0),
    "full, encoder 0.02, decoder 0.005, N_y 4": (
      _row("full", 4, 5e-3, 0.0) | {"optimizer.encoder_learning_rate": 2e-2}
    ),
  }
  rows |= {  # Eight neurons with the budget of the main job.
    f"{view}, encoder 0.02, decoder 0.005, {2 * STEPS} steps": (
      _row(view, 8, 5e-3, scale)
      | {"steps": 2 * STEPS, "optimizer.encoder_learning_rate": 2e-2}
    )
    for view, (scale, _) in BEST.items()
    if view != "first_spike"
  }
  return studies.Study(
    "tuning",
    "What each view is trained with; hand-made ones try three scales more.",
    "mnist_time", rows, seeds=1, first_seed=100,
  )  # fmt: skip
