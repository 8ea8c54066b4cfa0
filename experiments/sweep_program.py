"""The members of a group as one compiled program.

What differs between members, `build.NUMBERS` and keys, are arrays with an axis
of members, and so is their state. A step is that of a single run under
`jax.vmap` (or `jax.lax.map`: one after the other, inside of the program), on
every device for its share of the members. A member whose step is not finite
stops there, with the state before it, or skips it, as its configuration says,
and stops after as many in a row as a single run does; others go on. (A single
run that stops sees a state that is not finite when it is judged or saved next,
which is after the same step or a few more.)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build, inputs, journal, loop, scoring
from timedecode import parallel, training

TOGETHER = ("vmap", "map")


class MemberState(NamedTuple):
  """A member on its way.

  Attributes:
    train: `training.TrainState`.
    alive: whether it goes on: no step stopped it by not being finite.
    skipped: steps so far that were not finite and passed over, int32.
    in_a_row: those of them after the last finite one, int32.
  """

  train: training.TrainState
  alive: jax.Array
  skipped: jax.Array
  in_a_row: jax.Array


class Given(NamedTuple):
  """numbers: field -> [M]; key: data of the members' keys, [M, 2]."""

  numbers: dict[str, jax.Array]
  key: jax.Array


def over_members(function, together: str, shared: int):
  """`function` of single members, over all; the last arguments are shared.

  Args:
    function: of arrays without an axis of members.
    together: of `TOGETHER`.
    shared: how many of the last arguments all members have in common.
  """

  def over(*arguments):
    cut = len(arguments) - shared
    own, common = arguments[:cut], arguments[cut:]
    if together == "map":
      return jax.lax.map(lambda one: function(*one, *common), own)
    return jax.vmap(lambda *one: function(*one, *common))(*own)

  return over


def _numbers(members) -> dict[str, np.ndarray]:
  """Field -> values of the members; without a rate that is another's."""
  columns = [member.config for member in members]
  found = {}
  for name in build.NUMBERS:
    place, _, leaf = name.rpartition(".")
    values = [(c[place] if place else c)[leaf] for c in columns]
    if name != "optimizer.encoder_learning_rate" or all(values):
      found[name] = np.array(values, np.float32)
  return found


class Program:
  """A group's functions, compiled once for its shape.

  Attributes:
    members: `sweep_plan.Member`s, as many as results have.
    seeds: of the members, filled up to a multiple of the devices.
    layout: `parallel.Layout`, whose devices share the members.
  """

  def __init__(self, members, source, layout: parallel.Layout, together: str):
    """Nothing is compiled yet.

    Args:
      members: of one shape.
      source: `sources.Source`.
      layout: which devices there are.
      together: of `TOGETHER`.
    """
    self.members, self.layout = members, layout
    missing = -len(members) % len(layout.devices)
    self._filled = [*members, *[members[-1]] * missing]
    self.seeds = tuple(member.config.seed for member in self._filled)
    config = members[0].config.copy_and_resolve_references()
    config.parallel, config.num_devices = "none", 0  # Of a member's step.
    self._config, self._source = config, source
    split = layout.compile_split
    self._init = split(over_members(self._init_one, together, 0), (True,))
    self.step = split(
      over_members(self._step_one, together, 1), (True, True, True, False),
      donate=True,
    )  # fmt: skip
    self._evaluate = split(
      over_members(self._evaluate_one, together, 4),
      (True, True, False, False, False, False),
    )

  def given(self, key_of_seed) -> Given:
    """The arguments of the members, on their devices.

    Args:
      key_of_seed: seed -> key.
    """
    keys = [jax.random.key_data(key_of_seed(seed)) for seed in self.seeds]
    numbers = _numbers(self._filled)
    return self.place(Given(numbers, np.stack([np.asarray(k) for k in keys])))

  def _build(self, numbers):
    config = build.with_numbers(self._config, numbers)
    return build.build(config, config.view)

  def _init_one(self, given):
    built = self._build(given.numbers)
    state = built.init(jax.random.wrap_key_data(given.key))
    none = jnp.zeros((), jnp.int32)
    return MemberState(state, jnp.array(True), none, none)

  def _step_one(self, state, rows, given, diagnose):
    step = loop.pure_step(self._source, self._build(given.numbers), skip=True)
    key = jax.random.wrap_key_data(given.key)
    after, metrics = step(state.train, rows, key, diagnose)
    bad = ~jnp.isfinite(metrics.loss)
    in_a_row = jnp.where(bad, state.in_a_row + 1, 0)
    limit = journal.SKIPS if self._config.non_finite == "skip" else 1
    alive = state.alive & (in_a_row < limit)
    after = MemberState(after, alive, state.skipped + bad, in_a_row)
    before = state._replace(alive=alive)
    kept = jax.tree.map(
      lambda new, old: jnp.where(alive, new, old), after, before
    )
    return kept, metrics

  def _evaluate_one(self, params, given, judge_params, rows, index, start):
    config = build.with_numbers(self._config, given.numbers)
    evaluate = scoring.pure_evaluator(config, config.view, self._source)
    key = jax.random.wrap_key_data(given.key)
    for number in (index, start):
      key = jax.random.fold_in(key, number)
    return evaluate(judge_params, params, rows, key, 0.0)[0]

  def without_broken(self, states, figures) -> MemberState:
    """The states; members whose distortion on validation is not finite go no
    further, as runs of their own.

    Args:
      states: on their devices.
      figures: of `evaluate`.
    """
    alive = self.collect(states.alive)
    finite = np.isfinite([found["distortion"] for found in figures])
    if not (alive & ~finite).any():
      return states
    return states._replace(alive=self.place(alive & finite))

  def init(self) -> MemberState:
    """All members at step 0."""
    return self._init(self.given(jax.random.key))

  def memory(self) -> tuple[int, int, int]:
    """Bytes of a device's states, and of what its step and its evaluation need
    besides. Compiles both.
    """
    given = self.given(jax.random.key)
    lead = given.key.shape[:-1]  # [M], or devices and members.
    states = jax.eval_shape(self._init, given)
    rows = self._rows("train", (*lead, self._config.batch_size))
    step = self.step.lower(states, rows, given, False)
    judge = inputs.judge_shapes(self._config)
    rows = self._rows("validation", (scoring.EVAL_BATCH,))
    evaluate = self._evaluate.lower(
      states.train.params, given, judge, rows, 0, 0
    )
    total = sum(
      leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(states)
    )
    count = len(self.layout.devices)
    if self.layout.kind == "pmap":  # Of this process alone.
      count //= jax.process_count()
    needed = (one.compile().memory_analysis() for one in (step, evaluate))
    return total // count, *(
      getattr(temporary, "temp_size_in_bytes", 0) for temporary in needed
    )

  def _rows(self, split: str, lead: tuple[int, ...]):
    """Shapes of rows of a split, `lead` of them."""
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct((*lead, *leaf.shape[1:]), leaf.dtype),
      self._source.rows(split),
    )

  def place(self, whole: Any) -> Any:
    """Arrays [M or filled up, ...] of the host on the devices."""

    def one(leaf):
      leaf = np.asarray(leaf)
      missing = len(self._filled) - len(leaf)
      if missing:
        leaf = np.concatenate([leaf, np.repeat(leaf[-1:], missing, 0)])
      return self.layout.share(leaf)

    return self.layout.place(jax.tree.map(one, whole))

  def collect(self, tree: Any) -> Any:
    """Arrays [M, ...] of NumPy, in every process."""
    whole = self.layout.collect(tree)
    return jax.tree.map(lambda leaf: leaf[: len(self.members)], whole)

  def evaluate(self, states, judge_params, rows, key_of_seed, num_samples=1):
    """Figures of every member on a split, as `scoring` has them."""
    given, params = self.given(key_of_seed), states.train.params
    results = []
    for index in range(num_samples):
      sums, _ = scoring.mean_figures(
        lambda batch, start, index=index: (
          self.layout.collect(
            self._evaluate(params, given, judge_params, batch, index, start)
          ),
          None,
        ),
        rows,
      )
      results.append(sums)
    outputs = inputs.task(self._config).num_outputs
    return [
      scoring.in_bits(
        {k: float(np.mean([r[k][m] for r in results])) for k in results[0]},
        outputs,
      )
      for m in range(len(self.members))
    ]
