"""stable-diffusion.cpp as a peer, through its PyPI package stable-diffusion-cpp-python: seconds of its sampling steps.

It has no way to evaluate the UNet alone: a turn is an image of 512x512 (text encoding and decoding included, which don't count) and
its figure what the progress callback says of the steps after the first.
"""

import pathlib

import torch
from diffusers import AutoencoderTiny
from transformers import CLIPTextConfig, CLIPTextModel

STEPS = 3


def save_rest(folder):
    """What a checkpoint needs beside the UNet, random: CLIP-L, and TAESD, which decodes fast."""
    folder = pathlib.Path(folder)
    config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                            hidden_act="quick_gelu", projection_dim=768)
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    AutoencoderTiny().save_pretrained(folder / "taesd")


class Peer:
    def __init__(self, options, folder, size, scale):
        from stable_diffusion_cpp import StableDiffusion

        folder = pathlib.Path(folder)
        self.model = StableDiffusion(
            diffusion_model_path=str(folder / "diffusion_pytorch_model.safetensors"),
            clip_l_path=str(folder / "text_encoder" / "model.safetensors"),
            taesd_path=str(folder / "taesd" / "diffusion_pytorch_model.safetensors"), n_threads=options.threads, verbose=True,
            diffusion_flash_attn=True)
        self.size, self.scale = size, scale

    def turn(self, times):
        seconds = []
        self.model.generate_image(prompt="a fox", width=self.size, height=self.size, cfg_scale=self.scale, sample_steps=STEPS,
                                  sample_method="euler", progress_callback=lambda step, steps, time: seconds.append(time))
        return sum(seconds[1:]) / len(seconds[1:]), None, []

    def close(self):
        self.model = None
