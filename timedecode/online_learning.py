"""Learning on the fly: the parameters move at every time step.

B streams run side by side with the same parameters theta_t. At step t each
emits y_t, see `eligibility`, and loses

  l_t = D_t + beta KL_t,  D_t = -log q(r_t | y_{t-N+1..t})                (1)
  KL_t = KL(P(y_t | x^t, y^{t-1}) || q(y_t | y^{t-1})), in closed form
  theta_{t+1} = theta_t - optimiser(mean over streams of g_t)             (2)

Before the train the window of N steps holds zeros. A spike is emitted once and
can be charged for H >= N steps: y_s, sigma(u_s) and its eligibility
a_s = du_s / dtheta are kept as they were. With d_s the error at u_s,

  g_t = dl_t / dtheta through decoder and prior + sum_{s>t-H} a_s d_s     (3)

where d_t has beta dKL_t / du_t, and further, by the estimator's name,

  score_function    (l_t - b) (y_s - sigma(u_s)) for s < t, and           (4)
                    (D_t - b') (y_t - sigma(u_t)) for s = t, on whose
                    spikes KL_t does not depend
  straight_through  dl_t/dy_s sigma'(u_s)                                 (5)

While theta moves, (3) mixes the parameters of H steps. For a fixed theta,
summed over t: (5) is the derivative of the stored train's sum of l_t with own
spikes in u for constants (`credit.local`); (4) without baseline, b = b' = 0,
is an unbiased estimate of the gradient of E[sum of l_t] if H >= T or w_fb = 0,
else it neglects what a spike does through feedback to losses H and more steps
later. Running means of all streams' losses before step t as b and b' follow
y_s too, which takes a share of up to H (1 - decay) / B off (4).

Nothing grows with the train's length. Source: arXiv:2106.01177 (the rule
applied at every step); method section 7.1.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from timedecode import bottleneck, eligibility, priors, readout, training
from timedecode import encoder as encoder_lib

ESTIMATORS = ("score_function", "straight_through")


class Losses(NamedTuple):
  """Of one step, nats: distortion is D_t, information is KL_t."""

  distortion: jax.Array
  information: jax.Array


class State(NamedTuple):
  """What learning carries from step to step.

  Attributes:
    params: `training.ModelParams`.
    optimizer: optax state.
    baseline: `Losses`, running means; zeros without a baseline.
    streams: `eligibility.Stream` of [B, ...].
    key: typed, of the streams' spikes.
    step: int32 scalar, steps since the streams began.
  """

  params: training.ModelParams
  optimizer: Any
  baseline: Losses
  streams: eligibility.Stream
  key: jax.Array
  step: jax.Array


class Learner(NamedTuple):
  """Learning as pure functions.

  Attributes:
    init: ``(params, key, num_streams) -> State``, B streams at their start.
    restart: ``(state, key) -> State``: new streams, all else is kept.
    gradients: ``(state, x [B, ...], target [B]) -> (gradients, (streams,
      Losses [B], correct [B]))``, equation (3).
    step: ``(state, x, target) -> (State, Losses, correct)``, and (2) too.
  """

  init: Callable[..., State]
  restart: Callable[..., State]
  gradients: Callable[..., Any]
  step: Callable[..., tuple[State, Losses, jax.Array]]


def _check(encoder, prior, window, horizon, estimator, baseline_decay):
  if count := len(encoder.layers):
    raise ValueError(
      f"encoder: expected no hidden layers (see `online`), got {count}"
    )
  if not 1 <= window <= horizon:
    raise ValueError(f"window: expected 1..horizon = {horizon}, got {window}")
  if prior.reach >= horizon:
    raise ValueError(
      f"prior: expected a reach below horizon = {horizon}, got {prior.reach}"
    )
  if estimator not in ESTIMATORS:
    raise ValueError(
      f"estimator: expected one of {', '.join(ESTIMATORS)}, got {estimator!r}"
    )
  score = estimator == "score_function"
  if baseline_decay is not None and not (score and 0 <= baseline_decay < 1):
    raise ValueError(
      "baseline_decay: expected a number in [0, 1) with 'score_function', or"
      f" None, got {baseline_decay} with {estimator!r}"
    )


def _check_step(encoder, state, x, target):
  num_streams = len(state.streams.spikes)
  expected = (num_streams, *encoder.input_shape)
  if x.shape != expected or target.shape[:1] != (num_streams,):
    raise ValueError(
      f"x, target: expected shapes {expected} and ({num_streams}, ...), got"
      f" {x.shape} and {target.shape}"
    )


def _make_step_loss(decode, prior, window, beta, view, distortion):
  """Equation (1) of one stream, and what is shown of it."""

  def step_loss(decoder, prior_params, spikes, logits, target):
    outputs = decode(decoder, view(spikes[-window:]))
    prior_logits = prior.logits(prior_params, spikes)[-1]
    information = jnp.sum(bottleneck.divergence(logits, prior_logits))
    losses = Losses(distortion(outputs, target), information)
    # The target alone is the most probable; an argmax is slow on CPU.
    correct = jnp.sum(outputs >= outputs[target]) == 1
    return losses.distortion + beta * information, (losses, correct)

  return step_loss


def _score_errors(beta, streams, losses, baseline):
  """Equation (4), mean over B: [B, H, N_y]."""
  over = jax.tree.map(jnp.subtract, losses, baseline)
  num_streams, horizon, _ = streams.spikes.shape
  earlier = jnp.arange(horizon) < horizon - 1
  signal = beta * over.information[:, None] * earlier[None]
  signal = (signal + over.distortion[:, None]) / num_streams
  return signal[..., None] * (streams.spikes - streams.probabilities)


def _gradients(step_loss, score_beta, state, x, target):
  """Equation (3); score_beta is beta, or None for straight-through."""
  params, spikes = state.params, state.streams.spikes
  key = jax.random.fold_in(state.key, state.step)
  uniforms = jax.random.uniform(key, (len(spikes), spikes.shape[-1]))
  streams, logits = jax.vmap(eligibility.advance, (None, 0, 0, 0))(
    params.encoder.readout, state.streams, x, uniforms
  )

  def loss(decoder, prior, spikes, logits):
    one = functools.partial(step_loss, decoder, prior)
    values, aux = jax.vmap(one)(spikes, logits, target)
    return jnp.mean(values), aux

  (decoder, prior, by_spikes, by_logits), aux = jax.grad(
    loss, (0, 1, 2, 3), has_aux=True
  )(params.decoder, params.prior, streams.spikes, logits)
  if score_beta is None:
    slope = streams.probabilities * (1.0 - streams.probabilities)
    errors = by_spikes * slope  # Equation (5).
  else:
    errors = _score_errors(score_beta, streams, aux[0], state.baseline)
  now = errors[:, -1:] + by_logits[:, None]
  errors = jnp.concatenate([errors[:, :-1], now], axis=1)
  # One axis of streams and steps makes one product.
  flat = lambda a: a.reshape(-1, a.shape[-1])
  kept = jax.tree.map(flat, streams.eligibility)
  glm = eligibility.charge(params.encoder.readout, kept, flat(errors))
  gradients = (encoder_lib.EncoderParams((), glm), decoder, prior)
  return training.ModelParams(*gradients), (streams, *aux)


def make_learner(
  encoder: encoder_lib.Encoder,
  decode: Callable[[Any, jax.Array], jax.Array],
  prior: priors.Prior,
  optimizer: optax.GradientTransformation,
  *,
  window: int,
  beta: float | jax.Array,
  view: Callable[[jax.Array], jax.Array] = readout.whole_train,
  distortion: bottleneck.Distortion = bottleneck.categorical_distortion,
  estimator: str = "score_function",
  baseline_decay: float | None = None,
  horizon: int | None = None,
) -> Learner:
  """Builds a `Learner`.

  Args:
    encoder: without hidden layers, so that no path leads through time.
    decode: ``(decoder params, view) -> logits of the classes``.
    prior: q(y_t | y^{t-1}); it sees fewer than `horizon` steps.
    optimizer: optax transformation over `training.ModelParams`.
    window: N, steps that the decoder's view is made of.
    beta: nats per nat, >= 0; may be traced.
    view: ``[N, N_y] -> [D, N_y]``, say `readout.counts`.
    distortion: ``(outputs, target) -> nats``, categorical by default.
    estimator: "score_function" or "straight_through".
    baseline_decay: of the running means b and b'; None: no baseline.
    horizon: H, steps for which a spike can be charged, default `window`.

  Raises:
    ValueError: choices that mean nothing here.
  """
  if isinstance(beta, int | float):
    bottleneck.check_beta(beta)
  horizon = window if horizon is None else horizon
  _check(encoder, prior, window, horizon, estimator, baseline_decay)
  score_beta = beta if estimator == "score_function" else None
  step_loss = _make_step_loss(decode, prior, window, beta, view, distortion)

  def silent(params, num_streams):
    one = eligibility.silent(params.encoder.readout, encoder.reach, horizon)
    return jax.tree.map(lambda a: jnp.zeros((num_streams, *a.shape)), one)

  def init(params, key, num_streams):
    zeros = Losses(jnp.zeros(()), jnp.zeros(()))
    streams, state = silent(params, num_streams), optimizer.init(params)
    return State(params, state, zeros, streams, key, jnp.int32(0))

  def restart(state, key):
    streams = silent(state.params, len(state.streams.spikes))
    return state._replace(streams=streams, key=key, step=jnp.int32(0))

  def gradients(state, x, target):
    _check_step(encoder, state, x, target)
    return _gradients(step_loss, score_beta, state, x, target)

  def step(state, x, target):
    params, memory, baseline = state.params, state.optimizer, state.baseline
    gradient, (streams, losses, correct) = gradients(state, x, target)
    updates, memory = optimizer.update(gradient, memory, params)
    params = optax.apply_updates(params, updates)
    if baseline_decay is not None:
      follow = lambda b, l: baseline_decay * b + (1 - baseline_decay) * l.mean()
      baseline = jax.tree.map(follow, baseline, losses)
    kept = (streams, state.key, state.step + 1)
    return State(params, memory, baseline, *kept), losses, correct

  return Learner(init, restart, gradients, step)
