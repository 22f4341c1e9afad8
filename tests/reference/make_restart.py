"""Writes fixtures/restart.json: where Restart sampling's own code ends.

The denoiser, noise and base input are make_k_diffusion.py's, in float64; draws count only where noise is added.

Usage: python make_restart.py RESTART > ../fixtures/restart.json, with the path of a checkout of github.com/Newbeeer/diffusion_restart_sampling,
of which only restart_sampler is run. Needs torch and make_k_diffusion.py's packages.
"""

import ast
import json
import pathlib
import sys
import types

import numpy as np
import torch
from make_k_diffusion import BASE, Denoiser, Noise, numbers

CASES = [  # Tiller's options, steps, restart_info, other arguments
    ("restarts=3x2@0.14-0.3", 18, {"0": [3, 2, 0.14, 0.30]}, {}),
    ("restarts=3x1@19.35-40.79+3x1@1.09-1.92+2x3@0.06-0.3", 14,
     {"0": [3, 1, 19.35, 40.79], "1": [3, 1, 1.09, 1.92], "2": [2, 3, 0.06, 0.30]}, {}),
    ("restarts=4x2@0.59-1.09,gamma=0.2,s_churn=10,s_tmin=0.05,s_tmax=50,s_noise=1.1", 10, {"0": [4, 2, 0.59, 1.09]},
     dict(restart_gamma=0.2, S_churn=10, S_min=0.05, S_max=50, S_noise=1.1)),
]
USUAL = dict(restart_gamma=0.05, S_min=0.01, S_max=1, S_noise=1.003)


class Lazy:
    """Noise that is drawn where it is multiplied with more than 0."""

    def __init__(self, noise, like, scale=1.0):
        self.noise, self.like, self.scale = noise, like, scale

    def __mul__(self, factor):
        return Lazy(self.noise, self.like, self.scale * factor)

    __rmul__ = __mul__

    def __radd__(self, x):
        return x + self.scale * self.noise(self.like) if self.scale > 0 else x


class Network(Denoiser):
    img_channels, img_resolution = 2, 2


def load(folder):
    tree = ast.parse((folder / "benchmarks/generate_restart.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "restart_sampler"]
    scope = dict(torch=torch, np=np, dist=types.SimpleNamespace(print0=lambda *_: None))
    exec(compile(tree, "generate_restart.py", "exec"), scope)
    return scope["restart_sampler"]


def main(folder):
    sampler, cases = load(folder), []
    for options, steps, info, arguments in CASES:
        noise = Noise()
        x = sampler(Network(), BASE, randn_like=lambda like: Lazy(noise, like), num_steps=steps,
                    restart_info=json.dumps(info), **{**USUAL, **arguments})
        cases.append(dict(options=options, steps=steps, final=numbers(x)))
    print('{"sigma_min": 0.002, "sigma_max": 80.0, "cases": [\n%s\n]}' % ",\n".join(map(json.dumps, cases)))


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
