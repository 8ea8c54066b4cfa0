"""What `microscope` looks at: spike trains, what they are asked, a decoder."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import constant, finish, inputs
from experiments import microscope_measure as measure
from experiments import trains as trains_lib
from experiments.microscope_decoding import Decoder
from timedecode import bottleneck

TRIALS = 4  # Samples of y per test example, for what chance alone does.
FIELDS = 10  # Hidden neurons that are shown.


class Subject(NamedTuple):
  """A trained model, or an encoder alone.

  Attributes:
    title: in words.
    about: of the figures: `metric` of the decoder, `data`, `view`.
    train, test: `trains.Trains`; logits are None where they aren't known.
    trials: other samples of y of the test examples, [M, S, T, N], or None.
    decoder: what is decoded.
    view: ``spikes [T, N] -> [D, N]``, what the decoder sees.
    params: of the decoder as it was trained; None: one is trained on `train`.
    without: nats of the best answer without spikes, per test example, [M].
    prior_rate, prior_length: where priors begin, and their reach in steps.
    cost: `operations.Operations`, or None.
    weights: of the shown hidden neurons, [W, D], or of none, [0, 0].
    shown: the neurons of `Trains.hidden` whose fields are shown, [W].
    input_shape: of one step, for pictures.
  """

  title: str
  about: dict[str, str]
  train: trains_lib.Trains
  test: trains_lib.Trains
  trials: np.ndarray | None
  decoder: Decoder
  view: Callable[[jax.Array], jax.Array]
  params: Any
  without: np.ndarray
  prior_rate: float
  prior_length: int
  cost: Any = None
  weights: np.ndarray = np.zeros((0, 0))
  shown: np.ndarray = np.zeros(0, int)
  input_shape: tuple[int, ...] = ()


def _coded(config) -> str:
  """How inputs are coded: what is decoded by counts may come in as times."""
  if not inputs.is_coded(config):
    return ""
  return f" of {config.data.coding}-coded input"


def most_active(hidden: np.ndarray) -> np.ndarray:
  """Which neurons of [M, T, H] fire most, [W], at most `FIELDS`."""
  return np.argsort(-hidden.sum((0, 1)), kind="stable")[:FIELDS]


def _weights(config, params, hidden: np.ndarray):
  """Of the hidden neurons that fire most, [W, D], and which they are, [W].

  None of layers that aren't dense.
  """
  if config.encoder.kind != "dense" or not config.encoder.hidden:
    return np.zeros((0, 0)), np.zeros(0, int)
  order = most_active(hidden)
  return np.asarray(params.encoder.hidden[0].weights)[:, order].T, order


def of_run(config, run, source, judge_params, count: int) -> Subject:
  """Of a run of `experiments.train`, on its first test examples.

  Args:
    config: of the view that is looked at.
    run: `loop.Run`.
    source: of its data.
    judge_params: of the judge of pictures, None for labels.
    count: test examples; four times as many are fitted to.
  """
  built, params, task = run.built, run.state.params, inputs.task(config)
  keys = jax.random.split(jax.random.key(config.seed))
  sampler = functools.partial(trains_lib.make_sampler, source, built.model)
  draw = lambda sample, split, key, most: trains_lib.draw(
    sample, params, source.rows(split), key, most
  )
  some = sampler(("spikes", "logits", "targets", "labels"))
  train = draw(some, "train", keys[0], 4 * count)
  test = draw(sampler(), "test", keys[1], count)
  others = jax.random.split(jax.random.key(config.seed + 6), TRIALS)
  trials = [draw(some, "test", key, count).spikes for key in others]
  shape = inputs.sensor_shape(config)
  answers = [(trains.targets, trains.labels) for trains in (train, test)]
  return Subject(
    f"{config.name}: {finish.LABELS[run.view]}{_coded(config)},"
    f" {config.encoder.num_readout} readout neurons, {len(test.labels)} test"
    f" examples of {inputs.describe(config)}",
    {"metric": task.metric, "data": inputs.describe(config), "view": run.view},
    train, test, np.stack(trials, 1),
    Decoder(
      built.ann.init, built.model.decode,
      bottleneck.DISTORTIONS[task.distortion], judge_params,
    ),
    built.model.view, params.decoder, constant.distortions(task, *answers),
    config.prior_rate, config.prior_length,
    measure.cost(config, built.model.encoder, params.encoder, test),
    *_weights(config, params, test.hidden),
    shape[:2] if shape[2:] in ((), (1,)) else shape,
  )  # fmt: skip
