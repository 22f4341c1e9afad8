"""Writes fixtures/autoencoder.json: what diffusers' AutoencoderKL and AutoencoderTiny make of images and latents, whole and in tiles,
and the tensors of the full-size ones.

Weights and inputs are formula.py's. Full sizes are summed up as formula.inventory does.

Usage: python make_autoencoder.py > ../fixtures/autoencoder.json. Needs torch and diffusers (0.42.1).
"""

import json

import formula
import torch
from diffusers import AutoencoderKL, AutoencoderTiny


def stages(count):
    return {"down_block_types": ["DownEncoderBlock2D"] * count, "up_block_types": ["UpDecoderBlock2D"] * count}


TINY = {**stages(3), "block_out_channels": [8, 16, 16], "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 32}
TWO_STAGES = {**stages(2), "block_out_channels": [8, 12], "norm_num_groups": 4, "sample_size": 16}
KL_CASES = [  # name, config, latents' batch, height and width, tiled
    ("sd", TINY, (2, 3, 4), False),
    ("two_layers", {**TWO_STAGES, "layers_per_block": 2}, (1, 5, 4), False),
    ("bare", {**TWO_STAGES, "use_quant_conv": False, "use_post_quant_conv": False, "mid_block_add_attention": False,
              "latent_channels": 6}, (1, 4, 4), False),
    ("tiled", TWO_STAGES, (1, 11, 17), True),
    ("tiled_high", TWO_STAGES, (2, 15, 4), True),
]
SMALL_TINY = {"encoder_block_out_channels": [8, 8, 8], "decoder_block_out_channels": [8, 8, 8],
              "num_encoder_blocks": [1, 2, 1], "num_decoder_blocks": [2, 1, 1]}
FULL_SIZE = {**stages(4), "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}


def inputs(config, batch, height, width, factor):
    images = formula.tensor("images", (batch, 3, height * factor, width * factor))
    return images, 2 * formula.tensor("latents", (batch, config.get("latent_channels", 4), height, width))


@torch.no_grad()
def run_kl(name, config, size, tiled):
    net = formula.fill(AutoencoderKL(**config))
    if tiled:
        net.enable_tiling()
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    images, latents = inputs(config, *size, factor)
    moments = net.encode(images).latent_dist
    return {"name": name, "config": config, "size": size, "tiled": tiled, "mean": formula.numbers(moments.mean),
            "logvar": formula.numbers(moments.logvar), "decoded": formula.numbers(net.decode(latents).sample)}


@torch.no_grad()
def run_tiny():
    net = formula.fill(AutoencoderTiny(**SMALL_TINY))
    size = (2, 3, 5)
    images, latents = inputs({}, *size, 4)
    return {"config": SMALL_TINY, "size": size, "encoded": formula.numbers(net.encode(images).latents),
            "decoded": formula.numbers(net.decode(latents).sample)}


def inventory(model, config):
    with torch.device("meta"):
        return {"config": config, "inventory": formula.inventory(model(**config))}


def main():
    torch.set_num_threads(1)
    cases = [run_kl(*case) for case in KL_CASES]
    print('{"kl": [\n' + ",\n".join(map(json.dumps, cases)) + "\n],")
    print('"tiny": ' + json.dumps(run_tiny()) + ",")
    print('"full_size_kl": ' + json.dumps(inventory(AutoencoderKL, FULL_SIZE)) + ",")
    print('"full_size_tiny": ' + json.dumps(inventory(AutoencoderTiny, {})) + "\n}")


main()
