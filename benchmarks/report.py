"""All comparisons with peers, one after the other, in one report: REPORT.md, .json and, where matplotlib is, .png. `make bench-cpu` runs it.

Usage: python benchmarks/report.py --report out/bench-cpu [--full] [--compile] [--guided-diffusion CHECKOUT]
       [--programs sinkhorn demo_model ...]
"""

import importlib.util
import pathlib
import time
import traceback

import torch

import side_by_side

PROGRAMS = {"sinkhorn": "bench_sinkhorn", "demo_model": "bench_unet_evaluation", "whole_program": "tiller", "parts": "bench_parts",
            "training_step": "tiller", "unet_evaluation": "bench_unet_evaluation", "sd_cpp": "bench_image",
            "attention": "bench_attention"}  # and what of the build each measures


def rows(options):
    for name in options.programs:
        start = time.monotonic()
        try:
            yield from importlib.import_module(name).rows(options)
        except Exception:  # the other programs' figures are wanted all the same
            traceback.print_exc()
        print(f"<!-- {name}: {time.monotonic() - start:.0f} s -->", flush=True)


def main():
    parser = side_by_side.parser(__doc__)
    parser.add_argument("--programs", nargs="+", default=PROGRAMS, choices=PROGRAMS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("report.py: no GPU was found: nothing is measured.")
        return
    report = side_by_side.run(rows, options, dict.fromkeys(PROGRAMS[name] for name in options.programs))
    if options.report and report["rows"] and importlib.util.find_spec("matplotlib"):
        importlib.import_module("chart").draw([report], pathlib.Path(options.report).with_suffix(".png"))


if __name__ == "__main__":
    main()
