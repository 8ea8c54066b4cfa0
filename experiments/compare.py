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


def run(config, folder):
  """The whole comparison; returns the rows of its table."""
  everything, rules = all_rules(), chosen_rules()
  rates = numbers("learning_rates", RATES.value, float)
  sizes = numbers("sizes", SIZES.value, int)
  job_lib.claim(
    folder,
    config.to_dict()
    | {"examples": EXAMPLES.value, "seconds": SECONDS.value,
       "learning_rates": rates, "reference": REFERENCE.value,
       "rules": rules, "sizes": sizes},
  )  # fmt: skip
  source = inputs.load(config)
  judge_params = inputs.judge(config, source)
  job = functools.cache(
    lambda name, size, rate: job_lib.Job(
      configure(config, everything[name], size, rate), source
    )
  )
  gradient_rule = lambda name, estimates: compare_gradients.Rule(
    build.build(
      configure(config, everything[name], sizes[0], rates[0]), config.view
    ),
    max(2, estimates),
  )
  evaluator = functools.cache(
    lambda size: scoring.make_evaluator(
      configure(config, {}, size, rates[0]), config.view, source
    )
  )
  costs = {
    size: job_lib.kept(
      folder / f"costs_{size}.json",
      lambda size=size: measure_costs(
        {name: job(name, size, rates[0]) for name in rules}
      ),
    )
    for size in sizes
  }
  started = time.perf_counter()

  def one(name, size, seed, rate):
    steps = {
      "equal examples": -(-EXAMPLES.value // config.batch_size),
      "equal time": max(
        1, round(SECONDS.value / costs[size][name]["step_seconds"])
      ),
    }

    def make():
      readings = {"steps": steps}

      def visit(reading, params):
        readings[reading] = {
          split: evaluator(size)(
            judge_params, params, source.rows(split), jax.random.key(seed)
          )[0]
          for split in ("validation", "test")
        }

      job(name, size, rate).train(seed, steps, visit)
      return readings

    file = f"{name}-{size}-{seed}-{rate:g}.json".replace(" ", "")
    result = job_lib.kept(folder / file, make)
    found = {
      reading: round(result[reading]["validation"]["judge_accuracy"], 3)
      for reading in steps
    }
    spent = time.perf_counter() - started
    print(
      f"{spent:5.0f} s  {name}, N_y {size}, seed {seed}, {rate:g}: {found}",
      flush=True,
    )
    return result

  rows = []
  for name in rules:
    tried = {rate: one(name, sizes[0], 0, rate) for rate in rates}
    best = max(
      rates,
      key=lambda r: tried[r]["equal examples"]["validation"]["judge_accuracy"],
    )
    for size in sizes:
      runs = [one(name, size, seed, best) for seed in range(SEEDS.value)]
      rows.append({
        "rule": name, "size": size, "learning_rate": best, "runs": runs,
        **costs[size][name],
      })  # fmt: skip
  gradients = job_lib.kept(
    folder / "gradients.json",
    lambda: compare_gradients.measure(
      job("straight_through + bptt", sizes[0], max(rates)),
      # Those of 2 samples are told apart by their variance: all estimates.
      {
        name: gradient_rule(
          name, REFERENCE.value // (1 if "2 samples" in name else 8)
        )
        for name in rules if name != "frozen"
      },
      gradient_rule("disarm + bptt", REFERENCE.value // 8),
    ),
  )  # fmt: skip
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
