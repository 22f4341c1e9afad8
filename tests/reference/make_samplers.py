"""Writes fixtures/samplers.json: trajectories of the diffusers package's schedulers on a toy network.

The network is out = 0.3 xi + 0.2 sin(xi + 0.002 t) with xi = scale_model_input(x, t); where the variance
is learned, sin(1.7 xi + 0.003 t) follows it along the channels. Draw k of the noise is
1.2 sin(1.3 (k + 1) + 0.7 j), j the flat index. The start is the base below times init_noise_sigma.

Needs torch and diffusers (made with 2.11 and 0.42.1). Usage: python make_samplers.py > ../fixtures/samplers.json
"""

import json

import diffusers
import diffusers.schedulers as schedulers
import torch

BASE = torch.tensor([-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75]).reshape(1, 2, 2, 2)
SD = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
LINEAR = dict(beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
COSINE = dict(beta_schedule="squaredcos_cap_v2")
V, SAMPLE = dict(prediction_type="v_prediction"), dict(prediction_type="sample")
ZERO_SNR = dict(rescale_betas_zero_snr=True)
CLASSES = {
    "ddim": schedulers.DDIMScheduler,
    "ddpm": schedulers.DDPMScheduler,
    "euler": schedulers.EulerDiscreteScheduler,
    "euler-a": schedulers.EulerAncestralDiscreteScheduler,
    "heun": schedulers.HeunDiscreteScheduler,
    "dpm++2m": schedulers.DPMSolverMultistepScheduler,
}


def spaced(name, offset=0):
    return dict(timestep_spacing=name, steps_offset=offset)


LEADING, TRAILING, LINSPACE = spaced("leading", 1), spaced("trailing"), spaced("linspace")
NO_CLIP, CLIP = dict(clip_sample=False), dict(clip_sample=True)
AT_ABAR0 = dict(set_alpha_to_one=False)
KARRAS, EXPONENTIAL = dict(use_karras_sigmas=True), dict(use_exponential_sigmas=True)
SIGMA_MIN = dict(final_sigmas_type="sigma_min")

# sampler, steps, Tiller's options, arguments of step(), then the scheduler's config in parts
CASES = [
    ("ddim", 8, "", {}, SD, LEADING, NO_CLIP, AT_ABAR0),
    ("ddim", 8, "eta=0.5", dict(eta=0.5), SD, LEADING, NO_CLIP, AT_ABAR0),
    ("ddim", 8, "eta=1", dict(eta=1.0), LINEAR, TRAILING, NO_CLIP),
    ("ddim", 8, "", {}, SD, TRAILING, NO_CLIP),
    ("ddim", 8, "strict=true", {}, SD, LINSPACE, NO_CLIP),
    ("ddim", 30, "strict=true", {}, COSINE, TRAILING, NO_CLIP),
    ("ddim", 8, "", {}, SD, LEADING, NO_CLIP, V),
    ("ddim", 8, "", {}, LINEAR, LEADING, NO_CLIP, SAMPLE),
    ("ddim", 8, "", {}, SD, TRAILING, NO_CLIP, V, ZERO_SNR),
    ("ddim", 10, "", {}, LINEAR, spaced("leading"), CLIP),
    ("ddpm", 8, "variance=fixed_small", {}, LINEAR, spaced("leading"), CLIP),
    ("ddpm", 8, "variance=fixed_large", {}, LINEAR, spaced("leading"), NO_CLIP, dict(variance_type="fixed_large")),
    ("ddpm", 8, "", {}, LINEAR, LINSPACE, NO_CLIP, dict(variance_type="learned_range")),
    ("ddpm", 8, "strict=true", {}, COSINE, TRAILING, CLIP, dict(variance_type="learned_range")),
    ("ddpm", 8, "strict=true", {}, SD, TRAILING, NO_CLIP, V),
    ("ddpm", 8, "strict=true", {}, COSINE, LEADING, NO_CLIP, SAMPLE),
    ("euler", 8, "", {}, SD, LEADING),
    ("euler", 8, "", {}, SD, LINSPACE),
    ("euler", 8, "", {}, SD, TRAILING),
    ("euler", 8, "", {}, SD, LINSPACE, KARRAS),
    ("euler", 8, "", {}, SD, LEADING, KARRAS, V),
    ("euler", 8, "", {}, SD, LINSPACE, EXPONENTIAL),
    ("euler", 8, "", {}, LINEAR, LINSPACE, SIGMA_MIN),
    ("euler", 8, "", {}, SD, TRAILING, V, ZERO_SNR),
    ("euler", 8, "s_churn=10,s_noise=1.1,s_tmin=0.5,strict=true", dict(s_churn=10.0, s_noise=1.1, s_tmin=0.5), SD, LINSPACE),
    ("euler-a", 8, "", {}, SD, LINSPACE),
    ("euler-a", 4, "", {}, SD, TRAILING),
    ("euler-a", 8, "", {}, COSINE, LEADING, V),
    ("heun", 8, "", {}, SD, LINSPACE),
    ("heun", 8, "", {}, SD, LEADING, V),
    ("heun", 8, "", {}, LINEAR, TRAILING, SAMPLE),
    ("heun", 8, "", {}, SD, LINSPACE, KARRAS),
    ("heun", 8, "", {}, LINEAR, LINSPACE, CLIP),
    ("dpm++2m", 8, "", {}, SD, LINSPACE),
    ("dpm++2m", 8, "", {}, SD, LEADING),
    ("dpm++2m", 8, "", {}, LINEAR, TRAILING, SAMPLE),
    ("dpm++2m", 8, "", {}, SD, LINSPACE, KARRAS),
    ("dpm++2m", 20, "", {}, SD, LINSPACE, KARRAS),
    ("dpm++2m", 8, "", {}, SD, LINSPACE, EXPONENTIAL),
    ("dpm++2m", 8, "", {}, COSINE, LINSPACE, KARRAS),
    ("dpm++2m", 8, "solver=heun", {}, SD, LINSPACE, dict(solver_type="heun")),
    ("dpm++2m", 8, "", {}, SD, LEADING, SIGMA_MIN),
    ("dpm++2m", 20, "", {}, SD, LEADING, SIGMA_MIN),
    ("dpm++2m", 8, "lower_order_final=false", {}, SD, LEADING, SIGMA_MIN, dict(lower_order_final=False)),
    ("dpm++2m", 8, "", {}, SD, LEADING, V),
    ("dpm++2m", 8, "", {}, SD, TRAILING, V, ZERO_SNR),
]


class Noise:
    """Stands in for diffusers' randn_tensor."""

    def __init__(self):
        self.draws = 0

    def __call__(self, shape, **_):
        self.draws += 1
        return (1.2 * torch.sin(1.3 * self.draws + 0.7 * torch.arange(BASE.numel()))).reshape(shape)


def network(x, t, learned_variance):
    out = 0.3 * x + 0.2 * torch.sin(x + 0.002 * t)
    return torch.cat([out, torch.sin(1.7 * x + 0.003 * t)], dim=1) if learned_variance else out


def run(name, steps, options, arguments, *parts):
    config = {k: v for part in parts for k, v in part.items()}
    noise = Noise()
    scheduler = CLASSES[name](**config)
    __import__(CLASSES[name].__module__, fromlist=["_"]).randn_tensor = noise
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # else equal timesteps at the start count as one
    x, states, timesteps = BASE * scheduler.init_noise_sigma, [], []
    for t in scheduler.timesteps:
        timesteps.append(float(t))
        out = network(scheduler.scale_model_input(x, t), t, config.get("variance_type") == "learned_range")
        x = scheduler.step(out, t, x, **arguments).prev_sample
        if name != "heun" or scheduler.state_in_first_order or len(timesteps) == len(scheduler.timesteps):
            states.append(x)
    numbers = lambda tensor: [float(f"{v:.9g}") for v in tensor.flatten()]
    return dict(sampler=name, steps=steps, options=options, config=config, timesteps=timesteps,
                initial_scale=float(scheduler.init_noise_sigma), draws=noise.draws, first=numbers(states[0]),
                mid=numbers(states[steps // 2]), final=numbers(states[-1]))


if __name__ == "__main__":
    cases = [json.dumps(run(*case)) for case in CASES]
    print('{"diffusers": "%s", "cases": [\n%s\n]}' % (diffusers.__version__, ",\n".join(cases)))
