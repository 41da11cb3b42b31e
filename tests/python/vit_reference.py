# SPDX-License-Identifier: Apache-2.0
# A plain PyTorch Vision Transformer (ViT, DeiT; timm names), one picture at a time, with hooks at the four places where
# tokens can be dropped or merged. Written from the papers, for clarity: the engine is compared with it, so it shares
# nothing with the engine. The pruning methods are in prune_reference.py.
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F


@dataclass
class Rows:
    """The live token rows of one picture. patch: the grid position a row stands for, -1 for special and fused rows."""

    x: torch.Tensor      # [n, dim]
    patch: torch.Tensor  # [n] int64
    size: torch.Tensor   # [n], how many patches a row stands for (merging methods)

    def take(self, index):
        return Rows(self.x[index], self.patch[index], self.size[index])

    def __len__(self):
        return self.x.shape[0]


@dataclass
class Result:
    logits: torch.Tensor
    patches: int = 0                                 # of the whole grid
    rows: list = field(default_factory=list)         # rows leaving each block, special rows counted
    stages: list = field(default_factory=list)       # name of each pruning stage: "block 3"
    kept: list = field(default_factory=list)         # sorted grid positions alive after each stage
    margins: list = field(default_factory=list)      # one (kind, relative distance) per decision that was nearest to a tie
    tokens: torch.Tensor = None                      # rows after the final norm


class Method:
    """What a pruning method may do. Each hook gets the rows and returns rows; `result` collects stages and margins."""

    def before(self, block, rows, result):
        return rows

    def query_rows(self, block, rows, probs, v, result):
        """Indices of the rows that leave attention, or None for all. The keys stay whole."""
        return None

    def between(self, block, rows, probs, k, result):
        return rows

    def after(self, block, rows, probs, result):
        return rows

    uses_size = False


class Vit:
    def __init__(self, tensors, heads, eps=1e-6, dtype=torch.float32):
        self.t = {name: value.to(dtype) for name, value in tensors.items()}
        self.heads, self.eps, self.dtype = heads, eps, dtype
        self.dim = self.t["cls_token"].shape[-1]
        self.patch = self.t["patch_embed.proj.weight"].shape[-1]
        self.layers = 1 + max(int(n.split(".")[1]) for n in self.t if n.startswith("blocks."))
        self.distilled = "dist_token" in self.t
        self.special = 2 if self.distilled else 1

    def linear(self, x, name):
        return F.linear(x, self.t[name + ".weight"], self.t.get(name + ".bias"))

    def norm(self, x, name, eps=None):
        return F.layer_norm(x, (x.shape[-1],), self.t[name + ".weight"], self.t[name + ".bias"], eps or self.eps)

    def embed(self, pixels):
        x = F.conv2d(pixels[None].to(self.dtype), self.t["patch_embed.proj.weight"], self.t["patch_embed.proj.bias"],
                     stride=self.patch)
        x = x.flatten(2).transpose(1, 2)[0]
        front = [self.t["cls_token"].reshape(1, -1)]
        if self.distilled:
            front.append(self.t["dist_token"].reshape(1, -1))
        x = torch.cat(front + [x]) + self.t["pos_embed"][0]
        patch = torch.cat([torch.full((self.special,), -1), torch.arange(len(x) - self.special)])
        return Rows(x, patch, torch.ones(len(x), dtype=self.dtype))

    def block(self, i, rows, method, result):
        rows = method.before(i, rows, result)
        name, n, d = f"blocks.{i}", len(rows), self.dim // self.heads
        qkv = self.linear(self.norm(rows.x, name + ".norm1"), name + ".attn.qkv").reshape(n, 3, self.heads, d)
        q, k, v = qkv.permute(1, 2, 0, 3)  # each [heads, n, d]
        scores = (q @ k.transpose(1, 2)) * d**-0.5
        if method.uses_size:
            scores = scores + rows.size.log()
        probs = scores.softmax(-1)
        chosen = method.query_rows(i, rows, probs, v, result)
        attended = probs @ v if chosen is None else probs[:, chosen] @ v
        rows = rows if chosen is None else rows.take(chosen)
        attended = attended.transpose(0, 1).reshape(len(rows), self.dim)
        rows = Rows(rows.x + self.linear(attended, name + ".attn.proj"), rows.patch, rows.size)
        rows = method.between(i, rows, probs, k, result)
        hidden = F.gelu(self.linear(self.norm(rows.x, name + ".norm2"), name + ".mlp.fc1"))
        rows = Rows(rows.x + self.linear(hidden, name + ".mlp.fc2"), rows.patch, rows.size)
        return method.after(i, rows, probs, result)

    @torch.no_grad()
    def forward(self, pixels, method=None):
        """pixels: [3, height, width], normalised. A fresh `method` object per call."""
        method = method or Method()
        result = Result(None)
        rows = self.embed(pixels)
        result.patches = len(rows) - self.special
        for i in range(self.layers):
            rows = self.block(i, rows, method, result)
            result.rows.append(len(rows))
        result.tokens = self.norm(rows.x, "norm")
        result.logits = self.linear(result.tokens[0], "head")
        if self.distilled:
            result.logits = (result.logits + self.linear(result.tokens[1], "head_dist")) / 2
        return result


def load_vit(folder, dtype=torch.float32, heads=None, extra=None):
    """A timm-named safetensors folder. heads: head_dim 64 unless told. extra: tensors to add (predictors)."""
    from safetensors.torch import load_file

    tensors = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        tensors.update(load_file(file))
    tensors.update(extra or {})
    return Vit(tensors, heads or tensors["cls_token"].shape[-1] // 64, dtype=dtype)


def random_vit(dim=192, heads=3, layers=12, patch=16, image=224, classes=10, seed=0, distilled=False, dtype=torch.float32):
    """Random weights, lively enough that scores and similarities spread."""
    g = torch.Generator().manual_seed(seed)

    def weight(*shape, scale=None):
        return torch.randn(*shape, generator=g) * (scale or shape[-1] ** -0.5)

    special = 2 if distilled else 1
    t = {"cls_token": weight(1, 1, dim, scale=1.0), "pos_embed": weight(1, special + (image // patch) ** 2, dim, scale=0.5),
         "patch_embed.proj.weight": weight(dim, 3, patch, patch, scale=(3 * patch * patch) ** -0.5),
         "patch_embed.proj.bias": weight(dim, scale=0.1)}
    shapes = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for i in range(layers):
        for name, shape in shapes.items():
            t[f"blocks.{i}.{name}.weight"] = weight(*shape)
            t[f"blocks.{i}.{name}.bias"] = weight(shape[0], scale=0.1)
    norms = [f"blocks.{i}.norm{j}" for i in range(layers) for j in (1, 2)] + ["norm"]
    for name in norms:
        t[name + ".weight"] = 1 + weight(dim, scale=0.1)
        t[name + ".bias"] = weight(dim, scale=0.1)
    heads_out = ["head", "head_dist"] if distilled else ["head"]
    for name in heads_out:
        t[name + ".weight"], t[name + ".bias"] = weight(classes, dim), weight(classes, scale=0.1)
    if distilled:
        t["dist_token"] = weight(1, 1, dim, scale=1.0)
    return Vit(t, heads, dtype=dtype)


def random_predictors(dim, seed=0, count=3, scale=2.0):
    """DynamicViT's score predictors with the released key names; `scale` spreads the scores so that cuts are not ties."""
    g = torch.Generator().manual_seed(seed)
    t = {}
    shapes = [("in_conv.1", dim, dim), ("out_conv.0", dim // 2, dim), ("out_conv.2", dim // 4, dim // 2), ("out_conv.4", 2, dim // 4)]
    for s in range(count):
        t[f"score_predictor.{s}.in_conv.0.weight"] = 1 + 0.1 * torch.randn(dim, generator=g)
        t[f"score_predictor.{s}.in_conv.0.bias"] = 0.1 * torch.randn(dim, generator=g)
        for name, n, k in shapes:
            t[f"score_predictor.{s}.{name}.weight"] = scale * torch.randn(n, k, generator=g) * k**-0.5
            t[f"score_predictor.{s}.{name}.bias"] = 0.1 * torch.randn(n, generator=g)
    return t


def preprocess_settings(folder):
    """(image size, resize of the shorter side, mean, std) as timm evaluates the checkpoint."""
    config = json.loads((Path(folder) / "config.json").read_text())
    config = config.get("pretrained_cfg", config)
    size = config.get("input_size", [3, 224, 224])[1]
    return size, int(size / config.get("crop_pct", 0.9)), config["mean"], config["std"]


def preprocess(image, size, resize, mean, std):
    """PIL image -> [3, size, size]: bicubic resize of the shorter side (Pillow), centre crop, normalise. timm's steps."""
    import numpy as np
    from PIL import Image

    width, height = image.size
    if width <= height:
        to = (resize, int(resize * height / width))
    else:
        to = (int(resize * width / height), resize)
    if to != image.size:
        image = image.resize(to, Image.BICUBIC)
    left, top = int(round((to[0] - size) / 2.0)), int(round((to[1] - size) / 2.0))
    image = image.crop((left, top, left + size, top + size))
    pixels = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
