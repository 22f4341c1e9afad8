"""Reads a run's event files with TensorBoard's own loader, which checks every checksum.

Needs tensorboard 2.20. Usage: read_events.py DIR, where DIR is what `tiller train --output DIR` wrote:
prints the scalars and images found, and compares the scalars with log.jsonl.
"""

import json
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = pathlib.Path(sys.argv[1])
events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
events.Reload()
tags = events.Tags()
lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
for tag in tags["scalars"]:
    found = {event.step: event.value for event in events.Scalars(tag)}
    logged = {line["step"]: line[tag] for line in lines if tag in line}
    assert found.keys() == logged.keys(), (tag, sorted(found), sorted(logged))
    for step, value in logged.items():
        assert found[step] == struct.unpack("f", struct.pack("f", value))[0], (tag, step)
    print(f"{tag}: {len(found)} values as in log.jsonl, the last {list(found.values())[-1]:g}")
for tag in tags["images"]:
    for event in events.Images(tag):
        assert event.encoded_image_string.startswith(b"\x89PNG")
        file = folder / "samples" / f"step-{event.step}.png"
        assert file.read_bytes() == event.encoded_image_string, file
        print(f"{tag}: step {event.step}, {event.width}x{event.height}, as in {file.name}")
