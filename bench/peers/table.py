#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Markdown tables of what compare.py (JSON lines) and gpu.py (one JSON object) recorded. Usage: table.py FILE"""
import json, sys


def best(speed, end, fits):
    return max(((s, n) for n, s in speed.items() if n.endswith(end) and not n.startswith("ours") and fits(n)), default=(float("nan"), "none"))


def row(cells):
    print("| " + " | ".join(cells) + " |")


def cpu(reports):
    print(f"{reports[0]['cpu']['name']}, family {reports[0]['cpu']['family']} model {reports[0]['cpu']['model']}: {reports[0]['machine']}\n")
    plain = any("noamx" in n for r in reports for n in r["images_per_s"])
    head = ["dtype, model, batch", "dense (share of FMA peak)", "over the best peer", *(["over the best without AMX"] if plain else []),
            "pruned, ragged", "over the best fixed top-k peer", *(["over the best without AMX"] if plain else []), "over padded SDPA (full, max)"]
    row(head)
    row(["---"] * len(head))
    order = {"f32": 0, "bf16": 1, "T": 0, "S": 1, "B": 2}
    for r in sorted(reports, key=lambda r: (order[r["dtype"]], order.get(r["model"], 9), r["batch"])):
        speed, out = r["images_per_s"], [f"{r['dtype']} {r['model']} {r['batch']}"]
        twins = any("noamx" in n for n in speed)
        for ours, end in (("ours none", " dense"), ("ours paper-l2", " topk")):
            share = f" ({100 * r['share_of_peak'][ours]:.0f} %)" if end == " dense" else ""
            out.append(f"{speed[ours]:.1f}{share}")
            for fits in [lambda n: True] + ([lambda n: "-noamx" in n] if plain else []):
                s, name = best(speed, end, fits)
                out.append(f"{speed[ours] / s:.2f} x {name.split(' ')[0]}" if fits("torch") or twins else "")
        padded = [min(t for n, t in r["ratio"].items() if n.startswith("ours paper") and n.endswith("over " + p)) for p in
                  ("torch padded-full", "torch padded-max")]
        row(out + [" ".join(f"{t:.2f} x" for t in padded)])
    print("\nPadded: the least of the methods measured; peers as they come.")


def gpu(out):
    print(f"{out['gpu']}, driver {out['driver']}, PyTorch {out['torch']}, flash-attn-4 {out.get('fa4', 'absent')}\n")
    sides = sorted({n for r in out["attention"] for n in r["us"]}, key=lambda n: (n == "ours", n))
    if sides:
        row(["batch x mean, us", *sides, "over the best peer"])
        row(["---"] * (len(sides) + 2))
        for r in out["attention"]:
            over = f"{r['over_best_peer']:.2f} x {r['best_peer']}" if "over_best_peer" in r else ""
            row([f"{r['batch']} x {r['mean']}", *(f"{r['us'][n]:.1f}" if n in r["us"] else "-" for n in sides), over])
        print()
    names = []
    for r in out["end_to_end"]:
        names += [n for n in r["images_per_s"] if n not in names]
    if names:
        row(["image, model, batch", *names])
        row(["---"] * (len(names) + 1))
        for r in out["end_to_end"]:
            row([f"{r['image']} {r['model']} {r['batch']}", *(f"{r['images_per_s'][n]:.0f}" if n in r["images_per_s"] else "-" for n in names)])
        print()
        for r in out["end_to_end"]:
            print(f"{r['image']} {r['model']} {r['batch']}: " + ", ".join(f"{n} {t:.2f}" for n, t in r["ratio"].items()))


if __name__ == "__main__":
    text = open(sys.argv[1]).read()
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    gpu(whole) if whole and "attention" in whole else cpu([json.loads(line) for line in text.splitlines() if line.startswith("{")])
