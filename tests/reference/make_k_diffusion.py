"""Writes fixtures/k_diffusion.json: trajectories of k-diffusion's and EDM's own sampling code.

The denoiser is D(x, s) = x - s (0.3 xi + 0.2 sin(xi + 0.002 t)), xi = x / sqrt(s^2 + 1), t = 250 ln(s) + 500.
Noise and base input as in make_samplers.py; the start is the base times the largest sigma.

Usage: python make_k_diffusion.py K_DIFFUSION EDM > ../fixtures/k_diffusion.json, with the paths of checkouts of
github.com/crowsonkb/k-diffusion and github.com/NVlabs/edm (of the latter only edm_sampler is run). Needs torch and scipy.
"""

import ast
import importlib.util
import json
import pathlib
import sys
import types
from unittest import mock

import numpy as np
import torch

BASE = torch.tensor([-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75]).reshape(1, 2, 2, 2)
SIGMA_MIN, SIGMA_MAX = 0.0291675, 14.614643  # Stable Diffusion 1.5's

CASES = [  # Tiller's name and options, k-diffusion's function and arguments
    ("euler", "", "sample_euler", {}),
    ("euler", "s_churn=2,s_noise=1.003", "sample_euler", dict(s_churn=2.0, s_noise=1.003)),
    ("euler-a", "", "sample_euler_ancestral", {}),
    ("euler-a", "eta=0.5", "sample_euler_ancestral", dict(eta=0.5)),
    ("heun", "", "sample_heun", {}),
    ("heun", "s_churn=2,s_tmax=10", "sample_heun", dict(s_churn=2.0, s_tmax=10.0)),
    ("dpm++2m", "", "sample_dpmpp_2m", {}),
    ("lms", "", "sample_lms", {}),
    ("dpm++sde", "", "sample_dpmpp_sde", {}),
    ("dpm++sde", "eta=0.6,s_noise=1.1", "sample_dpmpp_sde", dict(eta=0.6, s_noise=1.1)),
    ("dpm++2m-sde", "", "sample_dpmpp_2m_sde", {}),
    ("dpm++2m-sde", "eta=0.5,solver=heun", "sample_dpmpp_2m_sde", dict(eta=0.5, solver_type="heun")),
    ("dpm++3m-sde", "third_order=k-diffusion,solver=heun,lower_order_final=false", "sample_dpmpp_3m_sde", {}),
    ("dpm++3m-sde", "eta=0,third_order=k-diffusion,solver=heun,lower_order_final=false", "sample_dpmpp_3m_sde",
     dict(eta=0.0)),
    ("dpm2", "", "sample_dpm_2", {}),
    ("dpm2", "s_churn=2,s_tmax=10", "sample_dpm_2", dict(s_churn=2.0, s_tmax=10.0)),
    ("dpm2-a", "", "sample_dpm_2_ancestral", {}),
    ("dpm2-a", "eta=0.5,s_noise=1.1", "sample_dpm_2_ancestral", dict(eta=0.5, s_noise=1.1)),
    ("dpm++2s-a", "", "sample_dpmpp_2s_ancestral", {}),
    ("dpm++2s-a", "eta=0.5,s_noise=1.1", "sample_dpmpp_2s_ancestral", dict(eta=0.5, s_noise=1.1)),
]
EDM_CASES = [  # Tiller's options, steps, edm_sampler's arguments
    ("", 8, {}),
    ("", 18, {}),
    ("s_churn=40,s_tmin=0.05,s_tmax=50,s_noise=1.003", 18, dict(S_churn=40, S_min=0.05, S_max=50, S_noise=1.003)),
]


class Noise:
    def __init__(self):
        self.draws = 0

    def __call__(self, like):
        self.draws += 1
        wave = torch.sin(1.3 * self.draws + 0.7 * torch.arange(BASE.numel(), dtype=torch.float64))
        return (1.2 * wave).reshape(like.shape).to(like)


class PathNoise:
    """A step's two queries of sample_dpmpp_sde as increments of one path, from two draws."""

    def __init__(self, draw):
        self.draw, self.middle = draw, None

    def __call__(self, start, end):
        draw = self.draw()
        if self.middle is None:
            self.middle, self.first = end, draw
            return draw
        share, self.middle = (start - self.middle) / (start - end), None
        return share**0.5 * self.first + (1 - share) ** 0.5 * draw


class Denoiser:
    sigma_min, sigma_max = 0, float("inf")
    round_sigma = staticmethod(torch.as_tensor)

    def __call__(self, x, sigma, _=None, **__):
        sigma = sigma.reshape(-1)[0]
        xi = x / torch.sqrt(sigma**2 + 1)
        return x - sigma * (0.3 * xi + 0.2 * torch.sin(xi + 0.002 * (250 * torch.log(sigma) + 500)))


def load_k_diffusion(folder):
    package = types.ModuleType("k_diffusion")
    utils = types.ModuleType("k_diffusion.utils")
    utils.append_dims = lambda x, dims: x[(...,) + (None,) * (dims - x.ndim)]
    package.utils = utils
    absent = {name: mock.MagicMock() for name in ("torchsde", "torchdiffeq", "tqdm")}
    absent["tqdm.auto"] = types.SimpleNamespace(trange=lambda n, **_: range(n), tqdm=None)
    sys.modules.update(absent, **{"k_diffusion": package, "k_diffusion.utils": utils})
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", folder / "k_diffusion/sampling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_edm_sampler(folder):
    tree = ast.parse((folder / "generate.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "edm_sampler"]
    scope = dict(torch=torch, np=np)
    exec(compile(tree, "generate.py", "exec"), scope)
    return scope["edm_sampler"]


def numbers(tensor):
    return [float(f"{v:.12g}") for v in tensor.flatten().tolist()]


def main(k_folder, edm_folder):
    k, cases = load_k_diffusion(k_folder), []
    sigmas = k.get_sigmas_karras(8, SIGMA_MIN, SIGMA_MAX)
    for sampler, options, function, arguments in CASES:
        noise = Noise()
        if function.endswith("sde"):
            draw = lambda *_: noise(BASE)
            arguments = dict(arguments, noise_sampler=PathNoise(draw) if function == "sample_dpmpp_sde" else draw)
        with mock.patch("torch.randn_like", noise):
            x = getattr(k, function)(Denoiser(), BASE * sigmas[0], sigmas, disable=True, **arguments)
        cases.append(dict(sampler=sampler, options=options, steps=8, sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX,
                          float64=False, final=numbers(x)))
    edm_sampler = load_edm_sampler(edm_folder)
    for options, steps, arguments in EDM_CASES:
        x = edm_sampler(Denoiser(), BASE, randn_like=Noise(), num_steps=steps, **arguments)
        cases.append(dict(sampler="heun", options=options, steps=steps, sigma_min=0.002, sigma_max=80.0,
                          float64=True, final=numbers(x)))
    print('{"cases": [\n%s\n]}' % ",\n".join(map(json.dumps, cases)))


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
