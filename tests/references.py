"""Slow NumPy twins, written from the equations, step by step."""

import itertools

import numpy as np


def sigmoid(x):
  return 1.0 / (1.0 + np.exp(-x))


def raised_cosine(lag, k, num_kernels, length, mu=0.5):
  """f_k(lag), the printed formula."""
  warp = lambda l: np.log(l + length / 10)
  spacing = (warp(length - 1) - warp(0)) / max(num_kernels - 1, 1)
  centre = warp(0) + k * spacing
  angle = np.clip((warp(lag) - centre) * mu * np.pi / spacing, -np.pi, np.pi)
  return (np.cos(angle) + 1) / 2


def lif_layer(weights, bias, spikes_in, a=0.9, b=0.85, c=0.65, published=False):
  """Hidden layer of section 3.1; returns spikes and potentials [T, N]."""
  gain_s = 1 / (1 - b) if published else 1 - b
  gain_m = 1 / (1 - a) if published else 1 - a
  num_in, num = weights.shape
  q, p = np.zeros(num_in), np.zeros(num_in)
  rho, s = np.zeros(num), np.zeros(num)
  spikes, potentials = [], []
  for x in spikes_in:
    q_before = q
    q = b * q + gain_s * x
    p = a * p + gain_m * q_before
    rho = c * rho - s
    u = weights.T @ p + bias + rho
    s = (u >= 0).astype(float)
    spikes.append(s)
    potentials.append(u)
  return np.array(spikes), np.array(potentials)


def glm_logits(weights, feedback, bias, hidden, spikes, length):
  """Logits of section 3.2 given hidden spikes and the readout's spikes.

  weights [N_in, K, N_y]; feedback [N_y] or [N_y, N_y]; spikes [T, N_y].
  """
  num_kernels = weights.shape[1]
  f = np.array(
    [
      [raised_cosine(l, k, num_kernels, length) for l in range(length)]
      for k in range(num_kernels)
    ]
  )
  g = np.array([raised_cosine(l, 0, 1, length) for l in range(length)])
  logits = np.zeros(spikes.shape)
  for t in range(len(spikes)):
    u = bias.copy()
    for k in range(num_kernels):
      for l in range(min(length, t + 1)):
        u = u + f[k, l] * (hidden[t - l] @ weights[:, k])
    past = np.zeros(spikes.shape[1])
    for l in range(min(length, t)):
      past = past + g[l] * spikes[t - 1 - l]
    u = u + (past @ feedback if feedback.ndim == 2 else past * feedback)
    logits[t] = u
  return logits


def patterns(num_steps, num_readout):
  """All 2^(T N_y) spike trains, [2^(T N_y), T, N_y]."""
  bits = list(itertools.product((0.0, 1.0), repeat=num_steps * num_readout))
  return np.array(bits, np.float32).reshape(-1, num_steps, num_readout)
