"""Learning at every step: stored gradients, a NumPy twin, enumeration."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references

from timedecode import (
  bottleneck,
  credit,
  encoder,
  glm,
  online_learning,
  priors,
  readout,
  training,
)

NUM_IN, NUM_Y, CLASSES, WINDOW, BETA, BATCH = 4, 3, 5, 4, 0.3, 2
DECODE = lambda weights, view: weights @ view.reshape(-1)


def _learner(**choices):
  """A learner and initial parameters; large enough to matter."""
  layers = choices.pop("layers", ())
  num_y = choices.pop("num_y", NUM_Y)
  prior = choices.pop("prior", priors.independent(0.2))
  rows = choices.pop("rows", choices.get("window", WINDOW))
  snn = encoder.make_encoder(
    (NUM_IN,), layers, num_y, credit=credit.local(),
    lateral=choices.pop("lateral", False),
  )  # fmt: skip
  optimizer = choices.pop("optimizer", optax.sgd(0.0))
  learner = online_learning.make_learner(
    snn, choices.pop("decode", DECODE), prior, optimizer,
    **{"window": WINDOW, "beta": BETA} | choices,
  )  # fmt: skip
  weights = jax.random.normal(jax.random.key(1), (CLASSES, rows * num_y))
  params = training.ModelParams(
    jax.tree.map(lambda a: 2.0 * a, snn.init(jax.random.key(0))),
    weights,
    jax.tree.map(lambda a: a + 0.1, prior.init(num_y)),
  )
  return snn, learner, params


def _data(steps, batch=BATCH):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.random((steps, batch, NUM_IN)) < 0.4, jnp.float32)
  return x, jnp.asarray(rng.integers(0, CLASSES, (steps, batch)), jnp.int32)


def _walk(learner, params, x, targets, key=None):
  """Step after step: (last state, (gradients, losses, correct) of each)."""
  key = jax.random.key(5) if key is None else key
  state = learner.init(params, key, x.shape[1])

  def step(state, now):
    gradients, _ = learner.gradients(state, *now)
    state, losses, correct = learner.step(state, *now)
    return state, (gradients, losses, correct)

  return jax.lax.scan(step, state, (x, targets))


def _uniforms(steps, batch=BATCH, num_y=NUM_Y):
  keys = jax.vmap(lambda t: jax.random.fold_in(jax.random.key(5), t))(
    jnp.arange(steps)
  )
  return jax.vmap(lambda key: jax.random.uniform(key, (batch, num_y)))(keys)


def _stored(snn, prior, params, x, targets):
  """Straight-through over the stored train: sum over steps, mean of B."""

  def one(x, targets, u):
    sample = snn.run(
      params.encoder, x, u, sampler=glm.bernoulli_straight_through
    )
    views = readout.sliding_window(sample.spikes, WINDOW)
    outputs = jax.vmap(functools.partial(DECODE, params.decoder))(views)
    log_q = jax.nn.log_softmax(outputs)[jnp.arange(len(x)), targets]
    prior_logits = prior.logits(params.prior, sample.spikes)
    information = bottleneck.divergence(sample.logits, prior_logits).sum(1)
    return -log_q, information

  distortion, information = jax.vmap(one, in_axes=1, out_axes=1)(
    x, targets, _uniforms(len(x))
  )
  total = jnp.sum(distortion + BETA * information) / BATCH
  return total, (distortion, information)


def _assert_trees(found, expected, rtol=2e-3):
  largest = max(np.abs(b).max() for b in jax.tree.leaves(expected))
  for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    assert np.abs(b).max() > 1e-4 * largest
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5 * largest)


@pytest.mark.parametrize(
  "prior, lateral",
  [(priors.independent(0.2), False), (priors.glm(0.2, 3), True)],
)
def test_steps_add_up_to_the_stored_gradient(prior, lateral):
  snn, learner, params = _learner(
    prior=prior, lateral=lateral, estimator="straight_through"
  )
  data = _data(30)
  _, (gradients, losses, _) = jax.jit(functools.partial(_walk, learner))(
    params, *data
  )
  stored = lambda params: _stored(snn, prior, params, *data)
  exact, (distortion, information) = jax.jit(jax.grad(stored, has_aux=True))(
    params
  )
  np.testing.assert_allclose(losses.distortion, distortion, rtol=1e-4)
  np.testing.assert_allclose(losses.information, information, rtol=1e-4)
  _assert_trees(jax.tree.map(lambda a: a.sum(0), gradients), exact)


def _filters(length=10, num_kernels=8):
  return np.array(
    [
      [references.raised_cosine(l, k, num_kernels, length) for l in range(10)]
      for k in range(num_kernels)
    ]
  )


def _softmax(z):
  return np.exp(z - z.max()) / np.exp(z - z.max()).sum()


class _Twin:
  """The score function at every step, float64, from the equations."""

  def __init__(self, params, rate, decay):
    glm = params.encoder.readout
    self.theta = [np.asarray(a, np.float64) for a in (*glm, params.decoder)]
    self.rate, self.decay, self.mean = rate, decay, np.zeros(2)
    self.past = [[] for _ in range(BATCH)]  # (x, y, errors, traces).

  def traces(self, past, x):
    f, g = _filters(), _filters(num_kernels=1)[0]
    inputs = [x] + [row[0] for row in past[::-1]]
    own = [row[1] for row in past[::-1]]
    phi = sum(np.outer(a, f[:, l]) for l, a in enumerate(inputs[:10]))
    return phi, sum((g[l] * y for l, y in enumerate(own[:10])), np.zeros(NUM_Y))

  def step(self, x, target, u):
    weights, feedback, bias, decoder = self.theta
    totals, losses = [np.zeros_like(a) for a in self.theta], []
    for b, past in enumerate(self.past):
      phi, own = self.traces(past, x[b])
      logits = np.einsum("ik,ikn->n", phi, weights) + own * feedback + bias
      p = references.sigmoid(logits)
      y = (u[b] < p).astype(float)
      past.append((x[b], y, y - p, (phi, own)))
      window = [row[1] for row in past[-WINDOW:]]
      window = [np.zeros(NUM_Y)] * (WINDOW - len(window)) + window
      view = np.concatenate(window)
      q = _softmax(decoder @ view)
      distortion = -np.log(q[target[b]])
      information = np.sum(
        p * np.log(p / 0.2) + (1 - p) * np.log((1 - p) / 0.8)
      )
      losses.append((distortion, information))
      error = q - np.eye(CLASSES)[target[b]]
      totals[3] += np.outer(error, view)
      for back, row in enumerate(past[::-1][:WINDOW]):
        signal = distortion - self.mean[0]
        if back:
          signal += BETA * (information - self.mean[1])
        d = signal * row[2]
        if not back:
          prior = np.log(0.2 / 0.8)
          d = d + BETA * (logits - prior) * p * (1 - p)
        phi, own = row[3]
        totals[0] += phi[:, :, None] * d
        totals[1] += own * d
        totals[2] += d
    pairs = zip(self.theta, totals, strict=True)
    self.theta = [a - self.rate * g / BATCH for a, g in pairs]
    if self.decay is not None:
      new = np.mean(losses, 0)
      self.mean = self.decay * self.mean + (1 - self.decay) * new
    return [g / BATCH for g in totals], losses


@pytest.mark.parametrize("decay", [None, 0.7])
def test_the_score_function_is_its_numpy_twin_while_it_learns(decay):
  rate, steps = 0.02, 20
  _, learner, params = _learner(baseline_decay=decay, optimizer=optax.sgd(rate))
  x, targets = _data(steps)
  state, (gradients, losses, _) = jax.jit(functools.partial(_walk, learner))(
    params, x, targets
  )
  twin, u = _Twin(params, rate, decay), np.asarray(_uniforms(steps))
  for t in range(steps):
    expected, values = twin.step(np.asarray(x[t]), np.asarray(targets[t]), u[t])
    found = [a[t] for a in jax.tree.leaves(gradients)]
    for a, b in zip(found, expected, strict=True):
      # 1 - sigma(u) near 0 has few digits in float32.
      bound = 2e-3 * np.abs(b).max()
      np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=str(t))
    distortion, information = np.transpose(values)
    np.testing.assert_allclose(losses.distortion[t], distortion, rtol=1e-3)
    np.testing.assert_allclose(losses.information[t], information, rtol=1e-3)
  for a, b, start in zip(
    jax.tree.leaves(state.params), twin.theta, jax.tree.leaves(params),
    strict=True,
  ):  # fmt: skip
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert np.abs(a - start).max() > 0.05


def _expected_gradient(snn, prior, params, x, targets, window):
  """Of E[sum of l_t] for one stream, over all spike patterns."""
  patterns = jnp.asarray(references.patterns(len(x), snn.num_readout))
  given = lambda logits, y: y

  def one(params, y):
    sample = snn.run(params.encoder, x, y, sampler=given)
    views = readout.sliding_window(y, window)
    outputs = jax.vmap(functools.partial(DECODE, params.decoder))(views)
    log_q = jax.nn.log_softmax(outputs)[jnp.arange(len(x)), targets]
    prior_logits = prior.logits(params.prior, y)
    information = jnp.sum(bottleneck.divergence(sample.logits, prior_logits))
    probability = jnp.exp(bottleneck.log_probability(y, sample.logits))
    return probability * (BETA * information - jnp.sum(log_q))

  total = lambda p: jnp.sum(jax.vmap(functools.partial(one, p))(patterns))
  return jax.jit(jax.grad(total))(params)


@pytest.mark.parametrize("horizon, feedback", [(4, 2.0), (2, 0.0), (2, 2.0)])
def test_the_score_function_is_unbiased_where_it_is_said_to_be(
  horizon, feedback
):
  prior, steps, num_y = priors.glm(0.2, 1), 4, 2
  snn, learner, params = _learner(
    window=2, horizon=horizon, num_y=num_y, prior=prior
  )
  glm = params.encoder.readout
  glm = glm._replace(feedback=jnp.full_like(glm.feedback, feedback))
  params = params._replace(encoder=encoder.EncoderParams((), glm))
  x, targets = _data(steps, 1)
  exact = _expected_gradient(snn, prior, params, x[:, 0], targets[:, 0], 2)

  def estimate(key):
    gradients = _walk(learner, params, x, targets, key)[1][0]
    total = jax.tree.map(lambda a: a.sum(0), gradients)
    return jax.flatten_util.ravel_pytree(total)[0]

  keys = jax.random.split(jax.random.key(8), 40_000)
  draws = jax.jit(lambda k: jax.lax.map(estimate, k, batch_size=2_000))(keys)
  draws = np.asarray(draws, np.float64)
  exact = np.asarray(jax.flatten_util.ravel_pytree(exact)[0], np.float64)
  deviation = draws.std(0) / np.sqrt(len(draws))
  moves = deviation > 1e-8
  z = (draws.mean(0) - exact)[moves] / deviation[moves]
  if feedback and horizon < steps:  # Neglected, and seen.
    assert np.abs(z).max() > 6.0
  else:
    assert np.abs(z).max() < 5.0 and np.mean(z**2) < 2.0
    assert np.median(np.abs(exact[moves] / deviation[moves])) > 2.0


@pytest.mark.parametrize("estimator", online_learning.ESTIMATORS)
def test_memory_does_not_grow_with_the_train(estimator):
  _, learner, params = _learner(estimator=estimator)

  def train(params, x, targets):
    state = learner.init(params, jax.random.key(0), BATCH)
    step = lambda state, now: (learner.step(state, *now)[0], None)
    return jax.lax.scan(step, state, (x, targets))[0].params

  def memory(steps):
    shapes = (
      jax.ShapeDtypeStruct((steps, BATCH, NUM_IN), jnp.float32),
      jax.ShapeDtypeStruct((steps, BATCH), jnp.int32),
    )
    compiled = jax.jit(train).lower(params, *shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  short, long = memory(100), memory(10_000)
  assert 0 < long < 1.1 * short, (short, long)


@pytest.mark.parametrize("estimator", online_learning.ESTIMATORS)
def test_a_spike_is_charged_for_the_horizon_and_no_longer(estimator):
  """One input spike reaches the traces of 10 steps, each kept for H."""
  horizon = 6
  _, learner, params = _learner(estimator=estimator, horizon=horizon)
  x, targets = _data(30)
  x = jnp.zeros_like(x).at[3].set(1.0)
  walk = jax.jit(functools.partial(_walk, learner))
  gradients = walk(params, x, targets)[1][0].encoder.readout.weights
  moved = np.abs(gradients).max((1, 2, 3)) > 0
  seen = horizon if estimator == "score_function" else WINDOW
  last = 3 + 9 + seen - 1
  assert not moved[:3].any() and not moved[last + 1 :].any()
  assert moved[4 : last + 1].all()


def test_the_future_changes_nothing():
  _, learner, params = _learner(optimizer=optax.adam(0.05))
  walk = jax.jit(functools.partial(_walk, learner))
  x, targets = _data(20)
  before = walk(params, x, targets)[1]
  after = walk(params, x.at[12:].set(1 - x[12:]), targets.at[12:].set(0))[1]
  for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True):
    np.testing.assert_array_equal(a[:12], b[:12])
  assert np.any(before[1].distortion[12:] != after[1].distortion[12:])


@pytest.mark.parametrize("estimator", online_learning.ESTIMATORS)
def test_the_rate_view_is_a_decoder_that_sees_all_steps_alike(estimator):
  scale = 3.0
  view = functools.partial(readout.counts, scale=scale)
  _, rate, params = _learner(view=view, rows=1, estimator=estimator)
  _, full, _ = _learner(estimator=estimator)
  tied = jnp.tile(params.decoder * scale / WINDOW, (1, WINDOW))
  data = _data(15)
  walk = lambda learner, params: jax.jit(functools.partial(_walk, learner))(
    params, *data
  )[1]
  a = walk(rate, params)
  b = walk(full, params._replace(decoder=tied))
  _assert_trees(a[0].encoder, b[0].encoder)
  np.testing.assert_allclose(a[1].distortion, b[1].distortion, rtol=1e-4)
  blocks = b[0].decoder.reshape(15, CLASSES, WINDOW, NUM_Y).sum(2)
  np.testing.assert_allclose(
    a[0].decoder, blocks * scale / WINDOW, rtol=1e-3, atol=1e-5
  )


def test_correct_is_the_most_probable_class_alone():
  decode = lambda weights, view: weights[:, 0]
  _, learner, params = _learner(decode=decode)
  x, _ = _data(1)
  one = jnp.zeros_like(params.decoder).at[2, 0].set(1.0)
  for weights, target, expected in (
    (one, [2, 1], [True, False]),
    (one.at[1, 0].set(1.0), [2, 1], [False, False]),
  ):
    state = learner.init(
      params._replace(decoder=weights), jax.random.key(0), BATCH
    )
    correct = jax.jit(learner.step)(state, x[0], jnp.asarray(target))[2]
    np.testing.assert_array_equal(correct, expected)


def test_restart_keeps_what_was_learnt_and_nothing_else():
  _, learner, params = _learner(optimizer=optax.adam(0.05), baseline_decay=0.9)
  x, targets = _data(12)
  state = _walk(learner, params, x, targets)[0]
  again = learner.restart(state, jax.random.key(5))
  assert int(state.step) == 12 and int(again.step) == 0
  assert np.any(state.params.decoder != params.decoder)
  assert float(state.baseline.distortion) > 0
  for name in ("params", "optimizer", "baseline"):
    for a, b in zip(
      *(jax.tree.leaves(getattr(s, name)) for s in (state, again)), strict=True
    ):
      np.testing.assert_array_equal(a, b)
  fresh = learner.init(state.params, jax.random.key(5), BATCH)
  one = learner.gradients(
    again._replace(baseline=fresh.baseline), x[0], targets[0]
  )
  two = learner.gradients(fresh, x[0], targets[0])
  for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  "choices, message",
  [
    (
      {"layers": [encoder.dense(6)]},
      "encoder: expected no hidden layers.*got 1",
    ),
    ({"window": 0}, "window: expected 1..horizon = 0, got 0"),
    ({"horizon": 3}, "window: expected 1..horizon = 3, got 4"),
    (
      {"prior": priors.glm(0.2, 4)},
      "prior: expected a reach below horizon = 4, got 4",
    ),
    ({"estimator": "disarm"}, "estimator: expected one of.*got 'disarm'"),
    ({"baseline_decay": 1.0}, r"baseline_decay.*\[0, 1\).*got 1.0"),
    (
      {"baseline_decay": 0.5, "estimator": "straight_through"},
      "baseline_decay.*got 0.5 with 'straight_through'",
    ),
    ({"beta": -1.0}, "beta: expected a finite number >= 0, got -1.0"),
  ],
)
def test_what_means_nothing_is_refused(choices, message):
  with pytest.raises(ValueError, match=message):
    _learner(**choices)


def test_inputs_of_another_shape_are_refused():
  _, learner, params = _learner()
  state = learner.init(params, jax.random.key(0), BATCH)
  x, targets = _data(1)
  with pytest.raises(ValueError, match=r"expected shapes \(2, 4\) and \(2,"):
    learner.step(state, x[0, :, :3], targets[0])
  with pytest.raises(ValueError, match=r"got \(2, 4\) and \(1,\)"):
    learner.step(state, x[0], targets[0, :1])
