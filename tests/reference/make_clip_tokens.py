"""Writes tests/fixtures/clip_tokenizer/: a small CLIP vocabulary in its two forms, and clip_tokens.json with
lines and their ids from transformers.

Needs transformers (made with 5.24.0, tokenizers 0.23.3). The vocabulary is trained here, on the lines.
"""

import json
import pathlib

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers, Regex
from transformers import CLIPTokenizer

from clip_lines import random_lines, telling_lines

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"
SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
PROMPTS = ["a photo of a red fox in the snow, masterpiece, best quality", "an astronaut riding a horse on mars",
           "the foxes and the hounds, (detailed:1.2) painting"]


def byte_names():
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def train(lines, merges):
    """A vocabulary in CLIP's order: byte names, the same at a word's end, results of merges, markers."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=512 + merges, end_of_word_suffix="</w>", initial_alphabet=byte_names(), show_progress=False))
    pairs = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokens = byte_names() + [name + "</w>" for name in byte_names()]
    tokens += dict.fromkeys(a + b for a, b in pairs)
    return {token: i for i, token in enumerate(dict.fromkeys(tokens + SPECIAL))}, pairs


def token(content):
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def write_vocab_form(folder, vocab, merges):
    """vocab.json and merges.txt with configs as Stable Diffusion 1.5 has them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False) + "\n")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": token(SPECIAL[0]), "eos_token": token(SPECIAL[1]), "pad_token": SPECIAL[1],
               "unk_token": token(SPECIAL[1])}
    config = dict(special, do_lower_case=True, model_max_length=77, tokenizer_class="CLIPTokenizer")
    (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special) + "\n")


def write_json_form(source, folder):
    """One tokenizer.json that pads with "!", as SDXL's second tokenizer does, with a token on top."""
    tokenizer = CLIPTokenizer.from_pretrained(source, pad_token="!")
    tokenizer.add_tokens(["<Cat-Toy>"])
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False) + "\n")


def cases(folder, lines):
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    padded = tokenizer(PROMPTS, padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
    return {"pad": tokenizer.pad_token_id, "lines": lines, "ids": tokenizer(lines, add_special_tokens=False)["input_ids"],
            "prompts": PROMPTS, "padded": padded["input_ids"],
            "decoded": tokenizer.batch_decode(tokenizer(PROMPTS, add_special_tokens=False)["input_ids"])}


def main():
    lines = telling_lines() + list(random_lines(100, seed=3)) + ["a <cat-toy> <CAT-TOY>s"]
    vocab, merges = train(PROMPTS * 5 + telling_lines() * 2 + list(random_lines(200, seed=4)), 500)
    forms = {name: FIXTURES / "clip_tokenizer" / name for name in ["vocab", "json"]}
    write_vocab_form(forms["vocab"], vocab, merges)
    write_json_form(forms["vocab"], forms["json"])
    fixture = {name: cases(folder, lines) for name, folder in forms.items()}
    (FIXTURES / "clip_tokens.json").write_text(json.dumps(fixture, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
