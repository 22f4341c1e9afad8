"""An image of Stable Diffusion 1.5 at 512x512 beside stable-diffusion.cpp: the prompt's encoding, a few steps of Euler and the VAE's
decoding, of the same checkpoint in the original layout, with random weights; loading is left out on both sides. On a GPU it takes
a package that was built for CUDA.

The peer holds weights as the file does, float32 or (beside Tiller in bfloat16) float16, which its kernels are made for.

Usage: ninja -C build bench_image && pip install stable-diffusion-cpp-python && python benchmarks/sd_cpp.py
"""

import gzip
import importlib.util
import json
import pathlib
import re
import tempfile

import torch
from safetensors.torch import save_file

import full_size
import side_by_side

STEPS = 4
SIZE = 512
PROMPT = "a fox"
GUIDANCES = {"none": 1.0, "cfg:scale=7.5": 7.5}  # the peer's cfg_scale, 1: none
PEERS = {"stable-diffusion.cpp": False, "with flash attention": True}


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
    return lambda: model.generate_image(prompt=PROMPT, width=SIZE, height=SIZE, sample_steps=STEPS, sample_method="euler",
                                        cfg_scale=cfg_scale, seed=0)


def missing(device):
    """Why there is no peer; "" where there is one."""
    package = importlib.util.find_spec("stable_diffusion_cpp")
    if package is None:
        return "its package isn't installed"
    libraries = pathlib.Path(package.origin).parent.rglob("*.so")
    if device == "cuda" and not any(b"ggml_backend_cuda" in library.read_bytes() for library in libraries):
        return "its package was built without CUDA"
    return ""


def rows(options):
    if reason := missing(options.device):
        print(f"<!-- sd_cpp: left out, {reason} -->", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        for dtype in options.dtypes:
            path = f"{folder}/sd15-{dtype}.safetensors"
            save_checkpoint(path, torch.float32 if dtype == "float32" else torch.float16)
            for guidance, scale in GUIDANCES.items():
                wanted = {name: flash for name, flash in PEERS.items()
                          if re.search(getattr(options, "only", ""), f"{guidance}, {name}")}
                if not wanted:
                    continue
                peers = {name: side_by_side.Peer(options, peer, path, options.threads, scale, flash)
                         for name, flash in wanted.items()}
                tiller = side_by_side.Tiller(options, "image", path, PROMPT, SIZE, STEPS, "euler", guidance, dtype, options.device)
                case = f"SD1.5 {SIZE}x{SIZE}, prompt, {STEPS} steps and decoding, {guidance}"
                for row in side_by_side.compare(options, case, dtype, tiller, peers):
                    # PyTorch's allocator knows nothing of what the peer holds on a GPU.
                    yield row if options.device == "cpu" else {**row, "peer_bytes": None}


if __name__ == "__main__":
    parser = side_by_side.parser(__doc__)
    parser.add_argument("--only", default="", help='what this regular expression finds of "GUIDANCE, PEER", such as "cfg.*, stable"')
    side_by_side.run(rows, parser.parse_args(), ["bench_image"])
