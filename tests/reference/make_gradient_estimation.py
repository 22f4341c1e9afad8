"""Writes fixtures/gradient_estimation.json: smalldiffusion's `samples` and its sigmas, and TRI's GEScheduler, on a toy
network.

The network is epsilon = 0.3 xi + 0.2 sin(xi + 0.002 t); for smalldiffusion xi = x / sqrt(sigma^2 + 1) and
t = 250 ln(sigma) + 500. Draw k of the noise is 1.2 sin(1.3 (k + 1) + 0.7 j), j the flat index.

Needs torch and diffusers (made with 2.11 and 0.42.1), and clones of smalldiffusion (7f607a8) and
gradient-estimation-sampler (6809d28). accelerate is not needed.
Usage: python make_gradient_estimation.py SMALLDIFFUSION GRADIENT_ESTIMATION > ../fixtures/gradient_estimation.json
"""

import importlib.util
import json
import pathlib
import sys
import types
from unittest import mock

import torch

BASE = torch.tensor([-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75]).reshape(1, 2, 2, 2)
SMALL = [(1.0, 0.0), (2.0, 0.0), (2.1, 0.0), (1.0, 0.5), (1.5, 0.3)]  # gam, mu
SD = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
# Tiller's options, GEScheduler's
SCHEDULER = [
    ("sigmas=exponential,sigma_max=8.35", dict(start=8.35, style="Linear")),
    ("sigmas=exponential,sigma_max=8.35,gamma=2.4", dict(start=8.35, style="Linear", gamma=2.4)),
    ("sigmas=exponential,sigma_max=8.35,sigma_min=0.12", dict(start=8.35, end=0.12, factor=1.0, style="Linear")),
    ("sigmas=karras,sigma_max=8.35,sigma_min=0.02", dict(start=8.35, style="EDM")),
    ("sigmas=karras,sigma_max=8.35,sigma_min=0.02,clip_sample=true", dict(start=8.35, style="EDM", clip_sample=True)),
]


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def numbers(tensor):
    return [float(f"{v:.9g}") for v in torch.as_tensor(tensor).flatten().tolist()]


class Noise:
    def __init__(self):
        self.draws = 0

    def __call__(self, *_):
        self.draws += 1
        return (1.2 * torch.sin(1.3 * self.draws + 0.7 * torch.arange(BASE.numel()))).reshape(BASE.shape)


def network(xi, t):
    return 0.3 * xi + 0.2 * torch.sin(xi + 0.002 * t)


def small_cases(small):
    sigmas = small.ScheduleLogLinear(1000, 0.01, 35).sample_sigmas(8)
    eps = lambda x, s, *_: network(x / torch.sqrt(s**2 + 1), 250 * torch.log(s) + 500)
    for gam, mu in SMALL:
        model = types.SimpleNamespace(eval=lambda: None, predict_eps_cfg=eps, rand_input=Noise())
        accelerator = types.SimpleNamespace(device="cpu")
        *_, x = small.samples(model, sigmas, gam, mu, xt=BASE * sigmas[0], accelerator=accelerator)
        yield dict(options=f"gamma={gam},mu={mu}", sigmas=numbers(sigmas), final=numbers(x))


def scheduler_cases(module):
    for options, arguments in SCHEDULER:
        scheduler = module.GEScheduler(**SD, **dict(dict(clip_sample=False), **arguments))
        scheduler.set_timesteps(8)
        x = BASE * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(network(scheduler.scale_model_input(x, t), t), t, x).prev_sample
        last = scheduler._timesteps_full[-1]
        yield dict(options=options, timesteps=[int(t) for t in scheduler._timesteps_full],
                   final=numbers(x * scheduler._ap(last).sqrt()))


def main(small_folder, scheduler_folder):
    with mock.patch.dict(sys.modules, accelerate=mock.MagicMock()):
        small = load(small_folder / "src/smalldiffusion/diffusion.py", "diffusion")
    scheduler = load(scheduler_folder / "gescheduler/scheduling_gradient_estimation.py", "scheduling")
    spaced = small.ScheduleLDM().sample_sigmas(7)
    dump = lambda cases: ",\n".join(map(json.dumps, cases))
    print('{"samples": [\n%s\n],\n"scheduler": [\n%s\n],\n"ldm_sigmas": %s}'
          % (dump(small_cases(small)), dump(scheduler_cases(scheduler)), json.dumps(numbers(spaced))))


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
