"""Tables of experiments, one file each, for `experiments.study`."""

from typing import Any, NamedTuple


class Study(NamedTuple):
  """A table of experiments.

  Attributes:
    name: of the study.
    claim: what it is to show, in a sentence.
    config: name of a file of configs/ that the rows change.
    rows: name -> {dotted field: value}.
    seeds: how many; they are counted from `first_seed`.
    first_seed: tuning takes other seeds than what is reported.
  """

  name: str
  claim: str
  config: str
  rows: dict[str, dict[str, Any]]
  seeds: int = 3
  first_seed: int = 0
