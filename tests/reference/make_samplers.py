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
    "dpm++3m": schedulers.DPMSolverMultistepScheduler,
    "dpm++2m-sde": schedulers.DPMSolverMultistepScheduler,
    "dpm++3m-sde": schedulers.DPMSolverMultistepScheduler,
    "dpm++sde": schedulers.DPMSolverSDEScheduler,
    "unipc": schedulers.UniPCMultistepScheduler,
    "pndm": schedulers.PNDMScheduler,
    "lms": schedulers.LMSDiscreteScheduler,
    "lcm": schedulers.LCMScheduler,
    "tcd": schedulers.TCDScheduler,
    "dpm2": schedulers.KDPM2DiscreteScheduler,
    "dpm2-a": schedulers.KDPM2AncestralDiscreteScheduler,
    "deis": schedulers.DEISMultistepScheduler,
    "dpm++2s": schedulers.DPMSolverSinglestepScheduler,
    "dpm++3s": schedulers.DPMSolverSinglestepScheduler,
    "sa-solver": schedulers.SASolverScheduler,
}
# What the name of a sampler says of its class's config.
NAMED = {
    "dpm++3m": dict(solver_order=3),
    "dpm++3s": dict(solver_order=3),
    "dpm++2m-sde": dict(algorithm_type="sde-dpmsolver++"),
    "dpm++3m-sde": dict(algorithm_type="sde-dpmsolver++", solver_order=3),
}


def spaced(name, offset=0):
    return dict(timestep_spacing=name, steps_offset=offset)


LEADING, TRAILING, LINSPACE = spaced("leading", 1), spaced("trailing"), spaced("linspace")
NO_CLIP, CLIP = dict(clip_sample=False), dict(clip_sample=True)
AT_ABAR0 = dict(set_alpha_to_one=False)
KARRAS, EXPONENTIAL = dict(use_karras_sigmas=True), dict(use_exponential_sigmas=True)
SIGMA_MIN = dict(final_sigmas_type="sigma_min")
BETA, LU = dict(use_beta_sigmas=True), dict(use_lu_lambdas=True)
THRESHOLD = dict(thresholding=True, sample_max_value=1.5, dynamic_thresholding_ratio=0.9)
# scheduler_config.json of Stable Diffusion 1.5 and SDXL, as published.
SD15 = dict(_class_name="PNDMScheduler", _diffusers_version="0.6.0", num_train_timesteps=1000, skip_prk_steps=True,
            set_alpha_to_one=False, steps_offset=1, trained_betas=None, clip_sample=False, **SD)
SDXL = dict(_class_name="EulerDiscreteScheduler", _diffusers_version="0.19.0.dev0", clip_sample=False,
            interpolation_type="linear", num_train_timesteps=1000, prediction_type="epsilon", sample_max_value=1.0,
            set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, timestep_spacing="leading",
            trained_betas=None, use_karras_sigmas=False, **SD)
SHORT_TABLE = dict(num_train_timesteps=20, trained_betas=[round(0.01 + 0.012 * k, 3) for k in range(20)])
AYS = {"ays-sd15": [999, 850, 736, 645, 545, 455, 343, 233, 124, 24],
       "ays-sdxl": [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]}

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
    ("dpm++2m", 8, "", {}, SD, THRESHOLD),
    ("dpm++2m", 9, "", {}, SD, BETA),
    ("dpm++2m", 8, "", {}, SD, LU),
    ("dpm++2m", 10, "", {}, COSINE, dict(lambda_min_clipped=-5.1)),
    ("dpm++2m", 20, "", {}, SD, SIGMA_MIN, dict(euler_at_final=True)),
    ("dpm++2m", 10, "sigmas=ays-sd15", {}, SD),
    ("dpm++2m", 7, "order=1", {}, SD, dict(solver_order=1)),
    ("dpm++2m", 6, "", {}, SHORT_TABLE),
    ("euler", 10, "sigmas=ays-sdxl", {}, SD),
    ("euler", 9, "", {}, SD, BETA),
    ("euler", 8, "", {}, SD, KARRAS, dict(sigma_min=0.1, sigma_max=10.0)),
    ("heun", 7, "", {}, SD, BETA),
    ("ddim", 8, "", {}, SD, LEADING, dict(clip_sample_range=0.7)),
    ("ddim", 8, "", {}, SD, LEADING, THRESHOLD),
    ("dpm++3m", 10, "", {}, SD),
    ("dpm++3m", 20, "", {}, SD, LEADING, SIGMA_MIN, V),
    ("dpm++2m-sde", 8, "solver=heun", {}, SD, LEADING, dict(solver_type="heun")),
    ("dpm++2m-sde", 20, "", {}, SD, SIGMA_MIN),
    ("dpm++2m-sde", 8, "", {}, SD, TRAILING, V, ZERO_SNR),
    ("dpm++3m-sde", 20, "", {}, SD, SIGMA_MIN),
    ("dpm++3m-sde", 20, "", {}, SD),
    ("dpm++sde", 8, "", {}, SD, KARRAS),
    ("dpm++sde", 7, "", {}, LINEAR, TRAILING, V),
    ("dpm++sde", 8, "s_noise=0", dict(s_noise=0.0), SD, EXPONENTIAL),
    ("unipc", 8, "", {}, SD, KARRAS),
    ("unipc", 8, "", {}, SD, EXPONENTIAL, V),
    ("unipc", 7, "", {}, SD, BETA),
    ("unipc", 8, "solver=bh1,final=sigma_min", {}, SD, SIGMA_MIN, dict(solver_type="bh1")),
    ("unipc", 12, "order=3", {}, SD, dict(solver_order=3)),
    ("unipc", 12, "", {}, SD, SIGMA_MIN, dict(solver_order=3, lower_order_final=False)),
    ("unipc", 8, "", {}, LINEAR, TRAILING, V, ZERO_SNR),
    ("unipc", 8, "", {}, SD, THRESHOLD),
    ("pndm", 10, "", {}, SD, LEADING),
    ("pndm", 7, "", {}, SD, LEADING, V),
    ("pndm", 8, "strict=true", {}, SD, LINSPACE, dict(skip_prk_steps=True)),
    ("pndm", 9, "strict=true", {}, SD, TRAILING, dict(skip_prk_steps=True, set_alpha_to_one=True)),
    ("lms", 8, "", {}, SD, KARRAS),
    ("lms", 7, "order=2", dict(order=2), SD, TRAILING),
    ("lms", 8, "", {}, SD, BETA, V),
    ("lcm", 4, "", {}, SD),
    ("lcm", 8, "", {}, V, ZERO_SNR),
    ("lcm", 3, "original_steps=100", {}, SD, CLIP, dict(original_inference_steps=100, timestep_scaling=5.0)),
    ("lcm", 4, "", {}, THRESHOLD),
    ("tcd", 4, "eta=0.3", dict(eta=0.3), SD),
    ("tcd", 8, "eta=0", dict(eta=0.0), SD, V, ZERO_SNR),
    ("tcd", 3, "eta=1", dict(eta=1.0), SD, CLIP),
    ("dpm2", 8, "", {}, SD, LEADING, V),
    ("dpm2", 7, "", {}, LINEAR, TRAILING),
    ("dpm2", 8, "", {}, SD, KARRAS),
    ("dpm2", 8, "", {}, SD, EXPONENTIAL, V),
    ("dpm2", 7, "", {}, SD, BETA),
    ("dpm2-a", 8, "", {}, SD, LEADING, V),
    ("dpm2-a", 7, "", {}, LINEAR, TRAILING),
    ("dpm2-a", 8, "", {}, SD, KARRAS),
    ("deis", 8, "", {}, LINEAR, TRAILING, SAMPLE),
    ("deis", 8, "", {}, SD, LEADING, V),
    ("deis", 8, "", {}, SD, KARRAS),
    ("deis", 20, "", {}, SD, KARRAS, dict(solver_order=3)),
    ("deis", 8, "", {}, COSINE, KARRAS, V),
    ("deis", 8, "", {}, SD, EXPONENTIAL),
    ("deis", 9, "", {}, SD, BETA),
    ("deis", 10, "order=3", {}, SD, dict(solver_order=3)),
    ("deis", 20, "", {}, SD, dict(solver_order=3)),
    ("deis", 7, "", {}, SD, dict(solver_order=1)),
    ("deis", 7, "", {}, SD, dict(solver_order=3, lower_order_final=False, algorithm_type="dpmsolver++", solver_type="heun")),
    ("deis", 8, "", {}, SD, THRESHOLD),
    ("unipc", 8, "", {}, COSINE, KARRAS, V),
    ("dpm++2s", 7, "", {}, SD, V),
    ("dpm++2s", 8, "", {}, SD, KARRAS, SAMPLE),
    ("dpm++2s", 8, "", {}, SD, SIGMA_MIN, dict(solver_type="heun")),
    ("dpm++2s", 8, "", {}, SD, SIGMA_MIN, KARRAS),
    ("dpm++2s", 8, "", {}, SD, SIGMA_MIN, dict(lower_order_final=True)),
    ("dpm++2s", 6, "order=1", {}, SD, BETA, dict(solver_order=1)),
    ("dpm++2s", 10, "", {}, COSINE, dict(lambda_min_clipped=-5.1), THRESHOLD),
    ("dpm++3s", 9, "", {}, SD, SIGMA_MIN),
    ("dpm++3s", 9, "solver=heun", {}, SD, SIGMA_MIN, dict(solver_type="heun")),
    ("dpm++3s", 8, "", {}, SD, KARRAS),
    ("dpm++3s", 9, "", {}, SD, EXPONENTIAL, V),
    ("dpm++3s", 10, "", {}, SD),
    ("sa-solver", 8, "", {}, SD, V),
    ("sa-solver", 8, "", {}, SD, LEADING, dict(predictor_order=3, corrector_order=4)),
    ("sa-solver", 7, "", {}, LINEAR, TRAILING, SAMPLE, dict(predictor_order=1, corrector_order=1)),
    ("sa-solver", 12, "", {}, SD, KARRAS, dict(predictor_order=3, corrector_order=3, lower_order_final=False)),
    ("sa-solver", 8, "", {}, SD, EXPONENTIAL, dict(predictor_order=4, corrector_order=2)),
    ("sa-solver", 8, "", {}, COSINE, dict(lambda_min_clipped=-5.1), THRESHOLD),
]
# Every class on the two published configs, as a pipeline's `from_config` makes it.
# DDPMScheduler draws at the last step, too; TCDScheduler's step() has another default than diffusers' pipelines and Tiller.
OPTIONS = {"ddpm": "strict=true", "tcd": "eta=0.3"}
for name in CLASSES:
    options = OPTIONS.get(name, "")
    CASES += [(name, 10, options, {}, SD15), (name, 10, options, {}, SDXL), (name, 7, options, {}, SDXL, V)]
    if name not in ("pndm", "dpm++sde", "euler-a", "dpm2", "dpm2-a"):  # which refuse it
        CASES.append((name, 9, options, {}, SD15, SAMPLE))
# Image to image; at 20 steps the last half isn't a short run to DPM-Solver++.
IMAGE_CASES = [(name, 10, OPTIONS.get(name, ""), {}, SD15, 0.6) for name in CLASSES if name not in ("ddpm", "pndm", "lms")]
IMAGE_CASES += [("ddim", 7, "", {}, SDXL, 0.35), ("heun", 10, "", {}, SDXL, 0.7), ("euler", 10, "", {}, SDXL, 0.99),
                ("dpm++2m", 20, "", {}, dict(SD15, **SIGMA_MIN), 0.5)]


class Noise:
    """Stands in for diffusers' randn_tensor."""

    def __init__(self):
        self.draws = 0

    def __call__(self, shape, **_):
        self.draws += 1
        return (1.2 * torch.sin(1.3 * self.draws + 0.7 * torch.arange(BASE.numel()))).reshape(shape)


class PathNoise:
    """Stands in for BrownianTreeNoiseSampler: a step's two queries as one path through two draws."""

    def __init__(self, noise):
        self.noise, self.middle = noise, None

    def __call__(self, start, end):
        draw = self.noise(BASE.shape)
        if self.middle is None:
            self.middle, self.first = end, draw
            return draw
        share, self.middle = (start - self.middle) / (start - end), None
        return share**0.5 * self.first + (1 - share) ** 0.5 * draw


def ends_step(scheduler, calls, all_calls):
    """Whether this many evaluations complete a step."""
    if calls == all_calls:
        return True
    if isinstance(scheduler, schedulers.PNDMScheduler):
        prk = len(scheduler.prk_timesteps)
        return calls % 4 == 0 if calls < prk else calls > 1
    return getattr(scheduler, "state_in_first_order", True)


def network(x, t, learned_variance):
    out = 0.3 * x + 0.2 * torch.sin(x + 0.002 * t)
    return torch.cat([out, torch.sin(1.7 * x + 0.003 * t)], dim=1) if learned_variance else out


def start(scheduler, steps, strength, noise):
    """The first sample and the timesteps that follow, as StableDiffusionImg2ImgPipeline's get_timesteps has them."""
    if strength == 1:
        return BASE * scheduler.init_noise_sigma, scheduler.timesteps
    begin = (steps - min(int(steps * strength), steps)) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    timesteps = scheduler.timesteps[begin:]
    return scheduler.add_noise(0.4 * BASE, noise(BASE.shape), timesteps[:1]), timesteps


def run(name, steps, options, arguments, *parts, strength=1):
    config = {k: v for part in parts for k, v in part.items()}
    noise = Noise()
    scheduler = CLASSES[name].from_config(dict(config, **NAMED.get(name, {})))
    __import__(CLASSES[name].__module__, fromlist=["_"]).randn_tensor = noise
    aligned = [timesteps for rule, timesteps in AYS.items() if rule in options]
    scheduler.set_timesteps(**dict(timesteps=aligned[0]) if aligned else dict(num_inference_steps=steps))
    scheduler.noise_sampler = PathNoise(noise)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # else equal timesteps at the start count as one
    states, timesteps = [], []
    x, remaining = start(scheduler, steps, strength, noise)
    for t in remaining:
        timesteps.append(float(t))
        out = network(scheduler.scale_model_input(x, t), t, config.get("variance_type") == "learned_range")
        x = scheduler.step(out, t, x, **arguments).prev_sample
        if ends_step(scheduler, len(timesteps), len(remaining)):
            states.append(x)
    assert len(states) == min(int(steps * strength), steps), (name, len(states))
    numbers = lambda tensor: [float(f"{v:.9g}") for v in tensor.flatten()]
    return dict(sampler=name, steps=steps, options=options, config=config, timesteps=timesteps, strength=strength,
                initial_scale=float(scheduler.init_noise_sigma), draws=noise.draws, first=numbers(states[0]),
                mid=numbers(states[len(states) // 2]), final=numbers(states[-1]))


if __name__ == "__main__":
    cases = [json.dumps(run(*case)) for case in CASES]
    cases += [json.dumps(run(*case, strength=strength)) for *case, strength in IMAGE_CASES]
    print('{"diffusers": "%s", "cases": [\n%s\n]}' % (diffusers.__version__, ",\n".join(cases)))
