"""Data-parallel steps: one step, on one device, several, or several hosts.

A step is a pure function ``step(state, batch, *others) -> (state, metrics)``
written for the part of a batch that a device has; with `axis_name` it takes
means over devices (`collectives`). `Layout.compile` makes a program of it:

  none   jit on one device
  pmap   `jax.pmap` over all devices, state replicated: the step runs on each
         with its part of the batch, axis name `AXIS`
  mesh   jit over a mesh: the batch is sharded, the compiler adds collectives

State, keys and metrics are the same on all devices. Which example is whose
follows from its place in the global batch: a process feeds the places of its
devices (`Layout.share`), so that the result does not depend on their number.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from timedecode import platforms

AXIS = "devices"
KINDS = ("none", "pmap", "mesh")


def is_main() -> bool:
  """Whether this process is the one that writes."""
  return jax.process_index() == 0


class Layout(NamedTuple):
  """How steps are spread over devices.

  Attributes:
    kind: of `KINDS`.
    devices: of all processes, in the order of the batch.
  """

  kind: str
  devices: tuple[jax.Device, ...]

  @property
  def axis_name(self) -> str | None:
    """Of the means inside the step; None where the compiler adds them."""
    return AXIS if self.kind == "pmap" else None

  @property
  def _local(self) -> list[int]:
    """Numbers of this process's devices."""
    mine = jax.process_index()
    return [i for i, d in enumerate(self.devices) if d.process_index == mine]

  def _sharding(self, *names):
    mesh = jax.sharding.Mesh(np.array(self.devices), (AXIS,))
    spec = jax.sharding.PartitionSpec(*names)
    return jax.sharding.NamedSharding(mesh, spec)

  def check(self, batch_size: int) -> None:
    """Raises ValueError for a batch that the devices can't share evenly."""
    if batch_size % len(self.devices):
      raise ValueError(
        f"batch_size: expected a multiple of the {len(self.devices)} devices,"
        f" got {batch_size}"
      )

  def share(self, batch: np.ndarray) -> np.ndarray:
    """The part of a global batch [B, ...] that this process feeds."""
    self.check(len(batch))
    parts = np.split(batch, len(self.devices))
    return np.concatenate([parts[i] for i in self._local])

  def place(self, batch: Any) -> Any:
    """This process's part of a batch as the compiled step takes it."""
    if self.kind == "pmap":
      count = len(self._local)
      return jax.tree.map(
        lambda leaf: leaf.reshape(count, -1, *leaf.shape[1:]), batch
      )
    if self.kind == "none":
      return jax.tree.map(jnp.asarray, batch)
    sharding = self._sharding(AXIS)
    if jax.process_count() == 1:
      return jax.device_put(batch, sharding)
    make = jax.make_array_from_process_local_data
    return jax.tree.map(lambda leaf: make(sharding, np.asarray(leaf)), batch)

  def replicate(self, state: Any) -> Any:
    """A state that every process has, as the compiled step takes it."""
    if self.kind == "none":
      return state
    sharding = self._sharding()

    def put(leaf):
      if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = put(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
      leaf = np.asarray(leaf)
      return jax.make_array_from_callback(
        leaf.shape, sharding, lambda index: leaf[index]
      )

    return jax.tree.map(put, state)

  def compile(self, step: Callable, num_others: int) -> Callable:
    """The compiled ``step(state, batch, *others)``; the state is donated."""
    if self.kind == "none":
      return platforms.jit(step, True)
    if self.kind == "pmap":
      return jax.pmap(
        step, AXIS, in_axes=(None, 0, *[None] * num_others), out_axes=None,
        devices=self._own_devices(), donate_argnums=0,
      )  # fmt: skip
    whole, split = self._sharding(), self._sharding(AXIS)
    return platforms.jit(
      platforms.without_kernels(step), True, out_shardings=whole,
      in_shardings=(whole, split, *[whole] * num_others),
    )  # fmt: skip

  def compile_split(
    self, function: Callable, split: tuple[bool, ...], donate: bool = False
  ) -> Callable:
    """As `compile`, of arguments whose leading axis the devices share.

    Args:
      function: of the part that a device has; all that it returns has the
        leading axis as well. It takes no means over devices.
      split: per argument, whether it has the leading axis; others are the same
        on all devices.
      donate: whether the first argument may be overwritten.
    """
    if self.kind == "none":
      return platforms.jit(function, donate)
    if self.kind == "pmap":
      axes = tuple(0 if one else None for one in split)
      return jax.pmap(
        function, AXIS, in_axes=axes, devices=self._own_devices(),
        donate_argnums=0 if donate else (),
      )  # fmt: skip
    whole, parts = self._sharding(), self._sharding(AXIS)
    return platforms.jit(
      platforms.without_kernels(function), donate,
      in_shardings=tuple(parts if one else whole for one in split),
      out_shardings=parts,
    )  # fmt: skip

  def collect(self, tree: Any) -> Any:
    """What `place` or `compile_split` gave, whole, as NumPy, in every process.

    Args:
      tree: of arrays whose leading axis the devices share.
    """

    def one(leaf):
      if jax.process_count() == 1 or self.kind == "pmap":
        leaf = np.asarray(leaf)
      if self.kind == "pmap":
        leaf = leaf.reshape(-1, *leaf.shape[2:])
      if jax.process_count() == 1:
        return leaf
      return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(one, tree)

  def _own_devices(self):
    """For pmap, which takes all devices of several processes by itself."""
    return self.devices if jax.process_count() == 1 else None


def layout(kind: str = "none", num_devices: int | None = None) -> Layout:
  """A layout on the devices that there are.

  Args:
    kind: of `KINDS`.
    num_devices: the first so many, of one process; None: all.

  Raises:
    ValueError: an unknown kind, more devices than there are, or `none` with
      several processes or devices.
  """
  if kind not in KINDS:
    raise ValueError(f"parallel: expected one of {KINDS}, got {kind!r}")
  # Of each process together: so pmap orders them, which takes them by itself.
  devices = sorted(jax.devices(), key=lambda device: device.process_index)
  if kind == "none":
    if jax.process_count() > 1 or num_devices not in (None, 1):
      raise ValueError(
        "parallel: expected pmap or mesh for several devices or processes, got"
        " 'none'"
      )
    return Layout(kind, tuple(devices[:1]))
  if num_devices is None:
    return Layout(kind, tuple(devices))
  if not 1 <= num_devices <= len(devices) or jax.process_count() > 1:
    raise ValueError(
      f"num_devices: expected 1..{len(devices)} of one process, got"
      f" {num_devices}"
    )
  return Layout(kind, tuple(devices[:num_devices]))


def to_local(tree: Any) -> Any:
  """Replicated arrays on this process's first device alone."""
  device = jax.local_devices()[0]

  def one(leaf):
    if not isinstance(leaf, jax.Array) or leaf.sharding.num_devices == 1:
      return leaf
    return jax.device_put(np.asarray(leaf), device)

  return jax.tree.map(one, tree)


def from_main(tree: Any) -> Any:
  """The tree of process 0, in every process; shapes are the same in all."""
  if jax.process_count() == 1:
    return tree
  return multihost_utils.broadcast_one_to_all(tree)


def on_main(function: Callable[[], Any]) -> Any:
  """What a function returns in process 0, which alone calls it; else None."""
  return function() if is_main() else None


def meet() -> None:
  """Connects all processes as they start.

  Collectives of CPUs connect at the first use of a group of devices, and give
  up after 30 s, as a process that had work of its own first would find.
  """
  if jax.process_count() == 1:
    return
  from_main(np.zeros(()))  # The group of a broadcast, then that of steps.
  whole = layout("mesh")
  ones = whole.place(np.ones(len(whole._local), np.float32))
  whole.compile(lambda state, batch: state + jnp.sum(batch), 0)(
    whole.replicate(jnp.zeros(())), ones
  ).block_until_ready()


def wait_for_all(name: str) -> None:
  """Returns when every process has come here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
