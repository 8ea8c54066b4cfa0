"""Models that are trained for a noisy channel, and models that are not.

Command: python -m experiments.study --study=channel --workdir=DIR
`experiments.distort --kind=flips` then judges all of them at every noise.
"""

from experiments import studies

FLIPS = (0.0, 0.05, 0.1)
VIEWS = ("full", "rate")


def get_study() -> studies.Study:
  """The study."""
  common = {"baseline_view": "", "steps": 1400, "beta": studies.BETA}
  rows = {
    f"{view}, flips {flip:g}": (
      common | studies.tuned(view, 8) | {"channel_flip": flip}
    )
    for view in VIEWS
    for flip in FLIPS
  }
  return studies.Study(
    "channel",
    "Does a model that is trained for a noisy channel lose less in it?",
    "mnist_time", rows,
  )  # fmt: skip
