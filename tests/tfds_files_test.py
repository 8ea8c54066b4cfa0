"""Sets that TFDS keeps: where, whose fault, and who needs which module."""

import pathlib
import subprocess
import sys

import pytest

from timedecode.datasets import mnist_dvs_tfds, mnist_tfds, tfds_files

_PROBE = """
import sys
import timedecode.datasets.{0}
sys.exit("timedecode.datasets.{1}" in sys.modules)
"""


@pytest.mark.parametrize(
  "module, other",
  [("mnist_tfds", "mnist_dvs_tfds"), ("mnist_dvs_tfds", "mnist_tfds")],
)
def test_neither_builder_needs_the_other(module, other):
  probe = _PROBE.format(module, other)
  assert subprocess.run([sys.executable, "-c", probe]).returncode == 0


def test_folders_are_those_of_the_builders(tmp_path):
  for kind, config in (
    (mnist_tfds.MnistIdx, mnist_tfds.FULL),
    (mnist_dvs_tfds.MnistDvs, mnist_dvs_tfds.MnistDvs.BUILDER_CONFIGS[1]),
  ):
    builder = kind(data_dir=tmp_path, config=config)
    folder = tfds_files.folder_of(tmp_path, kind, config)
    assert folder == pathlib.Path(builder.data_dir)


def test_any_error_names_the_folder(tmp_path):
  for error in (KeyError("x"), AssertionError("y"), OSError("z")):
    with pytest.raises(ValueError, match=f"{tmp_path}: half prepared") as got:
      with tfds_files.blaming(tmp_path):
        raise error
    assert got.value.__cause__ is error
