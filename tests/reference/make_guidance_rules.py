"""Writes fixtures/guidance_rules.json: what these rules must reproduce, from closed-form inputs.

"forms": stand-ins for CFG, MAMBO-G by diffusers (its function on rows of numbers, since on images it raises) and TAG's by
its paper's algorithm 3. "tangential": TAG's reweighting, algorithm 2. "sparse": alpha-entmax by the package entmax.
"runs": three steps of rules that remember, from their papers: Momentum Guidance's equations 12 and 13, SMC-CFG's algorithm 1
and its form in sd-perturbed-attention, which takes the direction for its sign and keeps the difference as it was.
"features": FreeU by diffusers' apply_freeu, its second version from the formula, (b - 1) m + 1 with m the mean over
channels from 0 to 1.

Usage: python make_guidance_rules.py > ../fixtures/guidance_rules.json. Needs torch, diffusers (0.42.1) and entmax (1.3).
"""

import json

import torch
from diffusers.guiders.magnitude_aware_guidance import mambo_guidance
from diffusers.utils.torch_utils import apply_freeu
from entmax import entmax15, sparsemax
from make_guidance import COND, I, UNCOND, numbers

STATE = 1.4 * torch.cos(0.29 * I + 0.4)
OVER = dict(dim=(1, 2, 3), keepdim=True)


def magnitude_aware(scale, alpha):
    return mambo_guidance(COND.flatten(1), UNCOND.flatten(1), scale, alpha).reshape(COND.shape)


def along(a, b):
    return (a * b).sum(**OVER) / b.square().sum(**OVER) * b


def conditional_tangent(scale, tangent, adaptive=False):
    lead = COND - UNCOND
    aligned = along(COND, lead - along(lead, STATE))
    if adaptive:
        aligned = aligned * lead.square().sum(**OVER).sqrt() / aligned.square().sum(**OVER).sqrt()
    return UNCOND + scale * lead + tangent * aligned


def forms():
    cases = {
        "mambo": magnitude_aware(10, 8),
        "mambo:scale=4,alpha=0.5": magnitude_aware(4, 0.5),
        "tag-cfg": conditional_tangent(7.5, 1),
        "tag-cfg:scale=3,tangent=2.5": conditional_tangent(3, 2.5),
        "tag-cfg:scale=3,tangent=2.5,adaptive=true": conditional_tangent(3, 2.5, True),
    }
    return [dict(guidance=text, prediction=numbers(value.flatten()[::23])) for text, value in cases.items()]


def tangential():
    cases = []
    for scale in (1.15, 0.5):
        radial = along(COND, STATE)
        cases.append(dict(scale=scale, prediction=numbers((radial + scale * (COND - radial)).flatten()[::23])))
    return cases


def momentum(alpha, beta):
    average, found = None, []
    for step in range(3):
        now = (1 + 0.1 * step) * COND
        average = now if average is None else average
        found.append(now + alpha * (now - average))
        average = (1 - beta) * now + beta * average
    return found


def sliding(scale, lambda_, k, norm=False):
    before, found = None, []
    for step in range(3):
        lead = (1 + 0.1 * step) * COND - UNCOND
        before = lead if before is None else before
        surface = (lead - before) + lambda_ * before
        left = lead - k * (surface / surface.square().sum(**OVER).sqrt() if norm else surface.sign())
        found.append(UNCOND + scale * left)
        before = lead if norm else left
    return found


def runs():
    cases = {
        "momentum": momentum(0.5, 0.6),
        "momentum:alpha=2,beta=0.3": momentum(2, 0.3),
        "smc-cfg": sliding(7.5, 5, 0.2),
        "smc-cfg:scale=3,lambda=0.5,k=0.7": sliding(3, 0.5, 0.7),
        "smc-cfg:form=norm,lambda=6,k=3": sliding(7.5, 6, 3, True),
    }
    return [dict(guidance=text, predictions=[numbers(p.flatten()[::23]) for p in found]) for text, found in cases.items()]


def scores(tokens, size):
    i = torch.arange(6 * tokens, dtype=torch.float64).reshape(6, tokens)
    return (size * torch.sin(0.83 * i + 0.2 * i * i)).float()


def sparse():
    cases = []
    for tokens, size in [(1, 1.0), (2, 0.4), (5, 0.0), (77, 0.05), (77, 3.0), (231, 40.0)]:
        x = scores(tokens, size)
        cases.append(dict(tokens=tokens, size=size, entmax15=numbers(entmax15(x, dim=-1).flatten()[::3]),
                          sparsemax=numbers(sparsemax(x, dim=-1).flatten()[::3])))
    return cases


def by_mean(x, factor):
    mean = x.mean(1, keepdim=True)
    low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
    y = x.clone()
    y[:, : x.shape[1] // 2] *= (factor - 1) * (mean - low) / (high - low) + 1
    return y


def features():
    cases = []
    for channels, height, width in [(6, 8, 8), (5, 5, 6), (4, 1, 4), (3, 2, 3), (2, 7, 1), (2, 1, 1)]:
        i = torch.arange(2 * channels * height * width, dtype=torch.float64).reshape(2, channels, height, width)
        x = (torch.sin(0.7 * i + 0.1) + 0.5).float()
        amplified, damped = apply_freeu(0, x.clone(), x.clone(), b1=1.3, b2=9, s1=0.2, s2=9)
        case = dict(shape=list(x.shape), amplified=numbers(amplified), damped=numbers(damped))
        if height * width > 1:
            case["by_mean"] = numbers(by_mean(x, 1.3))
        cases.append(case)
    return cases


def main():
    parts = {maker.__name__: maker() for maker in (forms, tangential, runs, sparse, features)}
    lines = ['"%s": [\n%s\n]' % (name, ",\n".join(map(json.dumps, cases))) for name, cases in parts.items()]
    print("{%s}" % ",\n".join(lines))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
