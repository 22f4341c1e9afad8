"""Writes fixtures/adm_sampling.json: guided-diffusion's ddim_sample_loop with formula weights (formula.py).

Usage: python make_adm_sampling.py GUIDED_DIFFUSION > ../fixtures/adm_sampling.json, with the path of a
checkout of github.com/openai/guided-diffusion. Needs torch and numpy.
"""

import json
import sys

import torch

import formula

CONFIG = dict(image_size=16, num_channels=32, num_res_blocks=1, channel_mult="1,2", num_heads=2,
              attention_resolutions="8", class_cond=True, learn_sigma=True)
SEED, LABEL, RESPACING = 11, 3, "ddim10"


def sample():
    from guided_diffusion import script_util

    script_util.NUM_CLASSES = 10
    defaults = script_util.model_and_diffusion_defaults()
    model, diffusion = script_util.create_model_and_diffusion(
        **{**defaults, **CONFIG, "timestep_respacing": RESPACING})
    formula.fill(model)
    model.eval()
    shape = (1, 3, CONFIG["image_size"], CONFIG["image_size"])
    noise = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(SEED))
    y = {"y": torch.tensor([LABEL])}
    return diffusion.ddim_sample_loop(model, shape, noise=noise, clip_denoised=True, model_kwargs=y,
                                      device="cpu")


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    with torch.no_grad():
        values = formula.numbers(sample().flatten()[::5])
    print(json.dumps(dict(config=CONFIG, classes=10, seed=SEED, label=LABEL, respacing=RESPACING,
                          every=5, values=values)))
