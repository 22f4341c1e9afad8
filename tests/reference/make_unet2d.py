"""Writes fixtures/unet2d.json: outputs and tensor names of diffusers' UNet2DConditionModel.

Weights and inputs have a closed form, so only outputs are stored. Element i of the tensor `name` is u(name, i), uniform
in (-1, 1) from SplitMix64 started at FNV-1a(name), then: sqrt(3 / fan_in) u for weights of two or more dimensions,
1 + 0.1 u for weights of normalisations, 0.1 u for biases, sqrt(3) u for inputs, u as it is for time_ids times 100.

For the full-size models each part's tensors are summed up as [count, elements, FNV-1a of the sorted lines "name shape"].

Usage: OMP_NUM_THREADS=1 python make_unet2d.py > ../fixtures/unet2d.json. Needs torch and diffusers (0.42.1).
"""

import collections
import json

import numpy as np
import torch
from diffusers import UNet2DConditionModel

TINY = {
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [16, 32, 32],
    "norm_num_groups": 8,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "layers_per_block": 1,
}
TINY_XL = {
    **TINY,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": [2, 4, 8],
    "transformer_layers_per_block": [1, 2, 3],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 12 + 6 * 8,
}
CASES = [  # name, config, height, width, timesteps
    ("sd15", {**TINY, "layers_per_block": 2}, 8, 8, [981.0, 20.0]),
    ("sd15_odd_size", TINY, 13, 10, [500.5]),
    ("sd21", {**TINY, "attention_head_dim": [2, 4, 8], "use_linear_projection": True, "upcast_attention": True,
              "dual_cross_attention": False, "num_class_embeds": None}, 8, 12, [1.0, 999.0]),
    ("sdxl", TINY_XL, 8, 8, [401.0, 3.0]),
    ("sdxl_odd_size", {**TINY_XL, "layers_per_block": 2}, 7, 9, [801.0]),
    ("inpainting", {**TINY, "in_channels": 9, "sample_size": [8, 12]}, 8, 12, [77.0]),
    ("lists", {**TINY, "layers_per_block": [1, 2, 1], "cross_attention_dim": [24, 24, 24],
               "transformer_layers_per_block": [1, [2, 1], 1],
               "reverse_transformer_layers_per_block": [1, [1, 2, 3], 2]}, 8, 8, [250.0]),
    ("numbers", {**TINY, "resnet_time_scale_shift": "scale_shift", "mid_block_scale_factor": 1.5,
                 "downsample_padding": 0, "norm_eps": 1e-3, "center_input_sample": True, "flip_sin_to_cos": False,
                 "freq_shift": 1, "time_embedding_dim": 40, "conv_in_kernel": 1, "conv_out_kernel": 5,
                 "dropout": 0.1}, 8, 8, [640.0]),
    ("plain_mid", {**TINY, "mid_block_type": "UNetMidBlock2D"}, 8, 8, [30.0]),
    ("no_mid", {**TINY, "mid_block_type": None}, 8, 8, [30.0]),
]
SD = {"attention_head_dim": 8, "cross_attention_dim": 768, "sample_size": 64}
SD21 = {"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": True,
        "upcast_attention": True}
SDXL = {
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [320, 640, 1280],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
}
FULL_SIZE = {"sd15": SD, "sd15_inpainting": {**SD, "in_channels": 9}, "sd21": SD21, "sdxl": SDXL}
U64 = np.uint64


def fnv1a(text):
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


def uniform(name, count):
    with np.errstate(over="ignore"):
        z = U64(fnv1a(name)) + np.arange(1, count + 1, dtype=U64) * U64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
        z = z ^ (z >> U64(31))
    return (z >> U64(12)).astype(np.float64) / 2**51 - 1


def closed_form(name, shape):
    u = uniform(name, int(np.prod(shape)))
    if len(shape) > 1:
        u = np.sqrt(3 / np.prod(shape[1:])) * u
    elif name.endswith("weight"):
        u = 1 + 0.1 * u
    else:
        u = 0.1 * u
    return torch.from_numpy(u.reshape(shape).astype(np.float32))


def given(name, *shape, scale=np.sqrt(3)):
    return torch.from_numpy((scale * uniform(name, int(np.prod(shape)))).reshape(shape).astype(np.float32))


@torch.no_grad()
def run(name, config, height, width, timesteps):
    net = UNet2DConditionModel(**config).eval()
    net.load_state_dict({key: closed_form(key, tuple(value.shape)) for key, value in net.state_dict().items()})
    count = len(timesteps)
    added = None
    if config.get("addition_embed_type"):
        added = {"text_embeds": given("pooled", count, 12), "time_ids": given("time_ids", count, 6, scale=100.0)}
    output = net(
        given("sample", count, config.get("in_channels", 4), height, width),
        torch.tensor(timesteps),
        encoder_hidden_states=given("context", count, 5, 24),
        added_cond_kwargs=added,
    ).sample
    return {
        "name": name,
        "config": config,
        "height": height,
        "width": width,
        "timesteps": timesteps,
        "output": [float(f"{value:.8g}") for value in output.flatten().tolist()],
    }


def part_of(name):
    return ".".join(name.split(".")[: 4 if "_blocks." in name else 3 if "mid_block" in name else 1])


def inventory(config):
    with torch.device("meta"):
        net = UNet2DConditionModel(**config)
    tensors = net.state_dict()
    parts = collections.defaultdict(list)
    for name in sorted(tensors):
        parts[part_of(name)].append((name, list(tensors[name].shape)))
    lines = {part: "".join(f"{n} {'x'.join(map(str, s))}\n" for n, s in found) for part, found in parts.items()}
    sums = {
        part: [len(found), int(sum(np.prod(s) for _, s in found)), f"{fnv1a(lines[part]):016x}"]
        for part, found in parts.items()
    }
    return {"config": json.loads(net.to_json_string()), "parts": sums}


def main():
    torch.set_num_threads(1)
    full_size = {name: inventory(config) for name, config in FULL_SIZE.items()}
    cases = [run(*case) for case in CASES]
    print("{\"cases\": [\n" + ",\n".join(map(json.dumps, cases)) + "\n],\n\"full_size\": {\n"
          + ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in full_size.items()) + "\n}}")


main()
