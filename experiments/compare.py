"""Compares all rules of learning under equal budgets.

  python -m experiments.compare --workdir=DIR [--config=...]

Every estimator with every rule of credit, the frozen random encoder and the
paper's rule learn the configuration's task at each readout size. One run gives
both readings: after a number of examples that is the same for all, and after
the steps that fit into the same time (the time of a step is measured first,
for all rules alternately). The learning rate is constant after its warm-up
and, per rule, the best of `--learning_rates` on validation at the first size.
Gradients are compared at one trained model with a reference of 10,000
samples. Finished runs are kept in DIR and not repeated.
"""

import functools
import pathlib
import time

import jax
import numpy as np
from absl import app, flags

from experiments import (
  build,
  checks,
  compare_gradients,
  compare_report,
  inputs,
  options,
  scoring,
)
from experiments import job as job_lib
from timedecode import credit

SIZES = flags.DEFINE_list("sizes", ["8", "32"], "Readout neurons.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds per rule, >= 2.", 2)
EXAMPLES = flags.DEFINE_integer("examples", 19_200, "Equal examples.", 1)
SECONDS = flags.DEFINE_float("seconds", 12.0, "Equal time of training.", 0.0)
RATES = flags.DEFINE_list("learning_rates", ["1e-3", "5e-3"], "To try.")
RULES = flags.DEFINE_list("rules", [], "Names of rules; all by default.")
REFERENCE = flags.DEFINE_integer("reference", 10_000, "Samples.", 16)

WARM_UP = 30  # Steps.
SAMPLES = {
  "straight_through": 1, "relaxed": 1, "score_function": 8, "arm": 8,
  "disarm": 8,
}  # fmt: skip


def all_rules() -> dict[str, dict]:
  """Name of a rule -> fields of the configuration."""
  rules = {"frozen": {"optimizer.encoder_name": "frozen"}}
  for name, num_samples in SAMPLES.items():
    for way in credit.CREDITS:
      fields = {"estimator": name, "num_samples": num_samples, "credit": way}
      rules[f"{name} + {way}"] = fields
  for baseline in ("batch", "moving_average"):
    rules[f"score_function ({baseline}) + bptt"] = {
      "estimator": "score_function", "num_samples": 1, "baseline": baseline,
    }  # fmt: skip
  for name in ("score_function", "disarm"):  # At equal evaluations, few.
    rules[f"{name} (2 samples) + bptt"] = {"estimator": name, "num_samples": 2}
  rules["published (repaired) + feedback"] = {
    "estimator": "published", "credit": "feedback", "information": "sampled",
  }  # fmt: skip
  return rules


def configure(config, fields, size, rate):
  """The configuration of a rule; the rate is constant after a warm-up."""
  config = config.copy_and_resolve_references()
  for name, value in fields.items():
    place, _, leaf = name.rpartition(".")
    (checks.field(config, place) if place else config)[leaf] = value
  config.encoder.num_readout = size
  config.steps = 10_000  # Of the schedule; no run is as long.
  config.optimizer.learning_rate = rate
  config.optimizer.encoder_learning_rate = 0.0  # One rate for all.
  config.optimizer.final_fraction = 1.0
  config.optimizer.warmup_fraction = WARM_UP / config.steps
  config.temperature = config.final_temperature = 0.5
  checks.validate(config)
  return config


def measure_costs(jobs, repeats=9):
  """Name -> seconds of a step, and bytes that it needs beside arguments."""
  states = {name: job.fresh(0) for name, job in jobs.items()}
  for _ in range(repeats):
    for name, job in jobs.items():
      states[name] = job.tick(states[name])
  return {
    name: {
      "step_seconds": float(np.median(job.times[2:])),
      "bytes": job.step.memory_analysis().temp_size_in_bytes,
    }
    for name, job in jobs.items()
  }


def chosen_rules() -> list[str]:
  """Names of the rules that the flags ask for; ValueError if unknown."""
  names = list(all_rules())
  unknown = sorted(set(RULES.value) - set(names))
  if unknown:
    raise ValueError(f"rules: expected some of {names}, got {unknown}")
  return [name for name in names if not RULES.value or name in RULES.value]


def numbers(name, values, kind) -> list:
  """The values of a list flag; ValueError unless all are > 0."""
  try:
    result = [kind(value) for value in values]
  except ValueError:
    result = []
  if not result or min(result) <= 0:
    raise ValueError(f"{name}: expected numbers > 0, got {values}")
  return result


class Comparison:
  """What is compared, each part made once: jobs, evaluators, kept runs."""

  def __init__(self, config, folder):
    """Checks the flags, claims the folder, loads data and judge."""
    self.config, self.folder = config, folder
    self.everything, self.rules = all_rules(), chosen_rules()
    self.rates = numbers("learning_rates", RATES.value, float)
    self.sizes = numbers("sizes", SIZES.value, int)
    job_lib.claim(
      folder,
      config.to_dict()
      | {"examples": EXAMPLES.value, "seconds": SECONDS.value,
         "learning_rates": self.rates, "reference": REFERENCE.value,
         "rules": self.rules, "sizes": self.sizes},
    )  # fmt: skip
    self.source = inputs.load(config)
    self.judge_params = inputs.judge(config, self.source)
    self.job = functools.cache(self._job)
    self.evaluator = functools.cache(self._evaluator)
    self.costs = functools.cache(self._costs)
    self._started = time.perf_counter()

  def _configured(self, name, size, rate):
    return configure(self.config, self.everything[name], size, rate)

  def _job(self, name, size, rate):
    return job_lib.Job(self._configured(name, size, rate), self.source)

  def _evaluator(self, size):
    config = configure(self.config, {}, size, self.rates[0])
    return scoring.make_evaluator(config, config.view, self.source)

  def _costs(self, size) -> dict:
    """Rule -> what a step of it costs, all timed alternately."""

    def make():
      rate = self.rates[0]
      return measure_costs({n: self.job(n, size, rate) for n in self.rules})

    return job_lib.kept(self.folder / f"costs_{size}.json", make)

  def steps(self, name, size) -> dict[str, int]:
    """Reading -> the step after which it is taken."""
    seconds = self.costs(size)[name]["step_seconds"]
    return {
      "equal examples": -(-EXAMPLES.value // self.config.batch_size),
      "equal time": max(1, round(SECONDS.value / seconds)),
    }

  def train(self, name, size, seed, rate) -> dict:
    """Both readings of a run, kept in the folder."""
    steps = self.steps(name, size)

    def make():
      readings = {"steps": steps}

      def visit(reading, params):
        readings[reading] = {
          split: self.evaluator(size)(
            self.judge_params, params, self.source.rows(split),
            jax.random.key(seed),
          )[0]
          for split in ("validation", "test")
        }  # fmt: skip

      self.job(name, size, rate).train(seed, steps, visit)
      return readings

    file = f"{name}-{size}-{seed}-{rate:g}.json".replace(" ", "")
    result = job_lib.kept(self.folder / file, make)
    found = {
      reading: round(result[reading]["validation"]["judge_accuracy"], 3)
      for reading in steps
    }
    spent = time.perf_counter() - self._started
    print(
      f"{spent:5.0f} s  {name}, N_y {size}, seed {seed}, {rate:g}: {found}",
      flush=True,
    )
    return result

  def rows(self, name) -> list[dict]:
    """A rule's rows: the best rate at the first size, all seeds, all sizes."""
    tried = {r: self.train(name, self.sizes[0], 0, r) for r in self.rates}
    best = max(
      self.rates,
      key=lambda r: tried[r]["equal examples"]["validation"]["judge_accuracy"],
    )
    return [
      {
        "rule": name, "size": size, "learning_rate": best,
        "runs": [
          self.train(name, size, seed, best) for seed in range(SEEDS.value)
        ],
        **self.costs(size)[name],
      }
      for size in self.sizes
    ]  # fmt: skip

  def gradients(self) -> dict:
    """Bias and variance of every rule's gradient, at one trained model."""

    def rule(name, estimates):
      config = self._configured(name, self.sizes[0], self.rates[0])
      built = build.build(config, config.view)
      return compare_gradients.Rule(built, max(2, estimates))

    def make():
      count = REFERENCE.value
      # Those of 2 samples are told apart by their variance: all estimates.
      rules = {
        name: rule(name, count // (1 if "2 samples" in name else 8))
        for name in self.rules
        if name != "frozen"
      }
      job = self.job("straight_through + bptt", self.sizes[0], max(self.rates))
      reference = rule("disarm + bptt", count // 8)
      return compare_gradients.measure(job, rules, reference)

    return job_lib.kept(self.folder / "gradients.json", make)


def run(config, folder):
  """The whole comparison; returns the rows of its table."""
  comparison = Comparison(config, folder)
  for size in comparison.sizes:  # All before any training.
    comparison.costs(size)
  rows = [row for name in comparison.rules for row in comparison.rows(name)]
  gradients = comparison.gradients()
  compare_report.write(
    folder, config, rows, gradients, EXAMPLES.value, SECONDS.value
  )
  return rows


def main(argv):
  """Parses the flags and turns errors of use into one line."""
  if len(argv) > 1 or not options.WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and no other arguments")
  try:
    run(options.CONFIG.value, pathlib.Path(options.WORKDIR.value))
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main)
