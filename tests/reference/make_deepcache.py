"""Writes fixtures/deepcache.json: what the DeepCache package makes of a UNet with formula.py's weights in a plain loop,
and of make_pipelines.py's tiny pipelines.

Usage: python make_deepcache.py > ../fixtures/deepcache.json. Needs torch, transformers, diffusers (0.42.1) and DeepCache
(0.1.1, installed without its dependencies).
"""

import json
import pathlib
import sys
import tempfile
import types

import diffusers
import formula
import torch
from DeepCache import DeepCacheSDHelper
from make_pipelines import NEGATIVE, PROMPT, SAMPLERS, SEED, SIZE, STEPS, pipelines

torch.set_num_threads(1)
UNET = {
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [16, 32, 32],
    "layers_per_block": 2,
    "norm_num_groups": 8,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
}
TIMES = [951, 851, 751, 651, 551, 451, 351, 251]
STEP = 0.3
EVERY = 3  # of the latents' numbers
LOOPS = [(1, 0), (3, 0), (2, 1), (3, 2), (4, 3), (3, 5), (2, 8)]  # intervals and branches
RUNS = [("sd1", "ddim", 3, 0), ("sd1", "dpm++2m", 2, 1), ("sd2", "ddim", 5, 0), ("sdxl", "euler", 3, 1)]


class Cached:
    """The package's cache around whatever has a `unet` and a `scheduler`."""

    def __init__(self, pipe, interval, branch):
        self.helper = DeepCacheSDHelper(pipe=pipe)
        self.helper.set_params(cache_interval=interval, cache_branch_id=branch)

    def __enter__(self):
        self.helper.enable()

    def __exit__(self, *_):
        self.helper.disable()


def loop(unet, interval, branch):
    """x - STEP times the prediction, at all of TIMES."""
    x, context = 2 * formula.tensor("sample", (2, 4, 8, 8)), 2 * formula.tensor("context", (2, 5, 24))
    scheduler = types.SimpleNamespace(timesteps=torch.tensor(TIMES))
    with Cached(types.SimpleNamespace(unet=unet, scheduler=scheduler), interval, branch):
        for t in scheduler.timesteps:
            x = x - STEP * unet(x, t, encoder_hidden_states=context).sample
    return x


def run(pipe, sampler, interval, branch):
    kind, options = SAMPLERS[sampler]
    original = pipe.scheduler
    pipe.scheduler = getattr(diffusers, kind).from_config(original.config, **options)
    with Cached(pipe, interval, branch):
        latents = pipe(PROMPT, negative_prompt=NEGATIVE, height=SIZE, width=SIZE, num_inference_steps=STEPS, guidance_scale=5.0,
                       generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent").images
    pipe.scheduler = original
    return latents


def numbers(x):
    return [float(f"{v:.8g}") for v in x.flatten().tolist()]


@torch.no_grad()
def main():
    unet = formula.fill(diffusers.UNet2DConditionModel(sample_size=8, **UNET)).eval()
    loops = [{"interval": i, "branch": b, "values": numbers(loop(unet, i, b))[::EVERY]} for i, b in LOOPS]
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        pipes = dict(pipelines(pathlib.Path(folder)))
        for family, sampler, interval, branch in RUNS:
            pipes[family].set_progress_bar_config(disable=True)
            latents = run(pipes[family], sampler, interval, branch)
            runs.append({"family": family, "sampler": sampler, "interval": interval, "branch": branch,
                         "head": numbers(latents)[:16], "sum": latents.double().sum().item(),
                         "largest": latents.abs().max().item()})
    json.dump({"config": UNET, "timesteps": TIMES, "step": STEP, "every": EVERY, "loops": loops, "pipelines": runs}, sys.stdout)


if __name__ == "__main__":
    main()
