#!/usr/bin/env python3
"""Compares guidance schemes of a class-conditional CIFAR-10 model with a classifier.

For each scheme it draws samples with `tiller generate`, classifies them with a CIFAR-10 ResNet-56 and reports
- the share classified as the class that was asked for, overall and by class;
- FD-R56: the Fréchet distance between the samples and the 50,000 training images, of the 64 features that enter the
  classifier's last layer. It isn't FID: other network, other scale. Compare it with its anchors only;
- FLOPs and seconds an image.
Sampling goes chunk by chunk: started again, it goes on where it was. Needs numpy and torch.

  cifar_guidance.py run --model DIR --classifier resnet56.th --output results/ --scheme none --scheme cfg:scale=2
  cifar_guidance.py anchors --classifier resnet56.th --cifar cifar-10-batches-bin/
"""
import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys

REFERENCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cifar10_r56.npz")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    adders = {name: commands.add_parser(name, help=text) for name, text in (
        ("run", "draw and measure"), ("measure", "measure latents that are there"),
        ("anchors", "measure damaged test images, to see that the protocol holds"))}
    for sub in adders.values():
        sub.add_argument("--classifier", required=True, help="resnet56-4bfd9763.th of akamaster/pytorch_resnet_cifar10")
        sub.add_argument("--torch-threads", type=int, default=1, help="threads of the classifier; default 1")
    adders["measure"].add_argument("latents", nargs="+", help="safetensors files; classes 0 to 9 in turn")
    adders["anchors"].add_argument("--cifar", required=True, help="folder of CIFAR-10's binary version")
    adders["anchors"].add_argument("--save", action="store_true", help=f"make {os.path.basename(REFERENCE)} anew first")
    sub = adders["run"]
    sub.add_argument("--program", default="build/tiller")
    sub.add_argument("--model", required=True, help="folder or file of the model")
    sub.add_argument("--output", required=True, help="folder for samples, results.md and results.json")
    sub.add_argument("--scheme", action="append", help="guidance, several joined by ' + '; repeats; default: a choice of nine")
    sub.add_argument("--count", type=int, default=5000, help="samples a scheme; default 5000")
    sub.add_argument("--chunk", type=int, default=500, help="samples a call; default 500")
    sub.add_argument("--batch", type=int, default=50)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--steps", type=int, default=30)
    sub.add_argument("--sampler", default="ddim")
    for flag in ("device", "dtype", "threads"):
        sub.add_argument("--" + flag, help="as tiller's")
    return parser.parse_args()


def require_files(chosen):
    """Ends where one isn't there, before torch is imported."""
    if not os.path.exists(chosen.classifier):
        sys.exit(f"{chosen.classifier} isn't there: resnet56-4bfd9763.th is in pretrained_models/ of "
                 "github.com/akamaster/pytorch_resnet_cifar10 (benchmarks/README.md)")
    if chosen.command == "run" and not shutil.which(chosen.program):
        sys.exit(f"{chosen.program} isn't there: ninja -C build tiller (benchmarks/README.md)")
    others = {"run": lambda: [chosen.model], "measure": lambda: chosen.latents, "anchors": lambda: [chosen.cifar]}
    for path in others[chosen.command]():
        if not os.path.exists(path):
            sys.exit(f"{path} isn't there.")


if __name__ == "__main__":
    chosen = arguments()
    require_files(chosen)

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
SCHEMES = ["none", "cfg:scale=1.5", "cfg:scale=3", "tpg:scale=1", "tpg:scale=3", "asag:scale=0.5", "asag:scale=1.5",
           "cfg:scale=1.5 + tpg:scale=1", "cfg:scale=3 + tpg:scale=2"]


# The classifier: He et al. 2015, section 4.2, for CIFAR-10, with option A shortcuts.
class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.stride = outputs // inputs
        self.padding = (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        shortcut = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


class ResNet(nn.Module):
    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = {"layer1": (16, 16), "layer2": (16, 32), "layer3": (32, 64)}
        for name, (inputs, width) in widths.items():
            rest = [Block(width, width) for _ in range(blocks - 1)]
            setattr(self, name, nn.Sequential(Block(inputs, width), *rest))
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        """images: (B, 3, 32, 32) uint8. Returns features (B, 64) and logits (B, 10)."""
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.MEAN, self.STD))
        x = F.relu(self.bn1(self.conv1((images.float() / 255 - mean) / std)))
        features = self.layer3(self.layer2(self.layer1(x))).mean((2, 3))
        return features, self.linear(features)


def load_classifier(path):
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    weights = {key.removeprefix("module."): value for key, value in checkpoint["state_dict"].items()}
    blocks = len({key.split(".")[1] for key in weights if key.startswith("layer1.")})
    model = ResNet(blocks)
    model.load_state_dict(weights)
    return model.eval()


@torch.inference_mode()
def classify(model, images):
    """Returns features (N, 64) float64 and the predicted classes (N)."""
    answers = [model(batch) for batch in torch.from_numpy(images).split(200)]
    features = torch.cat([a[0] for a in answers]).double().numpy()
    return features, torch.cat([a[1] for a in answers]).argmax(1).numpy()


def statistics(features):
    return features.mean(0), np.cov(features, rowvar=False)


def frechet_distance(a, b):
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), by way of symmetric square roots."""
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def read_cifar(folder, names):
    """CIFAR-10's binary files: (N, 3, 32, 32) uint8 and labels (N)."""
    records = [np.fromfile(os.path.join(folder, name), np.uint8).reshape(-1, 3073) for name in names]
    records = np.concatenate(records)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]


def make_reference(model, classifier, cifar):
    images, _ = read_cifar(cifar, [f"data_batch_{i}.bin" for i in range(1, 6)])
    mean, cov = statistics(classify(model, images)[0])
    return {"mean": mean, "cov": cov, "classifier": file_digest(classifier), "images": len(images)}


def load_reference(classifier):
    reference = np.load(REFERENCE)
    if str(reference["classifier"]) != file_digest(classifier):
        sys.exit(f"{classifier}: isn't the classifier that {REFERENCE} was made with. Make it anew with `anchors --save`.")
    return reference["mean"], reference["cov"]


def load_latents(path):
    """The tensor `latents` of a safetensors file, in [-1, 1], as (N, 3, 32, 32) uint8."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))["latents"]
        start, end = header["data_offsets"]
        if header["dtype"] != "F32" or header["shape"][1:] != [3, 32, 32]:
            sys.exit(f"{path}: got {header['dtype']} {header['shape']}, expected F32 (N, 3, 32, 32).")
        file.seek(start, io.SEEK_CUR)
        values = np.frombuffer(file.read(end - start), "<f4").reshape(header["shape"])
    return np.rint((values * 127.5 + 127.5).clip(0, 255)).astype(np.uint8)


def write_atomically(path, write, mode="w"):
    with open(path + ".tmp", mode) as file:
        write(file)
    os.replace(path + ".tmp", path)


# Sampling
def command(options, scheme, first, count, latents, grid):
    arguments = [options.program, "generate", "--count", str(count), "--seed", str(options.seed + first)]
    arguments += ["--class", ",".join(map(str, range(10))), "--steps", str(options.steps)]
    arguments += ["--sampler", options.sampler, "--guidance", scheme, "--batch", str(options.batch)]
    arguments += ["--save-latents", latents, "--output", grid, "--json"]
    arguments += ["--model", options.model]
    for flag in ("device", "dtype", "threads"):
        if getattr(options, flag):
            arguments += ["--" + flag, str(getattr(options, flag))]
    return arguments


def draw_chunk(options, scheme, folder, first, count):
    """Draws samples first, first + 1, ... unless they are there. Returns images, labels and the run's report."""
    base = os.path.join(folder, f"{first:06d}-{first + count:06d}")
    latents, report = base + ".safetensors", base + ".json"
    if not os.path.exists(report):  # written last
        arguments = command(options, scheme, first, count, latents, base + ".png")
        done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(arguments)}\nfailed with exit code {done.returncode}.")
        write_atomically(report, lambda file: file.write(done.stdout))
    with open(report) as file:
        report = json.load(file)
    labels = np.array([image["class"] for image in report["images"]])
    images = load_latents(latents)
    if len(images) != count or len(labels) != count:
        sys.exit(f"{latents}: got {len(images)} samples and {len(labels)} labels, expected {count}.")
    return images, labels, report


def model_hash(options):
    done = subprocess.run([options.program, "info", options.model, "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)["hash"]


def settings_of(options, scheme):
    keys = ("model_hash", "seed", "steps", "sampler", "batch", "device", "dtype")
    return {"scheme": scheme, **{key: getattr(options, key) for key in keys}}


def scheme_folder(options, scheme):
    """One for each scheme and settings, so that chunks of different ones never mix."""
    settings = json.dumps(settings_of(options, scheme), sort_keys=True)
    name = re.sub(r"[^a-z0-9.]+", "-", scheme.lower()).strip("-")
    folder = os.path.join(options.output, f"{name}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}")
    os.makedirs(folder, exist_ok=True)
    write_atomically(os.path.join(folder, "settings.json"), lambda file: file.write(settings + "\n"))
    return folder


def draw(options, scheme):
    folder = scheme_folder(options, scheme)
    chunks = []
    for first in range(0, options.count, options.chunk):
        chunks.append(draw_chunk(options, scheme, folder, first, min(options.chunk, options.count - first)))
        print(f"{scheme}: {first + len(chunks[-1][0])} of {options.count}", file=sys.stderr)
    images, labels, reports = zip(*chunks)
    return np.concatenate(images), np.concatenate(labels), reports


# Measuring
def measure(model, reference, images, labels):
    features, predicted = classify(model, images)
    hits = predicted == labels
    return {"samples": len(images),
            "as_asked": float(hits.mean()),
            "by_class": {name: float(hits[labels == i].mean()) for i, name in enumerate(CLASSES) if (labels == i).any()},
            "fd_r56": frechet_distance(statistics(features), reference)}


def costs(reports, count):
    return {"seconds_per_image": sum(report["seconds"]["images"] for report in reports) / count,
            "flops_per_image": sum(report["flops"] for report in reports) / count,
            "flops_saved": float(np.mean([report["flops_saved"] for report in reports])),
            "device": reports[0]["device"], "dtype": reports[0]["dtype"]}


def table(rows):
    lines = ["| guidance | as asked | FD-R56 | weakest class | GFLOP an image | seconds an image |", "|---|---|---|---|---|---|"]
    for row in rows:
        weakest = min(row["by_class"], key=row["by_class"].get)
        cost = "| | |"
        if "flops_per_image" in row:
            cost = f"| {row['flops_per_image'] / 1e9:.1f} | {row['seconds_per_image']:.3f} |"
        lines.append(f"| {row['scheme']} | {row['as_asked']:.1%} | {row['fd_r56']:.2f} "
                     f"| {weakest} {row['by_class'][weakest]:.0%} {cost}")
    return "\n".join(lines) + "\n"


def write_results(options, rows):
    first = rows[0]
    text = (f"{first['samples']:,} samples a scheme, 10 classes in turn, seeds {options.seed} to "
            f"{options.seed + options.count - 1}, {options.sampler}, {options.steps} steps, model {first['model_hash']}, "
            f"{first['device']} {first['dtype']}.\n\n{table(rows)}")
    write_atomically(os.path.join(options.output, "results.md"), lambda file: file.write(text))
    write_atomically(os.path.join(options.output, "results.json"), lambda file: json.dump(rows, file, indent=1))
    return text


def run(options):
    if options.chunk % 10 or options.count % 10:
        sys.exit("--chunk and --count: expected multiples of 10, so that every class has as many samples.")
    model, reference = load_classifier(options.classifier), load_reference(options.classifier)
    os.makedirs(options.output, exist_ok=True)
    options.model_hash = model_hash(options)
    rows = []
    for scheme in options.scheme or SCHEMES:
        images, labels, reports = draw(options, scheme)
        rows.append({**settings_of(options, scheme), **measure(model, reference, images, labels),
                     **costs(reports, options.count)})
        text = write_results(options, rows)
    print(text, end="")


def measure_files(options):
    """Measures latents that are there, classes in turn."""
    model, reference = load_classifier(options.classifier), load_reference(options.classifier)
    images = np.concatenate([load_latents(path) for path in options.latents])
    row = measure(model, reference, images, np.arange(len(images)) % 10)
    print(table([{"scheme": "given samples", **row}]) + json.dumps(row))


def anchors(options):
    """Damage to CIFAR-10's test set that one can picture, measured by the same protocol."""
    model = load_classifier(options.classifier)
    if options.save:
        made = make_reference(model, options.classifier, options.cifar)
        write_atomically(REFERENCE, lambda file: np.savez(file, **made), "wb")
    reference = load_reference(options.classifier)
    images, labels = read_cifar(options.cifar, ["test_batch.bin"])
    half = labels < 5
    sets = {"test set, 10,000 images": (images, labels),
            "5,000 of them": (images[:5000], labels[:5000]),
            "JPEG, quality 75": (as_jpeg(images, 75), labels),
            "five of ten classes": (images[half], labels[half])}
    print(table([{"scheme": name, **measure(model, reference, *data)} for name, data in sets.items()]), end="")


def as_jpeg(images, quality):
    from PIL import Image
    decoded = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(buffer)).transpose(2, 0, 1))
    return np.stack(decoded)


if __name__ == "__main__":
    torch.set_num_threads(chosen.torch_threads)
    {"run": run, "measure": measure_files, "anchors": anchors}[chosen.command](chosen)
