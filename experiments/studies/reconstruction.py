"""Reconstruction of MNIST: codes, decoders, and what the decoder sees.

Command: python -m experiments.study --study=reconstruction --workdir=DIR
With --data_dir=MNIST the test is on the official 10,000 images.
"""

from experiments import studies

CODES = ("latency", "rate")
DECODERS = ("mlp", "conv")
METHODS = {
  "VDIB": studies.tuned("full", 32),
  "rate decoding": studies.tuned("rate", 32),
  "first-spike decoding": studies.tuned("first_spike", 32),
  "frozen encoder": (
    studies.tuned("full", 32) | {"optimizer.encoder_name": "frozen"}
  ),
}
PUBLISHED = {  # As shipped: no repair.
  "estimator": "published", "credit": "feedback", "information": "sampled",
  "repairs": (), "batch_size": 1, "steps": 20_000, "data.max_shift": 0,
  "optimizer.learning_rate": 1e-3, "optimizer.encoder_name": "sgd",
  "optimizer.encoder_learning_rate": 1e-3 / 784, "optimizer.max_norm": 0.0,
  "optimizer.final_fraction": 1.0, "optimizer.warmup_fraction": 0.0,
  "eval_every": 5000, "encoder.gain": "published",
}  # fmt: skip

# Encoders' rates on rate codes: best distortion of `tuning_codes` on
# validation. On latency codes with the convolutional decoder it is that of
# METHODS, for both views.
ENCODER_RATES = {
  ("VDIB", "mlp"): 5e-3, ("VDIB", "conv"): 1e-2,
  ("rate decoding", "mlp"): 1e-2, ("rate decoding", "conv"): 5e-3,
  ("rate decoding", "conv of 1 channel"): 1e-2,
}  # fmt: skip

# Rates: best distortion of `tuning_autoencoder` on validation.
AUTOENCODERS = {"mlp": 1e-3, "conv": 5e-3}


def _of(code: str, decoder: str, name: str) -> dict:
  """Fields of a code and a decoder, with the rates tuned for a method."""
  fields = {"data.coding": code, "decoder": decoder.split()[0]}
  if code == "rate" and (name, decoder) in ENCODER_RATES:
    fields["optimizer.encoder_learning_rate"] = ENCODER_RATES[name, decoder]
  return fields


def get_study(data_dir: str = "") -> studies.Study:
  """The study; on the official test images where their folder is given."""
  common = {
    "baseline_view": "", "steps": 1400, "encoder.num_readout": 32,
    "beta": studies.BETA,
  }  # fmt: skip
  if data_dir:
    common |= {"data.source": "mnist_5k_official", "data.data_dir": data_dir}
  rows = {}
  for code in CODES:
    for decoder in DECODERS:
      for name, fields in METHODS.items():
        row = f"{name}, {code} code, {decoder}"
        rows[row] = common | fields | _of(code, decoder, name)
    # Counts have one row, of which the published rule makes one channel.
    few = _of(code, "conv of 1 channel", "rate decoding")
    rows[f"rate decoding, {code} code, conv of 1 channel"] = (
      common | METHODS["rate decoding"] | few | {"decoder_channels": 1}
    )
    shipped = common | PUBLISHED | {"data.coding": code}
    rows[f"published rule as shipped, {code} code, mlp"] = shipped
    rows[f"published settings, encoder frozen, {code} code, mlp"] = shipped | {
      "optimizer.encoder_name": "frozen"
    }
  programs = {}
  for decoder, rate in AUTOENCODERS.items():
    row = f"ANN autoencoder, {decoder}"
    rows[row] = common | studies.autoencoder(decoder, rate)
    programs[row] = studies.AUTOENCODER
  return studies.Study(
    "reconstruction",
    "Does a learned decoder that sees the whole train reconstruct best?",
    "mnist_time", rows, main_rows=tuple(
      row for row in rows if row.startswith(("VDIB", "rate decoding"))
    ), programs=programs,
  )  # fmt: skip
