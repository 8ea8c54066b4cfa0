"""All figures of `microscope`, of one `microscope_subject.Subject`."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import embedding, microscope_fields, priors
from experiments import microscope_measure as measure
from experiments.microscope_decoding import Decoding
from experiments.microscope_subject import Subject
from timedecode import (
  information,
  intervals,
  spike_statistics,
  timing,
)
from timedecode import priors as priors_lib

PRIOR_STEPS = 400


def decode(subject: Subject) -> dict:
  """Curves, retrained decoders, prefixes, and what no spikes would give."""
  train, test, num_steps = subject.train, subject.test, _num_steps(subject)
  decoding = Decoding(subject.decoder, subject.view, test)
  counts = Decoding(subject.decoder, measure.count_view, test)
  by_trains, by_counts = decoding.retrain(train), counts.retrain(train)
  params = by_trains if subject.params is None else subject.params
  prefixes = decoding.retrain(train, params, measure.random_prefix)
  found = {
    "curves": measure.curves(decoding, params, num_steps),
    "retrained": {
      "counts": counts.quality(by_counts)._asdict(),
      "trains": decoding.quality(by_trains)._asdict(),
    },
    "anytime": {
      "as trained": measure.anytime(decoding, params, test),
      "prefixes": measure.anytime(decoding, prefixes, test),
    },
    "constant_distortion": float(subject.without.mean()),
    "distortion_share": None if _all_alike(test.spikes) else distortion_share(
      subject.without, counts.judged(by_counts)[0],
      decoding.judged(by_trains)[0],
    ),
  }  # fmt: skip
  found["latency"] = {
    name: measure.latency(points, len(test.labels))
    for name, points in found["anytime"].items()
  }
  return found


def _all_alike(spikes: np.ndarray) -> bool:
  """Whether no example differs: whatever a decoder gains, it isn't by them."""
  return bool((spikes == spikes[:1]).all())


def _num_steps(subject: Subject) -> int:
  return subject.test.spikes.shape[1]


def distortion_share(
  without: np.ndarray, counts: np.ndarray, trains: np.ndarray
) -> dict | None:
  """Of what trains take off the distortion, the share that counts don't.

  Args:
    without, counts, trains: nats per example, [M], of the best answer without
      spikes, and of decoders of counts and of whole trains.

  Returns:
    `share` and its 95 % interval, `low` and `high`; None unless the interval
    of what trains gain is above 0.
  """
  gain, lost = without - trains, counts - trains
  ends = intervals.of_ratio(lost, gain)
  if intervals.of_mean(gain)[0] <= 0 or ends is None:
    return None
  share = float(lost.mean() / gain.mean())
  return {"share": share, "low": ends[0], "high": ends[1]}


def _priors(subject: Subject) -> dict:
  """Name -> `priors.Prior`, and the one that knows the step."""
  rate, length = subject.prior_rate, subject.prior_length
  spikes = subject.train.spikes
  rates = (spikes.sum(0) + 0.5) / (len(spikes) + 1)
  return {
    "independent": priors_lib.independent(rate),
    "rate": priors_lib.learned_rate(rate),
    "glm": priors_lib.glm(rate, length),
    "glm in time": priors_lib.glm_in_time(rates, length),
  }


def bounds(subject: Subject) -> tuple[dict, np.ndarray | None]:
  """Prior -> information figures; and the map of the tightest.

  Nothing where the encoder's logits aren't known.
  """
  train, test = subject.train, subject.test
  if train.logits is None or test.logits is None:
    return {}, None
  found, arrays = {}, {}
  spikes, logits = map(jnp.asarray, (train.spikes, train.logits))
  for name, prior in _priors(subject).items():
    params = priors.fit(
      prior, spikes, logits, PRIOR_STEPS, min(100, len(spikes))
    )
    fitted = jax.jit(jax.vmap(prior.logits, (None, 0)))(params, test.spikes)
    one = information.information_map(
      test.spikes, test.logits, np.asarray(fitted)
    )
    arrays[name] = one.bits
    found[name] = {
      "per_step": one.per_step.tolist(),
      "per_neuron": one.per_neuron.tolist(),
      "total": one.total, "standard_error": one.standard_error,
      "per_spike": one.per_spike,
    }  # fmt: skip
  tightest = min(found, key=lambda name: found[name]["total"])
  return found, arrays[tightest]


def share_of_times(subject: Subject) -> dict:
  """`timing.TimingShare` for JSON."""
  train, test = subject.train, subject.test
  found = timing.timing_share(
    (train.spikes, train.labels), (test.spikes, test.labels)
  )
  plain = lambda p: p and {k: v for k, v in p._asdict().items() if k != "gains"}
  return found._asdict() | {
    "intact": plain(found.intact), "timed": plain(found.timed),
    "counts": plain(found.counts),
  }  # fmt: skip


def _plain(values: np.ndarray | None) -> list | None:
  """Nested lists of 4 digits, None for what is not defined."""
  if values is None:
    return None
  told = np.round(values.astype(float), 4).astype(object)
  return np.where(np.isfinite(values), told, None).tolist()


def _embed(test) -> tuple[dict | None, np.ndarray | None]:
  """Silhouettes and t-SNE, where there is anything to tell apart."""
  classes = len(np.unique(test.labels))
  fine = len(test.labels) >= 30 and 1 < classes < len(test.labels)
  if not fine or not test.spikes.std(0).any():
    return None, None
  return embedding.measure(test.spikes, test.labels)


def look(subject: Subject) -> tuple[dict, dict]:
  """(figures for JSON, arrays for pictures)."""
  test, spent = subject.test, subject.cost
  averages = microscope_fields.averages(subject)
  bits, bits_map = bounds(subject)
  statistics = spike_statistics.measure(test.spikes, test.labels)
  trials = None
  if subject.trials is not None:
    trials = spike_statistics.measure_trials(subject.trials)
  scores, embedded = _embed(test)
  found = subject.about | {
    "examples": len(test.labels), "num_readout": test.spikes.shape[2],
    "num_steps": _num_steps(subject),
    "spikes_per_example": float(test.spikes.sum((1, 2)).mean()),
    "timing_share": share_of_times(subject),
    "information": bits, "silhouette": scores,
    "statistics": {k: _plain(v) for k, v in statistics._asdict().items()},
    "trial_statistics": trials and {
      k: _plain(v) for k, v in trials._asdict().items()
    },
    "information_map_bits": _plain(bits_map),
    "fields": microscope_fields.figures(subject, averages),
    "cost": spent and {
      k: v.tolist() for k, v in spent._asdict().items()
    } | {"energy_pj_estimate": spent.energy_pj()},
    **decode(subject),
  }  # fmt: skip
  arrays = {
    "information_bits": bits_map, "statistics": statistics,
    "trial_statistics": trials,
    "embedding": embedded, "spikes": test.spikes, "labels": test.labels,
    "input_shape": subject.input_shape, "weights": subject.weights,
    "shown": subject.shown, "averages": averages,
  }  # fmt: skip
  found["fields_not_drawn"] = microscope_fields.none_drawn(arrays)
  return found, arrays
