"""Writes fixtures/exposure_bias.json: epsilon scaling in ADM-ES's loops and EDM-ES's sampler, on a toy network, and the
timesteps that TS-DPM's time shift chooses.

The network is epsilon = 0.3 xi + 0.2 sin(xi + 0.002 t); for EDM xi = x / sqrt(sigma^2 + 1) and t = 250 ln(sigma) + 500.
Where the variance is learned, sin(1.7 xi + 0.003 t) follows along the channels. Noise and base input as in
make_samplers.py. ADM-ES has its linear schedule of lambda in a comment: here it is put in place.

Needs torch, numpy and clones of ADM-ES (54ad3ad), EDM-ES (d9cf406) and TS-DPM (146954f).
Usage: python make_exposure_bias.py ADM-ES EDM-ES TS-DPM > ../fixtures/exposure_bias.json
"""

import ast
import contextlib
import json
import pathlib
import sys
import types
from unittest import mock

import numpy as np
import torch

from make_gd_sampling import BASE, Noise, network

ADM = [  # sampler, Tiller's options, respacing, clip, k, b
    ("ddim", "epsilon_scaling=1.005", "20", False, 0, 1.005),
    ("ddim", "epsilon_scaling=1.017", "10", True, 0, 1.017),
    ("ddim", "eta=0.5,epsilon_scaling=1.01,epsilon_scaling_slope=0.0025", "20", True, 0.0025, 1.01),
    ("ddpm", "epsilon_scaling=1.017", "20", True, 0, 1.017),
    ("ddpm", "epsilon_scaling_slope=0.0025", "20", False, 0.0025, 1.0),
]
EDM = [  # sampler, Tiller's options, steps, edm_sampler's arguments
    ("heun", "epsilon_scaling=1.006", 7, dict(eps_scaler=1.006)),
    ("heun", "epsilon_scaling=0.9985", 11, dict(eps_scaler=0.9985)),
    ("heun", "epsilon_scaling=1.01,s_churn=40", 9, dict(eps_scaler=1.01, S_churn=40)),
]
SHIFTS = [(500, 40), (900, 10), (15, 40), (640, 101)]  # t, window


def numbers(tensor):
    return [float(f"{v:.12g}") for v in tensor.flatten().tolist()]


def adm_cases(folder):
    sys.path.insert(0, str(folder))
    with contextlib.redirect_stdout(sys.stderr):
        from guided_diffusion import gaussian_diffusion as gd
        from guided_diffusion import respace
    for sampler, options, respacing, clip, k, b in ADM:
        with mock.patch.object(gd, "logger"), mock.patch("torch.randn_like", Noise()):
            diffusion = respace.SpacedDiffusion(
                use_timesteps=respace.space_timesteps(1000, respacing), betas=gd.get_named_beta_schedule("linear", 1000),
                model_mean_type=gd.ModelMeanType.EPSILON, model_var_type=gd.ModelVarType.LEARNED_RANGE,
                loss_type=gd.LossType.MSE, rescale_timesteps=False)
            diffusion.sampling_scaler = [k * i + b for i in range(diffusion.num_timesteps)]
            loop = diffusion.ddim_sample_loop if sampler == "ddim" else diffusion.p_sample_loop
            eta = {"eta": 0.5} if "eta=" in options else {}
            x = loop(network(True, []), BASE.shape, noise=BASE, clip_denoised=clip, device="cpu", **eta)
        yield dict(sampler=sampler, options=options, respacing=respacing, clip=clip, final=numbers(x))


def function_of(path, name, owner=None):
    tree = ast.parse(path.read_text())
    body = tree.body if owner is None else next(n for n in tree.body if getattr(n, "name", "") == owner).body
    tree.body = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    scope = dict(torch=torch, th=torch, np=np, dist=mock.MagicMock())
    exec(compile(tree, str(path), "exec"), scope)
    return scope[name]


def edm_cases(folder):
    class Net:
        sigma_min, sigma_max = 0, float("inf")
        round_sigma = staticmethod(torch.as_tensor)

        def __call__(self, x, sigma, *_):
            xi = x / torch.sqrt(sigma**2 + 1)
            return x - sigma * (0.3 * xi + 0.2 * torch.sin(xi + 0.002 * (250 * torch.log(sigma) + 500)))

    sampler_of = function_of(folder / "generate.py", "edm_sampler")
    for sampler, options, steps, arguments in EDM:
        x = sampler_of(Net(), BASE, randn_like=Noise(), num_steps=steps, **arguments)
        yield dict(sampler=sampler, options=options, steps=steps, final=numbers(x))


def shift_cases(folder):
    shift = function_of(folder / "sampler/pnm_solver.py", "apply_time_shift", "PNMSolver")
    alphas = torch.cumprod(1 - torch.from_numpy(np.linspace(1e-4, 0.02, 1000)).float(), 0)
    for t, window in SHIFTS:
        near = [min(max(t + offset, 0), 999) for offset in range(-60, 61, 13)]
        scales = [round(float((1.001 * (1 - alphas[k]) / BASE.var()).sqrt()), 6) for k in near]
        x = torch.cat([BASE * scale for scale in scales])
        sampler = types.SimpleNamespace(window_shift=window // 2, cut_off_value=-1,
                                        alpha_list=[(1 - a).view(-1) for a in alphas])
        yield dict(t=t, window=window, scales=scales, timesteps=[int(k) for k in shift(sampler, [x], t)])


def main(adm, edm, ts):
    dump = lambda cases: ",\n".join(map(json.dumps, cases))
    print('{"adm": [\n%s\n],\n"edm": [\n%s\n],\n"shift": [\n%s\n]}'
          % (dump(adm_cases(adm)), dump(edm_cases(edm)), dump(shift_cases(ts))))


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
