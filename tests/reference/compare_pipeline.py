"""Draws with diffusers and with Tiller from the same seed and compares latents and pictures.

    compare_pipeline.py MODEL_FOLDER [--tiller build/tiller] [--prompt TEXT] [--scale 3] [--steps 10]

For models that `tiller train` saved, and any other folder of the Stable Diffusion family. Exits with 1
where latents differ by more than 1e-4 of their largest value. Needs torch, diffusers, transformers,
safetensors and Pillow (diffusers 0.42.1, transformers 5.24.0 were used).
"""
import argparse
import subprocess
import sys
import tempfile

import numpy
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--tiller", default="build/tiller")
    parser.add_argument("--prompt", default="cat with tears of joy")
    parser.add_argument("--negative-prompt", default="")
    parser.add_argument("--scale", type=float, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)

    pipeline = StableDiffusionPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor

    def draw(output):
        return pipeline(args.prompt, negative_prompt=args.negative_prompt, guidance_scale=args.scale,
                        num_inference_steps=args.steps, height=side, width=side, output_type=output,
                        generator=torch.Generator().manual_seed(args.seed)).images

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [args.tiller, "generate", "--model", args.model, "--plain-prompt", "--prompt", args.prompt,
             "--negative-prompt", args.negative_prompt, "--seed", str(args.seed), "--steps",
             str(args.steps), "--guidance", f"cfg:scale={args.scale:g}", "--dtype", "float32",
             "--device", "cpu", "--quiet", "--save-latents", f"{folder}/x.safetensors", "--output",
             f"{folder}/x.png"], check=True)
        latents = next(iter(load_file(f"{folder}/x.safetensors").values()))
        picture = numpy.asarray(Image.open(f"{folder}/x.png").convert("RGB")).astype(int)

    expected = draw("latent")
    error = ((latents - expected).abs().max() / expected.abs().max()).item()
    difference = abs(numpy.asarray(draw("pil")[0]).astype(int) - picture)
    print(f"{args.model}: latents {tuple(latents.shape)} differ by {error:.2e} of their largest value; "
          f"pictures by at most {difference.max()} of 255, {(difference > 0).mean():.2%} of the values")
    sys.exit(error > 1e-4)


if __name__ == "__main__":
    main()
