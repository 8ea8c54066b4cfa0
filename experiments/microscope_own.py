"""Encoders of one's own under the microscope, from their spikes or a function.

  python -m experiments.microscope --encoder=MODULE:FUNCTION --output=FOLDER

FUNCTION takes nothing and returns what `of_encoder` or `of_trains` returns.
What is decoded are labels, by a decoder that is trained on the spikes.
"""

import importlib
import os
import sys
from collections.abc import Callable

import jax
import numpy as np

from experiments import constant
from experiments import trains as trains_lib
from experiments.inputs import Task
from experiments.microscope_decoding import Decoder
from experiments.microscope_subject import TRIALS, Subject, most_active
from timedecode import arrays, bottleneck, decoder, readout, timing

WIDTH = 128  # Of the decoder.


def recorded(
  spikes: np.ndarray,
  labels: np.ndarray,
  inputs: np.ndarray | None = None,
  logits: np.ndarray | None = None,
  hidden: np.ndarray | None = None,
) -> trains_lib.Trains:
  """Trains of any origin.

  Args:
    spikes: y of 0 and 1, [M, T, N].
    labels: whole numbers >= 0, [M].
    inputs: x, [M, T, ...]; None: what neurons see isn't shown.
    logits: of P(y_t = 1 | x^t, y^{t-1}), [M, T, N]; None: the information
      bound isn't shown.
    hidden: spikes of a hidden layer, [M, T, H], for what its neurons see.

  Raises:
    ValueError: shapes and values that these are not.
  """
  spikes = arrays.spikes("spikes", spikes).astype(np.float32)
  labels = arrays.labels("labels", labels, len(spikes)).astype(np.int32)
  if logits is not None:
    logits = arrays.real("logits", logits, "M T N").astype(np.float32)
    if logits.shape != spikes.shape:
      raise ValueError(
        f"logits: expected the shape of spikes {spikes.shape}, got"
        f" {logits.shape}"
      )
  seen, inner = _flat("inputs", inputs, spikes), _flat("hidden", hidden, spikes)
  if inner.size:
    inner = arrays.spikes("hidden", inner)
  return trains_lib.Trains(
    seen, inner, np.zeros((len(labels), 0)), spikes, logits, labels, labels
  )


def _flat(name: str, values, spikes: np.ndarray) -> np.ndarray:
  """[M, T, ...] as [M, T, D]; D = 0 where there is none."""
  if values is None:
    return np.zeros((*spikes.shape[:2], 0), np.float32)
  if np.shape(values)[:2] != spikes.shape[:2]:
    raise ValueError(
      f"{name}: expected [{spikes.shape[0]}, {spikes.shape[1]}, ...] as"
      f" spikes, got shape {np.shape(values)}"
    )
  flat = np.reshape(values, (*spikes.shape[:2], -1))
  return arrays.real(name, flat, "M T D")


def record(
  sample: Callable,
  params,
  inputs: np.ndarray,
  labels: np.ndarray,
  seed: int = 0,
  hidden: bool = False,
) -> trains_lib.Trains:
  """Trains that an encoder draws, one per example.

  Args:
    sample: ``(params, inputs [T, ...], key)``, in JAX, of one example, to what
      has `spikes` [T, N] and perhaps `logits` [T, N] and `hidden`, a tuple of
      layers' spikes [T, ...], as `encoder.Sample`.
    params: its first argument.
    inputs: x, [M, T, ...].
    labels: whole numbers >= 0, [M].
    seed: of the keys.
    hidden: whether spikes of the first hidden layer are kept.

  Raises:
    ValueError: what it returns is no such thing.
  """

  def one(x, key):
    found = sample(params, x, key)
    if not hasattr(found, "spikes"):
      raise ValueError(
        "sample: expected something with spikes [T, N], got"
        f" {type(found).__name__}"
      )
    layers = hidden and getattr(found, "hidden", ())
    logits = getattr(found, "logits", None)
    return found.spikes, logits, layers[0] if layers else None

  inputs = np.asarray(inputs)
  if inputs.ndim < 2 or not inputs.size:
    raise ValueError(
      f"inputs: expected [M, T, ...], each at least 1, got shape {inputs.shape}"
    )
  keys = jax.random.split(jax.random.key(seed), len(inputs))
  many, parts = jax.jit(jax.vmap(one)), []
  for start in range(0, len(inputs), trains_lib.AT_ONCE):
    at = np.arange(start, start + trains_lib.AT_ONCE) % len(inputs)
    parts.append(jax.tree.map(np.asarray, many(inputs[at], keys[at])))
  join = lambda *some: np.concatenate(some)[: len(inputs)]
  spikes, logits, inner = jax.tree.map(join, *parts)
  return recorded(spikes, labels, inputs, logits, inner)


def _check_together(train, test, trials) -> None:
  """Refuses trains of different sizes, and too few."""
  count, *sizes = test.spikes.shape
  if [*train.spikes.shape[1:]] != sizes:
    raise ValueError(
      f"test: expected trains of {train.spikes.shape[1:]} steps and neurons as"
      f" train, got {test.spikes.shape[1:]}"
    )
  arrays.at_least("train", train.labels, timing.LEAST, "examples")
  arrays.at_least("test", test.labels, 2, "examples")
  if trials is not None:
    trials = arrays.spikes("trials", trials, "M S T N")
    if [len(trials), *trials.shape[2:]] != [count, *sizes]:
      raise ValueError(
        f"trials: expected [{count}, S, {sizes[0]}, {sizes[1]}] of test, got"
        f" shape {trials.shape}"
      )


def of_trains(
  train: trains_lib.Trains,
  test: trains_lib.Trains,
  name: str = "own encoder",
  trials: np.ndarray | None = None,
  input_shape: tuple[int, ...] = (),
) -> Subject:
  """What `microscope.write` makes a page of, from trains of any origin.

  Args:
    train: what decoders, probes and priors are fitted to, as `recorded`.
    test: other examples, which the figures are of.
    name: in the title.
    trials: other samples of y of the test examples, [M, S, T, N], S >= 2.
    input_shape: of one step of the inputs; fields are drawn of pictures,
      (height, width), and of events, (height, width, 2), OFF first.

  Raises:
    ValueError: trains that don't go together, fewer than four to fit or two
      to look at.
  """
  _check_together(train, test, trials)
  shape = test.spikes.shape
  classes = int(max(train.labels.max(), test.labels.max())) + 1
  ann = decoder.make("mlp", classes, width=WIDTH)
  task = Task((), classes, "categorical", "accuracy")
  answers = [(trains.targets, trains.labels) for trains in (train, test)]
  rate = np.clip(train.spikes.mean(), 1e-3, 1 - 1e-3)
  loss = bottleneck.DISTORTIONS[task.distortion]
  return Subject(
    f"{name}: {shape[2]} readout neurons, {shape[0]} test examples",
    {"metric": task.metric, "data": name, "view": "full"},
    train, test, trials, Decoder(ann.init, ann.apply, loss, None),
    readout.whole_train, None, constant.distortions(task, *answers),
    float(rate), min(10, max(1, shape[1] - 1)), input_shape=input_shape,
    shown=most_active(test.hidden),
  )  # fmt: skip


def of_encoder(
  sample: Callable,
  params,
  train: tuple[np.ndarray, np.ndarray],
  test: tuple[np.ndarray, np.ndarray],
  name: str = "own encoder",
  seed: int = 0,
) -> Subject:
  """The same of an encoder that is a function.

  Args:
    sample: as for `record`.
    params: its first argument.
    train: inputs [M, T, ...] and labels [M].
    test: the same, of other examples.
    name: in the title.
    seed: of the samples.
  """
  fitted = record(sample, params, *train, seed)
  shown, *others = (
    record(sample, params, *test, seed + 1 + n, hidden=not n)
    for n in range(TRIALS + 1)
  )
  trials = np.stack([trains.spikes for trains in others], 1)
  return of_trains(fitted, shown, name, trials, np.shape(test[0])[2:])


def load(place: str) -> Subject:
  """What MODULE:FUNCTION returns, of the folder one is in or of a package."""
  module, colon, function = place.partition(":")
  if not (module and colon and function):
    raise ValueError(f"encoder: expected MODULE:FUNCTION, got {place!r}")
  if os.getcwd() not in sys.path:
    sys.path.insert(0, os.getcwd())
  try:
    make = getattr(importlib.import_module(module), function)
  except (ImportError, AttributeError) as error:
    raise ValueError(f"encoder: {place}: {error}") from error
  if not isinstance(found := make(), Subject):
    raise ValueError(
      f"encoder: expected {place} to return what microscope_own.of_encoder or"
      f" of_trains does, got {type(found).__name__}"
    )
  return found
