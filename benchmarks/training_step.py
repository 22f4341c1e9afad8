"""Times training steps of one class-conditional network in Tiller and in PyTorch, in turns, on the same cores.

The peer is the network of a guided-diffusion checkout (openai/guided-diffusion or forever208/DDPM-IP) in a plain loop: input
perturbation, mean squared error, clipped gradient, fused AdamW, averaged weights; in PyTorch's usual memory layout and with
channels last, of which the faster counts. Prints images a second, their ratio and its spread.

Usage: python benchmarks/training_step.py --guided-diffusion CHECKOUT --program build/tiller
Needs torch, of the version that Tiller was built with.
"""

import argparse
import inspect
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch

CONFIG = pathlib.Path(__file__).parent.parent / "weights" / "config.json"


def network(config):
    from guided_diffusion import script_util, unet

    # Attention blocks would be recomputed in the backward pass, outside of autocast.
    unet.checkpoint = lambda function, inputs, parameters, flag: function(*inputs)
    script_util.NUM_CLASSES = config["num_classes"] + config.get("null_label", False)
    accepted = inspect.signature(script_util.create_model_and_diffusion).parameters
    arguments = {k: v for k, v in {**script_util.model_and_diffusion_defaults(), **config}.items() if k in accepted}
    return script_util.create_model_and_diffusion(**arguments)[0].train()


class PyTorch:
    def __init__(self, config, batch, dtype, layout):
        self.model = network(config).to(memory_format=layout)
        self.parameters = list(self.model.parameters())
        self.averages = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, weight_decay=0, fused=True)
        self.dtype, self.layout = dtype, layout
        self.images = torch.randint(0, 256, (batch, 3, config["image_size"], config["image_size"]), dtype=torch.uint8)
        self.labels = torch.randint(0, config["num_classes"], (batch,))
        u = torch.linspace(0, 1, 1001, dtype=torch.float64)
        bar = torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2
        self.alphas = (bar[1:] / bar[0]).float()

    def step(self):
        x = self.images.float().div(127.5).sub(1).to(memory_format=self.layout)
        t = torch.randint(0, 1000, (len(x),))
        alpha = self.alphas[t].view(-1, 1, 1, 1)
        noise = torch.randn_like(x)
        noisy = alpha.sqrt() * x + (1 - alpha).sqrt() * (noise + 0.1 * torch.randn_like(x))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == "bfloat16"):
            answer = self.model(noisy, t, y=self.labels)
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * x
        loss = (answer.float() - target).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.parameters, 1e-4)
        return loss.item()

    def images_per_second(self, steps):
        self.step()
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return steps * len(self.images) / (time.perf_counter() - start)


def tiller_images_per_second(arguments, data, dtype, steps):
    with tempfile.TemporaryDirectory() as run:
        command = [arguments.program, "train", "--quiet", "--data", data, "--model-config", arguments.config, "--output", run,
                   "--batch", str(arguments.batch), "--steps", str(2 * steps), "--log-every", str(steps), "--sample-every", "0",
                   "--threads", str(arguments.threads)]
        if dtype == "bfloat16":
            command.append("--bf16")
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)})
        lines = (pathlib.Path(run) / "log.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["images_per_second"]


def write_images(folder, size):
    """CIFAR-10's format, random bytes."""
    assert size == 32, "the config's image_size is to be 32"
    path = pathlib.Path(folder) / "data_batch_1.bin"
    images = torch.randint(0, 256, (1000, 3073), dtype=torch.uint8)
    images[:, 0] %= 10
    path.write_bytes(images.numpy().tobytes())
    return str(path)


def compare(arguments, config, data, dtype):
    peers = {name: PyTorch(config, arguments.batch, dtype, layout)
             for name, layout in (("usual", torch.contiguous_format), ("channels last", torch.channels_last))}
    ours, theirs = [], {name: [] for name in peers}
    for _ in range(arguments.rounds):
        ours.append(tiller_images_per_second(arguments, data, dtype, arguments.steps))
        for name, peer in peers.items():
            theirs[name].append(peer.images_per_second(arguments.steps))
    best = max(theirs, key=lambda name: statistics.median(theirs[name]))
    ratios = sorted(a / b for a, b in zip(ours, theirs[best]))
    return (f"| {dtype} | {statistics.median(ours):.1f} | {statistics.median(theirs[best]):.1f} ({best}) | "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--guided-diffusion", required=True, help="a checkout with the package guided_diffusion")
    parser.add_argument("--program", default="build/tiller")
    parser.add_argument("--config", default=str(CONFIG))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.guided_diffusion)
    torch.set_num_threads(arguments.threads)
    config = json.loads(pathlib.Path(arguments.config).read_text())
    print("| dtype | Tiller, images/s | PyTorch, images/s | ratio |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        data = write_images(folder, config["image_size"])
        for dtype in ("float32", "bfloat16"):
            print(compare(arguments, config, data, dtype), flush=True)


if __name__ == "__main__":
    main()
