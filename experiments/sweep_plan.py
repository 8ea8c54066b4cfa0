"""What a sweep consists of: values of fields, members, groups, rungs.

A member is a configuration. Members that differ in `build.NUMBERS` and in
their seed alone are one group: one compiled program trains them together.
"""

import itertools
import math
import re
from typing import Any, NamedTuple

import numpy as np

from experiments import build, checks, workdir
from timedecode.datasets import sources

_CALL = re.compile(r"(range|log)\(([^,()]+),([^,()]+),([^,()]+)\)")
_FIXED = (
  *workdir.ELSEWHERE, "name", "data.source", "data.target",
)  # fmt: skip


class Member(NamedTuple):
  """name: of its row; values: field -> value; config: its own."""

  name: str
  values: dict[str, Any]
  config: Any


class Group(NamedTuple):
  """Members of one program: number, from 0, and `Member`s."""

  number: int
  members: list[Member]


def _number(name: str, text: str, kind: type) -> Any:
  """A value of the type that the field has."""
  text = text.strip()
  try:
    if kind is bool:
      return {"true": True, "false": False}[text.lower()]
    if kind is int and not text.lstrip("+-").isdigit():  # Say 1e3.
      if (value := float(text)) != round(value):
        raise ValueError
      return round(value)
    if kind is float and not math.isfinite(float(text)):
      raise ValueError
    return kind(text)
  except (ValueError, KeyError) as error:
    raise ValueError(
      f"sweep: {name}: expected values of type {kind.__name__}, got {text!r}"
    ) from error


def values_of(name: str, text: str, kind: type) -> list:
  """The values that a text asks for.

  Args:
    name: of the field, for errors.
    text: ``a,b,c``, ``range(first, last, count)`` evenly spaced, or
      ``log(first, last, count)`` at equal ratios, rounded where the field is
      of whole numbers; both ends are included.
    kind: of the field.
  """
  call = _CALL.fullmatch(text.strip())
  if call is None:
    values = [_number(name, part, kind) for part in text.split(",")]
  elif kind not in (int, float):
    raise ValueError(f"sweep: {name}: has no ranges, got {text!r}")
  else:
    first, last = (_number(name, part, float) for part in call.group(2, 3))
    count = _number(name, call.group(4), int)
    if count < 2 or (call.group(1) == "log" and min(first, last) <= 0):
      raise ValueError(
        f"sweep: {name}: expected at least 2 values, of log all > 0, got"
        f" {text!r}"
      )
    space = {"range": np.linspace, "log": np.geomspace}[call.group(1)]
    found = space(first, last, count)
    if kind is int and call.group(1) == "log":
      found = np.round(found)
    digits = (
      ".0f" if kind is int and (found == np.round(found)).all() else ".10g"
    )
    values = [_number(name, f"{v:{digits}}", kind) for v in found]
  if len(set(values)) < len(values):
    raise ValueError(f"sweep: {name}: has a value twice: {values}")
  return values


def grid(config, texts: list[str]) -> dict[str, list]:
  """Field -> values, of texts ``field=values``; ValueError names the bad."""
  found = {}
  for text in texts:
    name, _, rest = (part.strip() for part in text.partition("="))
    place, _, leaf = name.rpartition(".")
    try:
      default = checks.field(config, name)
    except (KeyError, AttributeError, TypeError) as error:
      raise ValueError(f"sweep: no field {name!r} in {text!r}") from error
    fixed = name in _FIXED or name.startswith("baseline_")  # Of a second run.
    if fixed or not isinstance(default, int | float | str):
      raise ValueError(f"sweep: {name}: can't be swept")
    if name in found or not rest:
      raise ValueError(
        f"sweep: expected each field once as NAME=VALUES: {text}"
      )
    found[name] = values_of(name, rest, type(default))
  if not found:
    raise ValueError("sweep: expected at least one --sweep=FIELD=VALUES")
  return found


def members(config, values: dict[str, list]) -> list[Member]:
  """All combinations, each checked as a run of its own would be."""
  result = []
  for chosen in itertools.product(*values.values()):
    own = config.copy_and_resolve_references()
    own.baseline_view = ""
    pairs = dict(zip(values, chosen, strict=True))
    own.update_from_flattened_dict(pairs)
    name = ", ".join(f"{field}={value}" for field, value in pairs.items())
    alone = own.copy_and_resolve_references()
    alone.parallel, alone.num_devices = "none", 0  # They share no examples.
    try:
      checks.validate(alone)
      build.build(alone, own.view)
    except ValueError as error:
      raise ValueError(f"{name}: {error}") from error
    result.append(Member(name, pairs, own))
  return result


def _shape(member: Member) -> str:
  """Equal for members of one program."""
  fields = workdir.flat(member.config.to_dict())
  fields["own encoder rate"] = fields["optimizer.encoder_learning_rate"] > 0
  left = {k: v for k, v in fields.items() if k not in (*build.NUMBERS, "seed")}
  return repr(sorted(left.items()))


def groups(chosen: list[Member], most: int = 0) -> list[Group]:
  """Members by their program, in order.

  Args:
    chosen: of the sweep.
    most: members of one program, 0: any number.
  """
  found = {}
  for member in chosen:
    found.setdefault(_shape(member), []).append(member)
  parts = [
    same[first : first + (most or len(same))]
    for same in found.values()
    for first in range(0, len(same), most or len(same))
  ]
  return [Group(number, part) for number, part in enumerate(parts)]


def rungs(config, count: int, halving: int) -> list[tuple[int, int]]:
  """(steps, members left after them): one without halving.

  With it, all train for a part of the steps, the best 1/halving of them for
  `halving` times as many, and so on, up to all steps.

  Args:
    config: with `steps`.
    count: of members.
    halving: 0 or at least 2.
  """
  if not halving:
    return [(config.steps, count)]
  if halving < 2:
    raise ValueError(f"halving: expected 0 or at least 2, got {halving}")
  if count < halving:
    raise ValueError(
      f"halving: expected at most the {count} members, got {halving}"
    )
  number = int(math.log(count) / math.log(halving) + 1e-9)
  result, left = [], count
  for index in range(number, 0, -1):
    steps = math.ceil(config.steps / halving**index)
    left = max(1, math.ceil(left / halving))
    if steps and (not result or steps > result[-1][0]):
      result.append((steps, left))
  return [*result, (config.steps, left)]


def describe(sweep) -> str:
  """What a `sweep_run.Sweep` will do, with its memory.

  Compiles each group's step and evaluation, and trains nothing.
  """
  first = 3 * len(sweep.groups)  # Start, step, evaluation.
  more = [2 * min(left, len(sweep.groups)) for _, left in sweep.rungs[:-1]]
  most = f"at most {first + sum(more)}" if more else str(first)
  text = [
    f"{len(sweep.members)} members in {len(sweep.groups)} groups"
    f" ({sweep.together} over members, {sweep.layout.kind} over"
    f" {len(sweep.layout.devices)} devices); {most} programs to compile:"
    " start, step, evaluation of each group, and step and evaluation of what"
    " is left of a group after a rung"
  ]
  for steps, left in sweep.rungs[:-1]:
    text.append(f"after {steps} steps the best {left} members go on")
  for group in sweep.groups:
    state, *temporary = sweep.program(group.members).memory()
    most, where = max(zip(temporary, ("a step", "an evaluation"), strict=True))
    rows = sources.nbytes(sweep.source(group.members[0]).rows("train"))
    text.append(
      f"group {group.number}: {len(group.members)} members,"
      f" {group.members[0].config.steps} steps; state {state / 1e6:,.1f} MB,"
      f" temporaries at most {most / 1e6:,.1f} MB, of {where}, rows"
      f" {rows / 1e6:,.1f} MB (streamed beyond data.device_bytes) per device"
    )
    text += [f"  {member.name}" for member in group.members]
  return "\n".join(text)
