#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Draws a training set once and keeps it as three arrays: pictures [n, size, size, 3] (u8, resized and cropped as
# `hedgerow classify` does it), labels [n], and the object's share of every patch [n, size / patch, size / patch] (u8).
#
#   python3 cache.py --out train.npz --count 24000 --seed 1000
import argparse
import io
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from PIL import Image

from draw import draw


def square(image, size, filter):
    """Shorter side to `size`, then the central square."""
    width, height = image.size
    scale = size / min(width, height)
    image = image.resize((max(size, int(width * scale)), max(size, int(height * scale))), filter)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def one(job):
    seed, index, size, patch = job
    jpeg, label, mask = draw(seed, index)
    picture = np.asarray(square(Image.open(io.BytesIO(jpeg)).convert("RGB"), size, Image.BICUBIC))
    share = np.asarray(square(Image.fromarray(mask), size, Image.BOX).reduce(patch))
    return picture, label, share


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    jobs = [(args.seed, i, args.size, args.patch) for i in range(args.count)]
    with ProcessPoolExecutor(args.processes) as pool:
        pictures, labels, shares = zip(*pool.map(one, jobs, chunksize=50))
    np.savez(args.out, pictures=np.stack(pictures), labels=np.array(labels), shares=np.stack(shares))


if __name__ == "__main__":
    main()
