"""Writes fixtures/flow.json: trajectories of the diffusers package's flow matching schedulers on a toy network.

The network's velocity is 0.3 x + 0.2 sin(x + 0.002 t). Sigmas that a pipeline passes to set_timesteps (FLUX's linspace
from 1 to 1 / N, with its dynamic shift by mu) are Tiller's spacing=trailing with shift = exp(mu).

Needs torch and diffusers (made with 2.11 and 0.42.1). Usage: python make_flow.py > ../fixtures/flow.json
"""

import json
import math

import diffusers
import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

BASE = torch.tensor([-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75]).reshape(1, 2, 2, 2)
EULER, HEUN = "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"

# class, steps, Tiller's options, config, mu of FLUX's sigmas
CASES = [
    (EULER, 8, "", {}, None),
    (EULER, 8, "", dict(shift=3.0), None),
    (EULER, 1, "", dict(shift=3.0), None),
    (EULER, 7, "", dict(shift=1.7, num_train_timesteps=500), None),
    (EULER, 9, "", dict(shift=3.0, use_karras_sigmas=True), None),
    (EULER, 9, "", dict(use_exponential_sigmas=True), None),
    (EULER, 9, "", dict(shift=3.0, use_beta_sigmas=True), None),
    (EULER, 8, f"spacing=trailing,shift={math.exp(1.15)!r}", {}, 1.15),
    (EULER, 4, f"spacing=trailing,shift={math.exp(0.5)!r}", {}, 0.5),
    (HEUN, 8, "", {}, None),
    (HEUN, 8, "", dict(shift=3.0), None),
]


def run(name, steps, options, config, mu):
    scheduler = getattr(diffusers, name)(**config, **(dict(use_dynamic_shifting=True) if mu is not None else {}))
    if mu is None:
        scheduler.set_timesteps(steps)
    else:
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    x, timesteps, first = BASE, [], None
    for t in scheduler.timesteps:
        timesteps.append(float(t))
        x = scheduler.step(0.3 * x + 0.2 * torch.sin(x + 0.002 * t), t, x).prev_sample
        if name == EULER or scheduler.state_in_first_order:
            first = x if first is None else first
    numbers = lambda tensor: [float(f"{v:.9g}") for v in tensor.flatten()]
    return dict(steps=steps, options=options, config=dict(_class_name=name, **config), timesteps=timesteps,
                first=numbers(first), final=numbers(x))


if __name__ == "__main__":
    print('{"diffusers": "%s", "cases": [\n%s\n]}' % (diffusers.__version__, ",\n".join(json.dumps(run(*c)) for c in CASES)))
