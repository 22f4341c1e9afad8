"""Writes tests/fixtures/prompts.json: prompts as Automatic1111's web UI parses and chunks them.

    make_prompts.py STABLE_DIFFUSION_WEBUI_FOLDER

Runs that checkout's parse_prompt_attention and tokenize_line (version 1.10) with the small vocabulary of
make_clip_tokens.py. Needs transformers.
"""

import json
import pathlib
import random
import sys
from types import ModuleType, SimpleNamespace

from transformers import CLIPTokenizer

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"
PARSED = [
    "", "a fox", "an (important) word", "(a:1.2)", "[b]", "((a))", "[[b]]", "(a (b:1.5) c:0.5)", "([a])", "[(a:1.3)]",
    "(unbalanced", "[unbalanced", "un)balanced", "un]balanced", r"\(literal\]", r"fox \(animal\)", r"a\\b", r"a\b",
    "(unnecessary)(parens)", "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).", "(a: 1.2 )", "(a:-1)", "(a:+.5)",
    "(a:1.)", "a:1.2)", "(a:b)", "(a:1.2:1.3)", "a: b", "time 10:30", "(10:30)", "()", "( )", "(:1.2)", "[]", "a::b",
    "one BREAK two", "BREAK", "BREAK BREAK", "oneBREAK two", "one BREAKtwo", "one,BREAK,two", "(one) BREAK [two]",
    "break Break", "(a [b (c:2] d) e", "((a:1.2)", "(\u732b:1.4), \U0001F98A [x]", "a\nBREAK\nb", ":)", ":(", "(a:1e3)"]


def chunked_prompts():
    rng = random.Random(5)
    words = ["fox", "red", "snow,", "the", "(detailed:1.3)", "[bad]", ",", "photo", "BREAK", "horse,", "masterpiece"]
    prompts = ["", "a red fox", "fox BREAK snow", "BREAK", "! " * 75, "! " * 76, ", " * 80, "! " * 74 + ", ! !",
               "! " * 55 + ", " + "! " * 30, "! " * 54 + ", " + "! " * 30, "! " * 56 + ", " + "! " * 30, "(" + "! " * 90 + ":1.4)"]
    return prompts + [" ".join(rng.choices(words, weights=[9, 9, 3, 9, 2, 2, 1, 9, .3, 2, 3], k=rng.randrange(20, 90)))
                      for _ in range(8)]


def import_webui(folder):
    """The two modules, with stand-ins for what they import besides."""
    sys.path.insert(0, folder)
    for name in ["devices", "sd_hijack", "sd_emphasis", "shared"]:
        sys.modules[f"modules.{name}"] = ModuleType(f"modules.{name}")
    sys.modules["modules.shared"].opts = SimpleNamespace(emphasis="Original", comma_padding_backtrack=20)
    sys.modules["modules.sd_hijack"].StableDiffusionModelHijack = object
    from modules import prompt_parser, sd_hijack_clip
    return prompt_parser.parse_prompt_attention, sd_hijack_clip.FrozenCLIPEmbedderWithCustomWordsBase.tokenize_line


def chunks(tokenize_line, tokenizer, prompt):
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    no_embedding = SimpleNamespace(find_embedding_at_position=lambda tokens, position: (None, None))
    model = SimpleNamespace(
        tokenize=lambda texts: tokenizer(texts, truncation=False, add_special_tokens=False)["input_ids"],
        chunk_length=75, id_start=tokenizer.bos_token_id, id_end=end, hijack=SimpleNamespace(embedding_db=no_embedding),
        comma_token=tokenizer.get_vocab()[",</w>"])
    found, _ = tokenize_line(model, prompt)
    # As its process_tokens pads: whatever follows the first end.
    ids = [c.tokens[:c.tokens.index(end) + 1] + [pad] * (76 - c.tokens.index(end)) for c in found]
    return {"prompt": prompt, "ids": ids, "weights": [c.multipliers for c in found]}


def main():
    parse, tokenize_line = import_webui(sys.argv[1])
    fixture = {"parsed": []}
    for prompt in PARSED:
        pieces = [["", 1.0] if piece == ["BREAK", -1] else piece for piece in parse(prompt) if piece[0]]
        fixture["parsed"].append({"prompt": prompt, "pieces": pieces})
    for form in ["vocab", "json"]:
        tokenizer = CLIPTokenizer.from_pretrained(FIXTURES / "clip_tokenizer" / form)
        fixture[f"chunks_{form}"] = [chunks(tokenize_line, tokenizer, prompt) for prompt in chunked_prompts()]
    (FIXTURES / "prompts.json").write_text(json.dumps(fixture, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
