"""A configuration that trains in a moment, for tests of the binaries."""

from experiments.configs import smoke


def configuration(**fields):
  """The smoke configuration made smaller.

  Args:
    **fields: dotted names, or with two underscores for a dot.
  """
  config = smoke.get_config()
  config.update({
    "batch_size": 4, "num_steps": 10, "eval_samples": 1, "baseline_view": "",
    "decoder_width": 8,
  })  # fmt: skip
  config.encoder.hidden, config.encoder.num_readout = (6,), 3
  named = {name.replace("__", "."): value for name, value in fields.items()}
  config.update_from_flattened_dict(named)
  return config
