#!/usr/bin/env python3
"""FID's features of a folder: Tiller beside pytorch-fid, alternating, on the same random weights, images and cores.

    feature_extraction.py [--program build/tiller] [--images 256] [--rounds 3] [--threads 2]

Each side runs as a process of its own that reads the PNGs and writes the statistics. Prints seconds and peak memory of each round,
the median ratio of seconds, and how far the statistics are apart. Needs torch, torchvision, pytorch-fid, numpy and Pillow.
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PEER = """
import sys, numpy, torch, pytorch_fid.inception as inception, pytorch_fid.fid_score as score
weights, images, out, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights)
model = inception.InceptionV3([3])
files = sorted(score.pathlib.Path(images).glob("*.png"))
mean, covariance = score.calculate_activation_statistics(files, model, 50, 2048, "cpu", 0)
numpy.savez(out, mu=mean, sigma=covariance)
"""


def make_weights(path):
    """The network's shapes with random tensors of a size that keeps activations near 1."""
    import pytorch_fid.inception as inception
    import torch

    torch.manual_seed(0)
    inception.load_state_dict_from_url = lambda *_, **__: {}
    network = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    blocks = {
        "Mixed_5b": inception.FIDInceptionA(192, pool_features=32),
        "Mixed_5c": inception.FIDInceptionA(256, pool_features=64),
        "Mixed_5d": inception.FIDInceptionA(288, pool_features=64),
        **{f"Mixed_6{x}": inception.FIDInceptionC(768, channels_7x7=c) for x, c in zip("bcde", (128, 160, 160, 192))},
        "Mixed_7b": inception.FIDInceptionE_1(1280),
        "Mixed_7c": inception.FIDInceptionE_2(2048),
    }
    for name, block in blocks.items():
        setattr(network, name, block)
    for name, value in network.state_dict().items():
        if name.endswith("conv.weight"):
            value.normal_(std=(2 / value[0].numel()) ** 0.5)
    torch.save(network.state_dict(), path)


def make_images(folder, count):
    import numpy
    from PIL import Image

    random = numpy.random.RandomState(0)
    folder.mkdir()
    for i in range(count):
        blocks = random.randint(0, 256, (16, 16, 3), dtype=numpy.uint8)
        Image.fromarray(blocks).resize((256, 256), Image.BICUBIC).save(folder / f"{i:05d}.png")


def run(command, threads):
    """(seconds, MiB at most)"""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"feature_extraction.py: {command[0]} failed.")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/tiller")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if not shutil.which(options.program):
        sys.exit(f"{options.program} isn't there: ninja -C build tiller (benchmarks/README.md)")
    import numpy

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_weights(folder / "inception.pth")
        make_images(folder / "images", options.images)
        threads = options.threads
        weights, images, ours, theirs = (str(folder / x) for x in ("inception.pth", "images", "ours.npz", "theirs.npz"))
        commands = {
            "tiller": [options.program, "evaluate", "--quiet", "--images", images, "--features", f"inception:weights={weights}",
                       "--threads", str(threads), "--save-statistics", ours],
            "pytorch-fid": [sys.executable, "-W", "ignore", "-c", PEER, weights, images, theirs, str(threads)],
        }
        seconds = {side: [] for side in commands}
        for _ in range(options.rounds):
            for side, command in commands.items():
                time_taken, memory = run(command, threads)
                seconds[side].append(time_taken)
                print(f"{side:12} {time_taken:6.1f} s  {options.images / time_taken:6.1f} images/s  {memory:6.0f} MiB", flush=True)
        ratios = [a / b for a, b in zip(seconds["tiller"], seconds["pytorch-fid"])]
        print(f"seconds, tiller / pytorch-fid: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
        a, b = numpy.load(ours), numpy.load(theirs)
        for key in ("mu", "sigma"):
            print(f"{key}: largest difference {abs(a[key] - b[key]).max():.1e}, largest value {abs(b[key]).max():.1e}")


if __name__ == "__main__":
    main()
