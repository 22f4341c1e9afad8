"""Writes fixtures/guidance.json: what guidance must reproduce, from closed-form inputs.

"combinations": diffusers' own ClassifierFreeGuidance where it has the method, else the formula in float64.
"blurs": the queries of SEG as in github.com/SusungHong/SEG-SDXL, a depthwise convolution after reflection padding.
"forms", "projected_run": stand-ins for CFG, by diffusers' guiders of APG, CFG-Zero* and TCFG, else the formula in float64.
"normalized": NAG's attention. "salience", "blurred_input": SAG's mask and degraded input. "swaps": SSG's loop over pairs.
"sinkhorn": ASAG's attention with the whole plan in float64. "permutations": torch.randperm, one generator an image.

Usage: python make_guidance.py > ../fixtures/guidance.json. Needs torch and diffusers.
"""

import json
import math

import torch
import torch.nn.functional as F
from diffusers.guiders import (
    AdaptiveProjectedGuidance,
    ClassifierFreeGuidance,
    ClassifierFreeZeroStarGuidance,
    TangentialClassifierFreeGuidance,
)
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer

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


def guided(guider, step=3, scale=1.0):
    guider.set_state(step=step, num_inference_steps=10, timestep=torch.tensor(500))
    return guider.forward(scale * COND.float(), UNCOND.float()).pred


def projected(scale, eta, threshold, momentum=None, **options):
    return AdaptiveProjectedGuidance(
        guidance_scale=scale,
        adaptive_projected_guidance_momentum=momentum,
        adaptive_projected_guidance_rescale=threshold,
        eta=eta,
        **options,
    )


def projected_by_paper(scale, eta, threshold):
    difference = COND - UNCOND
    over = dict(dim=(1, 2, 3), keepdim=True)
    difference = difference * (threshold / difference.square().sum(**over).sqrt()).clamp(max=1)
    direction = COND / COND.square().sum(**over).sqrt()
    along = (difference * direction).sum(**over) * direction
    return COND + (scale - 1) * (difference - along + eta * along)


def smooth(x):
    row = torch.tensor([1.0, 4, 6, 4, 1], dtype=x.dtype) / 16
    kernel = torch.outer(row, row).expand(x.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(x, [2] * 4, mode="reflect"), kernel, groups=x.shape[1])


def enlarge(x):
    return smooth(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


def bands_of(x, levels):
    bands = []
    for _ in range(levels - 1):
        half = F.interpolate(smooth(x), scale_factor=0.5, mode="bilinear", align_corners=False)
        bands.append(x - enlarge(half))
        x = half
    return bands + [x]


def frequency_decoupled(scales, parallel):
    bands = []
    for s, k, c, u in zip(scales, parallel, bands_of(COND, len(scales)), bands_of(UNCOND, len(scales))):
        over = dict(dim=(1, 2, 3), keepdim=True)
        along = ((c - u) * c).sum(**over) / c.square().sum(**over) * c
        bands.append(u + s * (k * along + (c - u - along)))
    x = bands.pop()
    while bands:
        x = enlarge(x) + bands.pop()
    return x


def thresholded(scale, mimic, separate=True, quantile=1.0, std=False, zero=False, phi=1.0):
    high, low = UNCOND + scale * (COND - UNCOND), UNCOND + mimic * (COND - UNCOND)
    over = dict(dim=(2, 3), keepdim=True)
    mean = high.mean(**over)
    low, centred = low - low.mean(**over), high - mean

    def spread(x, q):
        x = x.flatten(2 if separate else 1)
        value = x.std(-1) if std else torch.quantile(x.abs(), q, dim=-1)
        return value.reshape(len(COND), -1, 1, 1)

    wanted, found = spread(low, 1.0), spread(centred, quantile)
    if zero:
        result = high * wanted / found
    elif std:
        result = centred / found * wanted + mean
    else:
        limit = torch.maximum(wanted, found)
        result = torch.maximum(torch.minimum(centred, limit), -limit) / limit * wanted + mean
    return phi * result + (1 - phi) * high


def perpendicular(scale, weight):  # UNCOND stands for the empty prompt, PERTURBED for the negative
    towards, away = COND - UNCOND, PERTURBED - UNCOND
    over = dict(dim=(1, 2, 3), keepdim=True)
    across = away - (away * towards).sum(**over) / towards.square().sum(**over) * towards
    return UNCOND + scale * (towards - weight * across)


def forms():
    f = 3 / 9  # step 3 of 10
    cases = {
        "apg:form=diffusers,eta=1,momentum=0": guided(projected(7.5, 1.0, 15)),
        "apg:form=diffusers,scale=5,eta=0.3,norm_threshold=4,momentum=0": guided(projected(5.0, 0.3, 4)),
        "apg:form=original,eta=0,norm_threshold=4,momentum=0": guided(
            projected(7.5, 0.0, 4, use_original_formulation=True)
        ),
        "apg:norm_threshold=4,momentum=0": projected_by_paper(7.5, 0, 4),
        "cfg-zero": guided(ClassifierFreeZeroStarGuidance(guidance_scale=7.5, zero_init_steps=0)),
        "cfg-zero:scale=3,zero_init_steps=3": guided(ClassifierFreeZeroStarGuidance(guidance_scale=3.0, zero_init_steps=3)),
        "cfg-zero:zero_init_steps=4": torch.zeros_like(COND),
        "tcfg": guided(TangentialClassifierFreeGuidance(guidance_scale=7.5)),
        "tcfg:scale=2": guided(TangentialClassifierFreeGuidance(guidance_scale=2.0)),
        "fdg": frequency_decoupled([10, 5], [1, 1]),
        "fdg:parallel=0.5+0.2": frequency_decoupled([10, 5], [0.5, 0.2]),
        "fdg:scales=12+6+2": frequency_decoupled([12, 6, 2], [1, 1, 1]),
        "dynthresh": thresholded(12, 7),
        "dynthresh:separate=false": thresholded(12, 7, separate=False),
        "dynthresh:quantile=0.995,scale=9": thresholded(9, 7, quantile=0.995),
        "dynthresh:spread=std": thresholded(12, 7, std=True),
        "dynthresh:spread=std,start=zero,phi=0.7": thresholded(12, 7, std=True, zero=True, phi=0.7),
        "dynthresh:mimic_mode=half-cosine-down,mimic_min=1,scale_mode=cosine-down,scale_min=3": thresholded(
            9 * math.cos(f * math.pi / 2) + 3, 6 * math.cos(f) + 1
        ),
        "dynthresh:scale_mode=power-up,power=2,scale_min=4": thresholded(8 * f**2 + 4, 7),
        "cfg++": UNCOND + 0.6 * (COND - UNCOND),
        "perp-neg": perpendicular(7.5, 1.5),
        "perp-neg:scale=8,negative=1": perpendicular(8, 1),
    }
    return [dict(guidance=text, prediction=numbers(value.flatten()[::23])) for text, value in cases.items()]


def projected_run():
    guider = projected(7.5, 0.0, 4, momentum=-0.5)
    guider.momentum_buffer = MomentumBuffer(-0.5)  # as its prepare_inputs does at step 0
    return [numbers(guided(guider, step, 1 + 0.1 * step).flatten()[::23]) for step in range(3)]


def normalized():
    i = torch.arange(2 * 2 * 6 * 4, dtype=torch.float64).reshape(2, 6, 8)
    positive, negative = torch.sin(0.37 * i + 0.2) + 0.3, torch.cos(0.23 * i) - 0.2
    cases = []
    for scale, tau, alpha in [(3, 2.5, 0.5), (5, 1.2, 0.25)]:
        z = positive + (scale - 1) * (positive - negative)
        ratio = z.abs().sum(-1, keepdim=True) / positive.abs().sum(-1, keepdim=True)
        z = z * torch.minimum(ratio, torch.tensor(float(tau), dtype=z.dtype)) / ratio
        output = alpha * z + (1 - alpha) * positive
        cases.append(dict(scale=scale, tau=tau, alpha=alpha, output=numbers(output)))
    return cases


def salience():
    i = torch.arange(2 * 16 * 16, dtype=torch.float64).reshape(1, 2, 16, 16)
    probabilities = torch.softmax(3 * torch.sin(1.1 * i), -1)
    return [numbers((probabilities.mean(1).sum(1) > 1).double())]


def blurred_input():
    i = torch.arange(4 * 16 * 16, dtype=torch.float64).reshape(1, 4, 16, 16)
    latent, epsilon, alpha = torch.sin((0.05 * i**2) % 6.28318), torch.cos(0.4 * i), 0.3
    mask = torch.tensor(salience()[0], dtype=i.dtype).reshape(1, 1, 4, 4)
    mask = F.interpolate(mask, size=(16, 16), mode="nearest")
    sample = (latent - math.sqrt(1 - alpha) * epsilon) / math.sqrt(alpha)
    row = torch.exp(-0.5 * (torch.arange(-4, 5, dtype=i.dtype)) ** 2)
    kernel = torch.outer(row / row.sum(), row / row.sum()).expand(4, 1, 9, 9)
    blur = F.conv2d(F.pad(sample, [4] * 4, mode="reflect"), kernel, groups=4)
    degraded = math.sqrt(alpha) * (blur * mask + sample * (1 - mask)) + math.sqrt(1 - alpha) * epsilon
    return [numbers(degraded.flatten()[::11])]


def swapped(x, ratio):
    """SSG's exchange of the least similar rows of (N, D)."""
    unit = x / x.norm(dim=1, keepdim=True)
    n = len(x)
    similarity = (unit @ unit.T).tolist()
    pairs = sorted((similarity[a][b], a, b) for a in range(n) for b in range(a + 1, n))
    index = list(range(n))
    chosen = pairs[: int(ratio * n)]
    for _, a, b in chosen:
        index[a] = b
    for _, a, b in chosen:
        index[b] = a
    return x[index]


def swaps():
    i = torch.arange(10 * 6, dtype=torch.float64).reshape(10, 6)
    x = torch.sin(0.83 * i + 0.2) + 0.4 * torch.cos(0.37 * i * i)
    return [dict(ratio=r, output=numbers(swapped(swapped(x, r).T, r).T)) for r in (0.1, 0.3, 0.9)]


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
    makers = (combinations, forms, projected_run, normalized, salience, blurred_input, swaps, blurs, sinkhorn, permutations)
    parts = {maker.__name__: maker() for maker in makers}
    lines = ['"%s": [\n%s\n]' % (name, ",\n".join(map(json.dumps, cases))) for name, cases in parts.items()]
    print("{%s}" % ",\n".join(lines))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
