# SPDX-License-Identifier: Apache-2.0
# Every pruning method of the program against its reference in PyTorch, picture by picture: kept sets equal, logits within
# 1e-4. A picture may differ only where a decision was a near-tie in the reference (margin below 1e-5 relative); those are
# listed as excluded, and at most 3 % may be.
#   python3 compare_methods.py PROGRAM --model FOLDER --images FOLDER [--only evit,ats] [--limit N]
import argparse
import shutil
import tempfile
from pathlib import Path

import torch

from program import classify, decode_with_pillow, list_pictures
from prune_reference import METHODS, GivenSet
from vit_reference import load_vit, preprocess, preprocess_settings, random_predictors

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
    last = f"block {len(reference.rows) - 1}"
    for stage, patches in theirs.items():
        if stage not in mine:
            if stage == last or len(patches) == len(reference.tokens) - 1:
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flags", default="", help="more flags for the program, as in '--layout padded'")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cases = [c for c in CASES if not args.only or c[0] in args.only.split(",")]

    with tempfile.TemporaryDirectory() as temporary:
        pictures, folder = Path(temporary) / "pictures", Path(temporary) / "model"
        pictures.mkdir()
        images = decode_with_pillow(list_pictures(args.images, args.limit), pictures)
        settings = preprocess_settings(args.model)
        pixels = {stem: preprocess(image, *settings) for stem, image in images.items()}

        shutil.copytree(args.model, folder)  # with DynamicViT predictors beside it
        plain = load_vit(args.model)
        from safetensors.torch import save_file
        predictors = random_predictors(plain.dim, seed=3)
        model = load_vit(args.model, extra=predictors)
        for file in folder.glob("*.safetensors"):
            file.chmod(0o644)
        folder.chmod(0o755)
        save_file({k: v.contiguous() for k, v in model.t.items()}, folder / "model.safetensors")

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
