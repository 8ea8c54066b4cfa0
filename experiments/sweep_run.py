"""Runs a sweep: its groups, one after the other, rung by rung."""

import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import (
  hosts,
  inputs,
  job,
  journal,
  sweep_plan,
  sweep_program,
  sweep_report,
  sweep_training,
  workdir,
)
from timedecode import parallel


def default_together() -> str:
  """`map` on CPUs, whose batched products are slow, else `vmap`."""
  return "map" if jax.default_backend() == "cpu" else "vmap"


class Sweep:
  """Members, their groups, and how they are trained.

  Attributes:
    members: `sweep_plan.Member`s.
    groups: `sweep_plan.Group`s.
    rungs: (steps, members left after them).
    layout: `parallel.Layout`, whose devices share the members of a group.
    together: of `sweep_program.TOGETHER`.
  """

  def __init__(self, config, texts, halving=0, most=0, together=""):
    """Checks everything; ValueError for what can't be.

    Args:
      config: that is varied.
      texts: ``field=values``.
      halving: 0, or the factor of successive halving.
      most: members of one program, 0: any number.
      together: as the attribute; "": `default_together`.
    """
    self.together = together or default_together()
    if self.together not in sweep_program.TOGETHER:
      raise ValueError(
        f"together: expected one of {sweep_program.TOGETHER}, got {together!r}"
      )
    if most < 0:
      raise ValueError(f"most: expected >= 0, got {most}")
    values = sweep_plan.grid(config, texts)
    if "steps" in values and halving:
      raise ValueError("halving: expected 0 where steps are swept")
    self.members = sweep_plan.members(config, values)
    self.groups = sweep_plan.groups(self.members, most)
    self.rungs = sweep_plan.rungs(config, len(self.members), halving)
    self.layout = parallel.layout(config.parallel, config.num_devices or None)
    self._sources, self._judges, self._programs = {}, {}, {}

  def source(self, member):
    """The `sources.Source` of a member, loaded once."""
    config = member.config
    key = repr((config.data, config.num_steps, config.encoder.kind))
    if key not in self._sources:
      self._sources[key] = source = inputs.load(config)
      hosts.agree({"data": journal.digests(source)})
    return self._sources[key]

  def judge(self, member):
    """The judge's parameters for a member, loaded or trained once."""
    config = member.config
    key = repr((config.data, config.judge_epochs))
    if key not in self._judges:
      self._judges[key] = inputs.judge(config, self.source(member))
    return self._judges[key]

  def program(self, members) -> sweep_program.Program:
    """The functions of some members of a group, made once."""
    names = tuple(member.name for member in members)
    if names not in self._programs:
      self._programs[names] = sweep_program.Program(
        members, self.source(members[0]), self.layout, self.together
      )
    return self._programs[names]

  def settings(self, texts) -> dict:
    """What a folder's sweep is known by."""
    config = workdir.flat(self.members[0].config.to_dict())
    swept = self.members[0].values
    kept = {
      name: value
      for name, value in config.items()
      if name not in (*workdir.ELSEWHERE, *swept)
    }
    groups = [[m.name for m in group.members] for group in self.groups]
    return {"sweep": texts, "config": kept, "groups": groups} | {
      "rungs": self.rungs
    }


class _Place(NamedTuple):
  """A group's survivors, their states and all their rows so far."""

  members: list
  states: Any
  rows: list


def _train(sweep, number, place, span, folder, report) -> _Place:
  """One segment of a group."""
  program = sweep.program(place.members)
  first, states = place.members[0], place.states
  if states is None:
    states = program.collect(program.init())
  segment = sweep_training.Segment(
    program, sweep.source(first), sweep.judge(first),
    folder / "groups" / str(number) / str(span[1]),
    lambda line: report(f"[group {number}] {line}"),
  )  # fmt: skip
  seconds = place.rows[-1]["train_seconds"] if place.rows else 0.0
  end = segment.run(states, *span, seconds)
  return _Place(place.members, end.states, [*place.rows, *end.rows])


def _last(place: _Place) -> list[dict]:
  """The last line of every member; {} in processes that have none."""
  rows = {row["member"]: row for row in place.rows}
  return [rows.get(member.name, {}) for member in place.members]


def _survivors(places: dict[int, _Place], left: int, metric: str) -> set:
  """Names of the best on validation, by process 0."""
  rows = [
    (member.name, row)
    for place in places.values()
    for member, row in zip(place.members, _last(place), strict=True)
  ]
  order = np.arange(len(rows))
  if parallel.is_main():
    least = lambda r: np.inf if r["distortion"] is None else r["distortion"]
    worth = [(r["alive"], r[metric], -least(r)) for _, r in rows]
    order = np.array(sorted(order, key=lambda i: worth[i], reverse=True))
  order = parallel.from_main(order)
  return {rows[i][0] for i in np.asarray(order)[:left]}


def _kept(place: _Place, names: set) -> _Place:
  """The members of those names."""
  at = [i for i, m in enumerate(place.members) if m.name in names]
  states = jax.tree.map(lambda leaf: leaf[at], place.states)
  return _Place([place.members[i] for i in at], states, place.rows)


def _through_rungs(sweep, folder, report) -> tuple[dict[int, _Place], dict]:
  """All training: places of those that came to the end, results of all."""
  results, first = {}, 0
  metric = inputs.task(sweep.members[0].config).metric
  places = {g.number: _Place(g.members, None, []) for g in sweep.groups}
  for steps, left in sweep.rungs:
    final = (steps, left) == sweep.rungs[-1]
    for number, place in places.items():
      until = place.members[0].config.steps if final else steps
      places[number] = _train(
        sweep, number, place, (first, until), folder, report
      )
    names = _survivors(places, left, metric)
    for number, place in places.items():
      for member, row in zip(place.members, _last(place), strict=True):
        if final or member.name not in names:
          results[member.name] = sweep_report.result(number, member, row, final)
    if not final:
      kept = {number: _kept(place, names) for number, place in places.items()}
      places = {n: place for n, place in kept.items() if place.members}
    first = steps
  return places, results


def run(sweep: Sweep, folder: pathlib.Path, texts, report=print) -> list[dict]:
  """All of it; returns the results of the members, as `sweep_report` has them.

  Args:
    sweep: what is trained.
    folder: new, or of the same sweep.
    texts: ``field=values``, by which the folder knows it.
    report: told of progress.
  """
  settings = sweep.settings(texts)
  hosts.agree(workdir.facts(sweep.members[0].config) | {"sweep": settings})
  parallel.on_main(lambda: job.claim(folder, settings))
  if not parallel.is_main():
    report = lambda line: None
  places, results = _through_rungs(sweep, folder, report)
  for place in places.values():
    _test(sweep, place, results)
  ordered = [results[member.name] for member in sweep.members]
  if parallel.is_main():
    ends = [
      _end(sweep, place, at)
      for place in places.values()
      for at in range(len(place.members))
    ]
    sweep_report.write(folder, sweep.members[0].config, ordered, ends, report)
  parallel.wait_for_all("end")
  return ordered


def _end(sweep, place: _Place, at: int) -> sweep_report.End:
  """Where a member is at the end of the sweep."""
  member = place.members[at]
  return sweep_report.End(
    member,
    jax.tree.map(lambda leaf: leaf[at], place.states.train),
    [row for row in place.rows if row["member"] == member.name],
    sweep.source(member),
  )


def _test(sweep, place, results) -> None:
  """Figures on the test set of all that came to the end and are finite."""
  first, program = place.members[0], sweep.program(place.members)
  figures = program.evaluate(
    program.place(place.states), sweep.judge(first),
    sweep.source(first).rows("test"), inputs.test_key,
    first.config.eval_samples,
  )  # fmt: skip
  for member, found in zip(place.members, figures, strict=True):
    if results[member.name]["status"] == "finished":
      results[member.name]["test"] = found
