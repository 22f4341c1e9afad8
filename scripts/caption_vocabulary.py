#!/usr/bin/env python3
"""A CLIP tokenizer that knows the words of a data set's captions and no others.

    scripts/caption_vocabulary.py DATA OUT [--length 32]

CLIP's 49,408 tokens are too many for a small text encoder. OUT becomes a tokenizer folder (vocab.json,
merges.txt, tokenizer_config.json) with all single bytes and those of CLIP's merges that the training
captions of DATA/metadata.jsonl need, in CLIP's order: captions are cut as CLIP cuts them, and other
words fall into smaller pieces. Reads share/clip/bpe_simple_vocab_16e6.txt.gz, which `make` fetches.
"""
import argparse
import gzip
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLIP = ROOT / "share/clip/bpe_simple_vocab_16e6.txt.gz"
CLIP_MERGES = 48894
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")


def byte_names():
    """The printable character that stands for each byte, in CLIP's order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def clip_merges():
    if not CLIP.exists():
        subprocess.run([ROOT / "scripts/clip_vocabulary.sh"], check=True)
    if not CLIP.exists():
        sys.exit(f"caption_vocabulary.py: {CLIP} is missing: run scripts/clip_vocabulary.sh.")
    lines = gzip.open(CLIP, "rt", encoding="utf-8").read().splitlines()[1:CLIP_MERGES + 1]
    return {tuple(line.split()): rank for rank, line in enumerate(lines)}


def cut(word, merges, names):
    """A word's tokens, and the merges that made them."""
    tokens = [names[byte] for byte in word.encode()]
    tokens[-1] += "</w>"
    used = set()
    while len(tokens) > 1:
        pair = min(zip(tokens, tokens[1:]), key=lambda pair: merges.get(pair, CLIP_MERGES))
        if pair not in merges:
            break
        used.add(pair)
        joined, at = [], 0
        while at < len(tokens):
            together = tuple(tokens[at:at + 2]) == pair
            joined.append("".join(pair) if together else tokens[at])
            at += 2 if together else 1
        tokens = joined
    return tokens, used


def training_captions(data):
    with open(data / "metadata.jsonl", encoding="utf-8") as metadata:
        rows = [json.loads(line) for line in metadata if line.strip()]
    return [row["text"] for row in rows if row.get("split", "train") == "train"]


def main():
    parser = argparse.ArgumentParser(description="Makes a small CLIP tokenizer for captions.")
    parser.add_argument("data", type=pathlib.Path, help="folder with metadata.jsonl")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--length", type=int, default=32,
                        help="tokens of a prompt, with begin and end; default 32")
    args = parser.parse_args()
    names, merges = byte_names(), clip_merges()
    words, longest, needed = {}, 0, set()
    for caption in training_captions(args.data):
        tokens = 0
        for word in WORD.findall(caption.lower()):
            if word not in words:
                words[word], used = cut(word, merges, names)
                needed |= used
            tokens += len(words[word])
        longest = max(longest, tokens + 2)
    if longest > args.length:
        print(f"caption_vocabulary.py: the longest caption has {longest} tokens, more than --length",
              file=sys.stderr)
    kept = sorted(needed, key=merges.get)
    tokens = [*names.values(), *(name + "</w>" for name in names.values()),
              *("".join(pair) for pair in kept), BEGIN, END]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    args.out.mkdir(parents=True, exist_ok=True)

    def write(name, text):
        (args.out / name).write_text(text, encoding="utf-8")

    write("vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    write("merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in kept))
    write("tokenizer_config.json", json.dumps(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": args.length, "bos_token": BEGIN,
         "eos_token": END, "pad_token": END, "unk_token": END, "do_lower_case": True,
         "add_prefix_space": False, "errors": "replace"}, indent=2) + "\n")
    write("special_tokens_map.json", json.dumps(
        {"bos_token": BEGIN, "eos_token": END, "pad_token": END, "unk_token": END}, indent=2) + "\n")
    print(f"{args.out}: {len(vocabulary)} tokens, {len(kept)} merges; {len(words)} words; "
          f"the longest caption has {longest} of {args.length} tokens")


if __name__ == "__main__":
    main()
