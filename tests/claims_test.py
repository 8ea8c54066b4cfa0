"""The README's tables of claims and goals against the records."""

import json
import pathlib
import re
import statistics

import pytest

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
ACCURACY = "judge_accuracy"


def _lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def _claims() -> str:
  text = (ROOT / "README.md").read_text()
  return text.split("What the paper leads")[1].split("### Reconstruction")[0]


def _spread(values, digits=3) -> str:
  mean, deviation = statistics.mean(values), statistics.stdev(values)
  return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _of_study(study, row, figure=ACCURACY) -> list[float]:
  found = [
    record["summary"][figure]
    for record in _lines(RESULTS / study / "records.jsonl")
    if record["row"] == row
  ]
  assert len(found) >= 3, (study, row)
  return found


PAIRS = [
  ("readout_neurons", "full, N_y 8", "rate, N_y 8"),
  *(
    ("reconstruction", f"VDIB, {code} code, {decoder}",
     f"rate decoding, {code} code, {decoder}")
    for code in ("latency", "rate") for decoder in ("mlp", "conv")
  ),
  ("naturalisation", "full prototype 25 ms", "rate prototype 25 ms"),
  ("naturalisation", "full random 25 ms", "rate random 25 ms"),
]  # fmt: skip


@pytest.mark.parametrize("study, ours, counts", PAIRS, ids=str)
def test_whole_trains_against_counts(study, ours, counts):
  pair = (_spread(_of_study(study, row)) for row in (ours, counts))
  assert " against ".join(pair) in _claims()


@pytest.mark.parametrize("neurons, digits", [(8, 3), (64, 4)])
def test_labels(neurons, digits):
  ours, counts = (
    _of_study("classification", f"{view} N_y {neurons}", "accuracy")
    for view in ("full", "rate")
  )
  assert f"{_spread(ours)} against {_spread(counts, digits)}" in _claims()


@pytest.mark.parametrize("neurons", [2, 4, 8])
def test_the_lead_of_few_neurons(neurons):
  ours, counts = (
    _of_study("readout_neurons", f"{view}, N_y {neurons}")
    for view in ("full", "rate")
  )
  lead = statistics.mean(ours) - statistics.mean(counts)
  error = (statistics.variance(ours) + statistics.variance(counts)) ** 0.5
  assert f"{lead:.3f} ± {error:.3f} with {neurons}" in _claims()


@pytest.mark.parametrize("beta, digits", [
  ("0", 0), ("0.0001", 0), ("0.001", 0), ("0.01", 1), ("0.03", 1), ("1", 1),
])  # fmt: skip
def test_the_price_of_information(beta, digits):
  row, claims = f"beta {beta}", _claims()
  nats = _of_study("ablations", row, "pixel_cross_entropy")
  name = {"0.0001": "1e-4"}.get(beta, beta)
  told = _spread([784 * value for value in nats], digits)
  assert f"{told} nats at {name}" in claims or f"{told} at {name}" in claims
  bits = _of_study("ablations", row, "information_bits_per_example")
  if beta != "0.03":
    told = _spread(bits, 1 if beta == "1" else 0)
    assert f"{told} bits at {name}" in claims or f"{told} at {name}" in claims


def _predicted(view, delta) -> dict[int, float]:
  return {
    row["seed"]: row["accuracy"]
    for row in _lines(RESULTS / "prediction" / "results.jsonl")
    if (row["rule"], row["view"], row["delta"], row["beta"])
    == ("tuned", view, delta, 0.1)
  }


def test_prediction():
  claims, leads = _claims(), {}
  for delta in (-3, -1, 0, 1, 3):
    ours, counts = _predicted("full", delta), _predicted("rate", delta)
    leads[delta] = [ours[seed] - counts[seed] for seed in range(5)]
    assert min(leads[delta]) > 0  # "With each of 5 seeds".
  for delta in (1, 3):
    assert f"{_spread(leads[delta])} at +{delta}" in claims
  early = [statistics.mean(leads[delta]) for delta in (-3, -1, 0)]
  assert f"by {min(early):.3f} to {max(early):.3f} at delta <= 0" in claims
  ours = [statistics.mean(_predicted("full", d).values()) for d in (-3, -1, 0)]
  assert f"{min(ours):.3f} to {max(ours):.3f} at delta <= 0" in claims
  for delta in (1, 3):
    mean = statistics.mean(_predicted("full", delta).values())
    assert f"{mean:.3f} at +{delta}" in claims


def test_goals():
  claims = _claims()
  names = ("summary", "summary_seed1", "summary_seed2")
  longest = [
    json.loads((RESULTS / "mnist_time_long" / f"{name}.json").read_text())
    for name in names
  ]
  shares = [
    100 * found[ACCURACY] / found["judge_clean_accuracy"] for found in longest
  ]
  assert f"{_spread(shares, 1)} %" in claims
  told = ", ".join(f"{found[ACCURACY]:.3f}" for found in longest)
  assert told in claims
  naturalised = _of_study("naturalisation", "full prototype 25 ms")
  assert f"0.95 | {_spread(naturalised)} |" in claims
  reality = json.loads((RESULTS / "naturalisation/reality.json").read_text())
  zeros = [
    reality[f"real, full, seed {seed}"]["judged_right"]["by_recording"]
    for seed in range(3)
  ]
  for part in (slice(40), slice(20, 40)):
    each = [statistics.mean(some) for some in zip(*zeros, strict=True)][part]
    error = statistics.stdev(each) / len(each) ** 0.5
    assert f"{statistics.mean(each):.3f} ± {error:.3f}" in claims


def test_the_main_job():
  """Its record at the top, in what it prints, and in the table."""
  text = (ROOT / "README.md").read_text()
  found = json.loads((RESULTS / "mnist_time" / "summary.json").read_text())
  ours, counts = (
    f"{found[ACCURACY]:.3f}",
    f"{found[f'baseline_{ACCURACY}']:.3f}",
  )
  clean, cross = found["judge_clean_accuracy"], found["pixel_cross_entropy"]
  square, bits = found["mean_squared_error"], "information_bits_per_example"
  bits, spikes = found[bits], found["readout_spikes_per_example"]

  share = lambda printed: f"{100 * float(printed):.1f} %"
  top = " ".join(text.split("## Two commands")[0].split())
  assert (
    f"reads {share(ours)} of the second kind and {share(counts)} of the third"
    f" rightly (and {share(clean)} of the images themselves)"
  ) in top

  printed = text.split("What the main job prints")[1].split("Its folder")[0]
  judged = (
    "decoding: judge accuracy {} (on clean images {:.3f}), distortion {:.4f}"
  )
  learned = judged.format(ours, clean, cross)
  assert (
    f"learned time {learned} nats/pixel, squared error {square:.4f},"
    f" information {bits:.1f} bits/example, {spikes:.1f} spikes/example"
  ) in printed
  other = found["baseline_pixel_cross_entropy"]
  assert f"rate {judged.format(counts, clean, other)} nats/pixel" in printed

  assert (
    f"| {found['examples_seen']:,} | {found['train_seconds']:.0f} s |"
    f" **{ours}** | {counts} | {cross:.4f} | {square:.4f} |"
    f" {bits:.0f} | {spikes:.0f} |"
  ) in re.search(r"\n\| `mnist_time` \| latency.*", text)[0]
