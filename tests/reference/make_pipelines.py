"""Writes fixtures/pipelines.json: the latents that diffusers' pipelines end in, on tiny models of the Stable Diffusion
family, and what is needed to build the same models: configs and a vocabulary of single letters. Weights are formula.py's.

Usage: python make_pipelines.py > ../fixtures/pipelines.json. Needs torch, transformers and diffusers (0.42.1).
With a folder as argument it saves the models there, as folders that diffusers and Tiller load.
"""

import inspect
import json
import pathlib
import sys
import tempfile

import diffusers
import formula
import torch
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

torch.set_num_threads(1)
PROMPT, NEGATIVE = "a red fox in the snow", "blurry, low quality"
SIZE, STEPS, SEED = 64, 10, 5

UNET = {
    "sample_size": 8,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [32, 64],
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
    "layers_per_block": 1,
}
XL = {
    **UNET,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2],
    "attention_head_dim": [4, 8],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24 + 6 * 8,
    "cross_attention_dim": 32 + 40,
}
VAE = {
    "block_out_channels": [16, 16, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": 64,
}
TEXT = {
    "vocab_size": 514,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "bos_token_id": 512,
    "eos_token_id": 513,
}
TEXT_2 = {**TEXT, "hidden_size": 40, "hidden_act": "gelu", "projection_dim": 24}
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
             "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1}

SAMPLERS = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {}),
    "dpm++2m-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
    "dpm++2m-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpm++3m-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}),
}


def letters():
    """A vocabulary without merges: CLIP's 256 byte symbols, the same at a word's end, and the two special tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    words = symbols + [s + "</w>" for s in symbols] + ["<|startoftext|>", "<|endoftext|>"]
    return {word: i for i, word in enumerate(words)}


def tokenizer(pad, folder):
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(letters()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token=pad, model_max_length=77)


def build(family, folder):
    unet = {"sd1": UNET, "inpainting": {**UNET, "in_channels": 9}, "sd2": {**UNET, "attention_head_dim": [4, 8], "use_linear_projection": True}, "sdxl": XL}[family]
    parts = {
        "unet": formula.fill(diffusers.UNet2DConditionModel(**unet)),
        "vae": formula.fill(diffusers.AutoencoderKL(**VAE, scaling_factor=0.13 if family == "sdxl" else 0.18215)),
        "text_encoder": formula.fill(CLIPTextModel(CLIPTextConfig(**TEXT, hidden_act="gelu" if family == "sd2" else "quick_gelu"))),
        "tokenizer": tokenizer("!" if family == "sd2" else "<|endoftext|>", folder / "t1"),
    }
    if family == "sdxl":
        parts["text_encoder_2"] = formula.fill(CLIPTextModelWithProjection(CLIPTextConfig(**TEXT_2)))
        parts["tokenizer_2"] = tokenizer("!", folder / "t2")
        parts["scheduler"] = diffusers.EulerDiscreteScheduler(**{**filtered(diffusers.EulerDiscreteScheduler, SCHEDULER), "timestep_spacing": "leading"})
        return diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    kind = diffusers.DDIMScheduler if family == "sd2" else diffusers.PNDMScheduler
    extra = {"prediction_type": "v_prediction"} if family == "sd2" else {}
    parts["scheduler"] = kind(**{**filtered(kind, SCHEDULER), **extra})
    return diffusers.StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def filtered(kind, config):
    known = inspect.signature(kind.__init__).parameters
    return {k: v for k, v in config.items() if k in known}


def latents(pipe, scheduler, options, guidance, **more):
    original = pipe.scheduler
    pipe.scheduler = getattr(diffusers, scheduler).from_config(original.config, **options)
    generator = torch.Generator("cpu").manual_seed(SEED)
    result = pipe(PROMPT, negative_prompt=NEGATIVE, height=SIZE, width=SIZE, num_inference_steps=STEPS,
                  guidance_scale=guidance, generator=generator, output_type="latent", **more).images
    pipe.scheduler = original
    return result


def picture(name):
    """(SIZE, SIZE, 3) of whole numbers, and as diffusers takes it."""
    values = ((formula.tensor(name, (SIZE, SIZE, 3)) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(values.numpy())


def half_mask():
    mask = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    mask[:, : SIZE // 2] = 255
    return Image.fromarray(mask.numpy())


IMAGE_RUNS = [  # sampler, strength, mask
    ("ddim", 0.6, False), ("euler", 0.6, False), ("dpm++2m", 0.6, False), ("ddim", 1.0, False),
    ("ddim", 0.8, True), ("euler", 0.8, True), ("euler", 1.0, True),
    ("pndm", 0.9, False), ("pndm", 0.6, False), ("pndm", 0.2, False), ("pndm", 1.0, True), ("pndm", 0.9, True), ("pndm", 0.6, True),
    ("heun", 1.0, True), ("heun", 0.6, True), ("lms", 0.6, False),
]
STRICT = {"lms"}  # where diffusers counts the steps left out as taken


def image_latents(pipe, sampler, strength, masked):
    kind, options = SAMPLERS[sampler]
    parts = {**pipe.components, "scheduler": getattr(diffusers, kind).from_config(pipe.scheduler.config, **options)}
    kind = diffusers.StableDiffusionInpaintPipeline if masked else diffusers.StableDiffusionImg2ImgPipeline
    job = kind(**parts, requires_safety_checker=False)
    job.set_progress_bar_config(disable=True)
    more = {"mask_image": half_mask(), "height": SIZE, "width": SIZE} if masked else {}
    return job(PROMPT, image=picture("picture"), strength=strength, negative_prompt=NEGATIVE, num_inference_steps=STEPS,
               guidance_scale=5.0, generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent", **more).images


def summary(values):
    return {"sum": values.double().sum().item(), "head": formula.numbers(values.flatten()[:64]),
            "largest": values.abs().max().item()}


def image_runs(pipe):
    return [{"sampler": sampler, "strength": strength, "mask": mask, "strict": sampler in STRICT, **summary(image_latents(pipe, sampler, strength, mask))}
            for sampler, strength, mask in IMAGE_RUNS if mask or pipe.unet.config.in_channels == 4]


def pipelines(root):
    for family in ("sd1", "sd2", "sdxl", "inpainting"):
        folder = root / f"parts-{family}"
        folder.mkdir()
        built = build(family, folder)
        built.save_pretrained(root / family)  # a config that was read holds every key, one that was made does not
        file = root / family / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "clip_sample": False}))  # as the published files have it
        pipe = type(built).from_pretrained(root / family, local_files_only=True)
        pipe.set_progress_bar_config(disable=True)
        yield family, pipe


def config_of(part):
    config = part.config.to_dict() if hasattr(part.config, "to_dict") else dict(part.config)
    return json.loads(json.dumps(config, default=str))


def record(family, pipe):
    entry = {"configs": {}, "runs": []}
    for name in ("unet", "vae", "text_encoder", "text_encoder_2", "scheduler"):
        if getattr(pipe, name, None) is not None:
            entry["configs"][name] = config_of(getattr(pipe, name))
    entry["class"] = type(pipe).__name__
    if family in ("sd1", "inpainting"):
        entry["images"] = image_runs(pipe)
    if family == "inpainting":
        return entry
    for sampler, (kind, options) in SAMPLERS.items():
        for guidance in (1.0, 5.0):
            if guidance > 1 and sampler not in ("ddim", "euler-a", "dpm++2m", "pndm", "unipc"):
                continue
            values = latents(pipe, kind, options, guidance)
            entry["runs"].append({"sampler": sampler, "cfg": guidance, **summary(values)})
    return entry


if __name__ == "__main__":
    if len(sys.argv) > 1:
        root = pathlib.Path(sys.argv[1])
        root.mkdir(parents=True, exist_ok=True)
        list(pipelines(root))
    else:
        with tempfile.TemporaryDirectory() as name, torch.no_grad():
            fixture = {f: record(f, p) for f, p in pipelines(pathlib.Path(name))}
        fixture["letters"] = letters()
        fixture["prompt"], fixture["negative"] = PROMPT, NEGATIVE
        json.dump(fixture, sys.stdout)
