"""One evaluation of Stable Diffusion 1.5's UNet at 512x512 beside diffusers, on the same random weights.

diffusers evaluates what its pipelines do: the conditional branch alone, two rows for CFG, three rows for CFG and PAG (with its
PAG attention processors at the mid block). It has neither TPG nor ASAG; beside them it evaluates as many plain rows.
On a GPU, where Tiller replays a recorded evaluation, the same without a recording stands beside it.
--full adds TPG, CFG and TPG, ASAG, batches of 4, and SDXL at 1024x1024 (the last two in bfloat16).

Usage: ninja -C build bench_unet_evaluation && python benchmarks/unet_evaluation.py [--config UNET_CONFIG.json --size PIXELS]
"""

import json
import pathlib
import re
import subprocess
import tempfile

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import PAGCFGIdentitySelfAttnProcessor2_0

import side_by_side

SD15 = {"attention_head_dim": 8, "cross_attention_dim": 768, "sample_size": 64}
SDXL = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256, "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048, "sample_size": 128,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "projection_class_embeddings_input_dim": 2816, "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": True}
CASES = {"none": 1, "cfg:scale=7.5": 2, "cfg:scale=7.5 + pag:scale=3": 3}
MORE = {"tpg": 2, "cfg:scale=7.5 + tpg": 3, "asag": 2}


def use_pag(unet):
    processors = unet.attn_processors
    for name in processors:
        if name.startswith("mid_block") and "attn1" in name:
            processors[name] = PAGCFGIdentitySelfAttnProcessor2_0()
    unet.set_attn_processor(processors)


def evaluation(folder, size, rows, dtype, device, pag, compiled=False):
    unet = UNet2DConditionModel.from_pretrained(folder, torch_dtype=dtype).eval().to(device)
    if pag:
        use_pag(unet)
    if device == "cuda":
        unet = unet.to(memory_format=torch.channels_last)
    work = torch.compile(unet, mode="max-autotune") if compiled else unet
    config = unet.config
    normal = lambda *shape: torch.randn(rows, *shape, dtype=dtype, device=device)
    x, text, added = normal(config.in_channels, size // 8, size // 8), normal(77, config.cross_attention_dim), {}
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        added = {"text_embeds": normal(pooled), "time_ids": torch.full((rows, 6), 512.0, dtype=dtype, device=device)}
    return lambda: work(x, 500, text, added_cond_kwargs=added)


def idle_share(options, own):
    """Of a GPU's time while Tiller evaluates again and again: between kernels, by LibTorch's profiler."""
    name, *arguments = map(str, own)
    done = subprocess.run([f"{options.build}/bench_{name}", *arguments, "profile"], check=True, capture_output=True, text=True)
    return float(re.search(r"idle ([0-9.]+)%", done.stdout)[1]) / 100


def model_rows(options, name, config, size, dtype, cases, batches):
    named = {f"{name} {size}x{size}, batch {batch}, {guidance}": (batch, guidance) for batch in batches for guidance in cases}
    wanted = {case: what for case, what in named.items() if re.search(getattr(options, "only", ""), case)}
    if not wanted:
        return
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        with torch.device(options.device):
            UNet2DConditionModel.from_config(config).to(getattr(torch, dtype)).save_pretrained(folder)
        for case, (batch, guidance) in wanted.items():
            own = ("unet_evaluation", folder, size, batch, dtype, options.device, guidance)
            arguments = (folder, size, batch * cases[guidance], getattr(torch, dtype), options.device, "pag" in guidance)
            peers = {"diffusers": side_by_side.Peer(options, evaluation, *arguments)}
            if options.compile:
                peers["torch.compile"] = side_by_side.Peer(options, evaluation, *arguments, True)
            if options.device == "cuda":
                peers["Tiller, kernels launched one by one"] = side_by_side.Tiller(options, *own, "launched")
            rows = side_by_side.compare(options, case, dtype, side_by_side.Tiller(options, *own), peers)
            idle = {"gpu_idle": idle_share(options, own)} if options.device == "cuda" else {}
            yield from (row | idle for row in rows)


def rows(options):
    config, size = getattr(options, "config", None), getattr(options, "size", 512)
    name, parameters = ("SD1.5", SD15) if not config else (pathlib.Path(config).stem, json.loads(pathlib.Path(config).read_text()))
    cases = CASES | (MORE if options.full else {})
    for dtype in options.dtypes:
        yield from model_rows(options, name, parameters, size, dtype, cases, [1])
    if options.full and not config:
        dtype = options.dtypes[-1]
        yield from model_rows(options, name, parameters, size, dtype, cases, [4])
        yield from model_rows(options, "SDXL", SDXL, 1024, dtype, cases, [1, 4])


if __name__ == "__main__":
    parser = side_by_side.parser(__doc__)
    parser.add_argument("--config", help="any other UNet's config.json")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--only", default="", help='cases whose name this regular expression finds, such as "SDXL.*batch 1, none"')
    side_by_side.run(rows, parser.parse_args(), ["bench_unet_evaluation"])
