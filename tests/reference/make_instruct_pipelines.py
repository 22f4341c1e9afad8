"""Writes fixtures/instruct_pipelines.json: the latents that diffusers' InstructPix2Pix pipelines end in, on
make_pipelines.py's tiny models with UNets of eight input channels.

Usage: python make_instruct_pipelines.py > ../fixtures/instruct_pipelines.json. Needs torch, transformers and diffusers
(0.42.1).
"""

import json
import pathlib
import sys
import tempfile

import diffusers
import formula
import torch
from make_pipelines import NEGATIVE, PROMPT, SAMPLERS, SEED, SIZE, STEPS, filtered, pipelines
from PIL import Image

torch.set_num_threads(1)
EVERY = 3  # of the latents' numbers, across all channels
KINDS = {"sd1": "StableDiffusionInstructPix2PixPipeline", "sdxl": "StableDiffusionXLInstructPix2PixPipeline"}
PICTURES = {"picture": (SIZE, SIZE), "wide": (56, 72)}  # height and width
RUNS = {  # family: sampler, picture, scales of the text and the image, rescale
    "sd1": [("ddim", "picture", 5.0, 1.5, 0.0), ("ddim", "picture", 5.0, 1.0, 0.0), ("ddim", "picture", 1.0, 1.5, 0.0),
            ("ddim", "wide", 7.5, 2.0, 0.0), ("euler", "picture", 5.0, 2.0, 0.0), ("euler-a", "picture", 5.0, 2.0, 0.0),
            ("dpm++2m", "wide", 5.0, 1.5, 0.0), ("pndm", "picture", 5.0, 1.5, 0.0), ("heun", "picture", 3.0, 1.5, 0.0)],
    "sdxl": [("euler", "picture", 5.0, 1.5, 0.0), ("euler", "wide", 5.0, 1.0, 0.0), ("ddim", "picture", 7.5, 2.0, 0.0),
             ("unipc", "picture", 5.0, 1.5, 0.7), ("euler", "picture", 1.0, 2.0, 0.0)],
    "cosxl": [("euler", "picture", 5.0, 1.5, 0.0)],
}


def picture(name):
    height, width = PICTURES[name]
    values = ((formula.tensor(name, (height, width, 3)) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(values.numpy())


def editor(family, pipe):
    """The pipeline that edits, with the same parts but the UNet."""
    config = {**pipe.unet.config, "in_channels": 8}
    unet = formula.fill(diffusers.UNet2DConditionModel.from_config(config))
    xl = family != "sd1"
    more = {"is_cosxl_edit": family == "cosxl", "add_watermarker": False} if xl else {"requires_safety_checker": False}
    kind = getattr(diffusers, KINDS["sdxl" if xl else "sd1"])
    job = kind(**filtered(kind, {**pipe.components, "unet": unet}), **more)
    job.set_progress_bar_config(disable=True)
    return job


def latents(job, sampler, name, scale, image_scale, rescale):
    kind, options = SAMPLERS[sampler]
    job.scheduler = getattr(diffusers, kind).from_config(job.scheduler.config, **options)
    height, width = PICTURES[name]
    more = {"height": height, "width": width, "guidance_rescale": rescale} if "XL" in type(job).__name__ else {}
    return job(PROMPT, image=picture(name), negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=scale,
               image_guidance_scale=image_scale, generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent",
               **more).images


def run(job, sampler, name, scale, image_scale, rescale):
    guidance = f"cfg:scale={scale},image_scale={image_scale}" + (f" + rescale:phi={rescale}" if rescale else "")
    height, width = PICTURES[name]
    values = latents(job, sampler, name, scale, image_scale, rescale)
    return {"flags": f"--sampler {sampler} --guidance '{guidance}' --init-image {name}.png --size {width}x{height}",
            "largest": float(f"{values.abs().max().item():.7g}"),
            "values": [float(f"{v:.7g}") for v in values.flatten()[::EVERY].tolist()]}


def record(family, pipe):
    job = editor(family, pipe)
    runs = [run(job, *how) for how in RUNS[family]]
    values = [torch.tensor(r["values"]) for r in runs]
    for i, a in enumerate(values):  # far above the tolerance, so that a scale that does nothing fails
        assert all(a.shape != b.shape or (a - b).abs().max() > 5e-3 * b.abs().max() for b in values[:i]), runs[i]["flags"]
    return runs


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        pipes = dict(pipelines(pathlib.Path(name)))
        made = {family: record(family, pipes["sd1" if family == "sd1" else "sdxl"]) for family in RUNS}
    runs = ",\n".join('"%s": [\n%s\n]' % (family, ",\n".join(map(json.dumps, cases))) for family, cases in made.items())
    print('{"every": %d,\n%s}' % (EVERY, runs))
