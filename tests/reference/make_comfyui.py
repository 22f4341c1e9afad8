"""Writes fixtures/comfyui.json: where samplers of ComfyUI's end that aren't k-diffusion's.

The denoiser, noise and base input are make_k_diffusion.py's. Of flows the denoiser is D(x, s) = x - s (0.3 x + 0.2 sin(x + 2 s)), the sigmas
are 1, 7/8, ..., 0.

Usage: python make_comfyui.py COMFYUI > ../fixtures/comfyui.json, with the path of a checkout of github.com/comfyanonymous/ComfyUI, of whose
comfy/k_diffusion/sampling.py only the functions below are run. Needs torch and make_k_diffusion.py's packages.
"""

import ast
import json
import pathlib
import sys
import types

import torch
from make_k_diffusion import BASE, SIGMA_MAX, SIGMA_MIN, Denoiser, Noise, numbers

CASES = [  # Tiller's name and options, whether it is a flow, ComfyUI's function and arguments
    ("ipndm", "", False, "sample_ipndm", {}),
    ("ipndm", "order=3", False, "sample_ipndm", dict(max_order=3)),
    ("ipndm", "", True, "sample_ipndm", {}),
    ("ipndm-v", "", False, "sample_ipndm_v", {}),
    ("ipndm-v", "order=3", False, "sample_ipndm_v", dict(max_order=3)),
    ("ipndm-v", "order=2", False, "sample_ipndm_v", dict(max_order=2)),
    ("dpm2-a", "", True, "sample_dpm_2_ancestral_RF", {}),
    ("dpm2-a", "eta=0.5,s_noise=1.1", True, "sample_dpm_2_ancestral_RF", dict(eta=0.5, s_noise=1.1)),
    ("dpm++2s-a", "", True, "sample_dpmpp_2s_ancestral_RF", {}),
    ("dpm++2s-a", "eta=0.5,s_noise=1.1", True, "sample_dpmpp_2s_ancestral_RF", dict(eta=0.5, s_noise=1.1)),
    ("res-multistep", "", False, "sample_res_multistep", {}),
    ("res-multistep-a", "", False, "sample_res_multistep_ancestral", {}),
    ("res-multistep-a", "eta=0.5,s_noise=1.1", False, "sample_res_multistep_ancestral", dict(eta=0.5, s_noise=1.1)),
    ("er-sde", "", False, "sample_er_sde", {}),
    ("er-sde", "order=2", False, "sample_er_sde", dict(max_stage=2)),
    ("er-sde", "order=1,s_noise=1.1", False, "sample_er_sde", dict(max_stage=1, s_noise=1.1)),
]
FUNCTIONS = {"to_d", "get_ancestral_step", "res_multistep", "sigma_to_half_log_snr", "offset_first_sigma_for_snr",
             *(case[3] for case in CASES)}


class Model:
    """What ComfyUI's samplers look for in a model."""

    patcher = types.SimpleNamespace(get_model_object=lambda name: None)
    inner_model = types.SimpleNamespace(model_patcher=patcher)


class Diffusion(Denoiser, Model):
    pass


class Flow(Model):
    def __call__(self, x, sigma, **_):
        sigma = sigma.reshape(-1)[0]
        return x - sigma * (0.3 * x + 0.2 * torch.sin(x + 2 * sigma))


def load(folder):
    tree = ast.parse((folder / "comfy/k_diffusion/sampling.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS]
    utils = types.SimpleNamespace(append_dims=lambda x, dims: x[(...,) + (None,) * (dims - x.ndim)])
    comfy = types.SimpleNamespace(model_sampling=types.SimpleNamespace(CONST=Flow))
    scope = dict(torch=torch, utils=utils, comfy=comfy, trange=lambda n, **_: range(n))
    exec(compile(tree, "sampling.py", "exec"), scope)
    return scope


def karras(steps, rho=7.0):
    ramp = torch.linspace(0, 1, steps)
    ends = SIGMA_MIN ** (1 / rho), SIGMA_MAX ** (1 / rho)
    return torch.cat([(ends[1] + ramp * (ends[0] - ends[1])) ** rho, torch.zeros(1)])


def main(folder):
    functions, cases = load(folder), []
    for sampler, options, flow, function, arguments in CASES:
        sigmas = torch.linspace(1, 0, 9) if flow else karras(8)
        noise = Noise()
        if "ipndm" not in function:
            arguments = dict(arguments, noise_sampler=lambda *_: noise(BASE))
        x = functions[function](Flow() if flow else Diffusion(), BASE * sigmas[0], sigmas, disable=True, **arguments)
        cases.append(dict(sampler=sampler, options=options, flow=flow, final=numbers(x)))
    print('{"steps": 8, "sigma_min": %r, "sigma_max": %r, "cases": [\n%s\n]}' % (SIGMA_MIN, SIGMA_MAX, ",\n".join(map(json.dumps, cases))))


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
