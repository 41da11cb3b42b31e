# SPDX-License-Identifier: Apache-2.0
# Writes tests/data/reference: a few small drawn pictures and what the PyTorch reference (float64) says of them under every
# pruning method, so that reference_test.py compares the program with an independent implementation without PyTorch.
#   python3 record_reference.py [--pictures 6] [--seed 7]
import argparse
import io
import json
import sys
from pathlib import Path

import torch
from PIL import Image

from prune_reference import METHODS
from vit_reference import load_vit, preprocess, preprocess_settings

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "training"))
MODEL = "hedgerow-vit-mini"
MARGIN = 1e-5  # relative; a picture with a decision nearer to a tie than this is not used

CASES = [  # method, flags of the program, options of the reference
    ("none", [], {}),
    ("threshold-l2", ["--keep", "0.7"], {"value": 0.7}),
    ("threshold-l2", ["--keep", "0.5"], {"value": 0.5}),
    ("dynamicvit", ["--keep", "0.7"], {"keep": 0.7}),
    ("evit", ["--keep", "0.7"], {"keep": 0.7}),
    ("evit-unfused", ["--keep", "0.7"], {"keep": 0.7}),
    ("ats", [], {}),
    ("tome", ["--merge-r", "11"], {"r": 11}),  # 145 rows, 12 blocks: 13 stay
    ("diffrate", ["--diffrate", "T 0.8"], {"rates": "T 0.8"}),
    ("paper-l2", ["--keep", "0.5"], {"keep": 0.5}),
    ("paper-evit", ["--keep", "0.5"], {"keep": 0.5}),
    ("paper-ats", ["--keep", "0.5"], {"keep": 0.5}),
]


def drawn(seed, index, size):
    """The picture's central square, at exactly the model's resolution: nothing is left to resize or to crop."""
    from draw import draw

    picture = Image.open(io.BytesIO(draw(seed, index)[0])).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side)).resize((size, size), Image.BICUBIC)


def as_bits(patches):
    """Patch p is bit p of a hexadecimal number: short, and easy to compare."""
    return f"{sum(1 << p for p in patches):x}"


def record(model, values):
    """One entry a case, and the nearest that any decision came to a tie."""
    entries, nearest = [], 1.0
    for name, flags, options in CASES:
        result = model.forward(values, METHODS[name](model, **options))
        nearest = min([nearest] + [margin for _, margin in result.margins])
        entries.append({"logits": [float(f"{v:.7g}") for v in result.logits.tolist()], "rows": result.rows,
                        "stages": dict(zip(result.stages, map(as_bits, result.kept)))})
    return entries, nearest


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "data" / "reference")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = ROOT / "models" / MODEL
    model, settings = load_vit(folder, dtype=torch.float64, heads=2), preprocess_settings(folder)
    args.out.mkdir(parents=True, exist_ok=True)

    pictures, index = {}, 0
    while len(pictures) < args.pictures:
        picture = drawn(args.seed, index, settings[0])
        entries, nearest = record(model, preprocess(picture, *settings).double())
        used = nearest > MARGIN
        print(f"picture {index}: nearest decision {nearest:.1e}{'' if used else ', not used'}", flush=True)
        if used:
            pictures[f"drawn{index}.png"] = entries
            picture.save(args.out / f"drawn{index}.png", optimize=True)
        index += 1
    cases = [{"flags": ["--prune", name, *flags], "pictures": {p: entries[i] for p, entries in pictures.items()}}
             for i, (name, flags, _) in enumerate(CASES)]
    patches = (settings[0] // model.patch) ** 2
    text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (args.out / "reference.json").write_text(
        f'{{"model":"{MODEL}","patches":{patches},"special":{model.special},"cases":[\n{text}\n]}}\n')


if __name__ == "__main__":
    main()
