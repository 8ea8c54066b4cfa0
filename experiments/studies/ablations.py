"""One change at a time: beta, prior rate, steps, neurons that learn, view.

Command: python -m experiments.study --study=ablations --workdir=DIR
"""

from experiments import studies

BETAS = (0.0, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
RATES = (0.05, 0.1, 0.5)
STEPS = (10, 60)


def get_study() -> studies.Study:
  """The study."""
  common = studies.tuned("full", 8) | {
    "baseline_view": "", "steps": 1400, "beta": studies.BETA
  }  # fmt: skip
  rows = {f"beta {beta:g}": {"beta": beta} for beta in BETAS}
  rows |= {f"prior rate {rate}": {"prior_rate": rate} for rate in RATES}
  rows |= {f"T {steps}": {"num_steps": steps} for steps in STEPS}
  rows["bfloat16"] = {"precision": "bfloat16"}
  rows["frozen encoder"] = {"optimizer.encoder_name": "frozen"}
  rows["counts"] = studies.tuned("rate", 8)
  return studies.Study(
    "ablations",
    "Does information fall with beta, and distortion rise?",
    "mnist_time", {name: common | row for name, row in rows.items()},
    main_rows=("beta 0.01", "bfloat16"), main_seeds=8,
  )  # fmt: skip
