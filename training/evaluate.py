#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Draws held-out pictures and lets `hedgerow classify` tell them, dense and pruned by every method: a Markdown table of
# accuracy, arithmetic, and how much of the object is among the patches that live to the end. numpy and Pillow only.
#
#   python3 evaluate.py --program ../build/release/hedgerow/cli/hedgerow --model ../models/hedgerow-vit-mini
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from cache import square

RATES = ("0.9", "0.7", "0.5", "0.3")
BY_RATE = ("threshold-l2", "dynamicvit", "evit", "evit-unfused", "paper-l2", "paper-dynamicvit", "paper-evit", "paper-ats")
MERGES = ("4", "8", "11", "13")


def settings():
    yield "none", "", []
    for method in BY_RATE:
        for rate in RATES:
            yield method, "keep " + rate, ["--keep", rate]
    yield "ats", "", []
    for r in MERGES:
        yield "tome", "r " + r, ["--merge-r", r]
    for name in ("T 1.0", "T 0.8", "T 0.6"):
        yield "diffrate", name, ["--diffrate", name]


def draw_pictures(folder, count, seed):
    here = os.path.dirname(os.path.abspath(__file__))
    masks = os.path.join(folder, "masks")
    pictures = os.path.join(folder, "pictures")
    labels = os.path.join(folder, "labels.csv")
    subprocess.run([sys.executable, os.path.join(here, "draw.py"), "--out", pictures, "--count", str(count), "--seed", str(seed),
                    "--labels", labels, "--masks", masks], check=True)
    return pictures, labels, masks


def truths(labels, masks, size, patch):
    """Per file name: the class, and the object's share of every patch of the network's grid."""
    known = {}
    with open(labels, newline="") as file:
        for row in csv.DictReader(file):
            mask = Image.open(os.path.join(masks, row["file"].replace(".jpg", ".png")))
            share = np.asarray(square(mask, size, Image.BOX).reduce(patch), dtype=np.float64).ravel() / 255
            known[row["file"]] = int(row["label"]), share
    return known


def measure(command, known):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()[-1:]
        return None, "; ".join(lines)
    right = macs = rows = kept = best = count = 0
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        label, share = known[os.path.basename(answer["path"])]
        right += answer["top"][0]["index"] == label
        macs += answer["macs"]
        rows += answer["kept"][-2]
        alive = answer["kept_patches"][-1] if answer.get("kept_patches") else range(len(share))
        for source, target in (answer.get("merged") or [[]])[-1]:
            alive = list(alive) + [source]
        kept += share[list(alive)].sum()
        best += np.sort(share)[::-1][:len(alive)].sum()
        count += 1
    if count != len(known):
        return None, f"{count} of {len(known)} pictures told"
    return (right / count, macs / count, rows / count, kept / best), None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=424242, help="must be none that training drew with")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--jobs", type=int, default=2, help="settings measured at a time")
    parser.add_argument("--dtype", default="f32")
    args = parser.parse_args()
    with open(os.path.join(args.model, "config.json")) as file:
        shape = json.load(file)["model_args"]
    with tempfile.TemporaryDirectory() as folder:
        pictures, labels, masks = draw_pictures(folder, args.count, args.seed)
        known = truths(labels, masks, shape["img_size"], shape["patch_size"])
        print("| method | setting | accuracy | multiply-adds | rows into the last block | of the object |")
        print("|---|---|---|---|---|---|")
        common = ["--json", "--kept", "--labels", labels, "--threads", args.threads, "--dtype", args.dtype]
        start = [args.program, "classify", pictures, "--model", args.model]
        dense, failed = None, False
        with ThreadPoolExecutor(args.jobs) as pool:
            runs = [(method, setting, pool.submit(measure, [*start, "--prune", method, *flags, *common], known))
                    for method, setting, flags in settings()]
            for method, setting, run in runs:
                result, fault = run.result()
                if fault:
                    failed = True
                    print(f"| {method} | {setting} | failed: {fault} | | | |", flush=True)
                    continue
                accuracy, macs, rows, on_object = result
                dense = dense or macs
                print(f"| {method} | {setting} | {100 * accuracy:.2f} % | {macs / 1e6:.1f} M, {macs / dense:.2f} | {rows:.1f} | "
                      f"{100 * on_object:.1f} % |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
