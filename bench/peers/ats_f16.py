#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What 16 bits cost PyTorch itself with ATS, sets free: top-1 agreement and Jaccard overlap of the sets left at the end, against its own
f32 and against our CPU's f32. The model is tests/python's: one picture at a time, so there is no padding to disturb the sampling.

Usage: ats_f16.py MODEL_DIR PICTURES CPU.jsonl [--device cuda] [--most 400] [--ways f32,f16,...]
CPU.jsonl: hedgerow classify PICTURES --model MODEL_DIR --prune ats --json --logits --kept
ways, a dtype and what is kept wider:
  f32, tf32    everything; products in tf32
  f32-BITS     f32 sums of operands rounded to BITS bits (f16 and tf32 have 11): which precision would be enough
  f16, bf16    model.half(): weights, residual, softmax and scores; sampling in double from those scores
  f16-cdf      the same, the cumulative sum too, as the authors' code would after .half()
  f16-scores   softmax, norms of v and scores in f32 from 16-bit q, k, v
  f16-stream   products in 16 bits, residual, norms, softmax and scores in f32, as autocast does
"""
import argparse, json, os, sys, time

import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/python"))
from prune_reference import Ats  # noqa: E402
from vit_reference import Rows, Vit, load_vit, preprocess, preprocess_settings  # noqa: E402


class Model(Vit):
    """The reference's block with ATS in it, where stream and scores may be wider than the products."""

    def set_up(self, way, device):
        name, _, wide = way.partition("-")
        self.narrow = dict(f32=torch.float32, tf32=torch.float32, f16=torch.float16, bf16=torch.bfloat16)[name]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
        self.wide_scores, self.wide_stream, self.narrow_cdf = wide in ("scores", "stream"), wide == "stream", wide == "cdf"
        self.bits = int(wide) if wide.isdigit() else 24
        self.dtype = torch.float32 if self.wide_stream else self.narrow
        self.t = {k: v.to(device, self.dtype) for k, v in self.t.items()}
        return self

    def rounded(self, v):
        """Dekker: a 24-bit value's leading `bits`."""
        big = v * (2.0 ** (24 - self.bits) + 1)
        return big - (big - v)

    def linear(self, x, name):
        w, b = self.t[name + ".weight"], self.t[name + ".bias"]
        if self.bits < 24:
            return self.rounded(F.linear(self.rounded(x), self.rounded(w), b))
        return F.linear(x.to(self.narrow), w.to(self.narrow), b.to(self.narrow))

    def block(self, i, rows, method, result):
        name, n, d = f"blocks.{i}", len(rows), self.dim // self.heads
        qkv = self.linear(self.norm(rows.x, name + ".norm1"), name + ".attn.qkv").reshape(n, 3, self.heads, d)
        q, k, v = qkv.permute(1, 2, 0, 3)
        logits = (q @ k.transpose(1, 2)) * d**-0.5
        probs = (logits.float() if self.wide_scores else logits).softmax(-1)
        chosen = self.choose(i, rows, probs[:, 0], v.float() if self.wide_scores else v, method, result)
        attended = (probs if chosen is None else probs[:, chosen]).to(self.narrow) @ v
        rows = rows if chosen is None else rows.take(chosen)
        attended = attended.transpose(0, 1).reshape(len(rows), self.dim)
        x = rows.x + self.linear(attended, name + ".attn.proj")
        x = x + self.linear(F.gelu(self.linear(self.norm(x, name + ".norm2"), name + ".mlp.fc1")), name + ".mlp.fc2")
        return Rows(x, rows.patch, rows.size)

    def choose(self, i, rows, first, v, method, result):
        method.heights = method.heights or len(rows) - self.special
        if i < method.first:
            return None
        scores = (first.sum(0) * v.permute(1, 0, 2).reshape(len(rows), -1).norm(dim=1))[self.special:].cpu()
        sampled = self.sample_narrow(scores, method.heights) if self.narrow_cdf else method.sample(scores.double(), result)
        chosen = torch.cat([torch.arange(self.special), self.special + sampled])
        result.kept.append(set(rows.patch[chosen[self.special:]].tolist()))
        return chosen

    @staticmethod
    def sample_narrow(scores, heights):
        """Ats.sample in the dtype of the scores."""
        if len(scores) < 2:
            return torch.arange(len(scores))
        order = torch.sort(scores.float(), stable=True).indices
        cdf = (scores[order] / scores.sum()).cumsum(0)
        cdf = (cdf - cdf[0]) / (cdf[-1] - cdf[0])
        start = cdf[cdf > 0].min()
        at = start + (1 - start) * (torch.arange(heights) / (heights - 1)).to(cdf.dtype)
        return order[(at[:, None] - cdf[None]).abs().float().argmin(1).unique()].sort().values


def run(way, a, pictures):
    model = load_vit(a.model)
    model.__class__ = Model
    model.set_up(way, a.device)
    results = [model.forward(chw.to(a.device), Ats(model)) for chw in pictures]
    return torch.stack([r.logits.float().cpu() for r in results]), [r.kept for r in results], [r.rows for r in results]


def compare(name, against, got, want):
    last = min(len(got[1][0]), len(want[1][0]))  # the program leaves out the last block's choice: no logit depends on it
    same = [i for i in range(len(got[1])) if got[1][i][:last] == want[1][i][:last]]
    overlap = [[len(g & w) / max(1, len(g | w)) for g, w in zip(x, y)] for x, y in zip(got[1], want[1])]
    stage = torch.tensor(overlap).mean(0)
    print(json.dumps(dict(way=name, against=against, pictures=len(got[1]),
                          top1_agreement=round((got[0].argmax(1) == want[0].argmax(1)).float().mean().item(), 5),
                          jaccard=round(stage[-1].item(), 5), jaccard_by_block=[round(v, 4) for v in stage.tolist()], same_sets=len(same),
                          worst_where_same=max([(got[0][i] - want[0][i]).abs().max().item() for i in same], default=None),
                          median_logit_error=(got[0] - want[0]).abs().amax(1).median().item())), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model"); p.add_argument("pictures"); p.add_argument("cpu")
    p.add_argument("--device", default="cuda"); p.add_argument("--most", type=int, default=400)
    p.add_argument("--ways", default="f32,tf32,f16,f16-cdf,f16-scores,f16-stream,bf16")
    a = p.parse_args()
    lines = [json.loads(line) for line in open(a.cpu)][: a.most]
    ours = (torch.tensor([l["logits"] for l in lines]), [[set(k) for k in l["kept_patches"]] for l in lines])
    how = preprocess_settings(a.model)
    pictures = [preprocess(Image.open(os.path.join(a.pictures, os.path.basename(l["path"]))).convert("RGB"), *how) for l in lines]
    f32 = None
    for way in a.ways.split(","):
        begin = time.time()
        got = run(way, a, pictures)
        print(f"{way}: {time.time() - begin:.1f} s", file=sys.stderr)
        compare(way, "our CPU f32", got, ours)
        if f32:
            compare(way, "PyTorch f32", got, f32)
        f32 = f32 or got if way == "f32" else f32


if __name__ == "__main__":
    main()
