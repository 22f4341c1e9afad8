"""Stable Diffusion 1.5's VAE decoder and text encoder (CLIP-L), with random weights, beside diffusers and transformers.

Usage: ninja -C build bench_parts && python benchmarks/parts.py
"""

import pathlib
import tempfile

import torch
from diffusers import AutoencoderKL
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

import side_by_side

VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4, "sample_size": 512,
       "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "scaling_factor": 0.18215}
TOKENS = 77


def decoding(folder, dtype, device, batch, pixels, compiled=False):
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=dtype).eval().to(device)
    decode = torch.compile(vae.decode, mode="max-autotune") if compiled else vae.decode
    latents = torch.randn(batch, 4, pixels // 8, pixels // 8, dtype=dtype, device=device)
    return lambda: decode(latents)


def encoding(folder, dtype, device, batch, compiled=False):
    text = CLIPTextModel.from_pretrained(folder, dtype=dtype).eval().to(device)
    encode = torch.compile(text, mode="max-autotune") if compiled else text
    tokens = torch.randint(text.config.vocab_size, (batch, TOKENS), device=device)
    return lambda: encode(tokens)


@torch.inference_mode()
def flops_of(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def save_random(folder):
    torch.manual_seed(0)
    AutoencoderKL(**VAE).save_pretrained(folder / "vae")
    config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                            hidden_act="quick_gelu", projection_dim=768)
    CLIPTextModel(config).save_pretrained(folder / "text")


def rows(options):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        save_random(folder)
        cases = [("VAE decode, 512x512", "vae", decoding, (1, 512)), ("text encoding, 1 prompt", "text", encoding, (1,)),
                 ("text encoding, 8 prompts", "text", encoding, (8,))]
        if options.full:
            cases.append(("VAE decode, 1024x1024", "vae", decoding, (1, 1024)))
        for case, part, make, size in cases:
            flops = flops_of(make(folder / part, torch.float32, "cpu", *size))
            for dtype in options.dtypes:
                tiller = side_by_side.Tiller(options, "parts", part, folder / part, dtype, options.device, *size)
                arguments = (str(folder / part), getattr(torch, dtype), options.device, *size)
                peers = {"eager": side_by_side.Peer(options, make, *arguments)}
                if options.compile:
                    peers["torch.compile"] = side_by_side.Peer(options, make, *arguments, True)
                yield from side_by_side.compare(options, case, dtype, tiller, peers, flops)


if __name__ == "__main__":
    side_by_side.main(rows, __doc__, "bench_parts")
