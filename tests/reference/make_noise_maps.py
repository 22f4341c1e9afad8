"""Writes tests/fixtures/noise_maps.json: edit-friendly DDPM inversion on a toy network.

Where the values come from:
  ddpm, ddpm_v     inversion_forward_process and inversion_reverse_process of the authors' code
                   (github.com/inbarhub/DDPM_inversion, commit 58fc881), given as a checkout
  ddpm_eta, ledits compute_noise of diffusers' LEditsPPPipelineStableDiffusion, and the steps that its
                   __call__ makes, with DDIMScheduler at eta 0.6 and with DPMSolverMultistepScheduler
The authors' code sets the noise of the last step to 0: its `maps` are of the steps before.
Needs torch 2.11, diffusers 0.42.1, transformers and tqdm: make_noise_maps.py CHECKOUT
"""
import json
import pathlib
import sys
import types

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from diffusers.pipelines.ledits_pp.pipeline_leditspp_stable_diffusion import compute_noise

FILE = pathlib.Path(__file__).parent.parent / "fixtures" / "noise_maps.json"
SHAPE = (1, 2, 2, 2)
IMAGE = (torch.arange(8) * 0.5 - 1.75).reshape(SHAPE)
STATES = {"source": torch.arange(8).cos(), "": 0.9 * torch.arange(8).cos(), "target": torch.arange(8).sin()}
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SOURCE_SCALE, TARGET_SCALE, STEPS, SEED = 3.5, 15.0, 8, 11


def toy(x, t, states):
    """The tests' toy network, to whose output a tenth of the prompt's states is added."""
    return 0.3 * x + 0.2 * torch.sin(x + 0.002 * float(t)) + 0.1 * states.view(x.shape)


class Toy:
    """What the authors' functions ask of a pipeline."""

    device = "cpu"

    def __init__(self, scheduler, v):
        self.scheduler, self.v = scheduler, v
        self.unet = types.SimpleNamespace(in_channels=2, sample_size=2, forward=self.forward)
        self.tokenizer = types.SimpleNamespace(model_max_length=1)

    def forward(self, x, timestep, encoder_hidden_states):
        out = toy(x, timestep, encoder_hidden_states)
        if self.v:
            abar = self.scheduler.alphas_cumprod[timestep]
            out = abar**0.5 * out + (1 - abar) ** 0.5 * x
        return types.SimpleNamespace(sample=out)


def official(module, v):
    model = Toy(DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1), v)
    model.scheduler.set_timesteps(STEPS)
    module.encode_text = lambda _, prompts: STATES[prompts if isinstance(prompts, str) else prompts[0]]
    torch.manual_seed(SEED)
    _, maps, latents = module.inversion_forward_process(
        model, IMAGE, etas=1, prompt="source", cfg_scale=SOURCE_SCALE, num_inference_steps=STEPS)

    def drawn(prompt, scale, skip):
        return module.inversion_reverse_process(
            model, xT=latents[STEPS - skip][None], etas=1, prompts=[prompt], cfg_scales=[scale],
            zs=maps[:STEPS - skip])[0].flatten().tolist()

    return {"latents": latents[1:].flip(0).flatten().tolist(), "maps": maps[1:].flip(0).flatten().tolist(),
            "again": drawn("source", SOURCE_SCALE, 0), "edit": drawn("target", TARGET_SCALE, 3)}


def guided(x, t, prompt, scale):
    negative = toy(x, t, STATES[""])
    return negative + scale * (toy(x, t, STATES[prompt]) - negative)


def ledits(scheduler, steps, skip, eta):
    """invert and __call__ without semantic concepts, whose predictions are guided here."""
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(SEED)
    timesteps = scheduler.timesteps[skip:]
    count = len(timesteps)
    latents = [IMAGE]
    for t in reversed(timesteps):
        noise = torch.randn(SHAPE, generator=generator)
        latents.append(scheduler.add_noise(IMAGE, noise, torch.tensor([int(t)])))
    latents, maps = latents[::-1], []
    scheduler.set_timesteps(steps)
    for i, t in enumerate(timesteps):
        z, _ = compute_noise(scheduler, latents[i + 1], latents[i], t,
                             guided(latents[i], t, "source", SOURCE_SCALE), eta)
        maps.append(z.expand(SHAPE))

    def drawn(prompt, scale):
        scheduler.set_timesteps(steps)
        x = latents[0]
        extra = {"eta": eta} if isinstance(scheduler, DDIMScheduler) else {}
        for i, t in enumerate(timesteps):
            x = scheduler.step(guided(x, t, prompt, scale), t, x, variance_noise=maps[i], **extra).prev_sample
        return x.flatten().tolist()

    return {"timesteps": scheduler.timesteps.tolist(), "latents": torch.cat(latents[:count]).flatten().tolist(),
            "maps": torch.cat(maps).flatten().tolist(), "again": drawn("source", SOURCE_SCALE),
            "edit": drawn("target", TARGET_SCALE)}


def main():
    sys.path.insert(0, sys.argv[1])
    from ddm_inversion import inversion_utils

    sde = dict(**BETAS, algorithm_type="sde-dpmsolver++", solver_order=2, timestep_spacing="leading", steps_offset=1)
    ddim = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    fixture = {
        "ddpm": official(inversion_utils, False),
        "ddpm_v": official(inversion_utils, True),
        "ddpm_eta": ledits(ddim, STEPS, 3, 0.6),
        "ledits": ledits(DPMSolverMultistepScheduler(**sde), 20, 3, 1.0),
        "ledits_short": ledits(DPMSolverMultistepScheduler(**sde), 10, 0, 1.0),
    }
    FILE.write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
