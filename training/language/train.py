# SPDX-License-Identifier: Apache-2.0
# Trains the target by cross entropy, and holds what distill.py shares: data on the device, the two optimizers, the rate's
# course by wall clock, the loop.
import math
import os
import sys
import time

import torch
import torch.nn.functional as F

from model import Llama, packed_visible

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from muon import Muon  # noqa: E402


class Rows:
    """Packed conversations on the device; what a training step sees of them."""

    def __init__(self, arrays, device):
        tokens, weight, owner = (torch.from_numpy(a) for a in arrays)
        self.tokens, self.weight, self.owner = tokens.to(device), weight.to(device), owner.to(device)

    def __len__(self):
        return len(self.tokens)

    def batch(self, index):
        return self.tokens[index].long(), self.weight[index].float(), self.owner[index]


class Setup:
    """Where and how to train: device, rows a step, compiled or not."""

    def __init__(self, device, batch, compiled, log):
        self.device, self.batch, self.compiled, self.log = device, batch, compiled, log

    def autocast(self):
        return torch.autocast("cuda", torch.bfloat16, enabled=self.device == "cuda")

    def ready(self, function):
        """The function, compiled if that is wanted and works here."""
        if not self.compiled:
            return function
        fast = torch.compile(function)

        def first(*batch):
            try:
                return fast(*batch)
            except Exception as fault:
                self.log(f"not compiled: {type(fault).__name__}")
                chosen[0] = function
                return function(*batch)

        chosen = [first]
        return lambda *batch: chosen[0](*batch)


def cross_entropy(logits, tokens, weight):
    loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    weight = weight[:, 1:].flatten()
    return (loss * weight).sum() / weight.sum()


def rate_at(progress):
    """A warm-up of 3 %, then straight to zero."""
    return min(progress / 0.03, (1 - progress) / 0.97) if progress < 1 else 0.0


def optimizers(model, matrix_rate, other_rate):
    matrices = [p for layer in model.layers for p in layer.parameters() if p.dim() == 2]
    known = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    return ((Muon(matrices, lr=matrix_rate, weight_decay=0.02), matrix_rate),
            (torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), weight_decay=0.0), other_rate))


def loop(setup, model, rows, loss_of, seconds, name, rates, check=None):
    """Steps until the time is over, the rate falling with it. Returns the number of steps. The first two steps, in which
    things are compiled, are on the clock but not on the rate's."""
    if len(rows) < setup.batch:
        raise SystemExit(f"at least {setup.batch} rows were wanted, {len(rows)} were drawn")
    opts = optimizers(model, *rates)
    begun, steps, order, said, paced = time.time(), 0, [], -1, None
    while time.time() - begun < seconds:
        if steps == 2:
            paced = time.time()
        progress = 0.002 if paced is None else (time.time() - paced) / max(begun + seconds - paced, 1e-6)
        if not order:
            order = [part for part in torch.randperm(len(rows), device=setup.device).split(setup.batch) if len(part) == setup.batch]
        index = order.pop()
        loss = loss_of(*rows.batch(index))
        for opt, rate in opts:
            for group in opt.param_groups:
                group["lr"] = rate * max(rate_at(progress), 0.0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt, _ in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        steps += 1
        if int(progress * 10) != said or steps == 1:
            said = int(progress * 10)
            value = loss.item()
            if not math.isfinite(value):
                raise SystemExit(f"a finite loss was wanted, {value} was found in step {steps} of {name}")
            setup.log(f"{name}: step {steps}, {100 * progress:.0f} %, loss {value:.4f}" + (f", held out {check():.4f}" if check else ""))
    return steps


@torch.no_grad()
def held_out_loss(model, rows, setup):
    tokens, weight, owner = rows.batch(slice(0, 4 * setup.batch))
    total = count = 0.0
    for t, w, o in zip(tokens.split(setup.batch), weight.split(setup.batch), owner.split(setup.batch)):
        w = (w == 1).float()
        with setup.autocast():
            logits = model(t, packed_visible(o))
        total += cross_entropy(logits, t, w).item() * w.sum().item()
        count += w.sum().item()
    return total / count


def train_target(setup, shape, rows, held_out, seconds):
    model = Llama(shape).to(setup.device)
    setup.log(f"target: {sum(p.numel() for p in model.parameters())} parameters, {len(rows)} rows of {rows.tokens.shape[1]}")

    def forward(tokens, weight, owner):
        return cross_entropy(model(tokens, packed_visible(owner)), tokens, weight)

    step = setup.ready(forward)

    def loss_of(*batch):
        with setup.autocast():
            return step(*batch)

    steps = loop(setup, model, rows, loss_of, seconds, "target", (0.008, 0.004), lambda: held_out_loss(model, held_out, setup))
    return model.eval(), steps
