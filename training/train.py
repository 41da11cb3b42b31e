#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Trains hedgerow-vit-mini and writes model.safetensors and config.json. Stage A: the classifier, with patches dropped
# at random places of training so that pruning costs little. Stage B: DynamicViT's predictors with Gumbel choices.
#
#   python3 train.py --train train.npz --held-out val.npz --out ../models/hedgerow-vit-mini
import argparse
import copy
import json
import math
import os
import random
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from model import Vit
from muon import Muon
from shapes import NAMES

MEAN, STD = 0.5, 0.5
METHODS = ("threshold-l2", "evit", "evit-unfused", "dynamicvit")


class Pictures:
    def __init__(self, path, device):
        data = np.load(path)
        self.pixels = torch.from_numpy(data["pictures"]).permute(0, 3, 1, 2).contiguous().to(device)
        self.labels = torch.from_numpy(data["labels"]).long().to(device)
        self.shares = torch.from_numpy(data["shares"]).to(device)

    def batch(self, index, size=96, augment=False):
        x = self.pixels[index].float() / 255
        s = self.shares[index].float() / 255
        if augment:
            x, s = augmented(x, s)
        if size != x.shape[-1]:
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
            s = F.interpolate(s[:, None], (size // 8, size // 8), mode="area")[:, 0]
        return (x - MEAN) / STD, s.flatten(1), self.labels[index]


def augmented(x, s):
    """Slices of the batch, mirrored or not, each with its channels in its own order; every picture its own gain."""
    pixels, shares = [], []
    for way, (p, q) in enumerate(zip(x.chunk(8), s.chunk(8))):
        if way % 2:
            p, q = p.flip(3), q.flip(2)
        pixels.append(p[:, torch.randperm(3)])
        shares.append(q)
    x = torch.cat(pixels)
    gain = torch.empty(len(x), 1, 1, 1, device=x.device).uniform_(0.8, 1.2)
    return (x * gain).clamp(0, 1), torch.cat(shares)


def spread_loss(trace):
    """Class attention in blocks 3 to 11 shall fall on the whole object, not on a few patches of it."""
    total = 0.0
    for row, share in trace["attention"][3:]:
        target = share / share.sum(1, keepdim=True).clamp(min=1e-3)
        total = total - (target * (row + 1e-5).log()).sum(1).mean()
    return total


def classification_loss(model, side, logits, trace, labels, weight):
    """Cross entropy, and side losses that say where the object is (see README.md): `weight` scales the latter."""
    loss = F.cross_entropy(logits, labels, label_smoothing=0.05)
    rows, share, known = trace["rows"]
    log_p = side(rows).log_softmax(-1)
    own = log_p.gather(2, labels[:, None, None].expand(-1, rows.shape[1], 1))[..., 0]
    patch = -(share * own + (1 - share) * log_p[..., -1])
    balance = known * (1 + 3 * share)
    loss = loss + weight * (patch * balance).sum() / balance.sum()
    for row, share in trace["attention"][3:]:
        on_object = (row * share).sum(1) / row.sum(1)
        loss = loss - 0.02 * weight * (on_object + 1e-3).log().mean()
    norm, share, known = trace["norm"]
    lead = 6 * (norm / norm.mean(1, keepdim=True) - 1)
    loss = loss + 0.2 * weight * (F.binary_cross_entropy_with_logits(lead, share, reduction="none") * known).sum() / known.sum()
    return loss + predictor_loss([(s, h, k) for s, h, k in trace["predictor"]])


def predictor_loss(stages):
    total = 0.0
    for score, share, known in stages:
        target = (share > 0.05).float()
        total = total - ((1 + 3 * target) * known * (target * score[..., 0] + (1 - target) * score[..., 1])).mean() / len(stages)
    return total


def ramp(done, warmup=0.04):
    return done / warmup + 1e-3 if done < warmup else 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) + 1e-3


def optimizer_for(groups, without=()):
    without = {id(p) for p in without}
    split = []
    for modules, rate in groups:
        named = [p for m in modules for p in m.parameters() if id(p) not in without]
        split.append({"params": [p for p in named if p.dim() > 1], "lr": rate, "weight_decay": 0.05})
        split.append({"params": [p for p in named if p.dim() <= 1], "lr": rate, "weight_decay": 0.0})
    return torch.optim.AdamW(split, betas=(0.9, 0.98))


def order_of(count, batch, steps):
    """`steps` batches of indices, the whole set shuffled anew for each pass."""
    made = 0
    while made < steps:
        order = torch.randperm(count)
        for i in range(0, count - batch + 1, batch):
            if made == steps:
                return
            made += 1
            yield order[i:i + batch]


@torch.no_grad()
def accuracy(model, pictures, method="none", keep=1.0):
    """Share of pictures told right, and how much of the object is left at the end, against the best choice of as many
    patches."""
    right = best = left = 0
    for i in range(0, len(pictures.labels), 250):
        x, share, labels = pictures.batch(torch.arange(i, min(i + 250, len(pictures.labels))))
        logits, trace = model(x, share, method, keep)
        right += (logits.argmax(1) == labels).sum().item()
        rows, kept, known = trace["rows"]
        left += (kept * known).sum().item()
        count = known.sum(1, keepdim=True).round().long().clamp(1, share.shape[1])
        best += share.sort(1, descending=True).values.cumsum(1).gather(1, count - 1).sum().item()
    return right / len(pictures.labels), left / best


def stage_a(args, model, pictures, held_out, log):
    side = nn.Linear(model.dim, len(NAMES) + 1).to(args.device)
    inner = [p for p in model.blocks.parameters() if p.dim() == 2] if args.muon else []
    optimizers = [optimizer_for([([model, side], args.rate)], inner)]
    if inner:
        optimizers.append(Muon(inner, args.muon))
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: ramp(step / args.steps)) for o in optimizers]
    for step, index in enumerate(order_of(len(pictures.labels), args.batch, args.steps)):
        done = step / args.steps
        size = 64 if done < args.small else 96
        x, share, labels = pictures.batch(index, size, augment=True)
        prune = done > 0.4 and random.random() < 0.5
        method, keep = (random.choice(METHODS), random.uniform(args.least, 0.95)) if prune else ("none", 1.0)
        logits, trace = model(x, share, method, keep)
        loss = classification_loss(model, side, logits, trace, labels, weight=1.0 - 0.7 * done)
        for o in optimizers:
            o.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o, schedule in zip(optimizers, schedules):
            o.step()
            schedule.step()
        if step % args.log_every == 0 or step + 1 == args.steps:
            log(f"A step {step} loss {loss.item():.3f} dense {accuracy(model, held_out)[0]:.4f}")
            if args.checkpoint:
                torch.save(model.state_dict(), args.checkpoint)


def stage_b(args, model, pictures, held_out, log):
    teacher = copy.deepcopy(model).eval()
    backbone = [m for n, m in model.named_children() if n != "score_predictor"]
    optimizer = optimizer_for([(backbone, args.rate * 0.02), ([model.score_predictor], args.rate * 0.2)])
    optimizer.add_param_group({"params": [model.cls_token, model.pos_embed], "lr": args.rate * 0.02, "weight_decay": 0.0})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(args.gumbel_steps, 1))
    for step, index in enumerate(order_of(len(pictures.labels), args.batch, args.gumbel_steps)):
        x, share, labels = pictures.batch(index, augment=True)
        with torch.no_grad():
            taught, trace = teacher(x)
        logits, rows, choices, scores = model.forward_gumbel(x)
        loss = F.cross_entropy(logits, labels)
        loss = loss + 0.5 * F.kl_div(logits.log_softmax(-1), taught.log_softmax(-1), log_target=True, reduction="batchmean")
        alive = choices[-1].detach()
        loss = loss + 0.5 * (((rows - trace["rows"][0]) ** 2).mean(-1) * alive).sum() / alive.sum().clamp(min=1)
        loss = loss + 2.0 * sum((c.mean(1) - 0.7 ** (s + 1)).pow(2).mean() for s, c in enumerate(choices)) / len(choices)
        loss = loss + 0.2 * predictor_loss([(score, share, torch.ones_like(share)) for score in scores])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % args.log_every == 0 or step + 1 == args.gumbel_steps:
            log(f"B step {step} loss {loss.item():.3f} kept {[round(c.mean().item(), 3) for c in choices]}")


def stage_c(args, model, pictures, held_out, log):
    teacher = copy.deepcopy(model).eval()
    optimizer = optimizer_for([([model], args.rate * 0.15)])
    schedules = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: ramp(step / args.spread_steps))
    for step, index in enumerate(order_of(len(pictures.labels), args.batch, args.spread_steps)):
        x, share, labels = pictures.batch(index, augment=True)
        method = "ats" if random.random() < 0.6 else random.choice(METHODS + ("none",))
        with torch.no_grad():
            taught, _ = teacher(x)
        logits, trace = model(x, share, method, random.uniform(args.least, 0.95))
        loss = F.cross_entropy(logits, labels, label_smoothing=0.05) + args.spread * spread_loss(trace)
        loss = loss + F.kl_div(logits.log_softmax(-1), taught.log_softmax(-1), log_target=True, reduction="batchmean")
        loss = loss + predictor_loss(trace["predictor"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedules.step()
        if (step + 1) % max(args.log_every // 4, 1) == 0 or step + 1 == args.spread_steps:
            log(f"C step {step} loss {loss.item():.3f} dense {accuracy(model, held_out)[0]:.4f} ats {accuracy(model, held_out, 'ats')[0]:.4f}")


def save(args, model):
    os.makedirs(args.out, exist_ok=True)
    tensors = {name: t.detach().to("cpu", torch.float16).contiguous() for name, t in model.state_dict().items()}
    save_file(tensors, os.path.join(args.out, "model.safetensors"), metadata={"format": "pt"})
    size = model.grid * model.patch
    config = {
        "architecture": "hedgerow_vit_mini",
        "lineage": "hedgerow",
        "num_classes": len(NAMES),
        "num_features": model.dim,
        "global_pool": "token",
        "model_args": {
            "img_size": size, "patch_size": model.patch, "embed_dim": model.dim, "depth": len(model.blocks),
            "num_heads": model.heads, "mlp_ratio": model.blocks[0].mlp.fc1.out_features / model.dim,
        },
        "label_names": NAMES,
        "pretrained_cfg": {
            "tag": "drawn", "input_size": [3, size, size], "fixed_input_size": True, "interpolation": "bicubic",
            "crop_pct": 1.0, "crop_mode": "center", "mean": [MEAN] * 3, "std": [STD] * 3, "num_classes": len(NAMES),
            "pool_size": None, "first_conv": "patch_embed.proj", "classifier": "head",
        },
    }
    with open(os.path.join(args.out, "config.json"), "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=4800)
    parser.add_argument("--gumbel-steps", type=int, default=150)
    parser.add_argument("--spread-steps", type=int, default=100)
    parser.add_argument("--spread", type=float, default=0.03, help="weight of the loss that spreads class attention, a block")
    parser.add_argument("--init", help="a checkpoint to go on from; --steps 0 and the like leave stages out")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--muon", type=float, default=8e-3, help="Muon's rate for the blocks' matrices; 0: AdamW for all")
    parser.add_argument("--small", type=float, default=0.6, help="share of stage A at 64 pixels a side")
    parser.add_argument("--least", type=float, default=0.2, help="lowest keep rate that training meets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--log-every", type=int, default=200)
    parser.add_argument("--checkpoint", help="where to keep the newest state of stage A")
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    pictures, held_out = Pictures(args.train, args.device), Pictures(args.held_out, args.device)
    model = Vit().to(args.device)
    start, cpu = time.time(), time.process_time()

    def log(line):
        print(f"{time.time() - start:7.0f} s ({time.process_time() - cpu:.0f} s of cores) {line}", flush=True)

    log(f"{sum(p.numel() for p in model.parameters())} parameters, {len(pictures.labels)} pictures")
    if args.init:
        model.load_state_dict({name: t.float() for name, t in load_file(args.init).items()})
    if args.steps:
        stage_a(args, model, pictures, held_out, log)
    if args.gumbel_steps:
        stage_b(args, model, pictures, held_out, log)
    if args.spread_steps:
        stage_c(args, model, pictures, held_out, log)
    save(args, model)
    for method in ("none",) + METHODS + ("ats", "tome"):
        rates = {"none": (1.0,), "ats": (1.0,), "tome": (4, 8, 11, 13)}.get(method, (0.9, 0.7, 0.5, 0.3))
        log(method + "".join(" | {}: {:.4f}, of the object {:.3f}".format(r, *accuracy(model, held_out, method, r)) for r in rates))


if __name__ == "__main__":
    main()
