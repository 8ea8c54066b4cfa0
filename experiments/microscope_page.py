"""The page of `microscope`: what it says, its pictures, its numbers."""

import pathlib
from html import escape

from experiments import constant
from experiments.report_charts import image
from experiments.report_page import top

CAPTIONS = {
  "timing": (
    "Decoding of trains that were changed, by the decoder as it was trained;"
    " bands are 95 % intervals over examples. Shuffles keep the counts of every"
    " window, jitter those of every neuron, merging those of every step."
  ),
  "anytime": (
    "Decoding of what has arrived, and the upper bound on the information about"
    " the input, step by step, with priors that were fitted to training spikes;"
    " 'glm in time' knows what neurons do at a step whatever the input."
  ),
  "structure": (
    "Readout neurons, one by one and in pairs. Noise: what is left of counts"
    " when the mean of their example over samples of y is taken off."
  ),
  "fields": (
    "Weights of the hidden neurons that fire most, where they are known; the"
    " mean input before their spikes and before those of readout neurons, less"
    " the mean of all examples at the same steps."
  ),
}


def statements(found: dict) -> list[str]:
  """What the figures say, a sentence each."""
  metric, curves = found["metric"].replace("_", " "), found["curves"]
  intact, shuffled = curves["shuffle"][0], curves["shuffle"][-1]
  merged = curves["merge"][-1]
  retrained = found["retrained"]
  said = [
    f"Timing: {found['timing_share']['statement']}.",
    f"Decoding: {metric} {_interval(intact)} intact,"
    f" {_interval(shuffled)} after shuffling every neuron's spikes over time,"
    f" {_interval(merged)} after merging neurons at every step.",
    f"Retrained decoders of the same encoder: {metric}"
    f" {_interval(retrained['counts'])} from counts,"
    f" {_interval(retrained['trains'])} from whole trains.",
  ]
  said += [_distortion(found), *_latency(found, metric)]
  said += _bits(found["information"])
  if found["metric"] == "accuracy":  # Pixels would count what they share.
    taken = constant.taken(found["constant_distortion"], intact["distortion"])
    said.append(f"Of the label the decoder takes {taken:.2f} bits per example.")
  return [*said, *_fields(found), _cost(found)]


def _distortion(found: dict) -> str:
  """The share of the distortion that times take away, if any is taken."""
  share, retrained = found["distortion_share"], found["retrained"]
  nats = (
    f"({found['constant_distortion']:.1f} nats without spikes,"
    f" {retrained['counts']['distortion']:.1f} from counts,"
    f" {retrained['trains']['distortion']:.1f} from trains)"
  )
  if share is None:
    return (
      "Retrained decoders take away no distortion that can be told from 0, so"
      f" that no share of it needs spike times {nats}."
    )
  return (
    "Of the distortion that retrained decoders take away,"
    f" {100 * share['share']:.0f} % ({100 * share['low']:.0f} to"
    f" {100 * share['high']:.0f} %) need spike times {nats}."
  )


def _fields(found: dict) -> list[str]:
  """What of fields is not drawn."""
  if reason := found["fields_not_drawn"]:
    return [f"Fields: not drawn, since {reason}."]
  if not found["fields"]["hidden"]:
    return [
      "Fields: of the readout alone; those of hidden neurons are drawn of runs"
      " with dense layers and of own encoders that return hidden spikes."
    ]
  return []


def _bits(information: dict) -> list[str]:
  """The bound, where the encoder's logits are known."""
  if not information:
    return ["Information bound: not known without the encoder's logits."]
  bits = ", ".join(
    f"{entry['total']:.1f} ± {entry['standard_error']:.1f} ({name})"
    for name, entry in information.items()
  )
  said = [f"Information bound by prior, bits per example: {bits}."]
  tightest = min(information.values(), key=lambda e: e["total"])
  if tightest["per_spike"] is not None:
    said.append(
      f"By the tightest at most {tightest['per_spike']:.2f} bits per spike."
    )
  return said


def _latency(found: dict, metric: str) -> list[str]:
  """How soon each decoder is at 90 %."""
  said = []
  for name, words in (
    ("as trained", "the decoder as trained"),
    ("prefixes", "one trained for prefixes"),
  ):
    latency, last = found["latency"][name], found["anytime"][name][-1]
    if latency is None:
      said.append(f"Latency: {words} gains nothing that can be told from 0.")
      continue
    said.append(
      f"Latency: {words} has 90 % of its final {metric} after"
      f" {latency['steps']} of {last['steps']} steps and"
      f" {latency['spikes']:.1f} of {last['spikes']:.1f} spikes."
    )
  return said


def _cost(found: dict) -> str:
  """Operations, where they were counted."""
  cost = found["cost"]
  if not cost:
    return (
      "Cost: not counted for encoders of one's own and for layers that aren't"
      " dense."
    )
  snn, ann = cost["energy_pj_estimate"]
  return (
    f"Cost: {sum(cost['accumulations']):,.0f} synaptic accumulations and"
    f" {sum(cost['updates']):,.0f} multiplications of traces, kernels and"
    " refractory terms per example in the encoder (the decoder is not"
    f" counted), against {sum(cost['dense']):,.0f} multiply-accumulates of an"
    " ANN of the encoder's size; by 45 nm arithmetic (Horowitz 2014) an"
    f" estimate of {snn / 1e6:.2f} and {ann / 1e6:.2f} microjoules, without"
    " memory."
  )


def _interval(point: dict) -> str:
  """A share with its 95 % interval."""
  return (
    f"{point['accuracy']:.3f} ({point['accuracy_low']:.3f} to"
    f" {point['accuracy_high']:.3f})"
  )


def _numbers(found: dict) -> str:
  """The curves as a table."""
  lines = []
  for kind, points in found["curves"].items():
    for p in points:
      lines.append(
        f'<tr><th scope="row">{kind} {p["strength"]:g}</th>'
        f'<td class="number">{p["accuracy"]:.3f}</td>'
        f'<td class="number">{p["accuracy_low"]:.3f} to'
        f" {p['accuracy_high']:.3f}</td>"
        f'<td class="number">{p["distortion"]:.2f}</td></tr>'
      )
  metric = escape(found["metric"].replace("_", " "))
  return (
    "<details><summary>Numbers of the curves</summary>"
    '<div class="scroll" role="region" tabindex="0" aria-label="curves">'
    '<table><thead><tr><th scope="col">change</th>'
    f'<th scope="col" class="number">{metric}</th>'
    '<th scope="col" class="number">95 %</th>'
    '<th scope="col" class="number">distortion<small>nats/example</small></th>'
    f"</tr></thead><tbody>{''.join(lines)}</tbody></table></div></details>"
  )


def _section(name: str, data: bytes) -> str:
  """A picture with its caption; on a phone it scrolls, and can be read."""
  return (
    f'<section><h2 id="{name}">{name}</h2><figure><div class="scroll wide"'
    f' role="region" tabindex="0" aria-label="picture: {name}">'
    f"{image(data, f'The pictures of {name}, described below.')}</div>"
    f"<figcaption>{escape(CAPTIONS[name])}</figcaption></figure></section>"
  )


def page(found: dict, paths: dict[str, pathlib.Path], title: str) -> str:
  """The page, with its pictures inside."""
  said = "".join(f"<li>{escape(text)}</li>" for text in statements(found))
  links = "".join(f'<li><a href="#{name}">{name}</a></li>' for name in paths)
  parts = [_section(name, path.read_bytes()) for name, path in paths.items()]
  return (
    f'{top(title)}<nav aria-label="Parts"><ul>{links}</ul></nav><main>'
    f"<ul>{said}</ul>{''.join(parts)}{_numbers(found)}</main></body></html>\n"
  )
