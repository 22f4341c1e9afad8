"""An image of Stable Diffusion 1.5 at 512x512 beside stable-diffusion.cpp: the prompt's encoding, a few steps of Euler and the VAE's
decoding, of the same checkpoint in the original layout, with random weights; loading is left out on both sides. On a GPU it takes
a package that was built for CUDA.

The peer holds weights as the file does, float32 or (beside Tiller in bfloat16) float16, which its kernels are made for. With --kinds
q8_0 q4_0 and the like it first quantizes that file, and both sides read the GGUF file that comes of it: the peer multiplies in the
quantized numbers, Tiller in those of its dtype.

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


def quantize(path, kind):
    """The file as the peer converts it, beside it."""
    from stable_diffusion_cpp import stable_diffusion, stable_diffusion_cpp

    if kind not in stable_diffusion.GGML_TYPE_MAP:
        raise SystemExit(f"--kinds: got {kind}, expected plain or one of {' '.join(stable_diffusion.GGML_TYPE_MAP)}.")
    quantized = path.replace(".safetensors", f"-{kind}.gguf")
    with stable_diffusion.suppress_stdout_stderr(disable=False):
        done = stable_diffusion_cpp.convert(path.encode(), b"", quantized.encode(), stable_diffusion.GGML_TYPE_MAP[kind], b"", True)
    if not done:
        raise SystemExit(f"--kinds: the peer couldn't convert {path} to {kind}.")
    return quantized


def peer(path, threads, cfg_scale, flash, size, steps):
    from stable_diffusion_cpp import StableDiffusion

    model = StableDiffusion(model_path=path, n_threads=threads, verbose=False, diffusion_flash_attn=flash)
    return lambda: model.generate_image(prompt=PROMPT, width=size, height=size, sample_steps=steps, sample_method="euler",
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
            plain = f"{folder}/sd15-{dtype}.safetensors"
            save_checkpoint(plain, torch.float32 if dtype == "float32" else torch.float16)
            for kind in getattr(options, "kinds", ["plain"]):
                yield from rows_of(options, dtype, plain if kind == "plain" else quantize(plain, kind), kind)


def rows_of(options, dtype, path, kind):
    size, steps = getattr(options, "size", 512), getattr(options, "steps", 4)
    for guidance, scale in GUIDANCES.items():
        wanted = {name: flash for name, flash in PEERS.items()
                  if re.search(getattr(options, "only", ""), f"{guidance}, {name}")}
        if not wanted:
            continue
        peers = {name: side_by_side.Peer(options, peer, path, options.threads, scale, flash, size, steps)
                 for name, flash in wanted.items()}
        tiller = side_by_side.Tiller(options, "image", path, PROMPT, size, steps, "euler", guidance, dtype, options.device)
        of = "" if kind == "plain" else f" in {kind}"
        case = f"SD1.5{of} {size}x{size}, prompt, {steps} steps and decoding, {guidance}"
        for row in side_by_side.compare(options, case, dtype, tiller, peers):
            # PyTorch's allocator knows nothing of what the peer holds on a GPU.
            yield row if options.device == "cpu" else {**row, "peer_bytes": None}


if __name__ == "__main__":
    parser = side_by_side.parser(__doc__)
    parser.add_argument("--only", default="", help='what this regular expression finds of "GUIDANCE, PEER", such as "cfg.*, stable"')
    parser.add_argument("--kinds", nargs="+", default=["plain"], help="plain, q8_0, q4_0, ...: what the file holds")
    parser.add_argument("--size", type=int, default=512, help="of the image, in pixels")
    parser.add_argument("--steps", type=int, default=4)
    side_by_side.run(rows, parser.parse_args(), ["bench_image"])
