"""Writes what diffusers' AutoencoderTiny makes of photographs with TAESD's own weights, for the test AutoencoderTiny.EqualsDiffusersOnPhotographs.

Usage: python make_taesd_photos.py WEIGHTS PHOTOS OUT. WEIGHTS is a safetensors file in diffusers' names (any float type), PHOTOS a folder of
pictures; OUT.safetensors gets photo.N (uint8), latent.N and decoded.N. Needs torch, diffusers (0.42.1), safetensors and pillow. Then
run the test with TILLER_TAESD_WEIGHTS=WEIGHTS TILLER_TAESD_PHOTOS=OUT.
"""

import pathlib
import sys

import numpy as np
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import load_file, save_file


def photo(path):
    """(3, H, W) in 0..255, cropped at the centre to multiples of 8."""
    image = Image.open(path).convert("RGB")
    width, height = image.width // 8 * 8, image.height // 8 * 8
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + width, top + height)))).permute(2, 0, 1).contiguous()


@torch.no_grad()
def main(weights, photos, out):
    torch.set_num_threads(1)
    net = AutoencoderTiny().eval()
    net.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()})
    tensors = {}
    paths = sorted(p for p in pathlib.Path(photos).iterdir() if p.suffix in (".jpg", ".jpeg", ".png", ".webp"))
    for i, path in enumerate(paths):
        tensors[f"photo.{i}"] = photo(path)
        latent = net.encode(tensors[f"photo.{i}"][None].float() / 127.5 - 1).latents
        tensors[f"latent.{i}"] = latent[0].contiguous()
        tensors[f"decoded.{i}"] = net.decode(latent).sample[0].contiguous()
    save_file(tensors, out)


main(*sys.argv[1:])
