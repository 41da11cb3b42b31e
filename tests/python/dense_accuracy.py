# SPDX-License-Identifier: Apache-2.0
# The dense model against PyTorch f32 on a folder of labelled pictures (labels.csv: file,label):
#   logits within 1e-4 from the same decoded pixels; with the program's own decoding top-1 equal on all but 1 in 400;
#   bf16 top-1 agreement of at least 99 %. Prints accuracy.
#   python3 dense_accuracy.py PROGRAM --model FOLDER --images FOLDER [--limit N]
import argparse
import csv
import math
import tempfile
from pathlib import Path

import torch

from program import classify, decode_with_pillow, list_pictures
from vit_reference import load_vit, preprocess, preprocess_settings


def accuracy(logits, labels):
    top1 = sum(int(v.argmax() == labels[k]) for k, v in logits.items())
    top5 = sum(int(labels[k] in v.topk(5).indices.tolist()) for k, v in logits.items())
    return f"top-1 {top1}/{len(logits)}, top-5 {top5}/{len(logits)}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    files = list_pictures(args.images, args.limit)
    with open(Path(args.images) / "labels.csv") as f:
        labels = {Path(r["file"]).stem: int(r["label"]) for r in csv.DictReader(f)}

    def program_logits(folder, *flags):
        rows, _ = classify(args.program, folder, args.model, *flags, threads=args.threads)
        return {f.stem: torch.tensor(rows[f.stem]["logits"]) for f in files}

    with tempfile.TemporaryDirectory() as temporary:
        pictures = Path(temporary)
        images = decode_with_pillow(files, pictures)
        links = pictures / "jpeg"
        links.mkdir()
        for f in files:
            (links / f.name).symlink_to(f.resolve())
        settings, model = preprocess_settings(args.model), load_vit(args.model)
        reference = {stem: model.forward(preprocess(image, *settings)).logits for stem, image in images.items()}
        png = {p.stem: p for p in pictures.glob("*.png")}
        assert len(png) == len(files)
        pictures_only = pictures / "png"
        pictures_only.mkdir()
        for p in png.values():
            p.rename(pictures_only / p.name)
        same_pixels = program_logits(pictures_only)
        own = program_logits(links)
        bf16 = program_logits(pictures_only, "--dtype", "bf16")

    def agree(a):
        return sum(int(a[k].argmax() == reference[k].argmax()) for k in reference)

    n = len(files)
    worst = max((same_pixels[k] - reference[k]).abs().max().item() for k in reference)
    drift = max((own[k] - reference[k]).abs().max().item() for k in reference)
    drift16 = max((bf16[k] - reference[k]).abs().max().item() for k in reference)
    checks = [
        (worst <= 1e-4, f"same pixels: largest logit difference {worst:.2e} (at most 1e-4), top-1 equal {agree(same_pixels)}/{n}"),
        (agree(own) >= n - max(1, n // 400), f"own decoding: top-1 equal {agree(own)}/{n}, largest logit difference {drift:.2e}"),
        (agree(bf16) >= math.ceil(0.99 * n), f"bf16: top-1 equal {agree(bf16)}/{n} (at least 99 %), largest logit difference {drift16:.2e}"),
    ]
    for good, line in checks:
        print("ok  " if good else "FAIL", line)
    for name, logits in (("PyTorch", reference), ("program, same pixels", same_pixels), ("program, own decoding", own), ("program, bf16", bf16)):
        print(f"     {name}: {accuracy(logits, labels)}")
    return 0 if all(good for good, _ in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
