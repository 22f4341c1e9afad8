"""Makes a checkpoint of full size with random weights of a diffusers folder that has the configs alone.

Usage: python full_size.py CONFIGS OUT [--dtype bfloat16]. CONFIGS has model_index.json and each part's config.json and tokenizer
files, as a download without weights; OUT gets these and safetensors. Weights are normal with a variance of 1 / fan-in, so that
activations stay finite. Needs torch, diffusers, transformers and safetensors.
"""

import argparse
import json
import pathlib
import shutil

import diffusers
import torch
import transformers
from safetensors.torch import save_file

NETWORKS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model", "text_encoder_2": "model"}


def shapes(part, kind):
    """Names and shapes of a part's tensors, made without memory for them."""
    with torch.device("meta"):
        if hasattr(diffusers, kind):
            network = getattr(diffusers, kind).from_config(getattr(diffusers, kind).load_config(part))
        else:
            network = getattr(transformers, kind)(transformers.CLIPTextConfig.from_pretrained(part))
    return {name: tensor.shape for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def weight(name, shape, dtype):
    if len(shape) == 1:
        return torch.full(shape, float(name.endswith("weight")), dtype=dtype)
    return torch.randn(shape, dtype=dtype).mul_(shape[1:].numel() ** -0.5)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("configs", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--dtype", default="bfloat16")
    args = parser.parse_args()
    torch.manual_seed(0)
    index = json.loads((args.configs / "model_index.json").read_text())
    for part, entry in index.items():
        if not isinstance(entry, list) or not (args.configs / part).is_dir():
            continue
        shutil.copytree(args.configs / part, args.out / part)
        if part in NETWORKS:
            tensors = {name: weight(name, shape, getattr(torch, args.dtype)) for name, shape in shapes(args.configs / part, entry[1]).items()}
            save_file(tensors, args.out / part / (NETWORKS[part] + ".safetensors"))
            print(f"{part}: {sum(t.numel() for t in tensors.values()) / 1e6:.0f} M")
    shutil.copy(args.configs / "model_index.json", args.out)


if __name__ == "__main__":
    main()
