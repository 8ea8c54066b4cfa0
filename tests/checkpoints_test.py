"""Checkpoints by Orbax: kept, whole, refused or passed over when damaged."""

import json
import re
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorstore

from experiments import benchmark_checkpoints, checkpoints
from experiments.configs import smoke
from timedecode import checkpoint, training

PARAMS = training.ModelParams(
  {"w": jnp.arange(6.0).reshape(2, 3)}, {"b": jnp.full(3, 0.1)}
)
RULE = optax.multi_transform(
  {"encoder": optax.adam(1e-2), "rest": optax.sgd(0.1)},
  training.ModelParams("encoder", "rest", "rest"),
)


def _state(step):
  state = training.TrainState(
    jnp.asarray(step, jnp.int32), PARAMS, RULE.init(PARAMS), ()
  )
  return jax.tree.map(lambda leaf: leaf + step, state)._replace(step=state.step)


def _same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert np.asarray(x).dtype == np.asarray(y).dtype
    np.testing.assert_array_equal(x, y)


def _save(folder, metrics, keep=2):
  with checkpoints.Checkpoints(folder, 1, keep) as kept:
    for step, metric in metrics.items():
      kept.save(step, _state(step), {"seed": 10 * step}, metric)
  return sorted(int(p.name) for p in (folder / "checkpoints").iterdir())


def test_the_newest_and_the_best_are_kept(tmp_path):
  steps = {1: 0.2, 2: 0.9, 3: 0.3, 4: -np.inf, 5: 0.4, 6: -np.inf}
  assert _save(tmp_path, steps) == [2, 5, 6]
  state, meta = checkpoints.restore(tmp_path, _state(0))
  _same(state, _state(6))
  assert meta["seed"] == 60 and meta["version"] == 2
  assert checkpoints.restore(tmp_path / "nothing", _state(0)) is None
  assert not (tmp_path / "nothing").exists()


def test_a_state_may_change_as_soon_as_it_is_being_saved(tmp_path):
  change = jax.jit(lambda s: jax.tree.map(jnp.zeros_like, s), donate_argnums=0)
  with checkpoints.Checkpoints(tmp_path, 0) as kept:
    for step in range(1, 6):
      state = jax.tree.map(jnp.copy, _state(step))
      kept.save(step, state, {})
      change(state)
  _same(checkpoints.restore(tmp_path, _state(0))[0], _state(5))


def _damage(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 4
  path.write_bytes(bytes(data))


def _files(folder, step):
  place = folder / "checkpoints" / str(step)
  return sorted(p for p in place.rglob("*") if p.is_file())


def test_a_damaged_figure_of_merit_does_no_harm(tmp_path):
  _save(tmp_path, {1: 0.5, 2: 0.6})
  (tmp_path / "checkpoints/1/metrics/metrics").write_text("{")
  (tmp_path / "checkpoints/2/metrics/metrics").unlink()
  with checkpoints.Checkpoints(tmp_path, 2) as kept:
    kept.save(3, _state(3), {}, 0.1)
  assert int(checkpoints.restore(tmp_path, _state(0))[0].step) == 3


def test_any_damage_is_found_and_the_one_before_is_taken(tmp_path, capsys):
  """Every file of the newest: changed, cut, emptied, or gone."""
  whole, lost = tmp_path / "whole", 0
  _save(whole, {1: 0.5, 2: 0.6})
  for number, file in enumerate(_files(whole, 2)):
    for kind in ("changed", "cut", "gone"):
      place = tmp_path / f"{number}{kind}"
      shutil.copytree(whole, place)
      path = place / file.relative_to(whole)
      if kind == "changed" and path.stat().st_size:
        _damage(path)
      elif kind == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
      else:
        path.unlink()
      state, _ = checkpoints.restore(place, _state(0))
      step = int(state.step)
      _same(state, _state(step))
      told = capsys.readouterr().out
      assert step == 2 or f"{place}/checkpoints/2: damaged: " in told
      lost += step == 1
  assert lost > 7


def test_a_damaged_step_is_saved_anew(tmp_path):
  _save(tmp_path, {1: 0.5, 2: 0.6})
  for path in _files(tmp_path, 2):
    if "state" in path.parts and path.stat().st_size:
      _damage(path)
  state, _ = checkpoints.restore(tmp_path, _state(0), lambda text: None)
  assert int(state.step) == 1
  with checkpoints.Checkpoints(tmp_path, 1) as kept:
    kept.save(2, _state(2), {})
  _same(checkpoints.restore(tmp_path, _state(0))[0], _state(2))


def test_when_all_are_damaged_it_says_so(tmp_path):
  _save(tmp_path, {1: 0.5, 2: 0.6})
  for step in (1, 2):
    (tmp_path / f"checkpoints/{step}/meta/metadata").write_text("{")
  with pytest.raises(checkpoint.CheckpointError, match="2: damaged.*1: damag"):
    checkpoints.restore(tmp_path, _state(0))


@pytest.mark.parametrize("change, message", [
  ({"format": "other"}, "not a checkpoint of a run"),
  ({"version": 3}, "of format version 3, this release reads 2"),
  ({"leaves": []}, "says nothing of its arrays"),
])  # fmt: skip
def test_other_programs_and_releases_are_refused(tmp_path, change, message):
  _save(tmp_path, {1: 0.5})
  path = tmp_path / "checkpoints/1/meta/metadata"
  meta = json.loads(path.read_text())
  del meta["crc"]  # As in releases that wrote none.
  path.write_text(json.dumps(meta | change))
  with pytest.raises(checkpoint.CheckpointError, match=message):
    checkpoints.restore(tmp_path, _state(0))


@pytest.mark.parametrize("name, value", [
  ("version", 3), ("seed", 11), ("leaves", {}), ("format", "other")
])  # fmt: skip
def test_changed_metadata_is_damage(tmp_path, name, value):
  """And the one before is taken."""
  _save(tmp_path, {1: 0.5, 2: 0.6})
  path = tmp_path / "checkpoints/2/meta/metadata"
  path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
  told = []
  state, meta = checkpoints.restore(tmp_path, _state(0), told.append)
  assert int(state.step) == 1 and meta["seed"] == 10
  assert "wrong checksum of the metadata" in told[0]


def test_larger_arrays_than_are_told_of_are_not_read(tmp_path, monkeypatch):
  """The store holds others; reading is not even begun."""
  _save(tmp_path, {1: 0.5})
  other = _state(2)
  other.params.encoder["w"] = jnp.zeros((512, 512))
  with checkpoints.Checkpoints(tmp_path, 1) as kept:
    kept.save(2, other, {"seed": 20})
  path = tmp_path / "checkpoints/2/meta/metadata"
  meta = json.loads(path.read_text())
  del meta["crc"]
  first = json.loads((tmp_path / "checkpoints/1/meta/metadata").read_text())
  path.write_text(json.dumps(meta | {"leaves": first["leaves"]}))
  told = []
  state, _ = checkpoints.restore(tmp_path, _state(0), told.append)
  assert int(state.step) == 1
  assert "are not those it is said to hold" in told[0]


def test_chunks_larger_than_their_array_are_not_read(tmp_path):
  """Of zeros, 12 MB take some hundred bytes; the array's own part is right."""
  _save(tmp_path, {1: 0.5, 2: 0.6})
  name = "params.encoder.w"
  base = f"file://{tmp_path}/checkpoints/2/state/"
  store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
  layout = {"shape": [2, 3], "chunks": [10**6, 3], "dtype": "<f4"}
  array = tensorstore.open(
    {
      "driver": "zarr", "kvstore": store,
      "metadata": layout | {"compressor": {"id": "zstd", "level": 1}},
    },
    create=True, delete_existing=True,
  ).result()  # fmt: skip
  array.write(np.asarray(_state(2).params.encoder["w"])).result()
  size = sum(p.stat().st_size for p in _files(tmp_path, 2))
  assert size < 2**16
  told = []
  state, _ = checkpoints.restore(tmp_path, _state(0), told.append)
  assert int(state.step) == 1
  expected = rf"damaged: {name}: .* at most \[2, 3\], got \(1000000, 3\)"
  assert re.search(expected, told[0])


def test_what_is_not_gone_on_from_is_set_aside(tmp_path):
  """An error of the moment costs nothing for good."""
  _save(tmp_path, {1: 0.5, 2: 0.6})
  with checkpoints.Checkpoints(tmp_path, 1) as kept:
    kept.save(2, _state(2), {})
  names = {p.name for p in (tmp_path / "checkpoints").iterdir()}
  assert names == {"1", "2", "2.aside"}
  shutil.rmtree(tmp_path / "checkpoints/2")
  (tmp_path / "checkpoints/2.aside").rename(tmp_path / "checkpoints/2")
  assert checkpoints.restore(tmp_path, _state(0))[1]["seed"] == 20


def test_what_was_set_aside_goes_when_a_later_step_is_whole(tmp_path):
  _save(tmp_path, {1: 0.5, 2: 0.6, 3: 0.7}, 3)
  (tmp_path / "checkpoints/note.aside").mkdir()  # Not of ours.
  names = lambda: {p.name for p in (tmp_path / "checkpoints").iterdir()}
  with checkpoints.Checkpoints(tmp_path, 1) as kept:
    assert {"2.aside", "3.aside"} < names()
    for step in (2, 3):
      kept.save(step, _state(step), {})
    kept.wait()
    assert names() == {"1", "2", "3", "3.aside", "note.aside"}
    kept.save(4, _state(4), {})
  assert names() == {"1", "2", "3", "4", "note.aside"}


def test_the_best_is_known_after_a_save_that_failed(tmp_path):
  """One that would have taken its place; it is replaced when one does."""
  names = lambda: checkpoints.steps(tmp_path)
  told, limits = [], resource.getrlimit(resource.RLIMIT_FSIZE)
  with checkpoints.Checkpoints(tmp_path, 0, keep=1) as kept:
    kept.save(1, _state(1), {}, 0.5)
    kept.wait()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
      kept.try_save(2, _state(2), {}, told.append, 0.6)
      assert not kept.try_wait(told.append)
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "checkpoint not written" in told[0]
    for step, metric, left in (
      (3, 0.2, [1, 3]),
      (4, 0.3, [1, 4]),
      (5, 0.9, [5]),
    ):
      kept.try_save(step, _state(step), {}, told.append, metric)
      kept.wait()
      assert names() == left


def test_another_model_is_refused_before_an_array_is_read(tmp_path):
  _save(tmp_path, {1: 0.5})
  shutil.rmtree(tmp_path / "checkpoints/1/state/d")  # Nothing could be read.
  other = _state(0)
  other.params.encoder["w"] = jnp.zeros((2, 4))
  with pytest.raises(
    checkpoint.CheckpointError, match=r"\[2, 4\].*got \[\[2, 3"
  ):
    checkpoints.restore(tmp_path, other)
  other = _state(0)
  other.params.decoder["more"] = jnp.zeros(1)
  with pytest.raises(
    checkpoint.CheckpointError, match="of another model: .*mo"
  ):
    checkpoints.restore(tmp_path, other)


def test_what_is_too_large_is_not_read(tmp_path):
  _save(tmp_path, {1: 0.5, 2: 0.6})
  with (tmp_path / "checkpoints/2/state/more").open("wb") as file:
    file.truncate(2**30)
  told = []
  state, _ = checkpoints.restore(tmp_path, _state(0), told.append)
  assert int(state.step) == 1 and "expected at most" in told[0]


def test_what_a_killed_save_left_is_passed_over_and_removed(tmp_path):
  _save(tmp_path, {1: 0.5})
  half = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
  shutil.copytree(tmp_path / "checkpoints/1", half)
  (half / "commit_success.txt").unlink(missing_ok=True)
  assert int(checkpoints.restore(tmp_path, _state(0))[0].step) == 1
  assert _save(tmp_path, {3: 0.1}) == [1, 3]


def test_the_file_of_format_1_is_read(tmp_path):
  checkpoint.save(tmp_path / "checkpoint", _state(4), {"seed": 1})
  state, meta = checkpoints.restore(tmp_path, _state(0))
  _same(state, _state(4))
  assert meta == {"seed": 1}


def test_the_benchmark_tells_cost_and_restarts(tmp_path):
  """Two blocks of either kind; a run that is stopped and goes on twice."""
  path = "experiments/configs/smoke.py"
  config = smoke.get_config()
  found = benchmark_checkpoints.blocks(config, tmp_path / "blocks", 2, 3)
  assert len(found["with"]) == len(found["without"]) == 2
  assert sorted(p.name for p in (tmp_path / "blocks/checkpoints").iterdir())
  found |= benchmark_checkpoints.restart(path, tmp_path / "restart")
  assert len(found["restarts"]) == 2 and min(found["restarts"]) > 0
  told = benchmark_checkpoints.report(
    found | {"with": [3.0, 2.0, 4.0], "without": [2.4, 2.4]}, 30.0
  )
  assert "costs 0.600 s, one in 30 s 2.00 % of the time" in told
