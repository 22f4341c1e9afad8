"""Writes fixtures/canny.json: the edges that OpenCV finds in images of formula.py's numbers.

Usage: python make_canny.py > ../fixtures/canny.json. Needs opencv-python-headless.
"""

import json
import sys
import zlib

import cv2
import formula
import numpy as np


def image(height, width, smooth):
    """(height, width, 3): noise, blurred so that edges have every direction."""
    noise = formula.uniform(f"canny {height} {width}", height * width * 3).reshape(height, width, 3)
    values = np.clip(noise * 128 + 128, 0, 255).astype(np.uint8)
    return np.repeat(np.repeat(values, smooth, 0), smooth, 1)[:height, :width]


def case(height, width, smooth, low, high):
    edges = cv2.Canny(image(height, width, smooth), low, high)
    return {"height": height, "width": width, "smooth": smooth, "low": low, "high": high,
            "edges": int((edges > 0).sum()), "crc": zlib.crc32(edges.tobytes())}


if __name__ == "__main__":
    sizes = [(1, 1, 1), (2, 9, 1), (31, 45, 1), (64, 64, 3), (50, 70, 7)]
    json.dump([case(*size, *limits) for size in sizes for limits in ((100, 200), (400, 700), (50, 50))], sys.stdout, indent=1)
