"""Writes fixtures/controls.json: latents of diffusers' pipelines with ControlNets and IP-Adapters, on make_pipelines.py's tiny models,
and what CLIP's vision encoder and the adapters make of images. Weights and images are formula.py's.

Usage: python make_controls.py > ../fixtures/controls.json. Needs torch, transformers and diffusers (0.42.1).
"""

import json
import pathlib
import sys
import tempfile

import diffusers
import formula
import make_pipelines
import numpy as np
import torch
from make_pipelines import NEGATIVE, PROMPT, SEED, SIZE, STEPS, config_of
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

torch.set_num_threads(1)
HINT = (8, 8, 12, 16)
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32,
          "patch_size": 8, "projection_dim": 20, "hidden_act": "gelu"}
TOKENS, RESAMPLER, DEPTH, HEAD = 4, 48, 4, 64


def image(name, height, width):
    """Of formula.py's numbers, in blocks of 5 pixels."""
    h, w = -(-height // 5), -(-width // 5)
    blocks = formula.uniform(name, h * w * 3).reshape(h, w, 3)
    values = np.clip(blocks * 128 + 128, 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(np.repeat(values, 5, 0), 5, 1)[:height, :width])


def plain(context):
    return {"proj.weight": [TOKENS * context, VISION["projection_dim"]], "proj.bias": [TOKENS * context],
            "norm.weight": [context], "norm.bias": [context]}


def plus(context):
    c, inner = RESAMPLER, 2 * HEAD
    shapes = {"latents": [1, TOKENS, c], "proj_in.weight": [c, VISION["hidden_size"]], "proj_in.bias": [c],
              "proj_out.weight": [context, c], "proj_out.bias": [context], "norm_out.weight": [context], "norm_out.bias": [context]}
    for i in range(DEPTH):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            shapes |= {f"layers.{i}.{norm}.weight": [c], f"layers.{i}.{norm}.bias": [c]}
        shapes |= {f"layers.{i}.0.to_q.weight": [inner, c], f"layers.{i}.0.to_kv.weight": [2 * inner, c],
                   f"layers.{i}.0.to_out.weight": [c, inner], f"layers.{i}.1.1.weight": [4 * c, c], f"layers.{i}.1.3.weight": [c, 4 * c]}
    return shapes


def adapter(unet, projection):
    """An IP-Adapter's two parts of formula weights, and its shapes by the names of its file."""
    context = unet.config.cross_attention_dim
    shapes = {f"image_proj.{name}": shape for name, shape in projection(context).items()}
    modules = dict(unet.named_modules())
    for i, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            width = modules[name.removesuffix(".processor")].to_q.weight.shape[0]
            shapes |= {f"ip_adapter.{i}.to_k_ip.weight": [width, context], f"ip_adapter.{i}.to_v_ip.weight": [width, context]}
    parts = {"image_proj": {}, "ip_adapter": {}}
    for name, shape in shapes.items():
        part, inner = name.split(".", 1)
        parts[part][inner] = formula.weight(name, shape)
    return parts, shapes


def run(pipe, options, **more):
    """options: what Tiller is told; more: what diffusers is."""
    cfg = options.setdefault("cfg", 5.0)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    values = pipe(PROMPT, negative_prompt=NEGATIVE, height=SIZE, width=SIZE, num_inference_steps=STEPS, guidance_scale=cfg,
                  generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent", **more).images
    return {**options, "sum": values.double().sum().item(), "head": formula.numbers(values.flatten()[:64]),
            "largest": values.abs().max().item()}


def control_runs(family, pipe):
    net = formula.fill(diffusers.ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=HINT))
    xl = "XL" if family == "sdxl" else ""
    kind = getattr(diffusers, f"StableDiffusion{xl}ControlNetPipeline")
    parts = {k: v for k, v in pipe.components.items() if k not in ("image_encoder",)}
    extra = {} if xl else {"requires_safety_checker": False}
    one, two = image("control 1", SIZE, SIZE), image("control 2", SIZE, SIZE)
    controlled = kind(**parts, controlnet=net, **extra)
    runs = [run(controlled, {"control": [":"], "cfg": 1.0}, image=one), run(controlled, {"control": [":"]}, image=one),
            run(controlled, {"control": [":scale=0.7,from=0.2,to=0.8"]}, image=one, controlnet_conditioning_scale=0.7,
                control_guidance_start=0.2, control_guidance_end=0.8)]
    both = kind(**parts, controlnet=[net, net], **extra)
    runs.append(run(both, {"control": [":scale=0.5", ":scale=-0.3,to=0.5"]}, image=[one, two],
                    controlnet_conditioning_scale=[0.5, -0.3], control_guidance_start=[0.0, 0.0], control_guidance_end=[1.0, 0.5]))
    guided = getattr(diffusers, f"StableDiffusion{xl}ControlNetPAGPipeline")(**parts, controlnet=net, pag_applied_layers="mid", **extra)
    runs.append(run(guided, {"control": [":"], "pag": 3.0}, image=one, pag_scale=3.0))
    guided.unet.set_attn_processor(diffusers.models.attention_processor.AttnProcessor2_0())
    return config_of(net), runs


def adapter_runs(family, pipe, encoder):
    processor = CLIPImageProcessorPil(size={"shortest_edge": VISION["image_size"]}, crop_size=VISION["image_size"])
    xl = "XL" if family == "sdxl" else ""
    extra = {} if xl else {"requires_safety_checker": False}
    pipe = type(pipe)(**{**pipe.components, "image_encoder": encoder, "feature_extractor": processor}, **extra)
    image_1, image_2 = image("ip 1", 32, 32), image("ip 2", 45, 61)
    result = {}
    for name, projection in (("plain", plain), ("plus", plus)):
        parts, shapes = adapter(pipe.unet, projection)
        pipe.load_ip_adapter(parts, subfolder="", weight_name="x", low_cpu_mem_usage=False)
        pipe.set_ip_adapter_scale(0.6)
        runs = [run(pipe, {"images": [1]}, ip_adapter_image=image_1),
                run(pipe, {"images": [2], "cfg": 1.0}, ip_adapter_image=image_2),
                run(pipe, {"images": [1, 2]}, ip_adapter_image=[[image_1, image_2]])]
        tokens = {}
        for i, picture in enumerate((image_1, image_2), 1):
            embeds = pipe.prepare_ip_adapter_image_embeds(picture, None, "cpu", 1, True)
            tokens[str(i)] = formula.numbers(pipe.unet.encoder_hid_proj(embeds)[0])
        if name == "plain" and not xl:
            guided = diffusers.StableDiffusionPAGPipeline(**pipe.components, pag_applied_layers="mid", **extra)
            runs.append(run(guided, {"images": [1], "pag": 3.0}, ip_adapter_image=image_1, pag_scale=3.0))
        result[name] = {"shapes": shapes, "runs": runs, "tokens": tokens if family == "sd1" else {}}
        pipe.unload_ip_adapter()
        pipe.register_modules(image_encoder=encoder, feature_extractor=processor)
    pipe.load_ip_adapter([adapter(pipe.unet, projection)[0] for projection in (plain, plus)], subfolder=["", ""],
                         weight_name=["x", "y"], low_cpu_mem_usage=False)
    pipe.set_ip_adapter_scale([0.6, 0.3])
    result["both"] = {"runs": [run(pipe, {"images": [[1], [2]]}, ip_adapter_image=[image_1, image_2]),
                               run(pipe, {"images": [[2, 1], [1]], "cfg": 1.0}, ip_adapter_image=[[image_2, image_1], [image_1]])]}
    pipe.unload_ip_adapter()
    pipe.register_modules(image_encoder=encoder, feature_extractor=processor)
    return result


def vision(encoder):
    processor = CLIPImageProcessorPil(size={"shortest_edge": VISION["image_size"]}, crop_size=VISION["image_size"])
    images = []
    for name, height, width in (("ip 1", 32, 32), ("ip 2", 45, 61), ("ip 3", 70, 33), ("ip 4", 20, 25)):
        pixels = processor(image(name, height, width), return_tensors="pt").pixel_values
        states = encoder(pixels, output_hidden_states=True)
        images.append({"name": name, "height": height, "width": width, "pixels": pixels.double().sum().item(),
                       "pooled": formula.numbers(states.image_embeds), "states": formula.numbers(states.hidden_states[-2][0, :, :4])})
    return {"config": config_of(encoder), "images": images}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        encoder = formula.fill(CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)))
        print(list(encoder.state_dict())[:8], file=sys.stderr)
        fixture = {"vision": vision(encoder)}
        for family, pipe in make_pipelines.pipelines(pathlib.Path(name)):
            if family == "inpainting":
                continue
            config, runs = control_runs(family, pipe)
            fixture[family] = {"control_config": config, "control_runs": runs}
            if family != "sd2":
                fixture[family]["adapters"] = adapter_runs(family, pipe, encoder)
        json.dump(fixture, sys.stdout)
