"""Recordings of an event camera into pictures: targets, bins, decoders.

Command: python -m experiments.study --study=naturalisation --workdir=DIR
With --data_dir=DIR the recordings are MNIST-DVS' own, without it simulated.
"""

from experiments import studies

# The shorter bins have half the training, as a step takes 2.5 times as long.
BINS = {
  "25 ms": {"data.dt_ms": 25.0, "num_steps": 80},
  "10 ms, 1,680 steps": {
    "data.dt_ms": 10.0, "num_steps": 200, "steps": 1680, "eval_every": 280,
  },
}  # fmt: skip
TARGETS = ("prototype", "random")
VIEWS = ("full", "rate")


def get_study(data_dir: str = "") -> studies.Study:
  """The study; on MNIST-DVS where its folder is given."""
  common = {"baseline_view": "", "precision": "bfloat16"}
  if data_dir:
    common |= {"data.source": "mnist_dvs", "data.data_dir": data_dir}
  rows = {
    f"{view} {target} {name}": common | {
      "view": view, "view_scale": studies.SCALES[view],
      "data.target": target,
    } | fields
    for name, fields in BINS.items()
    for target in TARGETS
    for view in VIEWS
  }  # fmt: skip
  first = rows["rate prototype 25 ms"]  # As the published rule has it.
  rows["rate prototype 25 ms, 1 channel"] = first | {"decoder_channels": 1}
  return studies.Study(
    "naturalisation",
    "Do whole trains give clearer pictures than counts?",
    "mnist_dvs_prototypes", rows, seeds=3,
  )  # fmt: skip
