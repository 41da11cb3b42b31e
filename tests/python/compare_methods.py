# SPDX-License-Identifier: Apache-2.0
# Every pruning method of the program against its reference in PyTorch, picture by picture: kept sets equal, logits within
# 1e-4. The reference runs in float64 (two f32 runs may stray from it in opposite directions). A picture may differ only
# where a decision was a near-tie in the reference (margin below 1e-5 relative): those are listed as excluded, and at most
# 3 % may be.
#   python3 compare_methods.py PROGRAM --model FOLDER --images FOLDER [--only evit,ats] [--limit N]
#   python3 compare_methods.py PROGRAM --random distilled
import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from program import classify, decode_with_pillow, list_pictures
from prune_reference import METHODS, GivenSet
from vit_reference import load_vit, preprocess, preprocess_settings, random_predictors, random_vit

TOLERANCE, MARGIN, MAY_EXCLUDE = 1e-4, 1e-5, 0.03

CASES = [  # method, flags of the program, options of the reference
    ("none", [], {}),
    ("threshold-l2", [], {"value": 0.7}),
    ("threshold-l2", ["--keep", 0.5, "--prune-after", 6], {"value": 0.5, "after": 6}),
    ("threshold-l2", ["--threshold", "T"], {"rule": "threshold", "value": "T"}),
    ("threshold-l2", ["--threshold", "T", "--floor", 100], {"rule": "threshold", "value": "T", "floor": 100}),
    ("threshold-l2", ["--quantile", 0.4], {"rule": "quantile", "value": 0.4}),
    ("threshold-l2", ["--mass", 0.6], {"rule": "mass", "value": 0.6}),
    ("dynamicvit", ["--keep", 0.7], {"keep": 0.7}),
    ("dynamicvit", ["--keep", 0.5], {"keep": 0.5}),
    ("evit", ["--keep", 0.7], {"keep": 0.7}),
    ("evit", ["--keep", 0.5], {"keep": 0.5}),
    ("evit-unfused", ["--keep", 0.7], {"keep": 0.7}),
    ("evit-unfused", ["--keep", 0.5], {"keep": 0.5}),
    ("ats", [], {}),
    ("tome", [], {"r": 13}),
    ("tome", ["--merge-r", 16], {"r": 16}),
    ("diffrate", [], {}),
    ("diffrate", ["--diffrate", "T 0.6"], {"rates": "T 0.6"}),
    ("paper-l2", ["--keep", 0.5], {"keep": 0.5}),
    ("paper-evit", ["--keep", 0.5], {"keep": 0.5}),
    ("paper-ats", ["--keep", 0.5], {"keep": 0.5}),
    ("paper-dynamicvit", ["--keep", 0.5], {}),
]


def compare_picture(ours, reference):
    """(largest logit difference, a word about the first difference in kept rows or None)."""
    difference = (torch.tensor(ours["logits"], dtype=torch.float64) - reference.logits.double()).abs().max().item()
    if ours["kept"][:-1] != reference.rows[:-1]:  # the last block computes only the rows the output needs
        block = next(i for i, (a, b) in enumerate(zip(ours["kept"], reference.rows)) if a != b)
        return difference, f"rows leaving block {block}: {ours['kept'][block]}, reference {reference.rows[block]}"
    theirs = dict(zip(reference.stages, reference.kept))
    mine = dict(zip(ours["stages"], ours["kept_patches"]))
    last, before = f"block {len(reference.rows) - 1}", None
    for stage, patches in theirs.items():
        unchanged, before = patches == (before or list(range(reference.patches))), patches
        if stage not in mine:
            if stage == last or unchanged:
                continue
            return difference, f"{stage} missing among the stages {list(mine)}"
        if sorted(mine[stage]) != patches:
            return difference, f"{stage}: kept sets differ in {sorted(set(mine[stage]) ^ set(patches))[:8]}"
    return difference, None


def compare_case(args, case, model, folder, pictures, pixels):
    name, flags, options = case
    ours, seconds = classify(args.program, pictures, folder, "--prune", name, *flags, *args.flags.split(), threads=args.threads)
    worst, excluded, failed, near, lowest = 0.0, [], [], 0, {}
    for stem, values in pixels.items():
        if name == "paper-dynamicvit":  # its gate is random by definition: check what follows the choice, and the count
            method = GivenSet(model, ours[stem]["kept_patches"][0])
        else:
            method = METHODS[name](model, **options)
        reference = model.forward(values, method)
        difference, word = compare_picture(ours[stem], reference)
        kind, margin = min(reference.margins, key=lambda m: m[1], default=("none", 1.0))
        near += margin < MARGIN
        if word is None and difference <= TOLERANCE:
            worst = max(worst, difference)
        elif margin < MARGIN:
            excluded.append(f"{stem}: {word}, logits differ by {difference:.2g}, {kind} margin {margin:.1e}")
        else:
            failed.append(f"{stem}: {word or 'same rows'}, logits differ by {difference:.2g}, {kind} margin {margin:.1e}")
        rows = reference.rows[-2]
        lowest = {"low": min(lowest.get("low", rows), rows), "high": max(lowest.get("high", rows), rows)}
    good = not failed and len(excluded) <= MAY_EXCLUDE * len(pixels)
    title = " ".join([name, *map(str, flags)])
    print(f"{'ok  ' if good else 'FAIL'} {title:42s} max logit difference {worst:.2e}  rows {lowest['low']}-{lowest['high']}  "
          f"excluded {len(excluded)}  failed {len(failed)}  (near ties {near})  {seconds:.1f} s", flush=True)
    for line in [f"     excluded {e}" for e in excluded] + [f"     failed {f}" for f in failed[:5]]:
        print(line)
    return good


def given_model(args, pictures, folder):
    """The checkpoint with random DynamicViT predictors beside it, and the pictures as Pillow decodes them."""
    folder.mkdir()
    shutil.copyfile(Path(args.model) / "config.json", folder / "config.json")
    dtype = torch.float32 if args.single else torch.float64
    extra = random_predictors(load_vit(args.model).dim, seed=3)
    model = load_vit(args.model, dtype=dtype, extra=extra)
    save_file({k: v.float().contiguous() for k, v in model.t.items()}, folder / "model.safetensors")
    return decode_with_pillow(list_pictures(args.images, args.limit), pictures), model


def random_model(args, pictures, folder):
    """Random weights of width 192 and pictures of blurred noise: needs no data, and covers a second special row."""
    folder.mkdir()
    model = random_vit(heads=args.heads, distilled=args.random == "distilled", seed=5)
    model.t.update(random_predictors(model.dim, seed=3))
    save_file({k: v.contiguous() for k, v in model.t.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "architecture": "vit_tiny_patch16_224", "num_classes": 10, "model_args": {"num_heads": args.heads},
        "pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 1.0, "mean": [0.5] * 3, "std": [0.25] * 3}}))
    if not args.single:
        model.t, model.dtype = {k: v.double() for k, v in model.t.items()}, torch.float64
    noise, images = np.random.default_rng(11), {}
    for i in range(args.limit or 8):
        coarse = noise.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        images[f"noise{i}"] = Image.fromarray(coarse).resize((224, 224), Image.BICUBIC)
        images[f"noise{i}"].save(pictures / f"noise{i}.png")
    return images, model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--model", help="folder of a timm checkpoint")
    parser.add_argument("--images", help="folder of pictures")
    parser.add_argument("--random", choices=["plain", "distilled"], help="random weights and pictures instead")
    parser.add_argument("--heads", type=int, default=3, help="of the random model, whose width is 192")
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true", help="one case a method")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--single", action="store_true", help="the reference in f32 (faster, with rounding of its own)")
    parser.add_argument("--flags", default="", help="more flags for the program, as in '--layout padded'")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cases = [c for c in CASES if not args.only or c[0] in args.only.split(",")]
    if args.quick:
        cases = [c for i, c in enumerate(cases) if c[0] not in [d[0] for d in cases[:i]]]

    with tempfile.TemporaryDirectory() as temporary:
        pictures, folder = Path(temporary) / "pictures", Path(temporary) / "model"
        pictures.mkdir()
        make = random_model if args.random else given_model
        images, model = make(args, pictures, folder)
        settings = preprocess_settings(folder)
        pixels = {stem: preprocess(image, *settings) for stem, image in images.items()}

        # A threshold that cuts about half: the median length of all patches of some pictures.
        lengths = []
        for values in list(pixels.values())[:8]:
            rows, method = model.embed(values), METHODS["none"](model)
            for i in range(4):
                rows = model.block(i, rows, method, None)
            lengths.append(rows.x[model.special:].norm(dim=1))
        threshold = round(torch.cat(lengths).median().item(), 3)
        fill = lambda v: threshold if v == "T" else v
        good = True
        for name, flags, options in cases:
            case = (name, [fill(f) for f in flags], {k: fill(v) for k, v in options.items()})
            good &= compare_case(args, case, model, folder, pictures, pixels)
    print("all methods agree" if good else "some methods disagree")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
