#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The tables and the sheet of overlays that script/demo shows. Needs Pillow only. Ways are timed in turn, round
# after round, so that a busy machine slows them alike.
#
#   demo_table.py accuracy PROGRAM PICTURES LABELS
#   demo_table.py speed BENCH_JSON
#   demo_table.py overlays PROGRAM PICTURES LABELS FOLDER    (the sheet is FOLDER.png)
import csv
import json
import os
import re
import statistics
import subprocess
import sys

from PIL import Image, ImageDraw, ImageFont

RATED = ("threshold-l2", "dynamicvit", "evit", "evit-unfused", "paper-l2", "paper-dynamicvit", "paper-evit", "paper-ats")
UNRATED = ("ats", "tome", "diffrate")  # these have no keep rate: their own defaults
MODEL = "hedgerow-vit-mini"
SHOWN = (("dynamicvit", "DynamicViT"), ("evit", "EViT"))
ROUNDS = 5
GROUND, TEXT = (17, 19, 24), (236, 238, 242)


def classify(program, arguments):
    """The JSON lines of one run, and pictures/s of the network alone."""
    run = subprocess.run([program, "classify", "--json", "--top", "1", *arguments], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(run.stderr.strip() or f"{program} classify: exit status {run.returncode}")
    rate = re.search(r"computing alone ([\d.]+)", run.stderr)
    if not rate:
        sys.exit(f"{program} classify: no throughput in its summary")
    return [json.loads(line) for line in run.stdout.splitlines()], float(rate.group(1))


def accuracy(program, pictures, labels):
    runs = [("dense", "", "ragged", ["--prune", "none"])]
    for method in RATED + ("dynamicvit, padded",):
        name, _, layout = method.partition(", ")
        layout = layout or "ragged"
        runs += [(method, k, layout, ["--prune", name, "--keep", k, "--layout", layout]) for k in ("0.7", "0.5")]
    runs += [(method, "", "ragged", ["--prune", method]) for method in UNRATED]
    results, rates = [], [[] for _ in runs]
    for number in range(ROUNDS):
        for i, (_, _, layout, flags) in enumerate(runs):
            if sys.stderr.isatty():
                print(f"\r  round {number + 1} of {ROUNDS}, way {i + 1} of {len(runs)}\033[K", end="", file=sys.stderr, flush=True)
            found, rate = classify(program, [pictures, "--model", MODEL, "--labels", labels, *flags])
            rates[i].append(rate)
            if number == 0:
                results.append(found)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(f"{'method':20} keep  rows left  arithmetic  images/s   gain  accuracy  as dense")
    dense = {r["path"]: r["top"][0]["index"] for r in results[0]}
    dense_macs = sum(r["macs"] for r in results[0])
    for (method, keep, _, _), found, rate in zip(runs, results, rates):
        count = len(found)
        right = sum(r["top"][0]["index"] == r["truth"] for r in found)
        same = sum(dense[r["path"]] == r["top"][0]["index"] for r in found)
        rows = sum(r["kept"][-2] for r in found) / count  # the last block finishes only what the head reads
        gain = statistics.median(mine / first for mine, first in zip(rate, rates[0]))
        print(f"{method:20} {keep or '-':>4} {rows:10.1f} {sum(r['macs'] for r in found) / dense_macs:11.2f} {statistics.median(rate):9.0f}"
              f" {gain:6.2f} {100 * right / count:7.1f} % {100 * same / count:6.1f} %")
    print("rows left: into the last block, of 145, CLS (and evit's fused row) counted. arithmetic: multiply-adds over dense.")
    print("images/s: the network alone, without reading pictures, median of five rounds in which all ways ran in turn;")
    print("gain: median of the ratios to the dense run of the same round. padded: the same pruning with dropped rows")
    print("masked, not removed. ats, tome and diffrate run with their own defaults; paper-dynamicvit scores with random")
    print("weights, as its paper's code does. That pruning costs this model next to nothing was taught: side losses told it")
    print("in training where the object is (docs/models.md). What it costs a model that nobody prepared: README.md.")


def speed(path):
    with open(path) as file:
        bench = json.load(file)
    print(bench["machine"])
    print("batch 8; paper-l2 prunes once, after four blocks, to 50 % +- 20 % of the patches (each picture its own share)")
    print(f"{'model':7} {'dtype':6} {'way':8} images/s   gain  gain in arithmetic")
    for r in bench["results"]:
        way = "dense" if r["method"] == "none" else r["layout"]
        print(f"DeiT-{r['model']:2} {r['dtype']:6} {way:8} {r['images_per_s']:8.1f} {r['clock_gain']:6.2f}"
              f" {r['arithmetic_gain']:19.2f}")


def choose(labels, count):
    """Pictures of different classes whose object is neither a speck nor the whole: something to see in an overlay."""
    with open(labels, newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = {}
    for row in rows:
        if 0.08 <= float(row["area"]) <= 0.25:
            chosen.setdefault(row["label"], row["file"])
    files = list(chosen.values())
    return (files + [r["file"] for r in rows if r["file"] not in files])[:count]


def caption(text):
    font = ImageFont.load_default()
    left, top, right, bottom = font.getbbox(text)
    out = Image.new("RGB", (right, bottom), GROUND)
    ImageDraw.Draw(out).text((0, 0), text, TEXT, font)
    return out


def sheet(files, folder):
    """One row a picture: the picture, then the stages of each method. Half the size of the overlays."""
    rows = []
    for name in files:
        png = os.path.splitext(name)[0] + ".png"
        parts = [Image.open(os.path.join(folder, method, png)).convert("RGB") for method, _ in SHOWN]
        margin = 16
        panel = (parts[0].width - margin) // 4  # a panel with its margin; the first shows the picture itself
        parts = [parts[0]] + [p.crop((margin + panel, 0, p.width, p.height)) for p in parts[1:]]
        row = Image.new("RGB", (sum(p.width for p in parts), parts[0].height), GROUND)
        x = 0
        for part in parts:
            row.paste(part, (x, 0))
            x += part.width
        rows.append(row.reduce(2))
    head = 20
    out = Image.new("RGB", (rows[0].width, head + sum(r.height for r in rows)), GROUND)
    step = panel // 2
    for i, (_, title) in enumerate(SHOWN):
        out.paste(caption(f"{title}, keep 0.5"), (margin // 2 + step * (1 + 3 * i), 8))
    y = head
    for row in rows:
        out.paste(row, (0, y))
        y += row.height
    out.save(folder.rstrip("/") + ".png", optimize=True)


def overlays(program, pictures, labels, folder):
    files = choose(labels, 6)
    paths = [os.path.join(pictures, name) for name in files]
    for method, _ in SHOWN:
        classify(program, [*paths, "--model", MODEL, "--prune", method, "--keep", "0.5", "--overlay", os.path.join(folder, method)])
    sheet(files, folder)


def main():
    commands = {"accuracy": (accuracy, 3), "speed": (speed, 1), "overlays": (overlays, 4)}
    command, wanted = commands.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if command is None or len(sys.argv) != wanted + 2:
        sys.exit("demo_table.py: wanted accuracy PROGRAM PICTURES LABELS, speed BENCH_JSON, or "
                 "overlays PROGRAM PICTURES LABELS FOLDER")
    command(*sys.argv[2:])


if __name__ == "__main__":
    main()
