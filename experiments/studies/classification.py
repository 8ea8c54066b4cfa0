"""Labels of recordings, with a decoder of labels on the same inputs.

Command: python -m experiments.study --study=classification --workdir=DIR
With --data_dir=DIR the recordings are MNIST-DVS' own, without it simulated.
"""

from experiments import studies

VIEWS = ("full", "rate", "first_spike")
# Beta and the encoder's learning rate: the best of `tuning_labels` on
# validation.
TUNED = {
  8: {"full": (1e-3, 1e-2), "rate": (1e-3, 5e-3), "first_spike": (1e-3, 1e-2)},
  64: {"full": (1e-4, 1e-2), "rate": (1e-4, 1e-2), "first_spike": (1e-3, 1e-2)},
}


def fields(view: str, size: int) -> dict:
  """What a decoder of labels changes; factors are those of images."""
  return {
    "baseline_view": "", "data.target": "label", "view": view,
    "view_scale": studies.SCALES[view], "encoder.num_readout": size,
    "decoder": "linear", "steps": 840, "eval_every": 210,
    "precision": "bfloat16",
  }  # fmt: skip


def _tuned(view, size):
  beta, rate = TUNED[size][view]
  tuned = {"beta": beta, "optimizer.encoder_learning_rate": rate}
  return fields(view, size) | tuned


def get_study(data_dir: str = "") -> studies.Study:
  """The study; on MNIST-DVS where its folder is given."""
  source = {}
  if data_dir:
    source = {"data.source": "mnist_dvs", "data.data_dir": data_dir}
  rows = {
    f"{view} N_y {size}": _tuned(view, size) | source
    for size in TUNED
    for view in VIEWS
  }
  return studies.Study(
    "classification",
    "Can labels be had of counts, or do few neurons need their times?",
    "mnist_dvs_prototypes", rows, seeds=3,
  )  # fmt: skip
