"""The operation count of the benchmark against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import build, inputs, loop
from experiments.bench import machine, vdib
from experiments.configs import mnist_time_published, smoke
from timedecode import precision
from timedecode.datasets import sources


def _count(function, *shapes):
  args = [jnp.zeros(shape) for shape in shapes]
  return machine.product_flops(jax.make_jaxpr(function)(*args).jaxpr)


def test_products_loops_and_branches():
  assert _count(jnp.matmul, (3, 4), (4, 5)) == 2 * 3 * 4 * 5
  batched = jax.vmap(jnp.matmul)
  assert _count(batched, (7, 3, 4), (7, 4, 5)) == 7 * 120
  loop_ = lambda a, b: jax.lax.scan(lambda c, _: (c @ b, None), a, length=6)
  assert _count(jax.jit(loop_), (4, 4), (4, 4)) == 6 * 128
  branch = lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: a)
  assert _count(branch, (4, 4), (4, 4)) == 128


@pytest.mark.parametrize("products", precision.PRECISIONS)
def test_the_square_product_is_of_its_precision(products):
  multiply, matrix, flops = machine.square_product(256, products)
  error = np.abs(multiply(matrix, matrix) - np.float64(matrix) @ matrix)
  assert flops == 2 * 256**3
  assert (error.max() > 1e-4) == (products == "bfloat16")


def test_convolutions():
  convolve = lambda x, k: jax.lax.conv_general_dilated(
    x, k, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  flops = _count(convolve, (2, 10, 10, 3), (5, 5, 3, 8))
  assert flops == 2 * (2 * 6 * 6 * 8) * (5 * 5 * 3)


def test_published_training_step():
  """Products of section 7.2 by hand: forward, and backward where needed."""
  config = mnist_time_published.get_config()
  built = build.build(config, "full")
  state = jax.eval_shape(lambda: build.init_state(config, built))
  source = inputs.load(config)
  step = loop.make_step(source, built)
  jaxpr = step.trace(
    state, sources.gather(source.rows("train"), slice(64)), jax.random.key(0),
    False,
  ).jaxpr  # fmt: skip
  steps = 64 * 30
  hidden = 2 * (2 * steps * 784 * 600)  # No gradient by the input.
  readout = 3 * (2 * steps * 600 * 8 * 256)
  decoder = 3 * (2 * 64 * (7680 * 3840 + 3840 * 784))
  least = hidden + readout + decoder
  found = machine.product_flops(jaxpr.jaxpr)
  assert least < found < 1.05 * least  # Temporal kernels are the rest.


def test_the_way_of_one_example():
  """What `decode_one` times is the model's own output for that example."""
  config = smoke.get_config()
  built = build.build(config, config.view)
  params = build.init_state(config, built).params
  source = inputs.load(config)
  one, key = sources.gather(source.rows("train"), slice(1)), jax.random.key(3)
  found = vdib.decode_one(built, source, params)(one, key)
  coding, sampling = jax.random.split(key)
  batch = source.decode(one, coding[None])
  steps, count = len(batch.inputs), built.model.encoder.num_readout
  sample = built.model.encoder.run(
    params.encoder, batch.inputs[:, 0],
    jax.random.uniform(sampling, (steps, count)),
  )  # fmt: skip
  right, _ = built.model.outputs(params, sample, batch.targets[0])
  np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)
  assert np.std(found) > 0
