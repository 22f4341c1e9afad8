"""Writes tests/fixtures/images/: one picture in the formats that Tiller reads, and a PNG with text,
as Pillow writes them. Pixel (x, y) of the picture is (5 x, 9 y, 7 (x + y)) for lossless formats."""

import pathlib

import numpy
from PIL import Image, PngImagePlugin

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "images"


def picture(width=24, height=16):
    y, x = numpy.mgrid[0:height, 0:width]
    return Image.fromarray(numpy.stack([5 * x, 9 * y, 7 * (x + y)], -1).astype(numpy.uint8))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    image = picture()
    image.save(FOLDER / "plain.bmp")
    image.save(FOLDER / "plain.tga")
    image.save(FOLDER / "plain.jpg", quality=95, subsampling=0)
    for orientation, order in (3, "II"), (6, "MM"):  # the order of EXIF's bytes
        exif = Image.Exif()
        exif.endian = "<" if order == "II" else ">"
        exif[274] = orientation
        image.save(FOLDER / f"turned_{orientation}.jpg", quality=95, subsampling=0, exif=exif)
    image.convert("L").save(FOLDER / "grey.png")
    Image.fromarray(numpy.array([[[255, 0, 0]] * 8 + [[0, 0, 255]] * 8] * 8, numpy.uint8)).save(
        FOLDER / "two_colours.gif")
    transparent = image.copy()
    transparent.putalpha(128)
    transparent.save(FOLDER / "transparent.png")

    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a lighthouse\nSteps: 20, Seed: 7")
    text.add_text("accent", "caf\u00e9")
    text.add_text("compressed", "long " * 100, zip=True)
    text.add_itxt("greek", "\u03b1\u03b2\u03b3", lang="el", tkey="")
    text.add_itxt("greek compressed", "\u03b1" * 300, zip=True)
    image.save(FOLDER / "text.png", pnginfo=text)

    photo = Image.fromarray(
        numpy.random.default_rng(0).integers(0, 256, (20, 30, 3), numpy.uint8), "RGB")
    photo.save(FOLDER / "noise.png")
    small = photo.resize((12, 8), Image.Resampling.BICUBIC).crop((2, 0, 10, 8))
    small.save(FOLDER / "noise_8.png")


if __name__ == "__main__":
    main()
