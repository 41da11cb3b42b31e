#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares our decoding, resizing and preprocessing with Pillow, and with timm's transform where a model is given.

  compare_preprocess.py LOADING_TOOL [--pictures FOLDER] [--model FOLDER] [--count N] [--seed S]

Generated pictures have sides of 50 to 4,000 pixels. Exits 1 when anything differs by more than a level.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image, ImageOps

FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


class Tool:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        status, *rest = self.process.stdout.readline().split()
        if status != "ok":
            raise RuntimeError(" ".join(rest))
        return tuple(map(int, rest))


class Tally:
    """Largest difference and share of values that differ, by name."""

    def __init__(self):
        self.rows = {}

    def add(self, name, ours, theirs):
        row = self.rows.setdefault(name, [0, 0, 0, 0])
        difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)) if ours.shape == theirs.shape else np.array([1e9])
        row[0] += 1
        row[1] += difference.size
        row[2] += np.count_nonzero(difference)
        row[3] = max(row[3], float(difference.max()))

    def report(self):
        for name, (pictures, values, different, worst) in self.rows.items():
            print(f"{name:32} {pictures:5} pictures  {different:9} of {values} values differ, by at most {worst:g}")
        return max(row[3] for row in self.rows.values())


def draw(rng, width, height):
    """Smooth colour, hard edges and noise: what resampling filters react to."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    picture = np.empty((height, width, 3), np.float32)
    for c in range(3):
        picture[..., c] = 128 + 127 * np.sin(x * rng.uniform(0.001, 0.5) + y * rng.uniform(0.001, 0.5) + c)
    for _ in range(8):
        x0, y0 = rng.randrange(width), rng.randrange(height)
        picture[y0 : y0 + rng.randrange(1, height + 1), x0 : x0 + rng.randrange(1, width + 1)] = [rng.randrange(256) for _ in "rgb"]
    noise = np.random.default_rng(rng.randrange(2**31)).normal(0, rng.choice([0, 5, 60]), picture.shape)
    return Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8))


def compare_resize(tool, tally, folder, rng, count):
    path, out = os.path.join(folder, "in.png"), os.path.join(folder, "out")
    for i in range(count):
        width, height = (int(50 * 80 ** rng.random()) for _ in "wh")
        picture = draw(rng, width, height)
        picture.save(path, compress_level=0)
        for name, filter_code in FILTERS.items():
            to = rng.choice([(224, 224), (256, 256), (rng.randrange(1, 600), rng.randrange(1, 600)), (248, height), (width, 248)])
            tool.ask("resize", path, *to, name, out)
            ours = np.fromfile(out, np.uint8).reshape(to[1], to[0], 3)
            tally.add(f"resize {name}", ours, np.asarray(picture.resize(to, filter_code)))


def compare_decode(tool, tally, folder, rng, count):
    out = os.path.join(folder, "out")
    for i in range(count):
        picture = draw(rng, rng.randrange(1, 700), rng.randrange(1, 700))
        exif = Image.Exif()
        exif[0x0112] = rng.randrange(1, 9)
        jpeg = {"quality": rng.randrange(20, 100), "subsampling": rng.randrange(3), "progressive": rng.random() < 0.5, "exif": exif}
        grey = picture.convert("L")
        rgba = picture.copy()
        rgba.putalpha(grey)
        files = {
            "jpeg rgb": (picture, "a.jpg", jpeg),
            "jpeg grey": (grey, "b.jpg", jpeg),
            "jpeg cmyk": (picture.convert("CMYK"), "c.jpg", jpeg),
            "png rgb": (picture, "d.png", {"exif": exif}),
            "png alpha": (rgba, "e.png", {}),
            "png grey": (grey, "f.png", {}),
            "png grey and alpha": (rgba.convert("LA"), "g.png", {}),
            "png one bit": (picture.convert("1"), "h.png", {}),
            "png palette": (picture.quantize(rng.randrange(2, 257)), "i.png", {"transparency": 0}),
            "png grey, transparent": (grey, "j.png", {"transparency": 7}),
        }
        for name, (image, file, options) in files.items():
            path = os.path.join(folder, file)
            image.save(path, **options)
            width, height = tool.ask("decode", path, out)
            ours = np.fromfile(out, np.uint8).reshape(height, width, 3)
            with Image.open(path) as again:
                tally.add(f"decode {name}", ours, np.asarray(ImageOps.exif_transpose(again).convert("RGB")))


def pictures_in(folder):
    return [os.path.join(folder, f) for f in sorted(os.listdir(folder)) if f.lower().endswith((".jpg", ".jpeg", ".png"))]


def compare_files(tool, tally, folder, pictures):
    out = os.path.join(folder, "out")
    for path in pictures_in(pictures):
        width, height = tool.ask("decode", path, out)
        ours = np.fromfile(out, np.uint8).reshape(height, width, 3)
        with Image.open(path) as picture:
            tally.add("decode the folder's files", ours, np.asarray(ImageOps.exif_transpose(picture).convert("RGB")))


def compare_transform(tool, tally, folder, pictures, model):
    from timm.data import create_transform

    config = json.load(open(os.path.join(model, "config.json")))["pretrained_cfg"]
    keys = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    transform = create_transform(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in keys})
    out = os.path.join(folder, "out")
    for path in pictures_in(pictures):
        width, height = tool.ask("pixels", model, 0, path, out)
        ours = np.fromfile(out, np.float32).reshape(3, height, width)
        with Image.open(path) as picture:
            theirs = transform(ImageOps.exif_transpose(picture).convert("RGB")).numpy()
        tally.add("timm's transform (f32)", ours, theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("--pictures")
    parser.add_argument("--model")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tool, tally, rng = Tool(args.tool), Tally(), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        compare_resize(tool, tally, folder, rng, args.count)
        compare_decode(tool, tally, folder, rng, args.count)
        if args.pictures:
            compare_files(tool, tally, folder, args.pictures)
        if args.pictures and args.model:
            compare_transform(tool, tally, folder, args.pictures, args.model)
    sys.exit(tally.report() > 1)


if __name__ == "__main__":
    main()
