#!/usr/bin/env python3
"""Emoji with their names: a small data set of pictures and captions that anybody can rebuild.

    scripts/emoji.py OUT [--size 64]

Pictures come from Debian's fonts-noto-color-emoji (SIL Open Font License), names, groups and
subgroups from its unicode-data. OUT gets one PNG on white for each emoji and metadata.jsonl in the
form of Hugging Face's image folders: {"file_name", "text", "group", "subgroup", "split"}. One name in
twenty is "held-out", with all of its skin tones; the others are "train". What is missing is installed:
the packages by scripts/packages.sh, fontTools and Pillow from PyPI into .venv.
"""
import argparse
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FONT = pathlib.Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
NAMES = pathlib.Path("/usr/share/unicode/emoji/emoji-test.txt")
HELD_OUT = 20  # one name in so many


def install():
    """Fetches what is missing and starts again in .venv where this Python lacks a package."""
    subprocess.run([ROOT / "scripts/packages.sh", "emoji"], check=True)
    try:
        import fontTools.ttLib, PIL.Image
    except ImportError:
        python = ROOT / ".venv/bin/python"
        if pathlib.Path(sys.prefix) == ROOT / ".venv":
            sys.exit("emoji.py: fontTools or Pillow can't be imported though pip installed them.")
        if not python.exists():
            any_python = subprocess.run([ROOT / "scripts/python.sh"], check=True,
                                        stdout=subprocess.PIPE, text=True).stdout.strip()
            subprocess.run([any_python, "-m", "venv", ROOT / ".venv"], check=True)
        subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet",
                        "fonttools", "pillow"], check=True)
        os.execv(python, [str(python), *sys.argv])


def emoji():
    """(code points, name, group, subgroup) of each fully qualified emoji."""
    group = subgroup = ""
    line_form = re.compile(r"([0-9A-F ]+?)\s*; fully-qualified\s*# \S+ E[\d.]+ (.+)")
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ")
        elif line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ")
        elif match := line_form.match(line):
            yield [int(code, 16) for code in match[1].split()], match[2], group, subgroup


def split_of(name):
    """By a hash, the same everywhere; an emoji's skin tones go with the plain one."""
    tones = r"(?:medium-light|medium-dark|light|medium|dark) skin tone"
    base = re.sub(rf"[:,] {tones}(?=,|$)|(?<=:) {tones},", "", name)
    return "held-out" if int(hashlib.sha256(base.encode()).hexdigest(), 16) % HELD_OUT == 0 else "train"


def ligatures(font):
    """The font's ligatures, lookup by lookup: {glyphs: glyph}."""
    lookups = []
    for lookup in font["GSUB"].table.LookupList.Lookup:
        found = {}
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            if table.LookupType == 4:
                for first, rest in table.ligatures.items():
                    for ligature in rest:
                        found[(first, *ligature.Component)] = ligature.LigGlyph
        if found:
            lookups.append(found)
    return lookups


class Font:
    def __init__(self, path):
        from fontTools.ttLib import TTFont
        font = TTFont(path)
        self.glyphs = font.getBestCmap()
        self.lookups = ligatures(font)
        self.strike = font["CBDT"].strikeData[0]

    def png(self, codes):
        """The picture of a sequence of code points; None where the font has none."""
        glyphs = [self.glyphs.get(code) for code in codes if code != 0xFE0F]
        for lookup in self.lookups:
            glyphs = self.apply(lookup, glyphs)
        picture = self.strike.get(glyphs[0]) if len(glyphs) == 1 else None
        return getattr(picture, "imageData", None)

    @staticmethod
    def apply(lookup, glyphs):
        result, at = [], 0
        while at < len(glyphs):
            ends = (end for end in range(len(glyphs), at + 1, -1) if tuple(glyphs[at:end]) in lookup)
            end = next(ends, at + 1)
            result.append(lookup.get(tuple(glyphs[at:end]), glyphs[at]))
            at = end
        return result


def on_white(png, size):
    """In the middle of a white square, scaled to `size`."""
    from PIL import Image
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    side = max(picture.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square.convert("RGB").resize((size, size), Image.LANCZOS)


def main():
    parser = argparse.ArgumentParser(description="Rebuilds the emoji data set.")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=64, help="pixels a side; default 64")
    args = parser.parse_args()
    install()
    font = Font(FONT)
    args.out.mkdir(parents=True, exist_ok=True)
    rows, without = [], []
    for codes, name, group, subgroup in emoji():
        png = font.png(codes)
        if png is None:
            without.append(name)
            continue
        file = "-".join(f"{code:x}" for code in codes) + ".png"
        on_white(png, args.size).save(args.out / file)
        rows.append({"file_name": file, "text": name, "group": group, "subgroup": subgroup,
                     "split": split_of(name)})
    with open(args.out / "metadata.jsonl", "w", encoding="utf-8") as metadata:
        metadata.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    held_out = sum(row["split"] == "held-out" for row in rows)
    print(f"{args.out}: {len(rows)} emoji, {held_out} of them held out; the font lacks {len(without)}"
          + (f" ({', '.join(without[:3])}, ...)" if without else ""))


if __name__ == "__main__":
    main()
