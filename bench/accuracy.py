#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Accuracy beside speed, method by method at equal arithmetic, on a model and photographs of your own.

  bench/accuracy.py measure PROGRAM MODEL PICTURES LABELS OUT.json [--threads 1] [--rounds 5] [--budgets 0.9,0.8,0.7,0.6,0.5]
  bench/accuracy.py table OUT.json            the Markdown tables of bench/results/accuracy/README.md
  bench/accuracy.py plot OUT.json OUT.svg     needs matplotlib (Debian: python3-matplotlib)

Each method's knob is turned until it executes a given share of the dense run's multiply-adds. Accuracy is top-1 over all
pictures. Speed is the network alone (no reading of files), on every eighth picture: all ways run once a round, one after the
other, and the gain is the median over rounds of each way's ratio to the dense run of its round.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

KNOBS = {  # method: flags, and what is turned
    "threshold-l2": (["--prune", "threshold-l2"], "--keep"),
    "threshold-l2 by mass": (["--prune", "threshold-l2"], "--mass"),
    "evit": (["--prune", "evit"], "--keep"),
    "evit-unfused": (["--prune", "evit-unfused"], "--keep"),
    "paper-evit": (["--prune", "paper-evit"], "--keep"),
    "paper-ats": (["--prune", "paper-ats"], "--keep"),
    "paper-dynamicvit": (["--prune", "paper-dynamicvit"], "--keep"),
    "tome": (["--prune", "tome"], "--merge-r"),
}
FIXED = [("none", "", []), ("paper-l2", "keep 0.5", ["--prune", "paper-l2", "--keep", "0.5"]),
         ("threshold-l2 by mass", "mass 0.9", ["--prune", "threshold-l2", "--mass", "0.9"]),
         ("evit", "keep 0.7", ["--prune", "evit", "--keep", "0.7"]), ("evit", "keep 0.5", ["--prune", "evit", "--keep", "0.5"]),
         ("ats", "", ["--prune", "ats"]), ("tome", "merge-r 13", ["--prune", "tome"]),
         *[("diffrate", name, ["--prune", "diffrate", "--diffrate", name]) for name in ("T 1.0", "T 0.8", "T 0.6")]]


class Program:
    def __init__(self, args):
        self.args = args
        names = sorted(n for n in os.listdir(args.pictures) if n.lower().endswith((".jpg", ".jpeg", ".png")))
        self.all = [os.path.abspath(os.path.join(args.pictures, n)) for n in names]

    def run(self, flags, every=1):
        """The JSON lines over every so manieth picture, and images/s of the network alone."""
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
            listed.write("\n".join(self.all[::every]) + "\n")
            listed.flush()
            run = subprocess.run([self.args.program, "classify", "--json", "--top", "1", "--model", self.args.model, "--labels", self.args.labels,
                                  "--threads", str(self.args.threads), *flags, listed.name], capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(run.stderr.strip() or f"{self.args.program}: exit status {run.returncode}")
        return [json.loads(line) for line in run.stdout.splitlines()], float(re.search(r"computing alone ([\d.]+)", run.stderr)[1])

    def macs(self, flags, every=25):
        results, _ = self.run(flags, every)
        return statistics.mean(r["macs"] for r in results)


def solved(program, flags, knob, wanted):
    """The knob's setting at which the multiply-adds are nearest to `wanted`."""
    if knob == "--merge-r":
        tried = {r: program.macs([*flags, knob, str(r)]) for r in range(1, 24)}
        return str(min(tried, key=lambda r: abs(tried[r] - wanted)))
    low, high = 0.01, 1.0
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (middle, high) if program.macs([*flags, knob, f"{middle:.4f}"]) < wanted else (low, middle)
    return f"{(low + high) / 2:.3f}"


def measure(args):
    program = Program(args)
    dense = program.macs([])
    ways = [{"method": m, "setting": s, "flags": f} for m, s, f in FIXED]
    for method, (flags, knob) in KNOBS.items():
        for budget in map(float, args.budgets.split(",")):
            value = solved(program, flags, knob, budget * dense)
            ways.append({"method": method, "setting": f"{knob[2:]} {value}", "flags": [*flags, knob, value], "budget": budget})
        print(f"{method}: settings found", file=sys.stderr)
    for way in ways:
        results, _ = program.run(way["flags"])
        way["top1"] = 100 * statistics.mean(r["top"][0]["index"] == r["truth"] for r in results)
        way["arithmetic"] = statistics.mean(r["macs"] for r in results) / dense
        way["rates"] = []
        if way["method"] == "none":
            dense = statistics.mean(r["macs"] for r in results)
            way["arithmetic"] = 1.0
        print(f"{way['method']:22} {way['setting']:12} {way['top1']:6.2f} %  {way['arithmetic']:.3f}", file=sys.stderr)
    for number in range(args.rounds):
        for way in ways:
            way["rates"].append(program.run(way["flags"], 8)[1])
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
    first = ways[0]["rates"]
    for way in ways:
        way["gain"] = statistics.median(r / d for r, d in zip(way["rates"], first))
        way["images_per_s"] = statistics.median(first) * way["gain"]
    with open("/proc/cpuinfo") as info:
        cpu = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    version = subprocess.run([args.program, "--version"], capture_output=True, text=True).stdout.strip()
    with open(args.out, "w") as file:
        json.dump({"machine": f"{cpu}, {args.threads} thread(s), {version}", "pictures": len(program.all), "rounds": args.rounds,
                   "dense_macs": dense, "ways": ways}, file, indent=1)
        file.write("\n")


def load(path):
    with open(path) as file:
        return json.load(file)


def table(args):
    data = load(args.json)
    ways = data["ways"]
    print(f"| as it comes | | top-1 | arithmetic | gain on the clock | images/s |\n|{'---|' * 6}")
    for w in ways:
        if "budget" not in w:
            print(f"| {w['method']} | {w['setting']} | {w['top1']:.2f} % | {w['arithmetic']:.2f} | {w['gain']:.2f} x | {w['images_per_s']:.1f} |")
    budgets = sorted({w["budget"] for w in ways if "budget" in w}, reverse=True)
    print("\n| top-1, % (images/s) at this share of the multiply-adds | " + " | ".join(f"{b:g}" for b in budgets) + f" |\n|{'---|' * (len(budgets) + 1)}")
    for method in KNOBS:
        cells = []
        for b in budgets:
            w = next(w for w in ways if w["method"] == method and w.get("budget") == b)
            exact = abs(w["arithmetic"] - b) <= 0.015
            cells.append(f"{w['top1']:.2f} ({w['images_per_s']:.0f})" if exact else f"{w['top1']:.2f} ({w['images_per_s']:.0f}; at {w['arithmetic']:.2f})")
        print(f"| {method} | " + " | ".join(cells) + " |")


def plot(args):
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "hedgerow"
    from matplotlib import pyplot
    data = load(args.json)
    figure, axes = pyplot.subplots(figsize=(8.4, 5.2))
    for i, method in enumerate([*KNOBS, "diffrate"]):
        points = sorted((w["images_per_s"], w["top1"]) for w in data["ways"]
                        if w["method"] == method and ("budget" in w or method == "diffrate"))
        axes.plot(*zip(*points), marker="os^vD<>phx"[i], markersize=5, linewidth=1.2, color=f"C{i}", label=method,
                  linestyle=":" if method == "paper-dynamicvit" else "-")
    dense = data["ways"][0]
    axes.axhline(dense["top1"], color="0.75", linewidth=0.8, zorder=0)
    axes.plot(dense["images_per_s"], dense["top1"], "k*", markersize=12, label="dense")
    for method, mark, name in (("ats", "kX", "ats"), ("paper-l2", "kP", "paper-l2, keep 0.5")):
        w = next(w for w in data["ways"] if w["method"] == method)
        axes.plot(w["images_per_s"], w["top1"], mark, markersize=8, label=name)
    axes.set_xlabel(f"images/s, {data['machine'].split(',')[0]}, one thread, f32")
    axes.set_ylabel(f"top-1 on {data['pictures']} photographs, %")
    low = min(w["top1"] for w in data["ways"] if w["method"] != "paper-dynamicvit")
    axes.set_ylim(bottom=max(low - 4, 0), top=dense["top1"] + 2)
    axes.grid(color="0.92")
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    axes.set_title("ViT-Ti, no method trained for it: what pruning costs and what it gives", fontsize=10)
    figure.tight_layout()
    figure.savefig(args.out, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("measure")
    for name in ("program", "model", "pictures", "labels", "out"):
        command.add_argument(name)
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--budgets", default="0.9,0.8,0.7,0.6,0.5")
    command.set_defaults(run=measure)
    command = commands.add_parser("table")
    command.add_argument("json")
    command.set_defaults(run=table)
    command = commands.add_parser("plot")
    command.add_argument("json")
    command.add_argument("out")
    command.set_defaults(run=plot)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
