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
BEYOND = (  # Beyond the grid: view, rate, scale.
  ("full", 2.5e-3, 0.0), ("rate", 2.5e-3, 2.0), ("rate", 8e-2, 4.0),
  ("first_spike", 1e-2, 1.0),
  ("first_spike", 2e-2, 1.0), ("first_spike", 2.5e-3, 8.0),
)  # fmt: skip
STEPS = 1400

# The best scale of the grid and the best rates, tried at other sizes.
BEST = {
  "full": (0.0, (1e-2, 2e-2)),
  "rate": (4.0, (2e-2, 4e-2)),
  "first_spike": (8.0, (5e-3,)),
}
# Counts of few neurons, beyond these: rates by the number of neurons.
COUNTS_OF_FEW = {2: (8e-2,), 4: (2e-2, 4e-2, 8e-2)}
# Of the encoder and of the decoder.
PAIRS = ((2e-2, 5e-3), (1e-2, 5e-3), (1e-2, 2e-2))
PAIRS_OF_16 = {
  "full": ((2e-2, 2e-3), (2e-2, 5e-3), (4e-2, 2e-3), (4e-2, 5e-3)),
  "rate": ((2e-2, 5e-3), (2e-2, 2e-2), (4e-2, 5e-3), (4e-2, 2e-2)),
}


def _row(view, size, rate, scale, encoder=0.0, steps=STEPS):
  return {
    "view": view,
    "baseline_view": "",
    "steps": steps,
    "beta": 1e-3,
    "optimizer.learning_rate": rate,
    "optimizer.encoder_learning_rate": encoder,
    "view_scale": scale,
    "encoder.num_readout": size,
  }


def _one_rate():
  """Rate and scale with 8 neurons, then the best rates with more and fewer."""
  tried = [
    (view, rate, scale)
    for view, scales in SCALES.items()
    for scale in scales
    for rate in RATES[view]
    if scale < 8.0 or rate >= 5e-3  # Smaller ones got worse with the scale.
  ]
  rows = {
    f"{view}, rate {rate}, scale {scale or 1}": _row(view, 8, rate, scale)
    for view, rate, scale in (*tried, *BEYOND)
  }
  sizes = [(2, view) for view in BEST] + [(64, "full"), (64, "rate")]
  rows |= {
    f"{view}, rate {rate}, N_y {size}": _row(view, size, rate, BEST[view][0])
    for size, view in sizes
    for rate in BEST[view][1]
  }
  rows |= {
    f"rate, rate {rate}, N_y {size}": _row("rate", size, rate, BEST["rate"][0])
    for size, rates in COUNTS_OF_FEW.items()
    for rate in rates
  }
  return rows | {"full, rate 0.01, N_y 4": _row("full", 4, 1e-2, 0.0)}


def _two_rates():
  """The encoder and the decoder at rates of their own, few neurons to many."""
  tried = [(v, 16, pair) for v, pairs in PAIRS_OF_16.items() for pair in pairs]
  tried += [(v, size, pair) for size in (2, 8, 64) for v in BEST
            for pair in PAIRS]  # fmt: skip
  tried += [("rate", size, (4e-2, 1e-2)) for size in (2, 4, 8)]
  return {
    f"{view}, encoder {first}, decoder {second}, N_y {size}": _row(
      view, size, second, BEST[view][0], first
    )
    for view, size, (first, second) in (*tried, ("full", 4, PAIRS[0]))
  }


def _longer():
  """Eight neurons with the budget of the main job."""
  steps, rows = 2 * STEPS, {}
  for view in ("full", "rate"):
    scale, rates = BEST[view]
    for rate in rates:
      row = _row(view, 8, rate, scale, steps=steps)
      rows[f"{view}, rate {rate}, {steps} steps"] = row
    first, second = PAIRS[0]
    row = _row(view, 8, second, scale, first, steps)
    rows[f"{view}, encoder {first}, decoder {second}, {steps} steps"] = row
  return rows


def get_study() -> studies.Study:
  """The study."""
  return studies.Study(
    "tuning",
    "What is each view trained with? Hand-made ones try three scales more.",
    "mnist_time", _one_rate() | _longer() | _two_rates(), seeds=1,
    first_seed=100,
  )  # fmt: skip
