"""Times one Stable Diffusion 1.5 evaluation at 512x512 in Tiller and in diffusers, in turns, on the same random weights.

diffusers evaluates what its pipelines do: the conditional branch alone, two rows for CFG, three rows for CFG and PAG (with
its PAG attention processors at the mid block). Prints a table with the medians, their ratio and its spread.

Usage: ninja -C build bench_unet_evaluation && python benchmarks/unet_evaluation.py --program build/bench_unet_evaluation
Needs torch and diffusers; --config takes a UNet's config.json, without one it is Stable Diffusion 1.5's.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import PAGCFGIdentitySelfAttnProcessor2_0

SD15 = {"attention_head_dim": 8, "cross_attention_dim": 768, "sample_size": 64}
CASES = {"none": 1, "cfg:scale=7.5": 2, "cfg:scale=7.5 + pag:scale=3": 3}


class Tiller:
    def __init__(self, program, folder, size, dtype, guidance, threads):
        environment = {"OMP_NUM_THREADS": str(threads), "PATH": "/usr/bin:/bin"}
        self.process = subprocess.Popen([program, folder, str(size), dtype, guidance], text=True, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def seconds(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        milliseconds, self.flops, self.unshared = map(float, self.process.stdout.readline().split())
        return milliseconds / 1e3

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@torch.inference_mode()
def diffusers_seconds(unet, x, text):
    start = time.perf_counter()
    unet(x, 500, text)
    return time.perf_counter() - start


def use_pag(unet, on):
    unet.set_default_attn_processor()
    if on:
        processors = unet.attn_processors
        for name in processors:
            if name.startswith("mid_block") and "attn1" in name:
                processors[name] = PAGCFGIdentitySelfAttnProcessor2_0()
        unet.set_attn_processor(processors)


def compare(arguments, unet, folder, dtype, guidance, rows):
    use_pag(unet, "pag" in guidance)
    config = unet.config
    x = torch.randn(rows, config.in_channels, arguments.size // 8, arguments.size // 8, dtype=getattr(torch, dtype))
    text = torch.randn(rows, 77, config.cross_attention_dim, dtype=x.dtype)
    ours = Tiller(arguments.program, folder, arguments.size, dtype, guidance, arguments.threads)
    pairs = [(ours.seconds(), diffusers_seconds(unet, x, text)) for _ in range(arguments.repeats + 1)][1:]
    ours.close()
    ratios = sorted(a / b for a, b in pairs)
    mine, theirs = (statistics.median(column) for column in zip(*pairs))
    saved = 1 - ours.flops / ours.unshared
    return (f"| {guidance} | {dtype} | {mine:.2f} s | {theirs:.2f} s | {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f}-{ratios[-1]:.2f}) | {saved:.1%} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--config")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = json.loads(pathlib.Path(arguments.config).read_text()) if arguments.config else SD15
    print(f"{arguments.threads} threads, torch {torch.__version__}, {arguments.repeats} pairs\n")
    print("| guidance | dtype | Tiller | diffusers | ratio (least-most) | FLOPs saved by sharing |\n|---|---|---|---|---|---|")
    for dtype in arguments.dtypes:
        torch.manual_seed(0)
        unet = UNet2DConditionModel.from_config(config).to(getattr(torch, dtype)).eval()
        with tempfile.TemporaryDirectory() as folder:
            unet.save_pretrained(folder)
            for guidance, rows in CASES.items():
                print(compare(arguments, unet, folder, dtype, guidance, rows), flush=True)


if __name__ == "__main__":
    main()
