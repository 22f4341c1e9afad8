"""Writes fixtures/soft_mask.json: latents of diffusers' img2img pipeline where a gray mask says what changes when.

Before step k of N the image, as noisy as that step begins, is put back where 1 - mask > k / N, as the loop of Differential Diffusion's authors
(arXiv 2306.00950, github.com/exx8/differential-diffusion) has it. The pipeline and picture are make_pipelines.py's, the mask's eight columns are
GRAYS.

Usage: python make_soft_mask.py > ../fixtures/soft_mask.json. Needs make_pipelines.py's packages.
"""

import json
import pathlib
import sys
import tempfile

import diffusers
import make_pipelines as base
import torch
from diffusers.utils.torch_utils import randn_tensor

GRAYS = [255, 230, 190, 150, 110, 70, 40, 10]
RUNS = [("ddim", 0.6), ("ddim", 1.0), ("euler", 0.8), ("dpm++2m", 0.6)]  # sampler, strength


def run(pipe, sampler, strength):
    kind, options = base.SAMPLERS[sampler]
    scheduler = getattr(diffusers, kind).from_config(pipe.scheduler.config, **options)
    job = diffusers.StableDiffusionImg2ImgPipeline(**{**pipe.components, "scheduler": scheduler}, requires_safety_checker=False)
    job.set_progress_bar_config(disable=True)
    draws = torch.Generator("cpu").manual_seed(base.SEED)
    pixels = job.image_processor.preprocess(base.picture("picture"))
    clean = job.vae.encode(pixels).latent_dist.sample(draws) * job.vae.config.scaling_factor
    noise = randn_tensor(clean.shape, generator=draws)
    keep = (255 - torch.tensor(GRAYS)).float() / 255

    def put_back(_, step, timestep, tensors):
        timesteps = scheduler.timesteps[-job.num_timesteps:]
        if step + 1 == len(timesteps):
            return {}
        noisy = scheduler.add_noise(clean, noise, timesteps[step + 1:step + 2])
        return {"latents": torch.where(keep > (step + 1) / len(timesteps), noisy, tensors["latents"])}

    return job(base.PROMPT, image=base.picture("picture"), strength=strength, negative_prompt=base.NEGATIVE, num_inference_steps=base.STEPS,
               guidance_scale=5.0, generator=torch.Generator("cpu").manual_seed(base.SEED), output_type="latent",
               callback_on_step_end=put_back).images


def main():
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        pipe = next(pipe for family, pipe in base.pipelines(pathlib.Path(name)) if family == "sd1")
        runs = [dict(sampler=sampler, strength=strength, **base.summary(run(pipe, sampler, strength))) for sampler, strength in RUNS]
    json.dump({"grays": GRAYS, "runs": runs}, sys.stdout)


if __name__ == "__main__":
    main()
