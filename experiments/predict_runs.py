"""Part of `predict`: members of one kind as one compiled program.

A member is a seed with its numbers (`Numbers`); members differ in nothing
else, so `vmap` runs over them. Sequences are made inside the program; training
is a scan over batches of sequences and, inside, over time steps, each of which
moves the parameters.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments import predict_sequences as sequences
from timedecode import (
  bottleneck,
  encoder,
  metrics,
  online_learning,
  priors,
  readout,
  training,
)
from timedecode import decoder as decoder_lib
from timedecode.datasets import blobs

NUM_READOUT, WINDOW, PRIOR_RATE = 10, 5, 0.2
VIEWS = ("full", "rate")
RULES = ("tuned", "published")


class Kind(NamedTuple):
  """What a program is compiled for.

  Attributes:
    view: "full" or "rate".
    rule: "published": score function without a baseline, plain gradient
      descent in the encoder, Adam in the decoder; "tuned": `estimator`, Adam
      in both.
    estimator: of "tuned".
    num_steps: T of a training sequence.
    batch_size: B, sequences side by side.
  """

  view: str
  rule: str
  estimator: str
  num_steps: int
  batch_size: int


class Numbers(NamedTuple):
  """Of a member, scalars; arrays [M] for M members.

  Attributes:
    seed: of the initial parameters, the training sequences and the spikes.
    delta: steps from input to target.
    beta: nats per nat.
    rate: learning rate.
    factor: the decoder sees this times the spikes, or times their counts.
  """

  seed: jax.Array
  delta: jax.Array
  beta: jax.Array
  rate: jax.Array
  factor: jax.Array


class Figures(NamedTuple):
  """Means over steps and sequences.

  Attributes:
    accuracy: share of steps whose pattern is the most probable one.
    accuracy_start: the same over the first T steps, those trained on.
    cross_entropy_bits: -log2 q, bits per step.
    information_bits: bound on I(x -> y), bits per step.
    spikes: per readout neuron and step.
  """

  accuracy: jax.Array
  accuracy_start: jax.Array
  cross_entropy_bits: jax.Array
  information_bits: jax.Array
  spikes: jax.Array


def _optimizer(kind, rate):
  if kind.rule == "tuned":
    return optax.adam(rate)
  return optax.multi_transform(
    {"encoder": optax.sgd(rate), "decoder": optax.adam(rate)},
    training.ModelParams("encoder", "decoder", "decoder"),
  )


def _categorical(outputs, target):
  """As `bottleneck.categorical_distortion`; no scatter on the way back."""
  return jax.nn.logsumexp(outputs) - outputs @ jax.nn.one_hot(
    target, len(outputs)
  )


class Member:
  """One member's model and functions, built where its numbers are traced."""

  def __init__(self, kind, numbers):
    self.kind, self.numbers = kind, numbers
    self.encoder = encoder.make_encoder((blobs.NUM_NEURONS,), (), NUM_READOUT)
    self.decoder = decoder_lib.make("linear", blobs.NUM_PATTERNS)
    published = kind.rule == "published"
    self.learner = online_learning.make_learner(
      self.encoder, self.decode, priors.independent(PRIOR_RATE),
      _optimizer(kind, numbers.rate), window=WINDOW, beta=numbers.beta,
      view=self.view, distortion=_categorical,
      estimator="score_function" if published else kind.estimator,
    )  # fmt: skip

  def decode(self, weights, view):
    """Logits of the patterns, [210]."""
    return self.decoder.apply({"params": weights}, view)

  def view(self, window):
    """What the decoder sees of y in its window, [5, N_y]."""
    if self.kind.view == "rate":
      return readout.counts(window, self.numbers.factor * WINDOW)
    return self.numbers.factor * window

  def init(self):
    """`online_learning.State` before the first sequence."""
    root = jax.random.fold_in(jax.random.key(self.numbers.seed), 0)
    key_encoder, key_decoder, key = jax.random.split(root, 3)
    view = self.view(jnp.zeros((WINDOW, NUM_READOUT)))
    weights = self.decoder.init(key_decoder, view)["params"]
    params = training.ModelParams(self.encoder.init(key_encoder), weights)
    return self.learner.init(params, key, self.kind.batch_size)

  def learn(self, state, batches):
    """From one batch of sequences after the other, at every step of each."""

    root = jax.random.fold_in(jax.random.key(self.numbers.seed), 1)

    def batch(state, index):
      key, key_spikes = jax.random.split(jax.random.fold_in(root, index))
      keys = jax.random.split(key, self.kind.batch_size)
      patterns, targets = jax.vmap(
        lambda key: sequences.sequence(
          key, self.kind.num_steps, self.numbers.delta
        ),
        out_axes=1,
      )(keys)
      state = self.learner.restart(state, key_spikes)

      def step(state, now):
        pattern, target = now
        state, losses, correct = self.learner.step(
          state, blobs.pattern(pattern), target
        )
        return state, (jnp.mean(losses.distortion), jnp.mean(correct))

      state, seen = jax.lax.scan(step, state, (patterns, targets))
      return state, jax.tree.map(jnp.mean, seen)

    return jax.lax.scan(batch, state, batches)

  def evaluate(self, params, split, num_sequences, num_steps):
    """`Figures` with frozen parameters; the same sequences for all members."""
    keys = sequences.judged_keys(split, num_sequences)

    def one(key):
      key, key_spikes = jax.random.split(key)
      patterns, targets = sequences.sequence(key, num_steps, self.numbers.delta)
      sample = self.encoder.sample(
        params.encoder, blobs.pattern(patterns), key_spikes
      )
      windows = readout.sliding_window(sample.spikes, WINDOW)
      outputs = jax.vmap(
        lambda window: self.decode(params.decoder, self.view(window))
      )(windows)
      prior = priors.independent(PRIOR_RATE).logits((), sample.spikes)
      correct = jnp.argmax(outputs, -1) == targets
      nats = jnp.mean(jax.vmap(_categorical)(outputs, targets))
      bound = jnp.sum(bottleneck.divergence(sample.logits, prior)) / num_steps
      return Figures(
        jnp.mean(correct), jnp.mean(correct[: self.kind.num_steps]),
        metrics.nats_to_bits(nats), metrics.nats_to_bits(bound),
        jnp.mean(sample.spikes),
      )  # fmt: skip

    return jax.tree.map(jnp.mean, jax.lax.map(one, keys))


class Programs(NamedTuple):
  """Compiled for M members: numbers are arrays [M].

  Attributes:
    init: ``(numbers) -> states``.
    learn: ``(numbers, states, batches [n]) -> (states, (distortion [M, n],
      accuracy [M, n]))``; it consumes the states.
    evaluate: ``(numbers, params) -> Figures`` of [M], on validation sequences.
    test: the same on test sequences.
  """

  init: Any
  learn: Any
  evaluate: Any
  test: Any


@functools.cache
def programs(kind: Kind, num_sequences: int, num_steps: int) -> Programs:
  """`Programs` of a kind; judged on sequences of `num_steps` steps."""

  def judge(split):
    return lambda numbers, params: Member(kind, numbers).evaluate(
      params, split, num_sequences, num_steps
    )

  init = lambda numbers: Member(kind, numbers).init()
  learn = lambda n, state, batches: Member(kind, n).learn(state, batches)
  return Programs(
    jax.jit(jax.vmap(init)),
    jax.jit(jax.vmap(learn, in_axes=(0, 0, None)), donate_argnums=1),
    jax.jit(jax.vmap(judge(sequences.VALIDATION))),
    jax.jit(jax.vmap(judge(sequences.TEST))),
  )
