"""Compares Tiller's CLIP tokens with transformers' on many lines, for each tokenizer folder given:

    compare_clip_tokens.py TEST_MODELS_PROGRAM OUT PROMPTS_FOLDER TOKENIZER_FOLDER...

PROMPTS_FOLDER's *.txt, *.tsv, *.jsonl and *.json give lines of people; generated ones come on top, and every
code point. Runs the tests 'ClipTokensReal*' of the program test_models with TILLER_CLIP_TOKENS=OUT. Needs
transformers (made for 5.24.0, tokenizers 0.23.3).
"""

import json
import os
import pathlib
import random
import subprocess
import sys

from transformers import CLIPTokenizer

from clip_lines import every_character, random_lines, telling_lines


def people_lines(folder, count):
    lines = []
    for path in sorted(folder.iterdir()):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            text = "\n".join(strings_in(json.loads(text)))
        lines += [line for line in text.split("\n") if line]
    random.Random(1).shuffle(lines)
    return lines[:count]


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_in(item)


def groups(characters, size=200):
    """Lines of many characters each, so that a million of them are quickly compared."""
    line = []
    for character in characters:
        line.append(character)
        if len(line) == size:
            yield " ".join(line)
            line = []
    yield " ".join(line)


def main():
    program, out, prompts = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    lines = telling_lines() + people_lines(prompts, 8000) + list(random_lines(12000, seed=7))
    for index, folder in enumerate(sys.argv[4:]):
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        more = list(groups(every_character())) if index == 0 else []
        texts = lines + more
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        case = {"tokenizer": str(pathlib.Path(folder).resolve()), "lines": texts, "ids": ids,
                "begin": tokenizer.bos_token_id, "end": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id,
                "max_length": tokenizer.model_max_length}
        (out / f"{index}.json").write_text(json.dumps(case))
        print(folder, len(texts), "lines", sum(map(len, ids)), "tokens", flush=True)
    subprocess.run([program, "--gtest_filter=ClipTokensReal*"], check=True,
                   env=dict(os.environ, TILLER_CLIP_TOKENS=str(out)))


if __name__ == "__main__":
    main()
