"""Draws with `tiller` and with diffusers, every sampler under every guidance that diffusers has right, on make_pipelines.py's tiny models of
all three families, and prints how far the latents are apart, relative to their largest value. Ends with 1 where that is 1e-4 or more.

Usage: python compare_samplers.py PROGRAM [SAMPLER...]. Needs torch, torchsde, transformers, diffusers (0.42.1) and kornia (0.9.0); takes some minutes.
"""

import inspect
import pathlib
import subprocess
import sys
import tempfile

import guided_loop as loop
import make_guided_pipelines as guided
import make_pipelines
import torch
from make_pipelines import NEGATIVE, PROMPT, SAMPLERS, SEED, SIZE, STEPS
from safetensors.torch import load_file

SAMPLERS["dpm2"] = ("KDPM2DiscreteScheduler", {})
SAMPLERS["dpm2-a"] = ("KDPM2AncestralDiscreteScheduler", {})
SAMPLERS["dpm++2s"] = ("DPMSolverSinglestepScheduler", {})
SAMPLERS["dpm++3s"] = ("DPMSolverSinglestepScheduler", {"solver_order": 3})
SAMPLERS["deis"] = ("DEISMultistepScheduler", {})
SAMPLERS["sa-solver"] = ("SASolverScheduler", {})
SAMPLERS["dpm++sde"] = ("DPMSolverSDEScheduler", {"noise_sampler_seed": SEED})
GUIDERS = {  # guiders count evaluations, Tiller steps: no steps are named, since some samplers evaluate twice a step
    guided.APG: guided.GUIDERS[guided.APG],
    "cfg-zero:scale=5": lambda: guided.ClassifierFreeZeroStarGuidance(guidance_scale=5.0, zero_init_steps=0),
    "tcfg:scale=5": guided.GUIDERS["tcfg:scale=5"],
    "fdg:scales=8+4": guided.GUIDERS["fdg:scales=8+4"],
}


def guided_latents(pipe, sampler, guider):
    """As guided_loop.latents, for samplers that draw noise too."""
    scheduler = loop.scheduler_of(pipe, sampler)
    scheduler.set_timesteps(STEPS)
    text = {"c": loop.conditioning(pipe, PROMPT), "u": loop.conditioning(pipe, NEGATIVE)}
    generator = torch.Generator().manual_seed(SEED)
    options = {"generator": generator, "eta": 0.0}  # what the pipelines pass
    more = {name: value for name, value in options.items() if name in inspect.signature(scheduler.step).parameters}
    x = torch.randn(1, 4, SIZE // 8, SIZE // 8, generator=generator) * scheduler.init_noise_sigma
    predict = guided.by_guider(guider)
    for index, t in enumerate(scheduler.timesteps):
        x = scheduler.step(predict(loop.Step(index, t, x, scheduler, text, pipe.unet)), t, x, **more).prev_sample
    return x


def cases(pipe, sampler):
    """(guidance, its latents by diffusers)."""
    kind = type(pipe).__name__
    yield "none", lambda: guided.by_pipeline(kind, pipe, sampler, 1.0)
    yield "cfg:scale=5", lambda: guided.by_pipeline(kind, pipe, sampler, 5.0)
    yield "pag:scale=3", lambda: guided.by_pag(pipe, sampler, 1.0, ["mid"], pag_scale=3.0)
    yield "cfg:scale=5 + pag:scale=3", lambda: guided.by_pag(pipe, sampler, 5.0, ["mid"], pag_scale=3.0)
    for text, guider in GUIDERS.items():
        yield text, lambda guider=guider: guided_latents(pipe, sampler, guider())


def by_tiller(program, folder, sampler, guidance):
    out = folder.parent / "latents.safetensors"
    subprocess.run([program, "generate", "--quiet", "--model", folder, "--plain-prompt", "--prompt", PROMPT, "--negative-prompt", NEGATIVE,
                    "--seed", str(SEED), "--steps", str(STEPS), "--size", str(SIZE), "--sampler", sampler, "--guidance", guidance,
                    "--dtype", "float32", "--device", "cpu", "--save-latents", out, "--output", out.with_suffix(".png")], check=True)
    return load_file(out)["latents"]


def main(program, *chosen):
    worst = 0
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        for family, pipe in make_pipelines.pipelines(pathlib.Path(name)):
            if family == "inpainting":
                continue
            for sampler in chosen or SAMPLERS:
                for guidance, by_diffusers in cases(pipe, sampler):
                    found = by_tiller(program, pathlib.Path(name) / family, sampler, guidance)
                    error = guided.distance(found, by_diffusers())
                    worst = max(worst, error)
                    print(f"{family:5} {sampler:15} {error:.1e}  {guidance}", flush=True)
    print(f"the largest: {worst:.1e}")
    return worst >= 1e-4


sys.exit(main(*sys.argv[1:]))
