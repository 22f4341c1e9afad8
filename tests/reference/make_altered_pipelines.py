"""Writes fixtures/altered_pipelines.json: the latents after whole runs of make_pipelines.py's tiny models with guidance that
changes the network in all branches (PLADIS, FreeU) or a step as a whole (TAG), and with MAMBO-G.

FreeU by diffusers' pipelines with enable_freeu; its second version and its places by channels are put in place of their
apply_freeu. PLADIS by attention processors in all cross-attentions, with the package entmax in float64. TAG acts on what
the scheduler's step changes, as in its paper's algorithm 2. MAMBO-G's rule is diffusers'.

Usage: python make_altered_pipelines.py > ../fixtures/altered_pipelines.json. Needs torch, transformers, diffusers (0.42.1),
kornia (0.9.0) and entmax (1.3).
"""

import contextlib
import copy
import json
import math
import pathlib
import sys
import tempfile
from unittest import mock

import guided_loop as loop
import torch
from diffusers.guiders.magnitude_aware_guidance import mambo_guidance
from diffusers.utils.torch_utils import fourier_filter
from entmax import entmax15, sparsemax
from make_guidance_rules import by_mean
from make_guided_pipelines import EVERY, SAMPLER, affine, by_pipeline, distance, entry
from make_pipelines import NEGATIVE, STEPS, pipelines

torch.set_num_threads(1)
OVER = dict(dim=(1, 2, 3), keepdim=True)
FREEU = dict(s1=0.9, s2=0.2, b1=1.3, b2=1.4)
STRONG = dict(s1=0.5, s2=0.3, b1=1.6, b2=1.2)
STRONG_TEXT = "s1=0.5,s2=0.3,b1=1.6,b2=1.2"


def mix(scale, sparse):
    def weights(q, k):
        z = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        dense = z.softmax(-1)
        return dense + scale * (sparse(z, dim=-1) - dense)

    return weights


def sparse_text(scale, sparse, negative=None, nag=None):
    """PLADIS in every cross-attention, and NAG of what it gives."""
    weights = mix(scale, sparse)

    class Both:
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
            heads = lambda x: x.double().unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            q, found = heads(attn.to_q(hidden_states)), []
            for context in (encoder_hidden_states, negative):
                k, v = heads(attn.to_k(context)), heads(attn.to_v(context))
                found.append((weights(q, k) @ v).transpose(1, 2).flatten(2))
            own, other = found
            z = own + (nag[0] - 1) * (own - other)
            ratio = z.abs().sum(-1, keepdim=True) / own.abs().sum(-1, keepdim=True)
            z = nag[2] * z * ratio.clamp(max=nag[1]) / ratio + (1 - nag[2]) * own
            return attn.to_out[0](z.to(hidden_states.dtype))

    @contextlib.contextmanager
    def altered(unet):
        modules = [module for name, module in unet.named_modules() if name.endswith("attn2")]
        before = [module.processor for module in modules]
        for module in modules:
            module.processor = Both() if nag else loop.Attention(lambda q, k, v: weights(q, k) @ v)
        yield
        for module, processor in zip(modules, before):
            module.processor = processor

    return altered


def under(alteration, rule, steps=range(STEPS)):
    """The rule, with the network altered in the steps given."""

    def predict(step):
        with alteration(step.unet) if step.index in steps else contextlib.nullcontext():
            return rule(step)

    return predict


def with_nag(scale, nag):
    def predict(step):
        negative = step.text["u"]["encoder_hidden_states"]
        with sparse_text(scale, entmax15, negative, nag)(step.unet):
            return step.net("c")

    return predict


@contextlib.contextmanager
def freeu(unet, **scales):
    unet.enable_freeu(**scales)
    yield
    unet.disable_freeu()


def replaced(apply):
    return mock.patch("diffusers.models.unets.unet_2d_blocks.apply_freeu", apply)


def second_version(stage, h, skip, s1, s2, b1, b2):
    if stage > 1:
        return h, skip
    return by_mean(h, (b1, b2)[stage]), fourier_filter(skip, 1, (s1, s2)[stage])


def places_by_channels(width, amplify):
    def apply(stage, h, skip, s1, s2, b1, b2):
        which = {4 * width: (b1, s1), 2 * width: (b2, s2)}.get(h.shape[1])
        return (amplify(h, which[0]), fourier_filter(skip, 1, which[1])) if which else (h, skip)

    return apply


def half(x, factor):
    y = x.clone()
    y[:, : x.shape[1] // 2] *= factor
    return y


def tangential(rule, scale):
    def predict(step):
        after = copy.deepcopy(step.scheduler).step(rule(step), step.t, step.x).prev_sample
        change = after - step.x
        radial = (change * step.x).sum(**OVER) / step.x.square().sum(**OVER) * step.x
        return loop.Next(step.x + radial + scale * (change - radial))

    return predict


def magnitude_aware(scale, alpha):
    def predict(step):
        c, u = step.net("c"), step.net("u")
        return mambo_guidance(c.flatten(1), u.flatten(1), scale, alpha).reshape(c.shape)

    return predict


def freeu_cases(family, pipe):
    kind, sampler = type(pipe).__name__, SAMPLER[family]
    width = pipe.unet.config.block_out_channels[0]

    def run(scales, cfg=5.0, apply=None):
        with freeu(pipe.unet, **scales), replaced(apply) if apply else contextlib.nullcontext():
            return by_pipeline(kind, pipe, sampler, cfg)

    windowed = under(lambda unet: freeu(unet, **STRONG), affine([], cfg=5), range(2, 6))
    with_pag = under(lambda unet: freeu(unet, **FREEU), affine([(loop.identity, ["mid"], 3)], cfg=5))
    return {
        "cfg:scale=5 + freeu": lambda: run(FREEU),
        f"freeu:{STRONG_TEXT}": lambda: run(STRONG, 1.0),
        f"cfg:scale=5 + freeu:{STRONG_TEXT},version=2": lambda: run(STRONG, apply=second_version),
        f"cfg:scale=5 + freeu:{STRONG_TEXT},by=channels": lambda: run(STRONG, apply=places_by_channels(width, half)),
        f"cfg:scale=5 + freeu:{STRONG_TEXT},by=channels,version=2": lambda: run(
            STRONG, apply=places_by_channels(width, by_mean)),
        f"cfg:scale=5 + freeu:{STRONG_TEXT},from=0.2,to=0.6": lambda: loop.latents(pipe, sampler, windowed),
        "cfg:scale=5 + freeu + pag": lambda: loop.latents(pipe, sampler, with_pag),
    }


def loop_cases(family, pipe):
    plain, guided = affine([]), affine([], cfg=5)
    entmax, simplex = sparse_text(2, entmax15), sparse_text(1.5, sparsemax)
    cases = {
        "pladis": under(entmax, plain),
        "cfg:scale=5 + pladis": under(entmax, guided),
        "cfg:scale=5 + pladis:scale=1.5,sparse_func=sparsemax": under(simplex, guided),
        "cfg:scale=5 + pladis:from=0.2,to=0.6 + pag": under(
            entmax, affine([(loop.identity, ["mid"], 3)], cfg=5), range(2, 6)),
        "pladis + nag:scale=5,tau=1.2": with_nag(2, (5, 1.2, 0.5)),
        "mambo": magnitude_aware(10, 8),
        "mambo:scale=20,alpha=2": magnitude_aware(20, 2),
        "tag": tangential(plain, 1.15),
        "cfg:scale=5 + tag:scale=1.3": tangential(guided, 1.3),
    }
    return {text: lambda rule=rule: loop.latents(pipe, SAMPLER[family], rule) for text, rule in cases.items()}


def record(family, pipe):
    bare = {cfg: loop.latents(pipe, SAMPLER[family], affine([], cfg=cfg)) for cfg in (1, 5)}
    runs = []
    for text, latents in {**freeu_cases(family, pipe), **loop_cases(family, pipe)}.items():
        values = latents()
        # far above the tolerance, so that a guidance that does nothing fails
        assert min(distance(values, plain) for plain in bare.values()) > 5e-3, text
        runs.append(entry(family, SAMPLER[family], text, values))
    return runs


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        made = {family: record(family, pipe) for family, pipe in pipelines(pathlib.Path(name)) if family in SAMPLER}
    runs = ",\n".join('"%s": [\n%s\n]' % (family, ",\n".join(map(json.dumps, cases))) for family, cases in made.items())
    print('{"every": %d,\n%s}' % (EVERY, runs))
