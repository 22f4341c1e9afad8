"""Writes seeds for the fuzz targets into FOLDER/corpus_NAME: make_corpus.py FIXTURES FOLDER.

Needs Python's standard library only.
"""

import json
import pathlib
import shutil
import struct
import sys
import zipfile
import zlib


def safetensors(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


def main():
    fixtures, folder = map(pathlib.Path, sys.argv[1:3])
    for name in ["safetensors", "gguf", "options", "png_text", "pickle", "clip_tokenizer", "numpy_file", "inversion_file",
                 "orientation"]:
        (folder / f"corpus_{name}").mkdir(parents=True, exist_ok=True)

    def write(name, data):
        (folder / f"corpus_{name}").write_bytes(data)

    shutil.copy(fixtures / "tensor_files" / "dtypes.safetensors", folder / "corpus_safetensors")
    write("safetensors/empty", safetensors(b"{}"))
    write("safetensors/one", safetensors(
        b'{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)))
    shutil.copy(fixtures / "tensor_files" / "types.gguf", folder / "corpus_gguf")
    key = struct.pack("<Q1sII", 1, b"k", 4, 1)
    for name, kind, size, count in [("plain", 0, 4, 2), ("q8_0", 8, 34, 32), ("q6_k", 14, 210, 256)]:
        entry = struct.pack("<Q1sIQIQ", 1, b"a", 1, count, kind, 0)
        header = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + key + entry
        write(f"gguf/{name}", header + bytes(-len(header) % 32) + bytes(size * (2 if kind == 0 else 1)))
    for i, text in enumerate(["scale=3", "scale=3.5,layers=d6-23", "clip=true,steps=20", "scal=1"]):
        write(f"options/{i}", text.encode())
    for path in (fixtures / "numpy_files").iterdir():
        shutil.copy(path, folder / "corpus_numpy_file")
    shutil.copy(fixtures / "images" / "text.png", folder / "corpus_png_text")
    for path in (fixtures / "images").glob("turned_*.jpg"):
        shutil.copy(path, folder / "corpus_orientation")
        write(f"orientation/{path.stem}", path.read_bytes()[30:100])
    deflated = zlib.compress(b"long " * 20)
    write("png_text/text", b"\x00key\x00value")
    write("png_text/compressed", b"\x01key\x00\x00" + deflated)
    write("png_text/international", b"\x02key\x00\x00\x00el\x00k\x00" + "αβ".encode())
    write("png_text/both", b"\x02key\x00\x01\x00el\x00k\x00" + deflated)
    for i, entry in enumerate(json.loads((fixtures / "prompts.json").read_text())["parsed"]):
        write(f"clip_tokenizer/{i}", entry["prompt"].encode())
    for path in (fixtures / "clip_tokenizer").glob("*/*_*.json"):
        shutil.copy(path, folder / "corpus_clip_tokenizer" / f"{path.parent.name}_{path.name}")
    special = ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(["a", "b</w>", "ab</w>", *special])}
    added = [{"id": 4, "content": special[1], "normalized": True}]
    write("clip_tokenizer/vocab", json.dumps(vocab).encode())
    write("clip_tokenizer/merges", b"#version: 0.2\na b</w>\n")
    write("clip_tokenizer/tokenizer", json.dumps({"added_tokens": added, "model": {
        "end_of_word_suffix": "</w>", "vocab": vocab, "merges": ["a b</w>"]}}).encode())
    for i, change in enumerate([
            {}, {"recipe": {"level": -1}}, {"recipe": {"images": []}}, {"recipe": {"threads": 5000}}, {"recipe": {"request": {"steps": 0}}},
            {"recipe": {"request": None}}, {"recipe": {"inputs": {"a": "b"}}}, {"header": {"partner": None, "side": None}, "bytes": 64},
            {"header": {"latents": {"dtype": "F32"}}}, {"header": {"latents": {"shape": [1, 4, 1, 1]}}},
            {"header": {"record": {"dtype": "F16", "shape": [1, 1, 2], "data_offsets": [84, 88]}}, "bytes": 88}]):
        write(f"inversion_file/{i}", json.dumps(change).encode())
    for path in (fixtures / "tensor_files").glob("*.pt"):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                write(f"pickle/{path.stem}", archive.read(name))


if __name__ == "__main__":
    main()
