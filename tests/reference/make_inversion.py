"""Writes tests/fixtures/inversion.json: runs of inversion methods on a toy network.

Where the values come from:
  ddim, ddim_v     diffusers' DDIMInverseScheduler
  bdia, o_belm     the BELM authors' code (github.com/zituitui/BELM, commit aa09c5e) in float32. They
                   are kept as they are, and the closed forms below are checked against them.
  edict            the equations of arXiv 2211.12446 with turns by the parity of the level, as in the authors'
                   edict_functions.py (github.com/salesforce/EDICT): steps take turns, mixing doesn't
  rex              the equations of arXiv 2502.08834 over Euler's method in the time of noise prediction
  fixed_point      arXiv 2312.12540 and 2309.04907: z = step back with epsilon(z), plain and averaged
  renoise          arXiv 2403.14602, algorithm 1, with and without regularization
  null_text        arXiv 2211.09794 with torch.optim.Adam on a toy guidance, 10 iterations a step
Needs torch 2.11, numpy and diffusers 0.42.1.
"""
import json
import pathlib

import numpy as np
import torch
from diffusers import DDIMInverseScheduler

FILE = pathlib.Path(__file__).parent.parent / "fixtures" / "inversion.json"
N = 8
BASE = np.arange(8) * 0.5 - 1.75
TABLE = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


def eps(x, t):
    sin = torch.sin if torch.is_tensor(x) else np.sin
    return 0.3 * x + 0.2 * sin(x + 0.002 * t)


class Levels:
    """Index 0 is the noisiest, N the image; the network is told timestep `end` about the image."""

    def __init__(self, timesteps, final=1.0, end=0):
        self.t = [*timesteps, end]
        abar = [*(TABLE[t] for t in timesteps), final]
        self.a = [np.sqrt(v) for v in abar]
        self.s = [np.sqrt(1 - v) for v in abar]
        self.q = [s / a for s, a in zip(self.s, self.a)]

    def move(self, x, e, i, j):
        """DDIM's map from level i to j."""
        c = self.a[j] / self.a[i]
        return c * x + (self.s[j] - self.s[i] * c) * e


LEADING = Levels([1 + 125 * k for k in reversed(range(N))])
LINSPACE = Levels([int(t) for t in np.round(np.linspace(0, 999, N))[::-1]])


def ddim(prediction):
    scheduler = DDIMInverseScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1, prediction_type=prediction)
    scheduler.set_timesteps(N)
    x = torch.tensor(BASE, dtype=torch.float64)
    for t in scheduler.timesteps:
        x = scheduler.step(eps(x, float(t)), t, x).prev_sample
    return {"timesteps": scheduler.timesteps.tolist(), "final": x.tolist()}


def bdia(gamma, l=LINSPACE):
    before, x = BASE, None
    x = l.move(BASE, eps(BASE, l.t[0]), 0, 1)
    for i in range(1, N):
        e = eps(x, l.t[i])
        before, x = x, gamma * (before - l.move(x, e, i, i - 1)) + l.move(x, e, i, i + 1)
    return x


def o_belm_generate(l=LINSPACE):
    before, x = None, BASE
    for i in range(N):
        e, h = eps(x, l.t[i]), l.q[i] - l.q[i + 1]
        if before is None:
            after = l.move(x, e, i, i + 1)
        else:
            r = h / (l.q[i - 1] - l.q[i])
            after = l.a[i + 1] * (r * r * before / l.a[i - 1] + (1 - r * r) * x / l.a[i]
                                  - h * (1 + r) * e)
        before, x = x, after
    return x


def o_belm_invert(l):
    before, x = BASE, l.move(BASE, eps(BASE, l.t[N]), N, N - 1)
    for i in range(N - 1, 0, -1):
        r = (l.q[i - 1] - l.q[i]) / (l.q[i] - l.q[i + 1])
        h = l.q[i - 1] - l.q[i]
        after = l.a[i - 1] * (r * r * before / l.a[i + 1] + (1 - r * r) * x / l.a[i]
                              + h * (1 + r) * eps(x, l.t[i]))
        before, x = x, after
    return x, before


def edict_down(x, y, i, p, l=LEADING):
    a = l.a[i + 1] / l.a[i]
    b = l.s[i + 1] - l.s[i] * a
    if i % 2:
        y = a * y + b * eps(x, l.t[i])
        x = a * x + b * eps(y, l.t[i])
    else:
        x = a * x + b * eps(y, l.t[i])
        y = a * y + b * eps(x, l.t[i])
    x = p * x + (1 - p) * y
    y = p * y + (1 - p) * x
    return x, y


def edict_up(x, y, i, p, l=LEADING):
    a = l.a[i + 1] / l.a[i]
    b = l.s[i + 1] - l.s[i] * a
    y = (y - (1 - p) * x) / p
    x = (x - (1 - p) * y) / p
    if i % 2:
        x = (x - b * eps(y, l.t[i])) / a
        y = (y - b * eps(x, l.t[i])) / a
    else:
        y = (y - b * eps(x, l.t[i])) / a
        x = (x - b * eps(y, l.t[i])) / a
    return x, y


def rex_down(x, y, i, zeta, l=LEADING):
    a, h = l.a[i + 1] / l.a[i], l.q[i + 1] - l.q[i]
    x = a * (zeta * x + (1 - zeta) * y) + l.a[i + 1] * h * eps(y, l.t[i])
    return x, a * y - l.a[i + 1] * -h * eps(x, l.t[i + 1])


def rex_up(x, y, i, zeta, l=LEADING):
    a, h = l.a[i] / l.a[i + 1], l.q[i + 1] - l.q[i]
    before = a * y + l.a[i] * -h * eps(x, l.t[i + 1])
    x = a / zeta * x + (1 - 1 / zeta) * before - l.a[i] / zeta * h * eps(before, l.t[i])
    return x, before


def coupled(down, up, weight):
    x = y = BASE
    for i in range(N):
        x, y = down(x, y, i, weight)
    u = v = BASE
    for i in reversed(range(N)):
        u, v = up(u, v, i, weight)
    back = (x, y)
    for i in reversed(range(N)):
        back = up(*back, i, weight)
    assert np.abs(back[0] - BASE).max() < 1e-9
    return {"generate": x.tolist(), "invert": u.tolist(), "partner": v.tolist()}


def fixed_point(iterations, average, l=LEADING):
    x = BASE
    for i in reversed(range(N)):
        z = l.move(x, eps(x, l.t[i]), i + 1, i)
        for _ in range(1, iterations):
            new = l.move(x, eps(z, l.t[i]), i + 1, i)
            z = (new + z) / 2 if average else new
        x = z
    return x.tolist()


def patch_moments(x):
    """Mean and variance of patches of 4x4, (channels, patches)."""
    patches = x.reshape(x.shape[0], x.shape[1] // 4, 4, x.shape[2] // 4, 4).permute(0, 1, 3, 2, 4).reshape(x.shape[0], -1, 16)
    return patches.mean(2), patches.var(2)


def divergence(x, like):
    (mean, var), (target_mean, target) = patch_moments(x), patch_moments(like)
    terms = torch.log((target + 1e-6) / (var + 1e-6)) + (var + (mean - target_mean) ** 2) / (target + 1e-6) - 1
    return terms.abs().sum()


def autocorrelation(x, generator):
    total = 0
    for channel in x:
        while True:
            shift = int(torch.randint(channel.shape[0] // 2, (1,), generator=generator))
            total = total + sum((channel * channel.roll(shift, side)).mean() ** 2 for side in (0, 1))
            if channel.shape[0] <= 8:
                break
            channel = torch.nn.functional.avg_pool2d(channel[None], 2)[0]
    return total


def descended(x, rate, loss, limit=np.inf):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(x), x)
    return (x - rate * slope.clamp(-limit, limit)).detach()


def regularized(e, like, generator):
    for _ in range(4):
        e = descended(e, 0.065, lambda x: divergence(x, like), 100)
        for _ in range(5):
            e = descended(e, 20 / 5 * e[0].numel() / 64**2, lambda x: autocorrelation(x, generator))
    return e


def renoise(image, regular=False, l=LEADING):
    generator = torch.Generator().manual_seed(7865)
    noise = torch.randn((1, *image.shape), generator=generator)[0].double() if regular else None
    x = image
    for i in reversed(range(N)):
        last, first = (4, 0) if l.t[i] < 250 else (9, 8)
        if regular:
            like = eps(l.a[i] * image + l.s[i] * noise, l.t[i])
        z, kept = x, []
        for k in range(last + 1):
            e = eps(z, l.t[i])
            if k >= first:
                kept.append(e)
            if k == last:
                break
            if k >= first and regular:
                e = regularized(e, like, generator)
            z = l.move(x, e, i + 1, i)
        if regular:  # the authors' inversion_step does so to epsilons that it doesn't use
            for _ in range(2 if l.t[i] < 250 else 1):
                regularized(e, like, generator)
        average = sum(kept) / len(kept)
        x = l.move(x, regularized(average, like, generator) if regular else average, i + 1, i)
    return x.flatten().tolist()


def null_text(scale=3.0, iterations=10, rate=0.01, l=LEADING):
    """The prompt adds a tenth of its states to epsilon, so does the negative prompt."""
    positive = torch.tensor(np.cos(np.arange(8.0)))
    path = [torch.tensor(BASE)]
    for i in reversed(range(N)):
        x = path[0]
        path.insert(0, l.move(x, eps(x, l.t[i]) + 0.1 * positive, i + 1, i))
    negative, record, x = torch.zeros(8, dtype=torch.float64), [], path[0]

    def step(x, negative, i):
        base = eps(x, l.t[i])
        guided = base + 0.1 * (negative + scale * (positive - negative))
        return l.move(x, guided, i, i + 1)

    for i in range(N):
        negative = negative.clone().requires_grad_(True)
        adam = torch.optim.Adam([negative], lr=rate * (1 - 0.5 * i / N))
        for _ in range(iterations):
            loss = (step(x, negative, i) - path[i + 1]).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        negative = negative.detach()
        record += negative.tolist()
        x = step(x, negative, i)
    return {"noise": path[0].tolist(), "record": record, "final": x.tolist()}


def main():
    fixture = json.loads(FILE.read_text())
    for case in fixture["bdia"]:
        assert np.allclose(bdia(float(case["gamma"])), case["final"], rtol=1e-5)
    belm = fixture["o_belm"]
    assert np.allclose(o_belm_generate(), belm["generate"], rtol=1e-5)
    noise, partner = o_belm_invert(Levels(LINSPACE.t[:N], end=1))
    # In float32 the inverse multiplies what it rounds.
    assert np.allclose(noise, belm["invert"], atol=3e-4)
    assert np.allclose(partner, belm["partner"], atol=1e-4)
    fixture["ddim"] = ddim("epsilon")
    fixture["ddim_v"] = ddim("v_prediction")
    fixture["edict"] = coupled(edict_down, edict_up, 0.93)
    fixture["rex"] = coupled(rex_down, rex_up, 0.999)
    fixture["fixed_point"] = {"none": fixed_point(20, False), "average": fixed_point(5, True)}
    fixture["renoise"] = renoise(BASE)
    image = torch.sin(torch.arange(2 * 16 * 8, dtype=torch.float64)).reshape(2, 16, 8)
    fixture["renoise_regularized"] = {"image": image.flatten().tolist(), "noise": renoise(image, True)}
    fixture["null_text"] = null_text()
    FILE.write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
