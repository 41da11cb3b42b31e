#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Draws labelled pictures: one object of a dozen classes on a cluttered ground, with lighting, occlusion, blur, noise
# and JPEG artefacts. Picture i of a seed is the same picture whatever --count is (pixels may differ by a rounding between
# versions of Pillow). Needs numpy and Pillow only.
#
#   python3 draw.py --out DIR --count N --seed S [--labels labels.csv] [--masks DIR]
import argparse
import csv
import io
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from shapes import CLASSES, NAMES

CLUTTER = ("line", "blob", "box", "arc", "polygon", "fragment")
SUPERSAMPLE = 3
TILT = 0.6  # radians an object leans to either side at most


def rotate(points, angle):
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def paint(parts, width, height, cx, cy, radius, angle):
    """Coverage in [0, 1] of the parts, turned by angle, scaled to radius and centred at (cx, cy); with the slices of
    the picture that it covers."""
    k = SUPERSAMPLE
    reach = int(np.ceil(radius * 1.5)) + 1
    x0, y0 = int(cx) - reach, int(cy) - reach
    tile = Image.new("L", (2 * reach * k, 2 * reach * k), 0)
    pen = ImageDraw.Draw(tile)
    for value, points in parts:
        p = (rotate(points, angle) * radius + (cx - x0, cy - y0)) * k
        pen.polygon([tuple(q) for q in p.tolist()], fill=value)
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + 2 * reach, width), min(y0 + 2 * reach, height)
    cover = np.asarray(tile.reduce(k), dtype=np.float32)[top - y0:bottom - y0, left - x0:right - x0] / 255
    return cover, (slice(top, bottom), slice(left, right))


def noise(rng, width, height, cells):
    """Smooth noise in [0, 1] of about `cells` bumps across."""
    small = rng.integers(0, 256, (max(2, round(cells * height / width)), max(2, cells)), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.BICUBIC), dtype=np.float32) / 255


def axes(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return (x - width / 2) / min(width, height), (y - height / 2) / min(width, height)


def colour(rng, away_from=None, distance=0.0):
    """A random colour, at least `distance` (in levels) from another."""
    for _ in range(24):
        c = rng.uniform(15, 240, 3).astype(np.float32)
        if away_from is None or np.linalg.norm(c - away_from) >= distance:
            return c
    return np.where(np.asarray(away_from) > 127, 25, 230).astype(np.float32)


def texture(rng, width, height, a, b):
    """An RGB field that runs between two colours: flat, gradient, stripes, checks, dots or noise."""
    x, y = axes(width, height)
    angle = rng.uniform(0, 2 * np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kind = rng.integers(0, 7)
    f = rng.uniform(4, 14)
    if kind == 0:
        t = np.full((height, width), rng.uniform(0, 1), np.float32)
    elif kind == 1:
        t = np.clip(u + 0.5, 0, 1)
    elif kind == 2:
        t = 0.5 + 0.5 * np.sin(2 * np.pi * f * u)
    elif kind == 3:
        t = (np.sin(np.pi * f * u) * np.sin(np.pi * f * v) > 0).astype(np.float32)
    elif kind == 4:
        t = (np.cos(2 * np.pi * f * u) + np.cos(2 * np.pi * f * v) > 0.9).astype(np.float32)
    else:
        coarse, fine = noise(rng, width, height, int(rng.integers(3, 9))), noise(rng, width, height, int(rng.integers(12, 50)))
        t = np.clip((0.6 * coarse + 0.4 * fine - 0.5) * np.float32(rng.uniform(1, 2.5)) + 0.5, 0, 1)
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return a + (b - a) * t.astype(np.float32)[..., None]


def blend(picture, field, cover, at=(slice(None), slice(None)), alpha=1.0):
    """Lays a field (or one colour) over part of the picture, in place."""
    under = picture[at]
    under += (field - under) * (cover * np.float32(alpha))[..., None]


def clutter_parts(rng, kind):
    if kind == "line":
        half = rng.uniform(0.01, 0.05)
        return [(255, np.array([[-1, -half], [1, -half], [1, half], [-1, half]]))]
    if kind == "box":
        half = rng.uniform(0.3, 0.9)
        return [(255, np.array([[-1, -half], [1, -half], [1, half], [-1, half]]))]
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    if kind == "arc":
        t, thick = np.linspace(0, rng.uniform(1, 4), 24), rng.uniform(0.06, 0.2)
        outer = np.stack([np.cos(t), np.sin(t)], axis=1)
        return [(255, np.concatenate([outer, outer[::-1] * (1 - thick)]))]
    if kind == "blob":
        radius = 0.75 + 0.25 * np.sin(rng.integers(2, 5) * t + rng.uniform(0, 6)) * rng.uniform(0.5, 1)
        return [(255, np.stack([radius * np.cos(t), radius * np.sin(t) * rng.uniform(0.4, 0.9)], axis=1))]
    if kind == "polygon":
        t = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 8)))
        radius = rng.uniform(0.5, 1, len(t))
        return [(255, np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1))]
    # fragment: a strip of a class outline, too little of it to be one of that class
    parts = list(CLASSES[rng.integers(len(CLASSES))](rng))
    cut, turn = rng.uniform(-0.1, 0.25), rng.uniform(0, 2 * np.pi)
    parts.append((0, rotate(np.array([[cut, -2], [2, -2], [2, 2], [cut, 2]]), turn)))
    parts.append((0, rotate(np.array([[-2, -2], [2, -2], [2, cut - 0.55], [-2, cut - 0.55]]), turn + np.pi / 2)))
    return parts


def ground(rng, width, height):
    a = colour(rng)
    b = np.clip(a + rng.normal(0, 45, 3), 0, 255)
    picture = texture(rng, width, height, a, b)
    if rng.random() < 0.6:
        blend(picture, texture(rng, width, height, colour(rng), b), noise(rng, width, height, 3), alpha=rng.uniform(0.2, 0.6))
    side = min(width, height)
    for _ in range(rng.integers(3, 13)):
        kind = CLUTTER[rng.integers(len(CLUTTER))]
        radius = side * (rng.uniform(0.2, 0.7) if kind in ("line", "arc") else rng.uniform(0.04, 0.16))
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        cover, at = paint(clutter_parts(rng, kind), width, height, x, y, radius, rng.uniform(0, 2 * np.pi))
        field = colour(rng)
        if rng.random() < 0.3:
            field = texture(rng, cover.shape[1], cover.shape[0], field, colour(rng))
        blend(picture, field, cover, at, rng.uniform(0.4, 1))
    return picture


def occlude(rng, picture, mask, cx, cy, radius):
    """One or two bars or blobs over the object, each left out if it would hide more than a quarter of it."""
    height, width = mask.shape
    for _ in range(rng.integers(1, 3)):
        kind = ("line", "blob", "box")[rng.integers(3)]
        size = radius * (rng.uniform(1, 2) if kind == "line" else rng.uniform(0.2, 0.45))
        x, y = cx + radius * rng.uniform(-0.8, 0.8), cy + radius * rng.uniform(-0.8, 0.8)
        cover, at = paint(clutter_parts(rng, kind), width, height, x, y, size, rng.uniform(0, 2 * np.pi))
        if (cover * mask[at]).sum() <= 0.25 * mask.sum():
            blend(picture, colour(rng), cover, at)
            mask[at] *= 1 - cover


def expose(rng, picture):
    """Light from one side, vignette, a colour cast, blur and sensor noise."""
    height, width = picture.shape[:2]
    x, y = axes(width, height)
    angle = rng.uniform(0, 2 * np.pi)
    light = np.float32(1) + rng.uniform(0, 0.5) * (x * np.cos(angle) + y * np.sin(angle)) - rng.uniform(0, 0.5) * (x * x + y * y)
    cast = (rng.uniform(0.85, 1.15, 3) * rng.uniform(0.65, 1.15)).astype(np.float32)
    picture = np.clip(picture * light.astype(np.float32)[..., None] * cast, 0, 255)
    image = Image.fromarray(picture.astype(np.uint8))
    if rng.random() < 0.6:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 2.0)) * min(width, height) / 240))
    picture = np.array(image, dtype=np.float32)
    picture += rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(0, 14))
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def draw(seed, index):
    """One picture: (JPEG bytes, class index, mask of the object's visible part as a uint8 array)."""
    rng = np.random.default_rng([seed, index])
    label = int(rng.integers(len(CLASSES)))
    width, height = (int(v) for v in rng.integers(160, 321, 2))
    # The object lies inside the central square: what a classifier's resize and centre crop leaves over.
    side = min(width, height)
    radius = side * rng.uniform(0.3, 0.65) / 2
    room = max(side / 2 - radius - 2, 0)
    cx, cy = width / 2 + rng.uniform(-room, room), height / 2 + rng.uniform(-room, room)
    picture = ground(rng, width, height)
    cover, at = paint(CLASSES[label](rng), width, height, cx, cy, radius, rng.uniform(-TILT, TILT))
    mask = np.zeros((height, width), np.float32)
    mask[at] = cover

    around = picture[at].mean(axis=(0, 1))
    a = colour(rng, around, rng.uniform(60, 150))
    b = np.clip(a + rng.normal(0, 30, 3), 0, 255) if rng.random() < 0.7 else colour(rng, around, 60)
    if rng.random() < 0.4:
        shift = tuple(int(v) for v in rng.integers(-6, 7, 2))
        blend(picture, np.float32(0), np.roll(mask, shift, axis=(0, 1)), alpha=rng.uniform(0.2, 0.5))
    field = texture(rng, cover.shape[1], cover.shape[0], a, b)
    x, y = axes(cover.shape[1], cover.shape[0])
    angle = rng.uniform(0, 2 * np.pi)
    shade = 1 + np.float32(rng.uniform(0, 0.5)) * (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)))
    blend(picture, field * shade[..., None], cover, at)
    if rng.random() < 0.5:
        occlude(rng, picture, mask, cx, cy, radius)
    store = io.BytesIO()
    expose(rng, picture).save(store, "JPEG", quality=int(rng.integers(30, 96)))
    return store.getvalue(), label, (mask * 255).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description="Draws labelled pictures of objects on cluttered grounds.")
    parser.add_argument("--out", required=True, help="folder for the pictures (made if missing)")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", help="CSV to write (default: labels.csv in the folder)")
    parser.add_argument("--masks", help="folder for the objects' masks as PNG (not written by default)")
    args = parser.parse_args()
    for folder in filter(None, (args.out, args.masks)):
        os.makedirs(folder, exist_ok=True)
    with open(args.labels or os.path.join(args.out, "labels.csv"), "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "name", "x0", "y0", "x1", "y1", "area"])
        for i in range(args.count):
            jpeg, label, mask = draw(args.seed, i)
            name = f"{i:05d}.jpg"
            with open(os.path.join(args.out, name), "wb") as out:
                out.write(jpeg)
            if args.masks:
                Image.fromarray(mask).save(os.path.join(args.masks, f"{i:05d}.png"))
            ys, xs = np.nonzero(mask > 127)
            area = round(float((mask > 127).mean()), 4)
            table.writerow([name, label, NAMES[label], xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, area])


if __name__ == "__main__":
    main()
