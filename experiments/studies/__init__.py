"""Tables of experiments, one file each, for `experiments.study`."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Study(NamedTuple):
  """A table of experiments.

  Attributes:
    name: of the study.
    question: what it is to answer, in a sentence.
    config: name of a file of configs/ that the rows change.
    rows: name -> {dotted field: value}.
    seeds: how many; they are counted from `first_seed`.
    first_seed: tuning takes other seeds than what is reported.
    main_rows: get `main_seeds` in place of `seeds`.
    main_seeds: how many.
    programs: of rows that are no run of `train`: the module and its flags.
  """

  name: str
  question: str
  config: str
  rows: dict[str, dict[str, Any]]
  seeds: int = 3
  first_seed: int = 0
  main_rows: tuple[str, ...] = ()
  main_seeds: int = 5
  programs: Mapping[str, tuple[str, ...]] = {}

  def seeds_of(self, row: str) -> int:
    """How many seeds a row gets."""
    return self.main_seeds if row in self.main_rows else self.seeds


BETA = 1e-2  # Best of `tuning_price`, for the whole view and for counts.

# Factor of what each view shows, and learning rates (encoder, decoder) by the
# number of readout neurons: the best of `tuning` on validation.
SCALES = {"full": 0.0, "rate": 4.0, "first_spike": 8.0}
LEARNING_RATES = {
  "full": {2: (1e-2, 1e-2), 8: (2e-2, 5e-3)},
  "rate": {2: (4e-2, 4e-2), 4: (2e-2, 2e-2), 8: (4e-2, 4e-2), 16: (2e-2, 5e-3)},
  "first_spike": {2: (2e-2, 5e-3)},  # At 64: `tuning_price`.
}


# The autoencoder pays the same for its information as everybody else.
AUTOENCODER = ("experiments.vae", f"--kl_weight={BETA}")


def autoencoder(decoder: str, rate: float) -> dict[str, Any]:
  """Fields of the autoencoder: a latent as large as 32 trains, one rate."""
  return {
    "baseline_view": "", "steps": 1400, "encoder.num_readout": 32,
    "decoder": decoder, "optimizer.learning_rate": rate,
    "optimizer.encoder_learning_rate": 0.0,
  }  # fmt: skip


def tuned(view: str, num_readout: int) -> dict[str, Any]:
  """Fields of a view: its factor and rates, those of the next smaller size."""
  sizes = LEARNING_RATES[view]
  nearest = max(size for size in sizes if size <= num_readout)
  encoder, decoder = sizes[nearest]
  return {
    "view": view,
    "view_scale": SCALES[view],
    "encoder.num_readout": num_readout,
    "optimizer.learning_rate": decoder,
    "optimizer.encoder_learning_rate": encoder,
  }
