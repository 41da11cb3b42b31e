#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of this folder and asks Pillow (13.0) what their pixels are, decoded and resized.

NAME.expected: int32 width, height (little endian), then u8 HWC RGB. Run it inside tests/data; the files are committed.
"""
import json
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}
SIZES = [(23, 17), (53, 31), (9, 40), (53, 11), (30, 6), (1, 1), (80, 64)]


def draw(width, height, seed):
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 127 * np.sin(x * (0.2 + 0.1 * c) + y * 0.3 + c) for c in range(3)]
    picture = np.stack(waves, -1)
    picture[height // 4 : height // 2, width // 3 :] = [250, 20, 90]
    picture += np.random.default_rng(seed).normal(0, 12, picture.shape)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def expect(name, picture):
    with open(name, "wb") as file:
        file.write(struct.pack("<ii", *picture.size) + picture.tobytes())


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def interlaced_png(picture):
    """Pillow reads Adam7 but does not write it."""
    pixels, raw = np.asarray(picture), b""
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = pixels[y0::dy, x0::dx]
        if part.size:
            raw += b"".join(b"\0" + row.tobytes() for row in part)
    header = struct.pack(">IIBBBBB", *picture.size, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def pictures():
    picture = draw(21, 15, 1)
    grey = picture.convert("L")
    rgba = picture.copy()
    rgba.putalpha(grey)
    palette = picture.quantize(12)
    files = {"rgb420.jpg": (picture, {"quality": 80}), "rgb444.jpg": (picture, {"quality": 95, "subsampling": 0}),
             "progressive.jpg": (picture, {"quality": 70, "progressive": True, "subsampling": 1}),
             "restarts.jpg": (picture, {"restart_marker_blocks": 1}), "grey.jpg": (grey, {}),
             "cmyk.jpg": (picture.convert("CMYK"), {}), "rgb.png": (picture, {}), "grey.png": (grey, {}),
             "alpha.png": (rgba, {}), "grey_alpha.png": (rgba.convert("LA"), {}), "one_bit.png": (picture.convert("1"), {}),
             "palette.png": (palette, {"transparency": 3}), "key.png": (picture, {"transparency": (250, 20, 90)})}
    for name, (image, options) in files.items():
        image.save(name, **options)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"turned{orientation}." + ("png" if orientation % 4 == 2 else "jpg")
        picture.save(name, exif=exif)
        files[name] = None
    with open("interlaced.png", "wb") as file:
        file.write(interlaced_png(picture))
    files["interlaced.png"] = None
    for name in files:
        with Image.open(name) as again:
            expect(name + ".expected", ImageOps.exif_transpose(again).convert("RGB"))


def resized():
    picture = draw(53, 31, 2)
    picture.save("resize.png")
    for name, code in FILTERS.items():
        for width, height in SIZES:
            if name == "bicubic" or (width, height) in SIZES[:3]:
                expect(f"resize_{name}_{width}_{height}.expected", picture.resize((width, height), code))


def checkpoint():
    """A few tensors of each kind, as the safetensors format lays them out."""
    tensors = {"a.weight": ("F32", [2, 3]), "a.bias": ("F16", [3]), "b": ("BF16", [4]), "c": ("I64", [1]), "d": ("F32", [0])}
    width, header, at = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}, {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        size = int(np.prod(shape)) * width[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    values = np.arange(1, 7, dtype=np.float32).tobytes() + np.array([0.5, -2, 65504], np.float16).tobytes()
    values += (np.array([1, -3, 0.125, 1e30], np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    values += struct.pack("<q", 7)
    with open("small.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + values)


pictures()
resized()
checkpoint()
