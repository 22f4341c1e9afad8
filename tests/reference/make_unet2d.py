"""Writes fixtures/unet2d.json: outputs and operations of diffusers' UNet2DConditionModel on small configs, and the names
and shapes of the full-size models' tensors.

Weights and inputs are formula.py's. For the full-size models each part's tensors are summed up as [count, elements,
CRC-32 of the sorted lines "name [shape]"].

Usage: python make_unet2d.py > ../fixtures/unet2d.json. Needs torch and diffusers (0.42.1).
"""

import collections
import json
import math
import zlib

import formula
import torch
from diffusers import UNet2DConditionModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

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
    ("distilled", {**TINY, "time_cond_proj_dim": 10}, 8, 8, [259.0]),
    ("classes", {**TINY, "num_class_embeds": 11}, 8, 8, [702.0, 41.0]),
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



@torch.no_grad()
def run(name, config, height, width, timesteps):
    net = formula.fill(UNet2DConditionModel(**config))
    count = len(timesteps)
    added = None
    if config.get("addition_embed_type"):
        ids = 100 * formula.tensor("time_ids", (count, 6))
        added = {"text_embeds": formula.tensor("pooled", (count, 12)), "time_ids": ids}
    context, labels = 2 * formula.tensor("context", (count, 5, 24)), None
    if config.get("num_class_embeds"):
        context, labels = torch.zeros(count, 1, 24), torch.tensor([3, 10])
    guidance = formula.tensor("guidance", (count, 10)) if config.get("time_cond_proj_dim") else None
    # The counter knows the plain implementation of attention, not the CPU's fused one.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        output = net(
            2 * formula.tensor("sample", (count, config.get("in_channels", 4), height, width)),
            torch.tensor(timesteps),
            encoder_hidden_states=context,
            class_labels=labels,
            timestep_cond=guidance,
            added_cond_kwargs=added,
        ).sample
    return {
        "name": name,
        "config": config,
        "height": height,
        "width": width,
        "timesteps": timesteps,
        "flops": counter.get_total_flops(),
        "output": formula.numbers(output),
    }


def part_of(name):
    return ".".join(name.split(".")[: 4 if name.startswith(("down", "up")) else 3 if name.startswith("mid") else 1])


def inventory(config):
    with torch.device("meta"):
        net = UNet2DConditionModel(**config)
    parts = collections.defaultdict(dict)
    for name, tensor in sorted(net.state_dict().items()):
        parts[part_of(name)][name] = list(tensor.shape)
    sums = {}
    for part, shapes in parts.items():
        lines = "".join(f"{name} {shape}\n" for name, shape in shapes.items())
        sums[part] = [len(shapes), sum(map(math.prod, shapes.values())), zlib.crc32(lines.encode())]
    return {"config": json.loads(net.to_json_string()), "parts": sums}


def main():
    torch.set_num_threads(1)
    full_size = {name: inventory(config) for name, config in FULL_SIZE.items()}
    cases = [run(*case) for case in CASES]
    print('{"cases": [\n' + ",\n".join(map(json.dumps, cases)) + '\n],\n"full_size": {')
    print(",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in full_size.items()) + "\n}}")


main()
