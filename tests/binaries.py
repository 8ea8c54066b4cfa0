"""Runs the binaries as users do; the judge of a configuration."""

import functools
import os
import pathlib
import re
import subprocess
import sys

import conftest

from experiments import origin
from timedecode import datasets, judge

ROOT = pathlib.Path(__file__).parents[1]
AS_USED = ("train", "evaluate")  # Compiled as for users: see conftest.


def run(name, *flags):
  env = dict(os.environ)
  if name in AS_USED:
    env["XLA_FLAGS"] = env["XLA_FLAGS"].replace(conftest.QUICK, "").strip()
  return subprocess.run(
    [sys.executable, "-m", f"experiments.{name}", *flags],
    capture_output=True, text=True, cwd=ROOT, env=env,
  )  # fmt: skip


def names_a_commit(record: dict) -> bool:
  """As every record of a clone does; elsewhere there is none to name."""
  named, here = record["commit"], origin.commit()
  if here is None:
    return named is None
  return bool(re.fullmatch(r"[0-9a-f]{40}(\+changes)?", named))


@functools.cache
def _judge(epochs):
  train = datasets.load().train
  return judge.load_or_train(train, datasets.cache_folder(), epochs).params


def judge_params(config):
  return _judge(config.judge_epochs)
