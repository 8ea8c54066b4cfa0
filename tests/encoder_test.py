"""The encoder against NumPy twins, chunks, causality, rates at depth."""

import jax
import jax.numpy as jnp
import kernels
import numpy as np
import pytest
import references

from timedecode import (
  coding,
  credit,
  encoder,
  glm,
  layers,
  neurons,
  surrogate,
  synapses,
)


def _spikes(num_steps, shape, rate=0.2, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray((rng.random((num_steps, *shape)) < rate), jnp.float32)


def _small(num_readout=3, scale=12.0, **kwargs):
  hidden = [
    encoder.dense(9, weight_scale=scale),
    encoder.dense(6, weight_scale=scale),
  ]
  return encoder.make_encoder((11,), hidden, num_readout, **kwargs)


@pytest.mark.parametrize("gain", ["unit", "published"])
def test_dense_layers_equal_a_loop(gain):
  synapse = synapses.lif_filter(gain=gain)
  hidden = [encoder.dense(n, synapse=synapse, weight_scale=8.0) for n in (9, 6)]
  snn = encoder.make_encoder((11,), hidden, 2)
  params = snn.init(jax.random.key(1))
  inputs = _spikes(50, (11,))
  sample = jax.jit(snn.sample)(params, inputs, jax.random.key(2))
  spikes = np.asarray(inputs, np.float64)
  for layer, hidden, potential in zip(
    params.hidden, sample.hidden, sample.potentials, strict=True
  ):
    spikes, expected = references.lif_layer(
      np.asarray(layer.weights, np.float64),
      np.asarray(layer.neuron.bias, np.float64),
      spikes, published=gain == "published",
    )  # fmt: skip
    np.testing.assert_allclose(potential, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(hidden, spikes)
    assert 0.0 < spikes.mean() < 1.0


def _both_encoders(rule, remat_every=0):
  """The same network with products and with sums over events."""
  return [
    encoder.make_encoder(
      (5, 3),
      [
        encoder.dense(9, weight_scale=12.0, event_driven=event_driven),
        encoder.dense(6, weight_scale=12.0),
      ],
      4, credit=credit.CREDITS[rule](), remat_every=remat_every,
    )
    for event_driven in (False, True)
  ]  # fmt: skip


@pytest.mark.parametrize("rule", credit.CREDITS)
def test_event_driven_layers_equal_products(rule):
  """Spikes, potentials and every gradient, for each way of errors."""
  dense, events = _both_encoders(rule)
  params = dense.init(jax.random.key(1))
  inputs = _spikes(40, (5, 3))
  key = jax.random.key(2)
  one, two = (snn.sample(params, inputs, key) for snn in (dense, events))
  assert 0.05 < one.hidden[0].mean() < 0.95
  for name in ("spikes", "hidden"):
    jax.tree.map(
      np.testing.assert_array_equal, getattr(one, name), getattr(two, name)
    )
  np.testing.assert_allclose(
    one.potentials[0], two.potentials[0], rtol=1e-4, atol=1e-5
  )

  def gradient(snn):
    loss = lambda p: jnp.sum(snn.sample(p, inputs, key).logits ** 2)
    return jax.grad(loss)(params)

  one, two = gradient(dense), gradient(events)
  assert np.abs(one.hidden[0].weights).max() > 1e-3
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3),
    one,
    two,
  )


def test_event_driven_layers_carry_their_state():
  """A train in pieces, and pieces whose states are computed again."""
  _, events = _both_encoders("bptt")
  _, again = _both_encoders("bptt", remat_every=7)
  params = events.init(jax.random.key(1))
  inputs = _spikes(40, (5, 3))
  uniforms = jax.random.uniform(jax.random.key(2), (40, 4))
  whole = events.run(params, inputs, uniforms)
  first = events.run(params, inputs[:13], uniforms[:13])
  second = events.run(params, inputs[13:], uniforms[13:], first.state)
  logits = jnp.concatenate([first.logits, second.logits])
  np.testing.assert_allclose(logits, whole.logits, atol=2e-5)
  np.testing.assert_allclose(
    again.run(params, inputs, uniforms).logits, whole.logits, atol=2e-5
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
    second.state, whole.state,
  )  # fmt: skip


def test_events_of_later_layers_are_refused():
  """Their inputs are no data."""
  hidden = [encoder.dense(9), encoder.dense(6, event_driven=True)]
  with pytest.raises(ValueError, match="layers: expected the first alone"):
    encoder.make_encoder((5,), hidden, 2)


def test_convolutional_layer_equals_a_loop():
  layer = encoder.convolutional(
    2, kernel_size=3, pool_size=2, weight_scale=20.0
  )
  params, shape = (
    layer.init(jax.random.key(0), (8, 8)),
    layer.output_shape((8, 8)),
  )
  assert shape == (3, 3, 2)
  inputs = np.asarray(_spikes(15, (8, 8), 0.3))
  _, (spikes, potentials) = layer.run(
    params, layer.initial_state((8, 8)), inputs
  )
  weights = np.asarray(params.weights, np.float64)[:, :, 0]
  bias = np.asarray(params.neuron.bias, np.float64)
  q, p = np.zeros((8, 8)), np.zeros((8, 8))
  rho, s = np.zeros(shape), np.zeros(shape)
  for t in range(15):
    q_before = q
    q = 0.85 * q + 0.15 * inputs[t]
    p = 0.9 * p + 0.1 * q_before
    rho = 0.65 * rho - s
    full = np.zeros((6, 6, 2))
    for i in range(6):
      for j in range(6):
        full[i, j] = np.tensordot(p[i : i + 3, j : j + 3], weights, axes=2)
    u = np.zeros(shape)
    for i in range(3):
      for j in range(3):
        window = full[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] + bias
        u[i, j] = window.max(axis=(0, 1))
    u = u + rho
    s = (u >= 0).astype(float)
    np.testing.assert_allclose(potentials[t], u, atol=1e-5)
    np.testing.assert_array_equal(spikes[t], s)
  assert 0.01 < np.mean(spikes) < 0.6


def test_chunks_equal_the_whole():
  snn = _small()
  params = snn.init(jax.random.key(0))
  inputs = _spikes(90, (11,))
  uniforms = jax.random.uniform(jax.random.key(1), (90, 3))
  run = jax.jit(snn.run)
  whole = run(params, inputs, uniforms)
  state, pieces = None, []
  for part in (slice(0, 1), slice(1, 8), slice(8, 80), slice(80, 90)):
    piece = run(params, inputs[part], uniforms[part], state)
    state = piece.state
    pieces.append(piece)
  for name in ("spikes", "logits"):
    joined = jnp.concatenate([getattr(piece, name) for piece in pieces])
    np.testing.assert_allclose(joined, getattr(whole, name), atol=2e-5)
  for i in range(2):
    joined = jnp.concatenate([piece.hidden[i] for piece in pieces])
    np.testing.assert_array_equal(joined, whole.hidden[i])
  for one, two in zip(
    jax.tree.leaves(state), jax.tree.leaves(whole.state), strict=True
  ):
    np.testing.assert_allclose(one, two, atol=2e-5)


def test_step_by_step_equals_hoisted():
  snn = _small()
  params = snn.init(jax.random.key(0))
  inputs = _spikes(40, (11,))
  uniforms = jax.random.uniform(jax.random.key(1), (40, 3))
  whole = snn.run(params, inputs, uniforms)

  def step(state, now):
    sample = snn.run(params, now[0][None], now[1][None], state)
    return sample.state, (sample.spikes[0], sample.hidden[1][0])

  _, (spikes, hidden) = jax.lax.scan(
    step, snn.initial_state(), (inputs, uniforms)
  )
  np.testing.assert_array_equal(spikes, whole.spikes)
  np.testing.assert_array_equal(hidden, whole.hidden[1])


def test_readout_is_causal_in_the_inputs():
  snn = _small()
  params = snn.init(jax.random.key(0))
  inputs = _spikes(12, (11,))
  uniforms = jax.random.uniform(jax.random.key(1), (12, 3))

  def logits(inputs):
    sampler = glm.bernoulli_straight_through
    return jnp.sum(snn.run(params, inputs, uniforms, sampler=sampler).logits, 1)

  slopes = np.abs(jax.jit(jax.jacobian(logits))(inputs)).sum(axis=2)
  future = np.triu(np.ones((12, 12)), k=1).astype(bool)
  assert (slopes[future] == 0).all()
  assert slopes[~future].sum() > 0


def test_seeds_reproduce_and_differ():
  snn = _small()
  params = snn.init(jax.random.key(0))
  inputs = _spikes(30, (11,))
  draw = lambda seed: snn.sample(params, inputs, jax.random.key(seed)).spikes
  np.testing.assert_array_equal(draw(5), draw(5))
  assert (draw(5) != draw(6)).any()


def test_expected_mode_is_deterministic():
  snn = _small()
  params = snn.init(jax.random.key(0))
  inputs = _spikes(20, (11,))
  run = lambda seed: snn.run(
    params,
    inputs,
    jax.random.uniform(jax.random.key(seed), (20, 3)),
    sampler=glm.expected,
  )
  one, two = run(1), run(2)
  np.testing.assert_array_equal(one.spikes, two.spikes)
  np.testing.assert_allclose(
    one.spikes, references.sigmoid(np.asarray(one.logits)), rtol=1e-5
  )


def _digit_like(num_images):
  """Blobs with the statistics of digits: a fifth of the pixels is on."""
  rng = np.random.default_rng(0)
  grid = np.stack(np.meshgrid(np.arange(28), np.arange(28)), -1)
  images = np.zeros((num_images, 28, 28))
  for image in images:
    for centre in rng.uniform(6, 22, (6, 2)):
      image += np.exp(-((grid - centre) ** 2).sum(-1) / 6)
  return np.clip(images - 0.1, 0, 1).reshape(num_images, -1)


@pytest.mark.parametrize("code", ["latency", "rate"])
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_initial_rates_at_depth(depth, code):
  snn = encoder.make_encoder((784,), [encoder.dense(200)] * depth, 8)
  params = snn.init(jax.random.key(depth))
  images = jnp.asarray(_digit_like(16), jnp.float32)
  keys = jax.random.split(jax.random.key(0), 16)

  def run(image, key):
    if code == "latency":
      inputs = coding.latency_encode(image, 30)
    else:
      inputs = coding.rate_encode(key, image, 30)
    return [h.mean() for h in snn.sample(params, inputs, key).hidden]

  rates = np.mean(jax.jit(jax.vmap(run))(images, keys), axis=1)
  assert len(rates) == depth
  assert (rates > 0.01).all() and (rates < 0.3).all(), rates


def test_weight_gradients_equal_the_eligibility_of_a_loop():
  """One step of credit: dL/dW = sum_t psi(u_t) p_t for a single spike."""
  neuron = neurons.lif(surrogate.get("boxcar"))
  layer = encoder.dense(4, neuron=neuron)
  params = layer.init(jax.random.key(0), (5,))
  inputs = _spikes(1, (5,), 0.7)
  state = layer.initial_state((5,))
  traces = jnp.linspace(0.1, 0.5, 5)
  state = state._replace(
    synapse=state.synapse._replace(current=traces, membrane=traces)
  )
  loss = lambda p: jnp.sum(layer.run(p, state, inputs)[1][0])
  gradient = jax.grad(loss)(params).weights
  p = 0.9 * traces + 0.1 * traces
  u = p @ params.weights + params.neuron.bias
  psi = (np.abs(u) < 0.5).astype(float)
  np.testing.assert_allclose(gradient, np.outer(p, psi), rtol=1e-5)
  assert gradient.sum() > 0


@pytest.mark.parametrize("shape", [(20, 10), (5, 20, 11)])
def test_wrong_inputs_are_named(shape):
  snn = _small()
  params = snn.init(jax.random.key(0))
  with pytest.raises(ValueError, match=r"inputs: expected shape \[T, 11\]"):
    snn.sample(params, jnp.zeros(shape), jax.random.key(0))


def test_wrong_sizes_are_named():
  with pytest.raises(ValueError, match="num_units: expected an integer >= 1"):
    encoder.dense(0)
  with pytest.raises(ValueError, match="num_readout"):
    encoder.make_encoder((3,), [], 0)
  with pytest.raises(ValueError, match="at least 8 pixels"):
    encoder.make_encoder((5, 5), [encoder.convolutional(2)], 2)
  snn = _small()
  with pytest.raises(ValueError, match="uniforms: expected shape"):
    snn.run(snn.init(jax.random.key(0)), _spikes(4, (11,)), jnp.zeros((4, 2)))


@pytest.mark.parametrize("remat_every", [0, 4])
def test_a_key_stands_for_its_uniforms(remat_every):
  snn = encoder.make_encoder(
    (5,), [encoder.dense(7)], 6, remat_every=remat_every
  )
  params, key = snn.init(jax.random.key(0)), jax.random.key(1)
  inputs = jnp.ones((10, 5))
  ours = snn.sample(params, inputs, key)
  theirs = snn.run(params, inputs, jax.random.uniform(key, (10, 6)))
  assert 0 < float(jnp.mean(ours.spikes)) < 1
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  with pytest.raises(ValueError, match="uniforms: expected one key, got"):
    snn.run(params, inputs, jax.random.split(key, 3))


def test_a_step_of_training_on_gpus_has_a_kernel_per_recurrence():
  """Two layers and the readout, there and back; a batch is one kernel."""
  snn = encoder.make_encoder((5,), [encoder.dense(7), encoder.dense(8)], 6)

  def loss(params, inputs, keys):
    run = lambda x, key: snn.run(
      params, x, key, sampler=glm.bernoulli_straight_through
    )
    sample = jax.vmap(run)(inputs, keys)
    return jnp.sum(sample.spikes) + jnp.sum(sample.logits)

  keys = jax.random.split(jax.random.key(0), 3)
  given = snn.init(jax.random.key(1)), jnp.ones((3, 10, 5)), keys
  assert kernels.count(jax.grad(loss), "cuda", *given) == 6


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pooling_takes_the_largest_and_its_gradient_goes_there(size):
  """Against loops, with a rest of a row and a column for 2 and 3."""
  drive = np.random.default_rng(0).normal(size=(2, 7, 5, 3)).astype(np.float32)
  want = np.zeros((2, 7 // size, 5 // size, 3), np.float32)
  by_drive, weights = np.zeros_like(drive), np.zeros_like(want)
  for place in np.ndindex(want.shape):
    t, i, j, channel = place
    window = drive[t, i * size :, j * size :, channel][:size, :size]
    row, column = np.unravel_index(np.argmax(window), window.shape)
    want[place], weights[place] = window[row, column], 1 + t + i - j + channel
    by_drive[t, i * size + row, j * size + column, channel] = weights[place]
  np.testing.assert_array_equal(layers._max_pool(drive, size), want)
  total = lambda drive: jnp.sum(layers._max_pool(drive, size) * weights)
  np.testing.assert_array_equal(jax.grad(total)(drive), by_drive)
  ties = jax.grad(lambda d: jnp.sum(layers._max_pool(d, size)))(0.0 * drive)
  assert float(jnp.sum(ties)) == pytest.approx(want.size)
