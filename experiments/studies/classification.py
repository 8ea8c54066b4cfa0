"""Labels of recordings, with a decoder of labels on the same inputs.

Command: python -m experiments.study --study=classification --workdir=DIR
With --data_dir=DIR the recordings are MNIST-DVS' own, without it simulated.
"""

from experiments import studies


def get_study(data_dir: str = "") -> studies.Study:
  """The study; on MNIST-DVS where its folder is given."""
  common = {
    "baseline_view": "", "data.target": "label", "data.max_rotation": 0.0,
    "data.max_zoom": 0.0,
  }  # fmt: skip
  if data_dir:
    common |= {"data.source": "mnist_dvs", "data.data_dir": data_dir}
  rows = {
    f"{view} N_y {size}": common | {
      "view": view, "view_scale": studies.SCALES[view],
      "encoder.num_readout": size, "decoder": "linear", "steps": 560,
      "eval_every": 140,
    }
    for size in (8, 64)
    for view in ("full", "rate", "first_spike")
  }  # fmt: skip
  return studies.Study(
    "classification",
    "Labels can be had of counts; few neurons need their times.",
    "mnist_dvs_prototypes", rows, seeds=3,
  )  # fmt: skip
