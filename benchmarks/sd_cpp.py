"""An image of Stable Diffusion 1.5 at 512x512 beside stable-diffusion.cpp: the prompt's encoding, a few steps of Euler and the VAE's
decoding, of the same checkpoint in the original layout, with random weights. What loading takes is left out on both sides.

The peer holds weights as the file does, float32 or (beside Tiller in bfloat16) float16, which its kernels are made for.

Usage: ninja -C build tiller && pip install stable-diffusion-cpp-python && python benchmarks/sd_cpp.py
"""

import gzip
import importlib.util
import json
import tempfile

import torch
from safetensors.torch import save_file

import full_size
import side_by_side
import whole_program

STEPS = 4
SIZE = 512
GUIDANCES = {"none": 1.0, "cfg:scale=7.5": 7.5}  # the peer's cfg_scale, 1: none


def save_checkpoint(path, dtype):
    """Stable Diffusion 1.5's names and shapes, as the tests' fixture has them."""
    layouts = json.load(gzip.open(side_by_side.ROOT / "tests/fixtures/ldm.json.gz"))
    names = next(layout["tensors"] for layout in layouts if layout["name"] == "sd1")
    networks = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")
    torch.manual_seed(0)
    tensors = {name: full_size.weight(name, torch.Size(shape), dtype) for name, shape in names
               if name.startswith(networks) and not name.endswith("position_ids")}
    save_file(tensors, path)


def peer(path, threads, cfg_scale, flash):
    from stable_diffusion_cpp import StableDiffusion

    model = StableDiffusion(model_path=path, n_threads=threads, verbose=False, diffusion_flash_attn=flash)
    return lambda: model.generate_image(prompt="a fox", width=SIZE, height=SIZE, sample_steps=STEPS, sample_method="euler",
                                        cfg_scale=cfg_scale, seed=0)


def tiller(options, path, folder, dtype, guidance):
    command = [f"{options.build}/tiller", "generate", "--model", path, "--prompt", "a fox", "--size", str(SIZE), "--steps", str(STEPS),
               "--sampler", "euler", "--guidance", guidance, "--device", options.device, "--dtype", dtype, "--json",
               "--output", f"{folder}/x.png"]
    return whole_program.Commands(options, [command], lambda text: json.loads(text)["seconds"]["images"])


def rows(options):
    if importlib.util.find_spec("stable_diffusion_cpp") is None:
        print("<!-- sd_cpp: left out, its package isn't installed -->", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        for dtype in options.dtypes:
            path = f"{folder}/sd15-{dtype}.safetensors"
            save_checkpoint(path, torch.float32 if dtype == "float32" else torch.float16)
            for guidance, scale in GUIDANCES.items():
                peers = {name: side_by_side.Peer(options, peer, path, options.threads, scale, flash)
                         for name, flash in (("stable-diffusion.cpp", False), ("with flash attention", True))}
                yield from side_by_side.compare(options, f"SD1.5 {SIZE}x{SIZE}, {STEPS} steps and decoding, {guidance}", dtype,
                                                tiller(options, path, folder, dtype, guidance), peers)


if __name__ == "__main__":
    side_by_side.main(rows, __doc__)
