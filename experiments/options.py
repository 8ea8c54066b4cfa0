"""The flags that the binaries share."""

import pathlib

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
  "config",
  str(pathlib.Path(__file__).parent / "configs" / "mnist_time.py"),
  "Configuration file; --config.field=value overrides a field.",
  lock_config=True,
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of results; train makes a dated one by default."
)
