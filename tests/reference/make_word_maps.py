"""Writes fixtures/word_maps.json: maps of a word from diffusers' pipelines on make_pipelines.py's tiny models, with attention
processors that keep probabilities (DAAM, arXiv 2210.04885) or suppress the word's keys (AtMan, arXiv 2301.08110).

Usage: python make_word_maps.py > ../fixtures/word_maps.json. Needs torch, transformers and diffusers (0.42.1).
"""

import json
import pathlib
import sys
import tempfile

import formula
import make_pipelines
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler

WORD = "fox"
FACTOR, EVERY = 0.1, 5


class Attention:
    """attn2 written out. Keeps the conditional half's probabilities; suppresses the tokens in `keys` while there are any."""

    def __init__(self, state, name):
        self.state, self.name = state, name

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        heads = lambda x: x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        q, k, v = heads(attn.to_q(hidden_states)), heads(attn.to_k(encoder_hidden_states)), heads(attn.to_v(encoder_hidden_states))
        scores = q @ k.transpose(2, 3) * attn.scale
        if self.state.keys:
            scores = scores - scores.min(-1, keepdim=True).values
            scores[..., self.state.keys] *= FACTOR
        probabilities = scores.softmax(-1)
        if not self.state.keys:
            kept = probabilities[len(q) // 2 :]
            self.state.sums[self.name] = self.state.sums.get(self.name, 0) + kept
        return attn.to_out[0]((probabilities @ v).transpose(1, 2).flatten(2))


class State:
    keys, sums, effect, call = [], None, 0, 0


def positions(pipe, word):
    """Tokens of a word: the vocabulary has letters only, of which the last ends a word."""
    ids = pipe.tokenizer(make_pipelines.PROMPT).input_ids
    sought = pipe.tokenizer(word).input_ids[1:-1]
    return [i + k for i in range(len(ids)) if ids[i : i + len(sought)] == sought for k in range(len(sought))]


def daam(sums, tokens, height, width):
    maps = []
    for name, probabilities in sums.items():
        factor = int((height * width // probabilities.shape[2]) ** 0.5)
        if factor not in (1, 2, 4) or "mid_block" in name:
            continue
        for head in probabilities[0]:
            small = head[:, tokens].T.reshape(-1, 1, height // factor, width // factor)
            maps.append(F.interpolate(small, size=(height, width), mode="bicubic").clamp_min(0)[:, 0])
    return torch.stack(maps).mean(0).mean(0)


def record(pipe, height, width):
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    state = State()
    state.sums = {}
    tokens = positions(pipe, WORD)
    plain = dict(pipe.unet.attn_processors)
    pipe.unet.set_attn_processor({n: Attention(state, n) if "attn2" in n else p for n, p in plain.items()})
    forward = pipe.unet.forward

    def measured(sample, t, encoder_hidden_states, **more):
        output = forward(sample, t, encoder_hidden_states=encoder_hidden_states, **more)
        if state.call % EVERY == 0:
            state.keys = tokens
            without = forward(sample, t, encoder_hidden_states=encoder_hidden_states, **more)[0][1:]
            state.keys = []
            abar = pipe.scheduler.alphas_cumprod[int(t)]
            scale = abar.sqrt() if pipe.scheduler.config.prediction_type == "v_prediction" else 1
            state.effect = state.effect + scale * (output[0][1:] - without).abs().mean(1)[0]
        state.call += 1
        return output

    pipe.unet.forward = measured
    generator = torch.Generator("cpu").manual_seed(make_pipelines.SEED)
    pipe(make_pipelines.PROMPT, negative_prompt=make_pipelines.NEGATIVE, height=8 * height, width=8 * width, generator=generator,
         num_inference_steps=make_pipelines.STEPS, guidance_scale=5.0, output_type="latent")
    return {"height": 8 * height, "width": 8 * width, "word": WORD, "attention": formula.numbers(daam(state.sums, tokens, height, width).flatten()),
            "effect": formula.numbers(state.effect.flatten())}


def suppression():
    """Scores and probabilities of one small case, by AtMan's formula: key 1 times 0.1 above the row's least."""
    scores = 2 * torch.sin(0.7 * torch.arange(16, dtype=torch.float64)).reshape(1, 1, 4, 4)
    shifted = scores - scores.min(-1, keepdim=True).values
    shifted[..., 1] *= FACTOR
    return {"scores": formula.numbers(shifted.flatten()), "probabilities": formula.numbers(shifted.softmax(-1).flatten())}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        sizes = {"sd1": (8, 8), "sd2": (8, 8), "sdxl": (8, 12)}
        fixture = {f: record(p, *sizes[f]) for f, p in make_pipelines.pipelines(pathlib.Path(folder))}
    fixture["suppression"] = suppression()
    json.dump(fixture, sys.stdout)
