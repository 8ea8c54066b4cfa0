"""What each repair of the published code's learning rule gains.

  python -m experiments.repairs --workdir=DIR

As shipped, with one repair, with all but one, with all: random feedback, SGD
for the encoder, Adam for the decoder, at the learning rate of the published
code and at the best of a grid on validation. What each variant takes for the
gradient is also compared with the exact one, at one trained model: the cosine
to it, its size and its variance. Finished runs are kept.
"""

import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments import (
  build,
  checks,
  compare_gradients,
  inputs,
  options,
  scoring,
)
from experiments import job as job_lib
from timedecode import published

EXAMPLES = flags.DEFINE_integer("repair_examples", 16_000, "Per run.", 1)
SEEDS = flags.DEFINE_integer("repair_seeds", 3, "Seeds, >= 2.", 2)
BATCH = flags.DEFINE_integer("repair_batch", 16, "Examples per step.", 1)
# The published rate is for a loss that is a mean over 784 pixels.
PUBLISHED_RATE = 1e-3 / 784
RATES = flags.DEFINE_list(
  "repair_rates", ["1e-4"], "Tried beside the published one."
)
REFERENCE = flags.DEFINE_integer(
  "repair_reference", 10_000, "Samples of the exact gradient.", 16
)
VARIANTS = flags.DEFINE_list("variants", [], "Names; all by default.")


def variants() -> dict[str, tuple[str, ...]]:
  """Name -> repairs."""
  every = published.REPAIRS
  result = {"as shipped": ()}
  result |= {f"only {name}": (name,) for name in every}
  result |= {
    f"all but {name}": tuple(r for r in every if r != name) for name in every
  }
  return result | {"all": every}


def configure(config, repairs, rate, seed):
  """The published rule's configuration."""
  config = config.copy_and_resolve_references()
  config.estimator, config.credit = "published", "feedback"
  config.information, config.repairs = "sampled", repairs
  config.seed, config.batch_size = seed, BATCH.value
  config.steps = -(-EXAMPLES.value // BATCH.value)
  choices = config.optimizer
  choices.learning_rate, choices.encoder_learning_rate = 1e-3, rate
  choices.encoder_name, choices.max_norm = "sgd", 0.0
  choices.final_fraction, choices.warmup_fraction = 1.0, 0.0
  checks.validate(config)
  return config


def chosen_variants() -> dict[str, tuple[str, ...]]:
  """The variants that the flags ask for; ValueError if unknown."""
  unknown = sorted(set(VARIANTS.value) - set(variants()))
  if unknown:
    raise ValueError(f"variants: expected {list(variants())}, got {unknown}")
  return {
    name: repairs
    for name, repairs in variants().items()
    if not VARIANTS.value or name in VARIANTS.value
  }


def gradients(config, source):
  """Variant -> cosine, size and variance of its gradient."""

  def rule(config):
    return compare_gradients.Rule(
      build.build(config, config.view), max(2, REFERENCE.value // 8)
    )

  exact = config.copy_and_resolve_references()
  exact.estimator, exact.num_samples = "disarm", 8
  rules = {}
  for name, repairs in chosen_variants().items():
    rules[name] = configure(config, repairs, PUBLISHED_RATE, 0)
    rules[name].batch_size = compare_gradients.BATCH
  return compare_gradients.measure(
    job_lib.Job(config, source),
    {name: rule(variant) for name, variant in rules.items()},
    rule(exact),
  )


class Repairs:
  """Runs of all variants, each kept in the folder."""

  def __init__(self, config, folder):
    """Checks the flags, claims the folder, loads data and judge."""
    self.chosen, self.folder = chosen_variants(), folder
    job_lib.claim(
      folder,
      config.to_dict()
      | {
        "repair_examples": EXAMPLES.value,
        "repair_batch": BATCH.value,
        "repair_rates": RATES.value,
        "repair_reference": REFERENCE.value,
        "variants": list(self.chosen),
      },
    )
    self.config, self.source = config, inputs.load(config)
    self.judge_params = inputs.judge(config, self.source)
    self.evaluate = scoring.make_evaluator(config, config.view, self.source)

  def _figures(self, job, seed) -> dict:
    """Trains; how far the readout has moved, and figures of both splits."""
    found = {}

    def visit(_, params):
      first = job.fresh(seed).params.encoder.readout.weights
      moved = params.encoder.readout.weights - first
      change = jnp.linalg.norm(moved) / jnp.linalg.norm(first)
      found["readout_change"] = float(change)
      for split in ("validation", "test"):
        found[split] = self.evaluate(
          self.judge_params, params, self.source.rows(split),
          jax.random.key(seed),
        )[0]  # fmt: skip

    job.train(seed, {"end": job.config.steps}, visit)
    return found

  def train(self, name, rate, seeds) -> list[dict]:
    """Figures of a variant's runs, compiled once if any is left to do."""
    config = configure(self.config, self.chosen[name], rate, 0)
    job = functools.cache(lambda: job_lib.Job(config, self.source))
    return [
      job_lib.kept(
        self.folder / f"{name}-{rate:.2g}-{seed}.json".replace(" ", "_"),
        lambda seed=seed: self._figures(job(), seed),
      )
      for seed in seeds
    ]

  def variant(self, name) -> dict:
    """All seeds at the published rate and at the best one on validation."""
    rates = (PUBLISHED_RATE, *map(float, RATES.value))
    first = {rate: self.train(name, rate, range(1)) for rate in rates}
    best = max(rates, key=lambda r: first[r][0]["validation"]["judge_accuracy"])
    every = {
      rate: self.train(name, rate, range(SEEDS.value))
      for rate in {PUBLISHED_RATE, best}
    }
    return {
      "published": every[PUBLISHED_RATE], "best": every[best], "best_rate": best
    }  # fmt: skip


def run(config, folder):
  """Variant -> figures of each seed at both rates, and of its gradient."""
  repairs, results, start = Repairs(config, folder), {}, time.perf_counter()
  for name in repairs.chosen:
    results[name] = repairs.variant(name)
    spent = time.perf_counter() - start
    print(f"{spent:5.0f} s  {line(name, results[name])}", flush=True)
  found = job_lib.kept(
    folder / "gradients.json", lambda: gradients(config, repairs.source)
  )
  for name, result in results.items():
    result["gradient"] = found[name]
  return results


def line(name, result) -> str:
  """A row of the table."""
  cells = [name]
  for kind in ("published", "best"):
    accuracy = [run["test"]["judge_accuracy"] for run in result[kind]]
    cells.append(f"{np.mean(accuracy):.3f} ± {np.std(accuracy, ddof=1):.3f}")
    nats = np.mean([run["test"]["pixel_cross_entropy"] for run in result[kind]])
    change = np.mean([run["readout_change"] for run in result[kind]])
    cells += [f"{nats:.4f}", f"{change:.2g}"]
  cells.append(f"{result['best_rate']:.2g}")
  for key in ("cosine", "relative_size", "relative_variance"):
    value = result.get("gradient", {}).get(key)
    cells.append("-" if value is None else f"{value:.2g}")
  return "| " + " | ".join(cells) + " |"


def main(argv):
  """Parses the flags, runs, prints and writes the table."""
  if len(argv) > 1 or not options.WORKDIR.value:
    raise app.UsageError("expected --workdir=DIR and no other arguments")
  folder = pathlib.Path(options.WORKDIR.value)
  try:
    results = run(options.CONFIG.value, folder)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  columns = "judge | nats/pixel | readout moved"
  head = (
    f"| repairs | {columns} | {columns} | at rate | cosine | size | variance |"
  )
  lines = [head, "|" + "---|" * 11]
  lines += [line(name, result) for name, result in results.items()]
  (folder / "table.md").write_text("\n".join(lines) + "\n")
  print("\n".join(lines))


if __name__ == "__main__":
  app.run(main)
