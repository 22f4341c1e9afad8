"""Writes fixtures/edm_pipelines.json: the latents that diffusers' SDXL pipelines end in on make_pipelines.py's tiny model, read as an
EDM model by the schedulers of Playground 2.5 and CosXL.

Usage: python make_edm_pipelines.py > ../fixtures/edm_pipelines.json. Needs torch, transformers and diffusers (0.42.1).
"""

import json
import pathlib
import sys
import tempfile

import diffusers
import torch
from make_pipelines import NEGATIVE, PROMPT, SEED, SIZE, STEPS, picture, pipelines, summary

torch.set_num_threads(1)
PLAYGROUND = {"_class_name": "EDMDPMSolverMultistepScheduler"}
COSXL = {"_class_name": "EDMEulerScheduler", "sigma_max": 120.0, "sigma_data": 1.0, "sigma_schedule": "exponential",
         "prediction_type": "v_prediction"}
RUNS = [  # scheduler_config.json, guidance scale, strength of an image to begin with
    (PLAYGROUND, 1.0, None), (PLAYGROUND, 4.0, None), (PLAYGROUND, 4.0, 0.6),
    ({**PLAYGROUND, "solver_type": "heun", "final_sigmas_type": "sigma_min", "rho": 5.0, "sigma_data": 0.7}, 4.0, None),
    ({**PLAYGROUND, "sigma_schedule": "exponential", "solver_order": 3, "sigma_min": 0.01}, 1.0, None),
    (COSXL, 1.0, None), (COSXL, 4.0, None), (COSXL, 4.0, 0.6),
    ({"_class_name": "EDMEulerScheduler", "sigma_min": 0.01, "rho": 6.0, "final_sigmas_type": "sigma_min"}, 4.0, None),
]


def run(pipe, config, guidance, strength):
    scheduler = getattr(diffusers, config["_class_name"])(**{k: v for k, v in config.items() if k != "_class_name"})
    parts = {**pipe.components, "scheduler": scheduler}
    kind = diffusers.StableDiffusionXLPipeline if strength is None else diffusers.StableDiffusionXLImg2ImgPipeline
    job = kind(**parts, add_watermarker=False)
    job.set_progress_bar_config(disable=True)
    more = {"height": SIZE, "width": SIZE} if strength is None else {"image": picture("picture"), "strength": strength}
    values = job(PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=guidance,
                 generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent", **more).images
    return {"scheduler": config, "cfg": guidance, "strength": strength, **summary(values)}


def main():
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        pipe = next(pipe for family, pipe in pipelines(pathlib.Path(name)) if family == "sdxl")
        runs = [run(pipe, *case) for case in RUNS]
    print("[\n" + ",\n".join(map(json.dumps, runs)) + "\n]")


main()
