"""Writes fixtures/guidance.json: what guidance must reproduce, from closed-form inputs.

"combinations": diffusers' own ClassifierFreeGuidance where it has the method, else the formula in float64.
"blurs": the queries of SEG as in github.com/SusungHong/SEG-SDXL, a depthwise convolution after reflection padding.
"sinkhorn": ASAG's attention with the whole plan in float64. "permutations": torch.randperm, one generator an image.

Usage: python make_guidance.py > ../fixtures/guidance.json. Needs torch and diffusers.
"""

import json
import math

import torch
import torch.nn.functional as F
from diffusers.guiders import ClassifierFreeGuidance

I = torch.arange(512, dtype=torch.float64).reshape(2, 4, 8, 8)
COND = torch.sin(0.7 * I + 0.1)
UNCOND = 0.6 * torch.sin(0.53 * I + 1.3) + 0.4 * torch.cos(0.11 * I)
PERTURBED = 0.9 * torch.sin(0.7 * I + 0.25) + 0.05 * torch.cos(1.9 * I)


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.flatten().tolist()]


def classifier_free(scale, rescale):
    guider = ClassifierFreeGuidance(guidance_scale=scale, guidance_rescale=rescale)
    guider.set_state(step=0, num_inference_steps=10, timestep=torch.tensor(500))
    return guider.forward(COND.float(), UNCOND.float()).pred


def perturbed(scale):
    return scale * (COND - PERTURBED)


def rescaled(guided, phi):
    over = dict(dim=(1, 2, 3), keepdim=True)
    return phi * guided * COND.std(**over) / guided.std(**over) + (1 - phi) * guided


def combinations():
    cfg5 = UNCOND + 5 * (COND - UNCOND)
    cases = {
        "cfg": classifier_free(7.5, 0.0),
        "cfg:scale=7.5 + rescale": classifier_free(7.5, 0.7),
        "cfg:scale=3 + rescale:phi=0.2": classifier_free(3.0, 0.2),
        "cfg:scale=1": COND,
        "tpg": COND + perturbed(3),
        "asag": COND + perturbed(1.5),
        "pag:scale=5": COND + perturbed(5),
        "seg:scale=0": COND,
        "cfg:scale=5 + tpg": cfg5 + perturbed(3),
        "cfg:scale=5 + tpg + rescale:phi=1": rescaled(cfg5 + perturbed(3), 1),
    }
    return [dict(guidance=text, prediction=numbers(value.flatten()[::23])) for text, value in cases.items()]


def taps(size, sigma):
    kernel = math.ceil(6 * sigma) + 1 - math.ceil(6 * sigma) % 2
    kernel = min(kernel, size - (size % 2 - 1))
    half = (kernel - 1) / 2
    weights = torch.exp(-0.5 * (torch.linspace(-half, half, kernel, dtype=torch.float64) / sigma) ** 2)
    return weights / weights.sum()


def blurred(q, height, width, sigma):
    batch, heads, _, dim = q.shape
    if math.isinf(sigma):
        return q.mean(2, keepdim=True).expand(q.shape)
    image = q.permute(0, 1, 3, 2).reshape(batch, heads * dim, height, width)
    rows, columns = taps(height, sigma), taps(width, sigma)
    kernel = torch.outer(rows, columns).expand(heads * dim, 1, len(rows), len(columns))
    pad = [len(columns) // 2, len(columns) // 2, len(rows) // 2, len(rows) // 2]
    image = F.conv2d(F.pad(image, pad, mode="reflect"), kernel, groups=heads * dim)
    return image.reshape(batch, heads, dim, height * width).permute(0, 1, 3, 2)


def blurs():
    cases = []
    for height, width, sigma in [(8, 8, 1.0), (8, 8, 10.0), (8, 8, math.inf), (5, 8, 0.6), (7, 3, 2.0), (1, 4, 1.0)]:
        i = torch.arange(2 * height * width * 3, dtype=torch.float64).reshape(1, 2, height * width, 3)
        q = torch.sin(0.9 * i) + 0.2 * torch.cos(0.31 * i)
        queries = numbers(blurred(q, height, width, sigma).flatten()[::7])
        cases.append(dict(height=height, width=width, sigma=str(sigma), queries=queries))
    return cases


def transported(q, k, v, iterations):
    s = -q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    u = w = torch.ones(s.shape[:-1], dtype=s.dtype)
    for _ in range(iterations):  # in the linear domain, unlike the code under test
        u = 1 / (s.exp() @ w[..., None]).squeeze(-1)
        w = 1 / (s.exp().transpose(-1, -2) @ u[..., None]).squeeze(-1)
    plan = u[..., None] * s.exp() * w[..., None, :]
    return w.log(), (plan / plan.sum(-1, keepdim=True)) @ v


def sinkhorn():
    i = torch.arange(2 * 9 * 4, dtype=torch.float64).reshape(1, 2, 9, 4)
    q, k, v = 1.5 * torch.sin(0.77 * i + 0.4), 1.3 * torch.cos(0.62 * i), torch.sin(0.41 * i) + 0.2
    cases = []
    for iterations in (0, 1, 2, 50):
        potentials, output = transported(q, k, v, iterations)
        cases.append(dict(iterations=iterations, potentials=numbers(potentials), output=numbers(output)))
    return cases


def permutations():
    cases = []
    for seed, step in [(0, 0), (7, 4), (2**40 + 5, 29)]:
        generator = torch.Generator().manual_seed(seed * 1000003 + step)
        drawn = [torch.randperm(n, generator=generator).tolist() for n in (24, 6)]
        cases.append(dict(seed=seed, step=step, drawn=drawn))
    return cases


def main():
    parts = dict(combinations=combinations(), blurs=blurs(), sinkhorn=sinkhorn(), permutations=permutations())
    lines = ['"%s": [\n%s\n]' % (name, ",\n".join(map(json.dumps, cases))) for name, cases in parts.items()]
    print("{%s}" % ",\n".join(lines))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
