"""Writes fixtures/brownian.json: torchsde's Brownian tree and what DPMSolverSDEScheduler makes with it.

The network and the start are those of make_samplers.py, twice over along the channels so that there are 16 numbers.
Needs torch, torchsde, scipy and diffusers (made with 2.11, 0.2.6 and 0.42.1).
Usage: python make_brownian.py > ../fixtures/brownian.json
"""

import json

import numpy as np
import torch
from diffusers import DPMSolverSDEScheduler
from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

from make_samplers import BASE, KARRAS, SD15, SDXL, V, network

KEYS = [(0, ()), (5, ()), (5, (0, 0)), (5, (3, 2)), (2**40 + 7, (123456, 24))]
POINTS = [(14.614643, 9.5), (14.614643, 0.029168), (3.25, 3.249999), (0.5, 0.125)]
START = torch.cat([BASE, 0.9 * BASE], dim=1)


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.flatten().tolist()]


def run(seed, steps, config, strength):
    scheduler = DPMSolverSDEScheduler.from_config(dict(config, noise_sampler_seed=seed))
    scheduler.set_timesteps(steps)
    begin = (steps - int(steps * strength)) * scheduler.order
    scheduler.set_begin_index(begin)
    x = START * scheduler.sigmas[begin]
    for t in scheduler.timesteps[begin:]:
        x = scheduler.step(network(scheduler.scale_model_input(x, t), t, False), t, x).prev_sample
    return dict(seed=seed, steps=steps, config=config, strength=strength, final=numbers(x))


if __name__ == "__main__":
    seeds = [dict(entropy=entropy, spawn_key=key, seed=int(
        np.random.SeedSequence(entropy=entropy, spawn_key=key, pool_size=24).generate_state(1)[0])) for entropy, key in KEYS]
    sample = BrownianTreeNoiseSampler(torch.zeros(1, 2, 3, 3), 0.029168, 14.614643, seed=11)
    noise = [dict(start=a, end=b, noise=numbers(sample(torch.tensor(a), torch.tensor(b)))) for a, b in POINTS]
    runs = [run(5, 10, SD15, 1), run(5, 10, SDXL, 1), run(2**33 + 1, 7, dict(SDXL, **KARRAS, **V), 1), run(6, 10, SD15, 0.6)]
    print(json.dumps(dict(seeds=seeds, noise=noise, runs=runs)))
