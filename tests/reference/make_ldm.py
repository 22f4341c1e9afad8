"""Writes fixtures/tensor_files/ldm_vae.ckpt and fixtures/ldm.json.gz: checkpoints in the original layouts, as lists of names and shapes, and what diffusers'
single-file loader makes of them.

The names come from reading how the original UNet, autoencoder and text encoders are constructed; the rest is diffusers'
own conversion. Tensors of the tiny cases have formula.py's weights, and each part is summed up as the CRC-32 of its
sorted lines "name [shape] CRC-32 of the float32 values"; those of the full-size cases have no values.

Usage: python make_ldm.py > ../fixtures/ldm.json.gz. Needs torch and diffusers (0.42.1).
"""

import gzip
import json
import pathlib
import sys
import types
import zlib

import formula
import torch
from diffusers.loaders import single_file_utils as sfu


class Names:
    """Collects names and shapes."""

    def __init__(self):
        self.shapes = {}

    def linear(self, name, i, o, bias=True, kernel=()):
        self.shapes[name + ".weight"] = [o, i, *kernel]
        if bias:
            self.norm_bias(name, o)

    def conv(self, name, i, o, k):
        self.linear(name, i, o, kernel=(k, k))

    def norm(self, name, c):
        self.shapes[name + ".weight"] = [c]
        self.norm_bias(name, c)

    def norm_bias(self, name, c):
        self.shapes[name + ".bias"] = [c]


def resnet(n, name, i, o, time):
    n.norm(name + ".in_layers.0", i)
    n.conv(name + ".in_layers.2", i, o, 3)
    n.linear(name + ".emb_layers.1", time, o)
    n.norm(name + ".out_layers.0", o)
    n.conv(name + ".out_layers.3", o, o, 3)
    if i != o:
        n.conv(name + ".skip_connection", i, o, 1)


def transformer(n, name, c, depth, context, linear):
    n.norm(name + ".norm", c)
    kernel = () if linear else (1, 1)
    n.linear(name + ".proj_in", c, c, kernel=kernel)
    for d in range(depth):
        block = f"{name}.transformer_blocks.{d}"
        for attention, width in (("attn1", c), ("attn2", context)):
            n.linear(f"{block}.{attention}.to_q", c, c, bias=False)
            n.linear(f"{block}.{attention}.to_k", width, c, bias=False)
            n.linear(f"{block}.{attention}.to_v", width, c, bias=False)
            n.linear(f"{block}.{attention}.to_out.0", c, c)
        n.linear(f"{block}.ff.net.0.proj", c, 8 * c)
        n.linear(f"{block}.ff.net.2", 4 * c, c)
        for i in (1, 2, 3):
            n.norm(f"{block}.norm{i}", c)
    n.linear(name + ".proj_out", c, c, kernel=kernel)


def unet(p):
    n = Names()
    mc, mult, layers = p["model_channels"], p["channel_mult"], p["num_res_blocks"]
    depth = p["transformer_depth"]
    depths = [depth] * len(mult) if isinstance(depth, int) else depth
    attends, linear, time = p["attention_resolutions"], p.get("use_linear_in_transformer", False), 4 * mc
    context = p["context_dim"][0] if isinstance(p["context_dim"], list) else p["context_dim"]

    def stack(name, c, level, ds):
        if ds in attends:
            transformer(n, name, c, depths[level], context, linear)

    n.linear("time_embed.0", mc, time)
    n.linear("time_embed.2", time, time)
    if "adm_in_channels" in p:
        n.linear("label_emb.0.0", p["adm_in_channels"], time)
        n.linear("label_emb.0.2", time, time)
    n.conv("input_blocks.0.0", p["in_channels"], mc, 3)
    skips, c, ds, block = [mc], mc, 1, 1
    for level, m in enumerate(mult):
        for _ in range(layers):
            resnet(n, f"input_blocks.{block}.0", c, m * mc, time)
            c = m * mc
            stack(f"input_blocks.{block}.1", c, level, ds)
            skips.append(c)
            block += 1
        if level + 1 < len(mult):
            n.conv(f"input_blocks.{block}.0.op", c, c, 3)
            skips.append(c)
            block += 1
            ds *= 2
    resnet(n, "middle_block.0", c, c, time)
    transformer(n, "middle_block.1", c, depths[-1], context, linear)
    resnet(n, "middle_block.2", c, c, time)
    block = 0
    for level, m in reversed(list(enumerate(mult))):
        for i in range(layers + 1):
            resnet(n, f"output_blocks.{block}.0", c + skips.pop(), m * mc, time)
            c = m * mc
            stack(f"output_blocks.{block}.1", c, level, ds)
            if level and i == layers:
                n.conv(f"output_blocks.{block}.{2 if ds in attends else 1}.conv", c, c, 3)
                ds //= 2
            block += 1
    n.norm("out.0", c)
    n.conv("out.2", mc, p["out_channels"], 3)
    return n.shapes


def vae(p):
    n = Names()
    ch, mult, layers, z = p["ch"], p["ch_mult"], p["num_res_blocks"], p["z_channels"]

    def block(name, i, o):
        n.norm(name + ".norm1", i)
        n.conv(name + ".conv1", i, o, 3)
        n.norm(name + ".norm2", o)
        n.conv(name + ".conv2", o, o, 3)
        if i != o:
            n.conv(name + ".nin_shortcut", i, o, 1)

    def mid(side, c):
        block(side + ".mid.block_1", c, c)
        n.norm(side + ".mid.attn_1.norm", c)
        for part in ("q", "k", "v", "proj_out"):
            n.conv(f"{side}.mid.attn_1.{part}", c, c, 1)
        block(side + ".mid.block_2", c, c)

    n.conv("encoder.conv_in", p["in_channels"], ch, 3)
    c = ch
    for i, m in enumerate(mult):
        for j in range(layers):
            block(f"encoder.down.{i}.block.{j}", c, m * ch)
            c = m * ch
        if i + 1 < len(mult):
            n.conv(f"encoder.down.{i}.downsample.conv", c, c, 3)
    mid("encoder", c)
    n.norm("encoder.norm_out", c)
    n.conv("encoder.conv_out", c, 2 * z, 3)
    n.conv("decoder.conv_in", z, c, 3)
    mid("decoder", c)
    for i, m in reversed(list(enumerate(mult))):
        for j in range(layers + 1):
            block(f"decoder.up.{i}.block.{j}", c, m * ch)
            c = m * ch
        if i:
            n.conv(f"decoder.up.{i}.upsample.conv", c, c, 3)
    n.norm("decoder.norm_out", c)
    n.conv("decoder.conv_out", c, p["out_ch"], 3)
    n.conv("quant_conv", 2 * z, 2 * z, 1)
    n.conv("post_quant_conv", z, z, 1)
    return n.shapes


def clip(width, layers, vocabulary):
    """transformers' CLIPTextModel, as SD1 and SDXL hold it."""
    n = Names()
    n.shapes["text_model.embeddings.position_ids"] = [1, 77]
    n.shapes["text_model.embeddings.token_embedding.weight"] = [vocabulary, width]
    n.shapes["text_model.embeddings.position_embedding.weight"] = [77, width]
    for i in range(layers):
        layer = f"text_model.encoder.layers.{i}"
        for part in ("k", "v", "q", "out"):
            n.linear(f"{layer}.self_attn.{part}_proj", width, width)
        n.norm(layer + ".layer_norm1", width)
        n.linear(layer + ".mlp.fc1", width, 4 * width)
        n.linear(layer + ".mlp.fc2", 4 * width, width)
        n.norm(layer + ".layer_norm2", width)
    n.norm("text_model.final_layer_norm", width)
    return n.shapes


def open_clip(width, layers, vocabulary, projection):
    n = Names()
    n.shapes.update({"positional_embedding": [77, width], "text_projection": [width, projection], "logit_scale": []})
    n.shapes["token_embedding.weight"] = [vocabulary, width]
    for i in range(layers):
        block = f"transformer.resblocks.{i}"
        n.norm(block + ".ln_1", width)
        n.shapes[block + ".attn.in_proj_weight"] = [3 * width, width]
        n.shapes[block + ".attn.in_proj_bias"] = [3 * width]
        n.linear(block + ".attn.out_proj", width, width)
        n.norm(block + ".ln_2", width)
        n.linear(block + ".mlp.c_fc", width, 4 * width)
        n.linear(block + ".mlp.c_proj", 4 * width, width)
    n.norm("ln_final", width)
    return n.shapes


UNET_V1 = {"in_channels": 4, "out_channels": 4, "model_channels": 320, "channel_mult": [1, 2, 4, 4], "num_res_blocks": 2,
           "attention_resolutions": [4, 2, 1], "transformer_depth": 1, "context_dim": 768, "num_heads": 8}
UNET_V2 = {**{k: v for k, v in UNET_V1.items() if k != "num_heads"}, "num_head_channels": 64,
           "use_linear_in_transformer": True, "context_dim": 1024}
UNET_XL = {**UNET_V2, "channel_mult": [1, 2, 4], "attention_resolutions": [4, 2], "transformer_depth": [1, 2, 10],
           "context_dim": 2048, "adm_in_channels": 2816, "num_classes": "sequential"}
UNET_REFINER = {**UNET_V2, "model_channels": 384, "attention_resolutions": [4, 2], "transformer_depth": 4,
                "context_dim": [1280, 1280, 1280, 1280], "adm_in_channels": 2560, "num_classes": "sequential"}
VAE = {"ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "z_channels": 4, "in_channels": 3, "out_ch": 3}
TINY_VAE = {**VAE, "ch": 8, "ch_mult": [1, 2], "num_res_blocks": 1}
TINY_V1 = {**UNET_V1, "model_channels": 16, "channel_mult": [1, 2, 2], "num_res_blocks": 1,
           "attention_resolutions": [2, 1], "context_dim": 24}
TINY_V2 = {**UNET_V2, "model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [1],
           "context_dim": 64}
TINY_XL = {**UNET_XL, "model_channels": 16, "channel_mult": [1, 2, 4], "num_res_blocks": 1,
           "transformer_depth": [1, 1, 2], "context_dim": 40, "adm_in_channels": 24 + 6 * 8}
TINY_REFINER = {**UNET_REFINER, "model_channels": 16, "channel_mult": [1, 2, 2, 2], "num_res_blocks": 1,
                "transformer_depth": 2, "context_dim": [24, 24, 24, 24], "adm_in_channels": 24 + 5 * 8}
EXTRA_V1 = {"betas": [1000], "alphas_cumprod": [1000], "model_ema.decay": [], "model_ema.diffusion_modelout2bias": [4],
            "first_stage_model.loss.logvar": []}
SD1, XL1 = "cond_stage_model.transformer.", "conditioner.embedders.0.transformer."
SD2, REFINER, XL2 = "cond_stage_model.model.", "conditioner.embedders.0.model.", "conditioner.embedders.1.model."
CASES = [  # name, has values, UNet, VAE, text encoders by their prefixes, other tensors
    ("tiny_sd1", True, TINY_V1, TINY_VAE, {SD1: clip(24, 2, 50)}, EXTRA_V1),
    ("tiny_sd1_inpainting", True, {**TINY_V1, "in_channels": 9}, TINY_VAE, {SD1: clip(24, 2, 50)}, {}),
    ("tiny_sd2", True, TINY_V2, TINY_VAE, {SD2: open_clip(64, 3, 50, 24)}, {}),
    ("tiny_sdxl", True, TINY_XL, TINY_VAE, {XL1: clip(16, 2, 50), XL2: open_clip(24, 2, 50, 24)},
     {"denoiser.sigmas": [1000], "v_pred": [0], "ztsnr": [0]}),
    ("tiny_refiner", True, TINY_REFINER, TINY_VAE, {REFINER: open_clip(24, 2, 50, 24)}, {}),
    ("sd1", False, UNET_V1, VAE, {SD1: clip(768, 12, 49408)}, EXTRA_V1),
    ("sd2", False, UNET_V2, VAE, {SD2: open_clip(1024, 24, 49408, 1024)}, {}),
    ("sdxl", False, UNET_XL, VAE, {XL1: clip(768, 12, 49408), XL2: open_clip(1280, 32, 49408, 1280)}, {}),
    ("refiner", False, UNET_REFINER, VAE, {REFINER: open_clip(1280, 32, 49408, 1280)}, {}),
]
# Keys in which a config that is derived from tensors must agree with diffusers' one.
UNET_KEYS = ["in_channels", "out_channels", "block_out_channels", "down_block_types", "up_block_types",
             "layers_per_block", "cross_attention_dim", "use_linear_projection", "addition_embed_type",
             "projection_class_embeddings_input_dim"]
FULL_SIZE_KEYS = ["attention_head_dim", "addition_time_embed_dim", "sample_size"]


def checkpoint_of(values, unet_params, vae_params, texts, others):
    shapes = {"model.diffusion_model." + k: v for k, v in unet(unet_params).items()}
    shapes.update({"first_stage_model." + k: v for k, v in vae(vae_params).items()})
    for prefix, encoder in texts.items():
        shapes.update({prefix + k: v for k, v in encoder.items()})
    shapes.update(others)
    make = formula.weight if values else lambda name, shape: torch.empty(shape, device="meta")
    return {name: make(name, tuple(shape)) if shape else torch.zeros(()) for name, shape in shapes.items()}


def digest(tensors, values):
    lines = []
    for name, tensor in sorted(tensors.items()):
        if name.endswith("position_ids"):
            continue  # a buffer that newer transformers doesn't have either
        crc = f" {zlib.crc32(tensor.contiguous().numpy().tobytes())}" if values else ""
        lines.append(f"{name} {list(tensor.shape)}{crc}\n")
    return [len(lines), zlib.crc32("".join(lines).encode())]


def text_parts(checkpoint, texts):
    parts = {}
    for prefix, encoder in texts.items():
        mine = {k: v for k, v in checkpoint.items() if k.startswith(prefix)}
        if prefix in (SD1, XL1):
            parts["text_encoder"] = sfu.convert_ldm_clip_checkpoint(mine)
            continue
        last = sum(key.endswith("ln_1.weight") for key in encoder) - 1
        width = encoder["positional_embedding"][1]
        ignored = sfu.SD_2_TEXT_ENCODER_KEYS_TO_IGNORE
        sfu.SD_2_TEXT_ENCODER_KEYS_TO_IGNORE = [key.replace("resblocks.23.", f"resblocks.{last}.") for key in ignored]
        model = types.SimpleNamespace(config=types.SimpleNamespace(hidden_size=width))
        converted = sfu.convert_open_clip_checkpoint(model, mine, prefix)
        sfu.SD_2_TEXT_ENCODER_KEYS_TO_IGNORE = ignored
        parts["text_encoder" if prefix == SD2 else "text_encoder_2"] = converted
    return parts


def run(name, values, unet_params, vae_params, texts, others):
    checkpoint = checkpoint_of(values, unet_params, vae_params, texts, others)
    original = {"model": {"params": {"unet_config": {"params": unet_params}, "scale_factor": 0.18215,
                                     "first_stage_config": {"params": {"ddconfig": vae_params}}}}}
    try:
        size = sfu.set_image_size(checkpoint)
    except KeyError:  # too small to be told
        size = 512
    unet_config = sfu.create_unet_diffusers_config_from_ldm(original, checkpoint, image_size=size)
    if "adm_in_channels" in unet_params:  # diffusers tells SDXL from unCLIP by the context's width
        unet_config["class_embed_type"] = None
        unet_config["addition_embed_type"] = "text_time"
        unet_config["projection_class_embeddings_input_dim"] = unet_params["adm_in_channels"]
    vae_config = sfu.create_vae_diffusers_config_from_ldm(original, checkpoint, image_size=size)
    parts = {"unet": sfu.convert_ldm_unet_checkpoint(checkpoint, unet_config),
             "vae": sfu.convert_ldm_vae_checkpoint(checkpoint, vae_config), **text_parts(checkpoint, texts)}
    keys = UNET_KEYS + ([] if values else FULL_SIZE_KEYS)
    unet_config = {key: unet_config[key] for key in keys if unet_config.get(key) is not None}
    vae_config = {key: vae_config[key] for key in vae_config if key not in ("sample_size", "scaling_factor")}
    return {
        "name": name,
        "has_values": values,
        "tensors": [[key, list(value.shape)] for key, value in checkpoint.items()],
        "parts": {part: digest(tensors, values) for part, tensors in parts.items()},
        "configs": {"unet": unet_config, "vae": vae_config},
    }


def write_checkpoint(path):
    """A small autoencoder alone, in float16, as torch.save wrote checkpoints."""
    shapes = vae({**TINY_VAE, "ch": 4, "ch_mult": [1, 1]})
    state = {name: formula.weight(name, tuple(shape)).half() for name, shape in shapes.items()}
    torch.save({"state_dict": state, "global_step": 1}, path)


def main():
    torch.set_num_threads(1)
    write_checkpoint(pathlib.Path(__file__).parent.parent / "fixtures" / "tensor_files" / "ldm_vae.ckpt")
    text = "[" + ",\n".join(json.dumps(run(*case)) for case in CASES) + "]\n"
    sys.stdout.buffer.write(gzip.compress(text.encode(), 9, mtime=0))


main()
