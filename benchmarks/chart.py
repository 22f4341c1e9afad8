"""Draws reports of report.py as bars: Tiller's time over a peer's, a panel a machine.

Usage: python benchmarks/chart.py out/bench-cpu.json [MORE.json ...] --output bench.png

Cases that several machines share stand in one row. A bar is the median, its whisker the least and the greatest ratio.
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = {"float32": "#4c78a8", "bfloat16": "#f58518", "float16": "#54a24b"}
BAR = 0.8  # of a row, shared by its dtypes


def label(row):
    return f"{row['case']}\nbeside {row['peer']}"


def machines(reports):
    """The rows by machine."""
    panels = {}
    for report in reports:
        name = f"{report['machine']['name']}, {report['machine']['threads']} threads"
        panels.setdefault(name, []).extend(report["rows"])
    return panels


def draw_panel(axis, name, rows, labels):
    for dtype in COLOURS:
        for row in (row for row in rows if row["dtype"] == dtype):
            kinds = [kind for kind in COLOURS if any(label(other) == label(row) and other["dtype"] == kind for other in rows)]
            height = BAR / len(kinds)
            y = labels.index(label(row)) + height * (kinds.index(dtype) + 0.5) - BAR / 2
            ratio = row["ratio"]
            axis.barh(y, ratio["median"], height * 0.9, color=COLOURS[dtype])
            axis.plot([ratio["least"], ratio["most"]], [y, y], color="black", linewidth=1)
            axis.text(ratio["most"] + 0.02, y, f"{ratio['median']:.2f}", va="center", fontsize=7)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_xlabel("Tiller's time, the peer's = 1")
    axis.set_title(name, fontsize=9)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)


def draw(reports, output):
    panels = machines(reports)
    labels = list(dict.fromkeys(label(row) for rows in panels.values() for row in rows))
    size = (3.2 + 4 * len(panels), 1 + 0.42 * len(labels))
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis, (name, rows) in zip(axes[0], panels.items()):
        draw_panel(axis, name, rows, labels)
    axes[0][0].set_xlim(0, 0.15 + max([1] + [row["ratio"]["most"] for rows in panels.values() for row in rows]))
    axes[0][0].set_yticks(range(len(labels)), labels, fontsize=7)
    axes[0][0].set_ylim(len(labels) - 0.5, -0.5)
    used = [dtype for dtype in COLOURS if any(row["dtype"] == dtype for rows in panels.values() for row in rows)]
    figure.legend([pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[dtype]) for dtype in used], used, loc="lower left", fontsize=8)
    figure.tight_layout()
    figure.savefig(output, dpi=110)
    pyplot.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reports", nargs="+", type=pathlib.Path)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    draw([json.loads(path.read_text()) for path in options.reports], options.output)


if __name__ == "__main__":
    main()
