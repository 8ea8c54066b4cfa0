"""Several processes as one run: `jax.distributed`, from flags or the cluster.

  python -m experiments.train --coordinator_address=HOST:PORT \
      --num_processes=2 --process_id=0 --config.parallel=mesh

and the same with --process_id=1 on the other machine. On clusters that JAX
knows (TPU pods, Slurm, Open MPI) --distributed alone does.
"""

import jax
from absl import flags

from timedecode import parallel

_TOGETHER = ("coordinator_address", "num_processes", "process_id")


def define(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the flags."""
  flags.DEFINE_bool(
    "distributed", False, "Join the cluster's other processes, as JAX finds"
    " them.", flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    "coordinator_address", None, "host:port of process 0.", flag_values=values
  )
  for name, text, least in (
    ("num_processes", "How many processes run together.", 1),
    ("process_id", "Which of them this one is, from 0.", 0),
  ):
    flags.DEFINE_integer(name, None, text, least, flag_values=values)


def start(values: flags.FlagValues = flags.FLAGS) -> None:
  """Joins the other processes, before JAX is used for anything.

  Raises:
    ValueError: some of the three flags without the others, a process that
      isn't below their number, or a cluster that can't be joined.
  """
  given = {name: values[name].value for name in _TOGETHER}
  missing = [name for name in _TOGETHER if given[name] is None]
  if len(missing) == len(_TOGETHER) and not values.distributed:
    return
  if missing and not values.distributed:
    raise ValueError(f"{', '.join(missing)}: expected with the other two")
  if not missing and given["process_id"] >= given["num_processes"]:
    raise ValueError(
      f"process_id: expected below num_processes = {given['num_processes']},"
      f" got {given['process_id']}"
    )
  try:
    jax.distributed.initialize(**given)
    parallel.meet()
  except (ValueError, RuntimeError) as error:
    told = " ".join(str(error).split())
    raise ValueError(f"distributed: could not join: {told}") from error
