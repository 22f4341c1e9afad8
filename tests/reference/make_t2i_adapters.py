"""Writes fixtures/t2i_adapters.json: latents of diffusers' pipelines with T2I-Adapters, on make_pipelines.py's tiny models and one of
SDXL's with three stages. Weights and images are formula.py's.

Usage: python make_t2i_adapters.py > ../fixtures/t2i_adapters.json. Needs torch, transformers and diffusers (0.42.1).
"""

import json
import pathlib
import tempfile

import diffusers
import formula
import torch
from make_controls import image
from make_pipelines import NEGATIVE, PROMPT, SEED, SIZE, STEPS, XL, config_of, pipelines, summary

torch.set_num_threads(1)
ADAPTERS = {
    "full": {"channels": [32, 64], "num_res_blocks": 2, "downscale_factor": 8, "adapter_type": "full_adapter"},
    "light": {"channels": [32, 64], "num_res_blocks": 1, "downscale_factor": 8, "adapter_type": "light_adapter", "in_channels": 1},
    "full_xl": {"channels": [32, 64, 64, 64], "num_res_blocks": 1, "downscale_factor": 16, "adapter_type": "full_adapter_xl"},
}
XL_3 = {**XL, "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "block_out_channels": [32, 64, 64],
        "transformer_layers_per_block": [1, 1, 2], "attention_head_dim": [4, 8, 8]}
RUNS = {  # adapters with the image's name, scale and share of the steps; guidance scale
    "sd1": [([("full", "1", 1.0, 1.0)], 5.0), ([("full", "1", 1.0, 1.0)], 1.0), ([("light", "2", 0.7, 1.0)], 5.0),
            ([("full", "1", 0.6, 1.0), ("full", "2", -0.4, 1.0)], 5.0)],
    "sdxl": [([("full_xl", "1", 1.0, 1.0)], 5.0), ([("full_xl", "2", 0.5, 0.7)], 5.0)],
}


def picture(adapter, number):
    chosen = image(f"control {number}", SIZE, SIZE)
    return chosen.convert("L") if adapter == "light" else chosen


def run(family, pipe, adapters, cfg):
    kind = getattr(diffusers, f"StableDiffusion{'XL' if family == 'sdxl' else ''}AdapterPipeline")
    nets = {name: formula.fill(diffusers.T2IAdapter(**ADAPTERS[name])) for name in ADAPTERS}
    names, numbers, scales, shares = zip(*adapters)
    several = len(adapters) > 1
    net = diffusers.MultiAdapter([nets[name] for name in names]) if several else nets[names[0]]
    pictures = [picture(name, number) for name, number in zip(names, numbers)]
    extra = {} if family == "sdxl" else {"requires_safety_checker": False}
    parts = {key: part for key, part in pipe.components.items() if key not in ("image_encoder", "feature_extractor")}
    if family == "sdxl":
        parts["unet"] = formula.fill(diffusers.UNet2DConditionModel(**XL_3))
    else:
        parts["feature_extractor"] = None
    parts["scheduler"] = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    job = kind(**parts, adapter=net, **extra)
    job.set_progress_bar_config(disable=True)
    more = {"adapter_conditioning_factor": shares[0]} if family == "sdxl" else {}
    values = job(PROMPT, negative_prompt=NEGATIVE, height=SIZE, width=SIZE, num_inference_steps=STEPS, guidance_scale=cfg,
                 image=pictures if several else pictures[0], adapter_conditioning_scale=list(scales) if several else scales[0],
                 generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent", **more).images
    return {"adapters": adapters, "cfg": cfg, **summary(values)}


def main():
    fixture = {"adapters": {name: config_of(diffusers.T2IAdapter(**config)) for name, config in ADAPTERS.items()},
               "sdxl_unet": config_of(diffusers.UNet2DConditionModel(**XL_3))}
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        for family, pipe in pipelines(pathlib.Path(name)):
            if family in RUNS:
                fixture[family] = [run(family, pipe, *case) for case in RUNS[family]]
    print(json.dumps(fixture))


main()
