"""What the comparisons share: two sides in processes of their own that work in turns, and the rows that come of it.

Turns that warm a side up come first: compilers, recorded graphs and memory that is touched for the first time aren't measured.
Then a side works as often as fills a quarter of a second each turn; its figure is the median over the turns, and a ratio's spread
is that over pairs of turns that followed each other. Peak memory is what a side's process held in its first turn beyond what it
held before: activations and work space, and weights that are mapped and first read in that turn. On a GPU it is what LibTorch's allocator gave out there, on both sides.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import time

import torch

ROOT = pathlib.Path(__file__).parent.parent
LEAST = 0.25  # seconds a turn
WARMING = {"cpu": 2, "cuda": 4}  # turns: a GPU's graphs are recorded in the second or third


def threads_of(options):
    """The environment of both sides: threads that stay where they are, or now and then two share a core for a whole run. Not on a
    GPU, where torch.compile's processes would inherit the one core of who starts them."""
    return {"OMP_NUM_THREADS": str(options.threads)} | ({"OMP_PROC_BIND": "true"} if options.device == "cpu" else {})


class Tiller:
    """A program of turns.h."""

    def __init__(self, options, name, *arguments):
        environment = {**os.environ, **threads_of(options)}
        command = [f"{options.build}/bench_{name}", *map(str, arguments)]
        self.process = subprocess.Popen(command, text=True, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def turn(self, times):
        """(seconds each, bytes, further numbers)"""
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.process.args)}: ended with {self.process.wait()}, expected a turn's figures.")
        seconds, memory, *numbers = map(float, line.split())
        return seconds, memory, numbers

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def held_bytes(key):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def timed(work, times, cuda):
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    held = torch.cuda.memory_allocated() if cuda else held_bytes("VmRSS")
    start = time.perf_counter()
    for _ in range(times):
        work()
    if cuda:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / times
    return seconds, (torch.cuda.max_memory_allocated() if cuda else held_bytes("VmHWM")) - held, []


def serve(pipe, threads, cuda, make, arguments):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    work = make(*arguments)
    pipe.send("ready")
    with torch.inference_mode():
        while times := pipe.recv():
            pipe.send(timed(work, times, cuda))


class Peer:
    """A function of a module, make(*arguments), that returns the work, in a process of its own that is ready."""

    def __init__(self, options, make, *arguments):
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        os.environ.update(threads_of(options))
        self.process = context.Process(target=serve, daemon=True,
                                       args=(far, options.threads, options.device == "cuda", make, arguments))
        self.process.start()
        far.close()
        self.pipe.recv()  # nothing is measured while another side starts

    def turn(self, times):
        self.pipe.send(times)
        return self.pipe.recv()

    def close(self):
        self.pipe.send(0)
        self.process.join()


def spread(ratios):
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def alternate(sides, repeats, warming):
    """Turns of all sides, `warming` ones first; the first side is Tiller. Returns the seconds of each and the rest of a row."""
    warm = [[side.turn(1) for side in sides] for _ in range(warming)]
    times = [max(1, round(LEAST / last[0])) for last in warm[-1]]
    rounds = [[side.turn(n) for side, n in zip(sides, times)] for _ in range(repeats)]
    for side in sides:
        side.close()
    seconds = [[turn[0] for turn in column] for column in zip(*rounds)]
    return {"seconds": [statistics.median(column) for column in seconds],
            "ratios": [spread([a / b for a, b in zip(seconds[0], other)]) for other in seconds[1:]],
            "bytes": [first[1] for first in warm[0]], "first_seconds": [first[0] for first in warm[0]],
            "numbers": rounds[-1][0][2]}


def compare(options, case, dtype, tiller, peers, flops=None):
    """A row a peer; peers: by name. flops: of Tiller's work; None: the program counts them."""
    result = alternate([tiller, *peers.values()], options.repeats, WARMING[options.device])
    flops = flops if flops is not None else (result["numbers"] or [0])[0]
    rows = []
    for i, name in enumerate(peers):
        row = {"case": case, "dtype": dtype, "peer": name, "seconds": result["seconds"][0],
               "peer_seconds": result["seconds"][i + 1], "ratio": result["ratios"][i], "bytes": result["bytes"][0],
               "peer_bytes": result["bytes"][i + 1], "flops_per_second": flops / result["seconds"][0]}
        if len(result["numbers"]) > 1:
            row["flops_saved"] = 1 - result["numbers"][0] / result["numbers"][1]
            row["replays"] = result["numbers"][2]
        if "compile" in name:
            row["peer_compile_seconds"] = result["first_seconds"][i + 1] - result["seconds"][i + 1]
        rows.append(row)
    return rows


def peak_flops(dtype, device="cpu", size=None):
    """FLOP/s of a large matrix product, the best of several."""
    size = size or (8192 if device == "cuda" else 3072)
    a, b = (torch.randn(size, size, dtype=getattr(torch, dtype), device=device) for _ in range(2))
    return 2 * size**3 / min(timed(lambda: a @ b, 1, device == "cuda")[0] for _ in range(6))


def machine(options):
    name = torch.cuda.get_device_name() if options.device == "cuda" else cpu_name()
    return {"device": options.device, "name": name, "threads": options.threads, "torch": torch.__version__,
            "repeats": options.repeats, "peak": {dtype: peak_flops(dtype, options.device) for dtype in options.dtypes}}


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "CPU"


def duration(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms" if seconds >= 0.01 else f"{seconds * 1e6:.0f} us"


HEAD = """| case | dtype | Tiller | peer | | ratio (least-most) | GFLOP/s, of the peak | MiB | peer's MiB | |
|---|---|---|---|---|---|---|---|---|---|"""


def markdown(row, peak):
    rate, ratio = row.get("flops_per_second", 0), row["ratio"]
    speed = f"{rate / 1e9:.0f}, {rate / peak[row['dtype']]:.0%}" if rate else ""
    memory = [f"{row[key] / 2**20:.1f}" if row.get(key) is not None else "" for key in ("bytes", "peer_bytes")]
    notes = [f"{row['flops_saved']:.1%} of the FLOPs shared"] if row.get("flops_saved") else []
    notes += ["replayed"] if row.get("replays") else []
    notes += [f"GPU idle {row['gpu_idle']:.1%}"] if "gpu_idle" in row else []
    notes += [f"peer compiled for {row['peer_compile_seconds']:.0f} s"] if "peer_compile_seconds" in row else []
    notes += [row["note"]] if "note" in row else []
    return (f"| {row['case']} | {row['dtype']} | {duration(row['seconds'])} | {row['peer']} | {duration(row['peer_seconds'])} | "
            f"{ratio['median']:.2f} ({ratio['least']:.2f}-{ratio['most']:.2f}) | {speed} | {memory[0]} | {memory[1]} | "
            f"{'; '.join(notes)} |")


def parser(description):
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--build", default=str(ROOT / "build"), help="the folder of the programs bench_NAME and tiller")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--full", action="store_true", help="also the cases that take long")
    parser.add_argument("--compile", action="store_true", help='also peers through torch.compile(mode="max-autotune")')
    parser.add_argument("--guided-diffusion", help="a checkout that has the package guided_diffusion")
    parser.add_argument("--report", help="a file for the rows, as JSON")
    return parser


def write(report, lines, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(report, indent=1))
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def require_programs(options, programs):
    """Ends where one isn't built, before anything is measured."""
    if lacking := [name for name in programs if not (pathlib.Path(options.build) / name).exists()]:
        sys.exit(f"{options.build}/{lacking[0]} isn't there: ninja -C {options.build} {' '.join(lacking)} (benchmarks/README.md)")


def run(rows, options, programs):
    """Prints and writes a row as soon as it is there; returns the report. programs: what is measured, of options.build."""
    require_programs(options, programs)
    torch.set_num_threads(options.threads)
    report = {"machine": machine(options), "rows": []}
    peak = report["machine"]["peak"]
    peaks = ", ".join(f"{dtype} {rate / 1e9:.0f} GFLOP/s" for dtype, rate in peak.items())
    title = f"{report['machine']['name']}, {options.threads} threads, torch {torch.__version__}; matrix product: {peaks}"
    print(title, HEAD, sep="\n\n", flush=True)
    lines = [title, "", *HEAD.split("\n")]
    for row in rows(options):
        report["rows"].append(row)
        lines.append(markdown(row, peak))
        print(lines[-1], flush=True)
        if options.report:
            write(report, lines, pathlib.Path(options.report))
    return report


def main(rows, description, *programs):
    run(rows, parser(description).parse_args(), programs)
