"""Writes tests/fixtures/prompt_schedules.json: what Automatic1111's web UI reads of a prompt at each step.

    make_prompt_schedules.py STABLE_DIFFUSION_WEBUI_FOLDER

Runs that checkout's get_learned_conditioning_prompt_schedules (version 1.10); step k, from 0, takes the first text whose end isn't below k, as its
reconstruct_cond_batch does. Needs lark.
"""

import json
import pathlib
import random
import sys

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"
PROMPTS = [
    "a fox", "", "a [b:3]", "a [b: 3]", "a [b:3 ]", "a [[[b]]:2]", "[(a:2):3]", "a [b : c : 1] d", "a[b:[c:d:2]:1]e", "a [unbalanced",
    "a [b:.5] c", "a [b:0.55] c", "a [b:5.] c", "a [b::.3] c", "a [:b:.3] c", "a [b:c:0] d", "a [b:c:-2] d", "a [b:c:+2] d", "a [b:c:99] d",
    "a [b:c:1e0] d", "a [b:c:1.0] d", "a [b:c:d] e", "a [b:c:d:3] e", "((a][:b:c [d:3]", "[a|(b:1.1)]", "[fe|]male", "[fe|||]male",
    "[a|b|c] and [d|e]", "[a|[b:c:4]]", "[[a|b]:c:5]", "a | b", "a [b|c", "(a|b)", "[a|b:c]", "[(a|b)|c]", "[a]", "[a|b] [c]", "([a:b:4]:1.2)",
    r"\[a:b:3\]", r"[a\:b:c:3]", r"[a\]:b:3]", "a\\", r"[a|b\|c]", "[ a : b : 4 ]", "[a:b:4", "a:b:4]", "[:3]", "[::3]", "[|]", "[a:b:]", "[a:b: ]",
    "[a\n:b:\n4]", "[猫:犬:4]", "[a:(b:1.2):4]", "[(a:(b:1.1)) c:d:4]", "[a:b) c:4]", "[a:b:4]:5]", "x [[y:z:2]|[w:v:6]] u",
    "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6][: in background:0.25] [shoddy:masterful:0.5]"]


def random_prompts(count):
    """Of what the syntax is made of. Bars only inside of square brackets that hold no other signs."""
    rng = random.Random(7)

    def passage(depth):
        kind = rng.choice(["word", "word", "word", "scheduled", "removed", "turns", "round", "square"] if depth < 3 else ["word"])
        inner = lambda: "".join(passage(depth + 1) for _ in range(rng.choice([0, 1, 1, 2])))
        when = lambda: rng.choice(["2", "5", ".4", "0.75", " 3", "12"])
        return {"word": lambda: rng.choice(["a", " b", "cat, ", "dog "]), "scheduled": lambda: f"[{inner()}:{inner()}:{when()}]",
                "removed": lambda: f"[{inner()}:{when()}]", "turns": lambda: "[" + "|".join(inner() for _ in range(rng.choice([2, 3]))) + "]",
                "round": lambda: f"({inner()}:1.2)", "square": lambda: f"[{inner()}]"}[kind]()

    return ["".join(passage(0) for _ in range(rng.choice([1, 2, 4]))) for _ in range(count)]


def texts(parser, prompt, steps):
    schedule = parser.get_learned_conditioning_prompt_schedules([prompt], steps)[0]
    return [next(text for end, text in schedule if k <= end) for k in range(steps)]


def main():
    sys.path.insert(0, sys.argv[1])
    from modules import prompt_parser

    cases = [dict(prompt=prompt, steps=steps, texts=texts(prompt_parser, prompt, steps))
             for prompt in PROMPTS + random_prompts(60) for steps in (10, 7)]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (FIXTURES / "prompt_schedules.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
