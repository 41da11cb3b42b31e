# SPDX-License-Identifier: Apache-2.0
# A DeiT-style Vision Transformer in PyTorch with timm's parameter names and DynamicViT's predictors, and the pruning
# methods that training lets it meet: patches dropped by L2 norm, by class attention (EViT), by predictor or by ATS. ToMe's
# merging is there to be measured only.
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STAGES = (3, 6, 9)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, bias=None):
        """The attention's output, the class row of the softmax and the keys, both averaged over heads, and the L2 norms of
        the values. `bias` [batch, rows] is added to every query's logits."""
        batch, rows, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, rows, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        scale = (dim // self.heads) ** -0.5
        bias = None if bias is None else bias[:, None, None]
        row = (q[:, :, :1] * scale) @ k.transpose(-2, -1)
        row = (row if bias is None else row + bias).softmax(-1).mean(1)[:, 0]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).reshape(batch, rows, dim)), row, k.mean(1), v.square().sum((1, 3)).sqrt()

    def forward_masked(self, x, alive):
        """Softmax over the rows that are alive (0 or 1, differentiable): DynamicViT's training-time attention."""
        batch, rows, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, rows, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        logits = (q @ k.transpose(-2, -1)) * (dim // self.heads) ** -0.5
        own = torch.eye(rows, device=x.device)
        weight = (logits - logits.amax(-1, keepdim=True)).exp() * (alive[:, None, None, :] * (1 - own) + own)
        out = (weight / weight.sum(-1, keepdim=True)) @ v
        return self.proj(out.transpose(1, 2).reshape(batch, rows, dim))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, hidden)

    def attend(self, x, bias=None):
        out, *seen = self.attn(self.norm1(x), bias)
        return x + out, *seen

    def think(self, x):
        return x + self.mlp(self.norm2(x))


class Predictor(nn.Module):
    """Log-probabilities (keep, drop) of patch rows; the second half of the channels is averaged over living rows."""

    def __init__(self, dim):
        super().__init__()
        self.in_conv = nn.Sequential(nn.LayerNorm(dim, eps=1e-5), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2), nn.LogSoftmax(-1))

    def forward(self, x, alive=None):
        x = self.in_conv(x)
        half = x.shape[-1] // 2
        if alive is None:
            mean = x[..., half:].mean(1, keepdim=True)
        else:
            mean = (x[..., half:] * alive[..., None]).sum(1, keepdim=True) / (alive.sum(1)[:, None, None] + 1e-6)
        return self.out_conv(torch.cat([x[..., :half], mean.expand(-1, x.shape[1], -1)], -1))


def pick(t, index):
    return t.gather(1, index.reshape(index.shape + (1,) * (t.dim() - 2)).expand(-1, -1, *t.shape[2:]))


def merge(x, size, keys, pairs):
    """ToMe: joins `pairs` rows at even places with their most similar rows at odd places, weighted by size."""
    keys = F.normalize(keys, dim=-1)
    likeness = keys[:, ::2] @ keys[:, 1::2].transpose(-2, -1)
    likeness[:, 0] = -math.inf
    best, partner = likeness.max(-1)
    order = best.argsort(1, descending=True)
    gone, stay = order[:, :pairs], order[:, pairs:].sort(1).values
    weighted = torch.cat([x * size[..., None], size[..., None]], -1)
    even, odd = weighted[:, ::2], weighted[:, 1::2]
    to = partner.gather(1, gone)[..., None].expand(-1, -1, weighted.shape[-1])
    weighted = torch.cat([pick(even, stay), odd.scatter_add(1, to, pick(even, gone))], 1)
    return weighted[..., :-1] / weighted[..., -1:], weighted[..., -1]


def ats_choice(score, samples):
    """ATS: which of one picture's patches the evenly spaced heights of the scores' cumulative sum meet."""
    order = np.argsort(score, kind="stable")
    cdf = np.cumsum(score[order], dtype=np.float64)
    if len(cdf) < 2 or cdf[-1] <= cdf[0]:
        return order
    cdf = (cdf - cdf[0]) / (cdf[-1] - cdf[0])
    heights = np.linspace(cdf[cdf > 0].min(), 1, samples)
    right = np.clip(np.searchsorted(cdf, heights), 1, len(cdf) - 1)
    nearest = np.where(heights - cdf[right - 1] <= cdf[right] - heights, right - 1, right)
    return order[np.unique(nearest)]


def ats_rows(score, alive, samples):
    """Indices and liveness [batch, most] of what each picture keeps; dead places come last."""
    score, alive = score.detach().cpu().numpy(), alive.cpu().numpy() > 0
    kept = [np.flatnonzero(a)[ats_choice(s[a], samples)] for s, a in zip(score, alive)]
    most = max(len(k) for k in kept)
    index = torch.tensor(np.stack([np.pad(k, (0, most - len(k))) for k in kept]))
    return index, torch.tensor([[1.0] * len(k) + [0.0] * (most - len(k)) for k in kept])


class PatchEmbed(nn.Module):
    def __init__(self, dim, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)


class Vit(nn.Module):
    def __init__(self, size=96, patch=8, dim=64, heads=2, hidden=128, depth=12, classes=12):
        super().__init__()
        self.grid, self.dim, self.heads, self.patch = size // patch, dim, heads, patch
        self.patch_embed = PatchEmbed(dim, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.cat([torch.zeros(1, 1, dim), self.waves()], 1))
        self.blocks = nn.ModuleList(Block(dim, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)
        self.score_predictor = nn.ModuleList(Predictor(dim) for _ in STAGES)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def waves(self):
        """Where learning of the position embedding starts: sines and cosines of both coordinates."""
        quarter = self.dim // 4
        rate = 1.0 / 100 ** (torch.arange(quarter) / quarter)
        at = torch.arange(self.grid)[:, None] * rate
        wave = torch.cat([at.sin(), at.cos()], 1)
        rows = wave[:, None].expand(-1, self.grid, -1)
        columns = wave[None].expand(self.grid, -1, -1)
        return 0.3 * torch.cat([rows, columns], -1).reshape(1, self.grid ** 2, self.dim)

    def embed(self, pixels):
        rows = self.patch_embed.proj(pixels)
        grid, pos = rows.shape[-1], self.pos_embed
        if grid != self.grid:
            table = pos[:, 1:].reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
            table = F.interpolate(table, (grid, grid), mode="bicubic", align_corners=False)
            pos = torch.cat([pos[:, :1], table.flatten(2).transpose(1, 2)], 1)
        rows = torch.cat([self.cls_token.expand(len(rows), -1, -1), rows.flatten(2).transpose(1, 2)], 1)
        return rows + pos

    def forward(self, pixels, share=None, method="none", keep=1.0):
        """Logits, and what the training losses look at. `share` [batch, patches] is how much of a patch is object."""
        x = self.embed(pixels)
        patches = x.shape[1] - 1
        share = x.new_zeros(x.shape[:2])[:, 1:] if share is None else share
        known = torch.ones_like(share)
        trace = {"predictor": [], "attention": [], "norm": None}
        size = torch.ones_like(x[..., 0]) if method == "tome" else None

        def keep_rows(x, index, fused=None):
            rows = [x[:, :1], pick(x[:, 1:], index)] + ([] if fused is None else [fused])
            s, k = pick(share, index), pick(known, index)
            if fused is not None:
                s, k = F.pad(s, (0, 1)), F.pad(k, (0, 1))
            return torch.cat(rows, 1), s, k

        for i, block in enumerate(self.blocks):
            if i in STAGES:
                stage = STAGES.index(i)
                score = self.score_predictor[stage](x[:, 1:])
                trace["predictor"].append((score, share, known))
                target = int(patches * keep ** (stage + 1))
                if method == "dynamicvit":
                    x, share, known = keep_rows(x, score[..., 0].argsort(1, descending=True)[:, :target])
            bias = None
            if method == "tome":
                bias = size.log()
            elif method == "ats" and i > STAGES[0]:
                bias = torch.where(F.pad(known, (1, 0), value=1.0) > 0, 0.0, -1e9)
            x, row, keys, value_norm = block.attend(x, bias)
            row = row[:, 1:]
            trace["attention"].append((row, share))
            if i in STAGES and method in ("evit", "evit-unfused"):
                rows = x.shape[1] - 1
                target = math.ceil(keep * rows)
                if target < rows:
                    order = row.argsort(1, descending=True)
                    kept, gone = order[:, :target], order[:, target:]
                    fused = (pick(row, gone)[..., None] * pick(x[:, 1:], gone)).sum(1, keepdim=True) if method == "evit" else None
                    x, share, known = keep_rows(x, kept, fused)
            if method == "ats" and i >= STAGES[0]:
                index, alive = (t.to(x.device) for t in ats_rows(row * value_norm[:, 1:], known, patches))
                x, share, _ = keep_rows(x, index)
                share, known = share * alive, alive
            if method == "tome":
                pairs = min(int(keep), (x.shape[1] - 1) // 2)
                rows = torch.cat([x, F.pad(share, (1, 0))[..., None]], -1)
                rows, size = merge(rows, size, keys, pairs)
                x, share, known = rows[..., :-1], rows[:, 1:, -1], size[:, 1:]
            x = block.think(x)
            if i == 3:
                norm = x[:, 1:].norm(dim=-1)
                trace["norm"] = (norm, share, known)
                if method == "threshold-l2" and keep < 1:
                    x, share, known = keep_rows(x, norm.argsort(1, descending=True)[:, :int(patches * keep)])
        x = self.norm(x)
        trace["rows"] = (x[:, 1:], share, known)
        return self.head(x[:, 0]), trace

    def forward_gumbel(self, pixels):
        """DynamicViT's training pass: straight-through Gumbel choices, dropped rows masked out of attention."""
        x = self.embed(pixels)
        alive = x.new_ones(x.shape[0], x.shape[1] - 1)
        choices, scores = [], []
        for i, block in enumerate(self.blocks):
            if i in STAGES:
                score = self.score_predictor[STAGES.index(i)](x[:, 1:], alive)
                alive = F.gumbel_softmax(score, hard=True)[..., 0] * alive
                choices.append(alive)
                scores.append(score)
            if choices:
                x = block.think(x + block.attn.forward_masked(block.norm1(x), F.pad(alive, (1, 0), value=1.0)))
            else:
                x = block.think(block.attend(x)[0])
        x = self.norm(x)
        return self.head(x[:, 0]), x[:, 1:], choices, scores
