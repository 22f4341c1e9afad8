"""Writes fixtures/gd_sampling.json: guided-diffusion's own sampling loops on a toy network.

The network is out = 0.3 x + 0.2 sin(x + 0.002 t), followed along the channels by sin(1.7 x + 0.003 t) where the
variance is learned. Noise and base input as in make_samplers.py.

Usage: python make_gd_sampling.py GUIDED_DIFFUSION > ../fixtures/gd_sampling.json, with the path of a checkout of
github.com/openai/guided-diffusion. Needs torch and numpy.
"""

import json
import sys
from unittest import mock

import torch

BASE = torch.tensor([-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75]).reshape(1, 2, 2, 2)

CASES = [  # sampler, Tiller's options, respacing, noise_schedule, timesteps, rescale_timesteps, variance, clip
    ("ddim", "", "ddim10", "linear", 1000, False, "LEARNED_RANGE", True),
    ("ddim", "", "ddim25", "cosine", 1000, False, "LEARNED_RANGE", False),
    ("ddim", "eta=0.5", "25", "cosine", 4000, True, "FIXED_SMALL", True),
    ("ddim", "", "10,15,20", "linear", 4000, True, "LEARNED_RANGE", False),
    ("ddpm", "", "25", "linear", 1000, False, "LEARNED_RANGE", True),
    ("ddpm", "", "10,15,20", "cosine", 4000, True, "LEARNED_RANGE", True),
    ("ddpm", "", "25", "cosine", 4000, False, "LEARNED_RANGE", False),
    ("ddpm", "variance=fixed_large", "10", "linear", 1000, True, "FIXED_LARGE", False),
    ("ddpm", "variance=fixed_small", "ddim20", "linear", 1000, False, "FIXED_SMALL", True),
    ("ddpm", "", "", "cosine", 50, True, "LEARNED_RANGE", True),
]


class Noise:
    def __init__(self):
        self.draws = 0

    def __call__(self, like):
        self.draws += 1
        return (1.2 * torch.sin(1.3 * self.draws + 0.7 * torch.arange(BASE.numel()))).reshape(like.shape)


def network(learned_variance, timesteps):
    def forward(x, t):
        timesteps.append(float(t[0]))
        t = t.float().reshape(-1, 1, 1, 1)
        out = 0.3 * x + 0.2 * torch.sin(x + 0.002 * t)
        return torch.cat([out, torch.sin(1.7 * x + 0.003 * t)], dim=1) if learned_variance else out

    return forward


def run(sampler, options, respacing, schedule, total, rescale, variance, clip):
    from guided_diffusion import gaussian_diffusion as gd
    from guided_diffusion import respace

    diffusion = respace.SpacedDiffusion(
        use_timesteps=respace.space_timesteps(total, respacing or [total]),
        betas=gd.get_named_beta_schedule(schedule, total),
        model_mean_type=gd.ModelMeanType.EPSILON,
        model_var_type=getattr(gd.ModelVarType, variance),
        loss_type=gd.LossType.MSE,
        rescale_timesteps=rescale,
    )
    loop = diffusion.ddim_sample_loop_progressive if sampler == "ddim" else diffusion.p_sample_loop_progressive
    eta = {"eta": 0.5} if "eta" in options else {}
    timesteps = []
    model = network(variance == "LEARNED_RANGE", timesteps)
    with mock.patch("torch.randn_like", Noise()):
        states = [out["sample"] for out in loop(model, BASE.shape, noise=BASE, clip_denoised=clip, device="cpu", **eta)]
    numbers = lambda tensor: [float(f"{v:.9g}") for v in tensor.flatten()]
    return dict(sampler=sampler, options=options, respacing=respacing, noise_schedule=schedule, timesteps=total,
                rescale_timesteps=rescale, learned=variance == "LEARNED_RANGE", clip=clip, told=timesteps,
                first=numbers(states[0]), mid=numbers(states[len(states) // 2]), final=numbers(states[-1]))


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    print('{"cases": [\n%s\n]}' % ",\n".join(json.dumps(run(*case)) for case in CASES))
