"""Training steps of one class-conditional network beside PyTorch, on the same cores.

The peer is the network of a guided-diffusion checkout in a plain loop: input perturbation, mean squared error, clipped gradient,
fused AdamW, averaged weights; in PyTorch's usual memory layout and with channels last.

Usage: python benchmarks/training_step.py --guided-diffusion CHECKOUT
"""

import json
import os
import pathlib
import subprocess
import tempfile

import torch

import guided_diffusion_network
import side_by_side

BATCH, STEPS = 64, 8


class PyTorch:
    def __init__(self, checkout, config, batch, dtype, layout):
        self.model = guided_diffusion_network.network(checkout, config).train().to(memory_format=layout)
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


def training(checkout, dtype, layout):
    peer = PyTorch(checkout, guided_diffusion_network.read_config(), BATCH, dtype, layout)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def steps():
        for _ in range(STEPS):
            peer.step()

    return steps


class Trainer:
    """`tiller train`, by the speed that it logs of its second half."""

    def __init__(self, options, data, dtype):
        self.options, self.data, self.dtype = options, data, dtype

    def turn(self, times):
        options, speeds = self.options, []
        for _ in range(times):
            with tempfile.TemporaryDirectory() as run:
                command = [f"{options.build}/tiller", "train", "--quiet", "--data", self.data, "--model-config",
                           guided_diffusion_network.CONFIG, "--output", run, "--batch", str(BATCH), "--steps", str(2 * STEPS),
                           "--log-every", str(STEPS), "--sample-every", "0", "--threads", str(options.threads)]
                command += ["--bf16"] if self.dtype == "bfloat16" else []
                subprocess.run(command, check=True, env={**os.environ, **side_by_side.threads_of(options)})
                lines = (pathlib.Path(run) / "log.jsonl").read_text().splitlines()
            speeds.append(json.loads(lines[-1])["images_per_second"])
        return STEPS * BATCH / (sum(speeds) / len(speeds)), None, []

    def close(self):
        pass


def write_images(folder, size):
    """CIFAR-10's format, random bytes."""
    assert size == 32, "the config's image_size is to be 32"
    path = pathlib.Path(folder) / "data_batch_1.bin"
    images = torch.randint(0, 256, (1000, 3073), dtype=torch.uint8)
    images[:, 0] %= 10
    path.write_bytes(images.numpy().tobytes())
    return str(path)


def rows(options):
    if not options.guided_diffusion or options.device != "cpu":
        print("training_step.py: skipped: it takes --guided-diffusion and a CPU.", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        data = write_images(folder, guided_diffusion_network.read_config()["image_size"])
        for dtype in options.dtypes:
            peers = {name: side_by_side.Peer(options, training, options.guided_diffusion, dtype, layout)
                     for name, layout in (("PyTorch", torch.contiguous_format), ("PyTorch, channels last", torch.channels_last))}
            yield from side_by_side.compare(options, f"training, {STEPS} steps of {BATCH} images", dtype,
                                            Trainer(options, data, dtype), peers)


if __name__ == "__main__":
    side_by_side.main(rows, __doc__, "tiller")
