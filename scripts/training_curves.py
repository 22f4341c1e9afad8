#!/usr/bin/env python3
"""Draws the curves of training runs side by side: the loss and each Frechet distance over the images seen.

    scripts/training_curves.py --batch 64 --output curves.png plain=plain/log.jsonl perturbed=ip/log.jsonl

A log is what `tiller train` writes. The loss is averaged over --smooth lines. Needs matplotlib.
"""
import argparse
import json
import math
import pathlib
import sys

try:
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker
except ImportError as error:
    sys.exit(f"training_curves.py: {error}. In an environment of its own: pip install matplotlib")


def is_distance(key):
    return key == "fid" or key.startswith("fd_")


def read_log(path):
    by_step = {}  # a resumed run repeats steps; what it wrote last counts
    try:
        text = path.read_text()
        for line in map(json.loads, text[:text.rfind("\n") + 1].splitlines()):  # a last line may be half written
            by_step.setdefault(line["step"], {}).update(line)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"training_curves.py: {path}: got {error!r}, expected a log of tiller train")
    return [by_step[step] for step in sorted(by_step)]


def series(log, key, smooth):
    points = [(line["step"], line[key]) for line in log if key in line and math.isfinite(line[key])]
    return [(points[min(first + smooth, len(points)) - 1][0],
             sum(value for _, value in points[first:first + smooth]) / len(points[first:first + smooth]))
            for first in range(0, len(points), smooth)]


def draw(runs, batch, smooth, output):
    distances = sorted({key for _, log in runs for line in log for key in line if is_distance(key)})
    figure, axes = pyplot.subplots(1, 1 + len(distances), figsize=(5.5 * (1 + len(distances)), 3.6), squeeze=False)
    for axis, key in zip(axes[0], ["loss", *distances]):
        for name, log in runs:
            points = series(log, key, smooth if key == "loss" else 1)
            axis.plot([step * batch for step, _ in points], [value for _, value in points],
                      label=name, marker="" if key == "loss" else "o", markersize=4)
        axis.set_ylabel("loss" if key == "loss" else key.upper().replace("_", "-"))
        axis.set_xlabel("images seen" if batch > 1 else "steps")
        axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
        axis.xaxis.set_major_locator(ticker.MaxNLocator(5))
        axis.grid(alpha=0.3)
        axis.legend()
        if key == "loss":
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.yaxis.set_minor_formatter(ticker.FormatStrFormatter("%g"))
    figure.tight_layout()
    figure.savefig(output, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=LOG")
    parser.add_argument("--batch", type=int, default=1, help="images a step (the x axis has steps without)")
    parser.add_argument("--smooth", type=int, default=4, help="log lines to a point of the loss (4)")
    parser.add_argument("--output", default="curves.png")
    flags = parser.parse_args()
    runs = [run.partition("=") for run in flags.runs]
    for name, equals, path in runs:
        if not equals or not path:
            parser.error(f"got {name}, expected NAME=LOG")
    if flags.smooth < 1 or flags.batch < 1:
        parser.error("--batch and --smooth: expected 1 or more")
    draw([(name, read_log(pathlib.Path(path))) for name, _, path in runs], flags.batch, flags.smooth, flags.output)


if __name__ == "__main__":
    main()
