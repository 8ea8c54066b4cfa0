"""Products in bfloat16 against NumPy's, and what is left alone."""

import functools
import os
import subprocess
import sys

import jax
import jax.extend
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import processes
import pytest
import tiny

from experiments import build, inputs, loop
from experiments.bench import machine
from timedecode import neurons, platforms, precision, products
from timedecode.datasets import sources

RNG = np.random.default_rng(0)
rounded_all = functools.partial(
  precision.bfloat16_products, least=1, per_number=0
)


def _normal(*shape):
  return RNG.normal(size=shape).astype(np.float32)


def _round(a):
  return a.astype(ml_dtypes.bfloat16).astype(np.float64)


@pytest.mark.parametrize("equation, a, b", [
  ("mk,kn->mn", (70, 90), (90, 40)),
  ("mk,nk->mn", (70, 90), (40, 90)),
  ("km,kn->mn", (90, 70), (90, 40)),
  ("km,nk->mn", (90, 70), (40, 90)),
  ("km,kn->nm", (90, 70), (90, 40)),
  ("tbk,kn->tbn", (5, 7, 30), (30, 20)),
  ("tbk,tbn->kn", (5, 7, 30), (5, 7, 20)),
  ("tbk,tbn->nk", (5, 7, 30), (5, 7, 20)),
  ("tkb,kln->btln", (5, 7, 30), (7, 4, 6)),
  ("k,kn->n", (90,), (90, 40)),
  ("bmk,bkn->bmn", (3, 20, 30), (3, 30, 10)),
  ("hro,hri->hoi", (2, 60, 20), (2, 60, 30)),
  ("abmk,bakn->abnm", (3, 2, 20, 30), (2, 3, 30, 10)),
])  # fmt: skip
def test_products_are_those_of_rounded_factors(equation, a, b):
  a, b = _normal(*a), _normal(*b)
  function = functools.partial(jnp.einsum, equation)
  found = jax.jit(rounded_all(function))(a, b)
  want = np.einsum(equation, _round(a), _round(b))
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
  exact = np.einsum(equation, a.astype(np.float64), b.astype(np.float64))
  assert np.abs(want - exact).max() > 1e-3  # Rounding is seen at all.


def test_spikes_times_spikes_are_exact():
  a, b = RNG.integers(0, 2, (300, 200)), RNG.integers(0, 2, (200, 50))
  a, b = a.astype(np.float32), b.astype(np.float32)
  found = jax.jit(rounded_all(jnp.matmul))(a, b)
  np.testing.assert_array_equal(found, a @ b)


def _untouched(a, b):
  precise = jnp.matmul(a[0], b[0], precision="highest")
  halves = a[0].astype(jnp.float16) @ b[0].astype(jnp.float16)
  return precise, halves


def test_what_is_left_alone():
  a, b = _normal(3, 20, 30), _normal(3, 30, 10)
  found = jax.jit(rounded_all(_untouched))(a, b)
  for one, other in zip(found, jax.jit(_untouched)(a, b), strict=True):
    np.testing.assert_array_equal(one, other)
  assert "bf16" not in str(jax.make_jaxpr(rounded_all(_untouched))(a, b))


@pytest.mark.parametrize("least, count", [(40 * 50 * 60, 1), (120_001, 0)])
def test_only_large_products_are_rounded(least, count):
  function = precision.bfloat16_products(jnp.matmul, least, per_number=0)
  text = str(jax.make_jaxpr(function)(_normal(40, 50), _normal(50, 60)))
  assert ("bf16[40,50]" in text) == bool(count)


def test_gradients_are_of_rounded_products():
  """Outside of grad and vmap: each of the three products of a layer."""
  x, w, d = _normal(8, 40, 30), _normal(30, 20), _normal(8, 40, 20)

  def loss(w, x):
    return jnp.sum(jnp.sum(jax.vmap(lambda one: one @ w)(x) * d, (1, 2)))

  by_w, by_x = jax.jit(rounded_all(jax.grad(loss, (0, 1))))(w, x)
  want_w = np.einsum("btk,btn->kn", _round(x), _round(d))
  want_x = np.einsum("btn,kn->btk", _round(d), _round(w))
  np.testing.assert_allclose(by_w, want_w, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(by_x, want_x, rtol=1e-4, atol=1e-4)


def _in_loop(a, b):
  return jax.lax.scan(lambda c, x: (c, x @ b), 0, a)[1]


def _in_branch(a, b):
  return jax.lax.cond(a[0, 0, 0] > -9, lambda: a @ b, lambda: 0 * a @ b)


def _in_while(a, b):
  body = lambda carry: (carry[0] + 1, a @ b)
  empty = jnp.zeros((*a.shape[:2], b.shape[1]))
  return jax.lax.while_loop(lambda carry: carry[0] < 2, body, (0, empty))[1]


@jax.custom_vjp
def _with_rule(a, b):
  return a @ b


_with_rule.defvjp(
  lambda a, b: (a @ b, (a, b)), lambda kept, d: (7 * kept[0], kept[1])
)


@pytest.mark.parametrize("function", [
  _in_loop, _in_branch, _in_while, _with_rule, jax.checkpoint(_in_loop),
])  # fmt: skip
def test_in_parts_of_programs(function):
  a, b = _normal(3, 20, 30), _normal(30, 10)
  found = jax.jit(rounded_all(function))(a, b)
  want = np.einsum("tmk,kn->tmn", _round(a), _round(b))
  np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


def test_a_rule_of_its_own_is_kept():
  a, b = _normal(3, 20, 30), _normal(30, 10)
  found = jax.grad(lambda a: jnp.sum(rounded_all(_with_rule)(a, b)))(a)
  np.testing.assert_array_equal(found, 7 * a)


def test_products_of_few_multiplications_per_number():
  """9 x 100 times 100 x 9: 8,100 multiplications, 1,881 numbers."""
  few = _normal(100, 9)
  for per_number, rounded in ((4.3, True), (4.4, False)):
    function = precision.bfloat16_products(jnp.matmul, 1, per_number)
    text = str(jax.make_jaxpr(function)(few.T, few))
    assert ("bf16" in text) == rounded


def test_products_to_other_types_are_left():
  to_half = functools.partial(jnp.matmul, preferred_element_type=jnp.bfloat16)
  a = _normal(20, 20)
  found = jax.jit(rounded_all(to_half))(a, a)
  assert found.dtype == jnp.bfloat16
  np.testing.assert_array_equal(found, jax.jit(to_half)(a, a))


def test_shared_functions_stay_shared_and_names_are_kept():
  inner = jax.jit(lambda a, b: a @ b)

  def function(a, b):
    with jax.named_scope("the_scope"):
      for _ in range(4):
        a = inner(a, b)
    return a

  a = _normal(20, 20)
  lowered = jax.jit(rounded_all(function)).lower(a, a)
  assert lowered.as_text().count("func.func private") == 1
  assert "the_scope" in lowered.as_text(debug_info=True)


def test_kernels_are_left_alone():
  """A step lowered for CUDA has the same kernels, and rounded products."""
  neuron = neurons.lif()
  params = neurons.LIFParams(jnp.zeros(8))

  def loss(weights, x):
    drive = jnp.einsum("tbi,io->tbo", x, weights)
    state = neuron.initial_state((2, 8))
    return jnp.sum(neuron.run(params, state, drive)[1][0])

  given = _normal(5, 8), _normal(6, 2, 5)
  texts = []
  with platforms.tracing_for_cuda():
    for step in (jax.grad(loss), rounded_all(jax.grad(loss))):
      lowered = jax.jit(step).trace(*given).lower(lowering_platforms=("cuda",))
      texts.append(lowered.as_text())
  kernels = [text.count("gpu.triton") for text in texts]
  assert kernels[0] == kernels[1] > 0
  assert "bf16" in texts[1] and "LayoutConstraint" not in texts[1]


MESH = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax, numpy as np
import tiny
from experiments import build, inputs, loop
from timedecode.datasets import sources

flops = {}
for parallel in ("none", "mesh"):
  config = tiny.configuration(
    precision="bfloat16", parallel=parallel, batch_size=64, num_steps=30,
    encoder__hidden=(256,),
  )
  layout, source = build.layout(config), inputs.load(config)
  built = build.build(config, config.view)
  state = layout.replicate(build.init_state(config, built))
  rows = layout.place(sources.gather(source.rows("train"), slice(64)))
  key = layout.replicate(jax.random.key(0))
  step = loop.make_step(source, built, layout)
  compiled = step.lower(state, rows, key, False).compile()
  flops[parallel] = compiled.cost_analysis()["flops"]
  assert ("all-gather" in compiled.as_text()) <= (parallel == "none")
print(flops["mesh"] / flops["none"])
"""


def test_a_mesh_divides_the_products():
  told = subprocess.run(
    [sys.executable, "-c", MESH], capture_output=True, text=True,
    cwd=processes.ROOT,
    env=os.environ | {"PYTHONPATH": f"{processes.ROOT}:{processes.ROOT}/tests"},
  )  # fmt: skip
  assert told.returncode == 0, told.stderr
  assert 0.2 < float(told.stdout) < 0.35


def test_numpy_arguments_without_jit():
  a, b = _normal(20, 30), _normal(30, 10)
  np.testing.assert_allclose(
    rounded_all(jnp.matmul)(a, b), _round(a) @ _round(b), rtol=1e-4, atol=1e-4
  )


def test_under_vmap_and_inside_of_jitted_functions():
  a, b = _normal(3, 20, 30), _normal(3, 20, 10)
  inner = jax.jit(lambda a, b: jnp.tanh(a.T @ b))
  found = jax.jit(jax.vmap(rounded_all(lambda a, b: {"x": inner(a, b)})))(a, b)
  want = np.tanh(np.einsum("mki,mkj->mij", _round(a), _round(b)))
  np.testing.assert_allclose(found["x"], want, rtol=1e-4, atol=1e-4)


def _left(program):
  """How many products of float32 in no stated precision a program has."""
  total = 0
  for eqn in program.eqns:
    plain = eqn.primitive.name == "dot_general" and not eqn.params["precision"]
    total += plain and eqn.invars[0].aval.dtype == jnp.float32
    total += sum(map(_left, jax.extend.core.jaxprs_in_params(eqn.params)))
    if unfolded := products.as_dot_general(eqn):
      total += _left(unfolded.jaxpr)
  return total


def _stepped(name, config):
  """State and loss after a step, with products that are named rounded."""
  config.precision = name
  built = build.build(config, config.view)
  source = inputs.load(config)
  rows = sources.gather(source.rows("train"), slice(config.batch_size))
  step = loop.make_step(source, built)
  state = build.init_state(config, built)
  program = step.trace(state, rows, jax.random.key(0), False).jaxpr.jaxpr
  flops, left = machine.product_flops(program), _left(program)
  before = jax.tree.map(np.asarray, state.params)
  state, metrics = step(state, rows, jax.random.key(0), False)
  moved = jax.tree.map(lambda a, b: np.asarray(a) - b, state.params, before)
  return moved, metrics, flops, left


@pytest.mark.parametrize("fields", [
  {}, {"decoder": "conv", "view": "rate"},
  {"encoder__kind": "convolutional", "encoder__hidden": (4,)},
  {"estimator": "score_function", "num_samples": 2}, {"remat_every": 5},
  {"credit": "local", "online_chunk": 10, "num_steps": 20},
])  # fmt: skip
def test_a_training_step(fields, monkeypatch):
  monkeypatch.setattr(precision, "bfloat16_products", rounded_all)
  fields = {
    "optimizer__name": "sgd", "optimizer__warmup_fraction": 0.0, **fields,
  }  # fmt: skip
  config = tiny.configuration(**fields)
  moved, metrics, flops, all_ = _stepped("float32", config)
  ours, rounded, same_flops, left = _stepped("bfloat16", config)
  assert all_ > 5
  assert same_flops == flops and left == 0
  assert rounded.loss != metrics.loss
  np.testing.assert_allclose(rounded.loss, metrics.loss, rtol=0.02)
  flat = [np.concatenate([x.ravel() for x in jax.tree.leaves(tree)])
          for tree in (moved, ours)]  # fmt: skip
  cosine = flat[0] @ flat[1] / np.prod([np.linalg.norm(x) for x in flat])
  assert 0.97 < cosine < 1 - 1e-7


def test_precisions_by_name():
  assert precision.in_precision("float32", jnp.matmul) is jnp.matmul
  with pytest.raises(ValueError, match="expected one of .* got 'float16'"):
    precision.in_precision("float16", jnp.matmul)


@pytest.mark.parametrize("limits, message", [
  ((0, 1), "least: expected .* >= 1, got 0"),
  ((1, -1), "per_number: expected .* >= 0, got -1"),
])  # fmt: skip
def test_limits_out_of_range(limits, message):
  with pytest.raises(ValueError, match=message):
    precision.bfloat16_products(jnp.matmul, *limits)
