"""Choices by platform: steps that overwrite their state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from experiments import build, inputs, loop
from timedecode import parallel, platforms
from timedecode.datasets import sources


def _descend(weights, x):
  """A step whose weights two products read, and then an update writes."""

  def loss(weights, x):
    return jnp.sum(jnp.tanh(x @ weights) ** 2)

  by_weights, by_x = jax.grad(loss, (0, 1))(weights, x)
  return weights - 0.1 * by_weights, x - 0.1 * by_x


def test_weights_are_not_copied_before_they_are_overwritten():
  weights, x = jnp.ones((256, 384)), jnp.ones((128, 256))

  def copies(options):
    step = jax.jit(_descend, donate_argnums=0, compiler_options=options)
    text = step.lower(weights, x).compile().as_text()
    return text.count("= f32[256,384]{1,0} copy(")

  if platforms.in_place() is None:
    pytest.skip("a compiler that does not know the option")
  assert copies(None) > copies(platforms.in_place())


@pytest.mark.parametrize("fields", [
  {}, {"estimator": "score_function", "num_samples": 2},
  {"baseline_view": "rate"}, {"credit": "local", "online_chunk": 10},
])  # fmt: skip
def test_a_step_in_place_computes_the_same(fields, monkeypatch):
  config = tiny.configuration(**fields)
  source = inputs.load(config)
  rows = sources.place(
    sources.gather(source.rows("train"), slice(config.batch_size))
  )

  def trained():
    built = build.build(config, config.view)
    state, step = build.init_state(config, built), loop.make_step(source, built)
    for number in range(3):
      state, metrics = step(state, rows, jax.random.key(number), number == 2)
    return jax.tree.map(np.asarray, (state, metrics))

  found = trained()
  monkeypatch.setattr(platforms, "in_place", lambda: None)
  jax.tree.map(np.testing.assert_array_equal, found, trained())


def test_a_compiler_that_does_not_know_how(monkeypatch):
  monkeypatch.setattr(platforms, "_IN_PLACE", {"xla_cpu_no_such_thing": True})
  asked = functools.cache(platforms.in_place.__wrapped__)
  monkeypatch.setattr(platforms, "in_place", asked)
  assert platforms.in_place() is None
  step = parallel.layout().compile(lambda state, batch: state + batch, 0)
  assert step(jnp.ones(3), jnp.ones(3)).tolist() == [2.0, 2.0, 2.0]
