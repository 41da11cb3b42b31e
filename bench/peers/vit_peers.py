#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a PyTorch user gets today for a pruned Vision Transformer: the numbers to be ahead of.

Paper pipeline: blocks 0-3 dense, one prune by token L2 norm with a per-image kept count, blocks 4-11 on what is left,
CLS row -> norm -> head. The same random weights and the same kept sets in every mode.

  dense        no pruning, SDPA
  padded-full  the usual way: keep the [B,N,D] grid, mask dropped keys (SDPA with a mask)
  padded-max   compact every image, pad to the longest one in the batch, mask the padding
  topk         one kept count for the whole batch, no padding and no mask (not ragged)
  varlen       packed rows, torch varlen_attn (CUDA only)
  fa4          packed rows, flash-attn-4 varlen, where that package is installed (CUDA only)
  nested       packed rows, jagged NestedTensor SDPA

Usage: vit_peers.py --device cpu|cuda --models T,S,B --batches 1,8,32 --keep 0.5 --dtype f32|bf16 [--graph] [--sweep] [--floor]
Prints one JSON object a line. A figure is the median over --repeat windows; a window is timed around a sync.
"""
import argparse, json, statistics, sys, time
import torch, torch.nn.functional as F

SIZES = {"T": (192, 3), "S": (384, 6), "B": (768, 12)}
DEPTH, CLASSES, PATCH = 12, 1000, 16


class Vit:
    def __init__(self, name, image, device, dtype, seed=0):
        g = torch.Generator().manual_seed(seed)
        d, self.heads = SIZES[name]
        self.d, self.n = d, (image // PATCH) ** 2 + 1
        def w(*s, std=0.02): return (torch.randn(*s, generator=g) * std).to(device, dtype)
        self.patch_w, self.patch_b = w(d, 3, PATCH, PATCH), w(d)
        self.cls, self.pos = w(1, 1, d), w(1, self.n, d)
        one = lambda: (torch.ones(d, device=device, dtype=dtype), w(d))
        self.blocks = [dict(n1=one(), qkv=(w(3 * d, d), w(3 * d)), proj=(w(d, d), w(d)), n2=one(),
                            fc1=(w(4 * d, d), w(4 * d)), fc2=(w(d, 4 * d), w(d))) for _ in range(DEPTH)]
        self.norm, self.head = one(), (w(CLASSES, d), w(CLASSES))

    def embed(self, img):
        x = F.conv2d(img, self.patch_w, self.patch_b, stride=PATCH).flatten(2).transpose(1, 2)
        return torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos

    def ln(self, x, p): return F.layer_norm(x, (self.d,), p[0], p[1], 1e-6)

    def block(self, x, b, attend):
        q, k, v = F.linear(self.ln(x, b["n1"]), *b["qkv"]).chunk(3, -1)
        x = x + F.linear(attend(q, k, v), *b["proj"])
        return x + F.linear(F.gelu(F.linear(self.ln(x, b["n2"]), *b["fc1"])), *b["fc2"])

    def dense_attend(self, mask=None):
        h = self.heads
        def f(q, k, v):
            s = lambda t: t.unflatten(-1, (h, -1)).transpose(1, 2)
            return F.scaled_dot_product_attention(s(q), s(k), s(v), attn_mask=mask).transpose(1, 2).flatten(2)
        return f

    def logits(self, cls): return F.linear(self.ln(cls, self.norm), *self.head)


def load_fa4():
    from flash_attn.cute import flash_attn_varlen_func
    return flash_attn_varlen_func


def first(x): return x[0] if isinstance(x, tuple) else x


def keep_counts(batch, n, keep, spread, seed=1):
    """Kept tokens per image, CLS included: keep +- spread, the same in every mode."""
    r = torch.rand(batch, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    r -= r.mean()  # the batch as a whole keeps the named share
    return ((keep + spread * r) * (n - 1)).round().long().clamp(1, n - 1) + 1


def counts_known(counts):
    """What the host may know of a batch on a GPU, read once and outside the timing."""
    run_mode.top, run_mode.k, run_mode.total = int(counts.max()), int(counts.float().mean().round()), int(counts.sum())


def run_mode(m, mode, img, counts, layers_before=4):
    x = m.embed(img)
    full = m.dense_attend()
    for b in m.blocks[:layers_before]: x = m.block(x, b, full)
    B, N, D = x.shape
    if mode == "dense":
        for b in m.blocks[layers_before:]: x = m.block(x, b, full)
        return m.logits(x[:, 0])
    score = x.float().norm(dim=-1)
    score[:, 0] = float("inf")
    order = score.argsort(dim=1, descending=True, stable=True)
    counts = counts.to(x.device)
    if mode == "topk":
        k = int(counts.float().mean().round()) if x.device.type == "cpu" else run_mode.k
        idx = order[:, :k].sort(1).values
        x = x.gather(1, idx[..., None].expand(-1, -1, D))
        for b in m.blocks[layers_before:]: x = m.block(x, b, full)
        return m.logits(x[:, 0])
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(N, device=x.device).expand(B, -1))
    kept = rank < counts[:, None]
    if mode == "padded-full":
        att = m.dense_attend(kept[:, None, None, :])
        for b in m.blocks[layers_before:]: x = m.block(x, b, att)
        return m.logits(x[:, 0])
    top = run_mode.top if x.is_cuda else int(counts.max())  # the caller knows the counts: no host read
    if mode == "padded-max":
        idx = (~kept).to(torch.int8).argsort(dim=1, stable=True)[:, :top]
        x = x.gather(1, idx[..., None].expand(-1, -1, D))
        att = m.dense_attend((torch.arange(top, device=x.device) < counts[:, None])[:, None, None, :])
        for b in m.blocks[layers_before:]: x = m.block(x, b, att)
        return m.logits(x[:, 0])
    if x.is_cuda:  # x[kept] would read the number of rows on the host
        rows = x.flatten(0, 1)[torch.nonzero_static(kept.flatten(), size=run_mode.total)[:, 0]]
    else:
        rows = x[kept]
    off = F.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
    if mode == "varlen":
        from torch.nn.attention.varlen import varlen_attn
        def att(q, k, v):
            s = lambda t: t.unflatten(-1, (m.heads, -1))
            return varlen_attn(s(q), s(k), s(v), off, off, top, top).flatten(1)
    elif mode == "fa4":
        fa4 = load_fa4()
        def att(q, k, v):
            s = lambda t: t.unflatten(-1, (m.heads, -1))
            return first(fa4(s(q), s(k), s(v), cu_seqlens_q=off, cu_seqlens_k=off, max_seqlen_q=top, max_seqlen_k=top)).flatten(1)
    elif mode == "nested":
        def att(q, k, v):
            s = lambda t: torch.nested.nested_tensor_from_jagged(t.unflatten(-1, (m.heads, -1)), off.long(), min_seqlen=1, max_seqlen=top).transpose(1, 2)
            return F.scaled_dot_product_attention(s(q), s(k), s(v)).transpose(1, 2).values().flatten(1)
    for b in m.blocks[layers_before:]: rows = m.block(rows, b, att)
    return m.logits(rows[off[:-1].long()])


def timed(f, sync, window, repeat):
    f(); sync()
    t = time.perf_counter(); f(); sync(); once = time.perf_counter() - t
    it = max(1, min(400, int(window / max(once, 1e-6))))
    out = []
    for _ in range(repeat):
        t = time.perf_counter()
        for _ in range(it): f()
        sync()
        out.append((time.perf_counter() - t) / it)
    return statistics.median(out)


def graphed(f, calls=1):
    """One CUDA graph of `calls` calls in a row: replaying many at once takes the launch of the graph itself out of the figure."""
    s = torch.cuda.Stream(); s.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(s):
        for _ in range(3): f()
    torch.cuda.current_stream().wait_stream(s)
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g):
        for _ in range(calls): f()
    return g.replay


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--device", default="cpu"); p.add_argument("--models", default="T,S,B")
    p.add_argument("--batches", default="1,8,32"); p.add_argument("--image", type=int, default=224)
    p.add_argument("--keep", default="0.5"); p.add_argument("--spread", type=float, default=0.2)
    p.add_argument("--dtype", default="f32"); p.add_argument("--modes", default="dense,padded-full,padded-max,topk,varlen,nested")
    p.add_argument("--graph", action="store_true"); p.add_argument("--compile", action="store_true")
    p.add_argument("--sweep", action="store_true"); p.add_argument("--cases", default="1x12,8x12,32x12,32x3,64x12"); p.add_argument("--means", default="20,40,60,99,150,197,288,577,785"); p.add_argument("--only", default=""); p.add_argument("--seed", type=int, default=3); p.add_argument("--floor", action="store_true")
    p.add_argument("--window", type=float, default=0.3); p.add_argument("--repeat", type=int, default=5)
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads: torch.set_num_threads(a.threads)
    dev = torch.device(a.device)
    dt = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[a.dtype]
    sync = torch.cuda.synchronize if dev.type == "cuda" else (lambda: None)
    where = torch.cuda.get_device_name() if dev.type == "cuda" else f"cpu x{torch.get_num_threads()}"
    say = lambda **k: print(json.dumps(dict(where=where, torch=torch.__version__, dtype=a.dtype, **k)), flush=True)
    with torch.inference_mode():
        if a.floor: floor(dev, dt, sync, say)
        if a.sweep: sweep(dev, dt, sync, say, a)
        for name in [n for n in a.models.split(",") if n]:
            m = Vit(name, a.image, dev, dt)
            for batch in map(int, a.batches.split(",")):
                img = torch.randn(batch, 3, a.image, a.image, generator=torch.Generator().manual_seed(2)).to(dev, dt)
                for keep in map(float, a.keep.split(",")):
                    counts = keep_counts(batch, m.n, keep, a.spread)
                    counts_known(counts)
                    dcounts = counts.to(dev)
                    for mode in a.modes.split(","):
                        f = lambda: run_mode(m, mode, img, dcounts)
                        try:
                            t = timed(f, sync, a.window, a.repeat)
                            say(model=name, image=a.image, batch=batch, keep=keep, mode=mode, ms=t * 1e3, img_s=batch / t)
                            if a.graph and dev.type == "cuda" and mode != "nested":
                                t = timed(graphed(f), sync, a.window, a.repeat)
                                say(model=name, image=a.image, batch=batch, keep=keep, mode=mode + "+graph", ms=t * 1e3, img_s=batch / t)
                            if a.compile and mode in ("dense", "topk", "padded-full"):
                                c = torch.compile(f, mode="max-autotune-no-cudagraphs" if dev.type == "cuda" else None, dynamic=False)
                                t = timed(c, sync, a.window, a.repeat)
                                say(model=name, image=a.image, batch=batch, keep=keep, mode=mode + "+compile", ms=t * 1e3, img_s=batch / t)
                                if dev.type == "cuda" and a.graph:
                                    t = timed(graphed(c), sync, a.window, a.repeat)
                                    say(model=name, image=a.image, batch=batch, keep=keep, mode=mode + "+compile+graph", ms=t * 1e3, img_s=batch / t)
                        except Exception as e:
                            say(model=name, batch=batch, keep=keep, mode=mode, error=repr(e)[:200])


def spread_lengths(batch, mean, spread=0.3, seed=3):
    """Lengths spread around `mean`, their mean exactly that."""
    r = torch.rand(batch, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    n = (mean * (1 + spread * (r - r.mean()))).round().long().clamp(min=1).tolist()
    for i in range(abs(batch * mean - sum(n))): n[i % batch] += 1 if sum(n) < batch * mean else -1
    return torch.tensor(n)


def attention_cases(B, H, mean, dev, dt, spread=0.3, seed=3):
    n = spread_lengths(B, mean, spread, seed)
    off = F.pad(n.cumsum(0), (1, 0)).to(torch.int32)
    total, top = int(n.sum()), int(n.max())
    g = torch.Generator(dev).manual_seed(4)
    packed = [torch.randn(total, H, 64, generator=g, device=dev).to(dt) for _ in range(3)]
    padded = [torch.zeros(B, top, H, 64, dtype=dt, device=dev) for _ in range(3)]
    for P, Q in zip(padded, packed):
        for i in range(B): P[i, :n[i]] = Q[off[i]:off[i + 1]]
    mask = (torch.arange(top)[None] < n[:, None])[:, None, None, :].to(dev)
    return n, off.to(dev), top, packed, [t.transpose(1, 2).contiguous() for t in padded], mask


def sweep(dev, dt, sync, say, a):
    for B, H in [map(int, c.split("x")) for c in a.cases.split(",")]:
        for mean in map(int, a.means.split(",")):
            n, off, top, packed, padded, mask = attention_cases(B, H, mean, dev, dt, seed=a.seed)
            flops = 4 * 64 * H * int((n * n).sum())
            fs = {"sdpa-padded-mask": lambda: F.scaled_dot_product_attention(*padded, attn_mask=mask),
                  "sdpa-padded-nomask": lambda: F.scaled_dot_product_attention(*padded)}
            if dev.type == "cuda":
                from torch.nn.attention.varlen import varlen_attn
                fs["varlen"] = lambda: varlen_attn(*packed, off, off, top, top)
                try:
                    fa4 = load_fa4()
                    fs["fa4"] = lambda: first(fa4(*packed, cu_seqlens_q=off, cu_seqlens_k=off, max_seqlen_q=top, max_seqlen_k=top))
                except ImportError: pass
            lo = off.long()
            def nested():
                s = lambda t: torch.nested.nested_tensor_from_jagged(t, lo, min_seqlen=1, max_seqlen=top).transpose(1, 2)
                return F.scaled_dot_product_attention(*map(s, packed))
            fs["nested"] = nested
            for mode, f in fs.items():
                if a.only and mode not in a.only.split(","): continue
                try:
                    t = timed(f, sync, 0.05, a.repeat)
                    r = dict(sweep="attention", batch=B, heads=H, mean=mean, longest=top, mode=mode, us=t * 1e6, tflops=flops / t / 1e12)
                    if dev.type == "cuda" and mode != "nested":
                        r["graph_us"] = timed(graphed(f, 100), sync, 0.05, a.repeat) * 1e4
                    say(**r)
                except Exception as e:
                    say(sweep="attention", batch=B, heads=H, mean=mean, mode=mode, error=repr(e)[:200])


def floor(dev, dt, sync, say, skip=()):
    """Host time to submit one call on almost no work, the queue kept short."""
    n, off, top, packed, padded, mask = attention_cases(1, 3, 20, dev, dt)
    x = torch.randn(20, 192, device=dev, dtype=dt); w = torch.randn(192, 192, device=dev, dtype=dt)
    fs = {"sdpa": lambda: F.scaled_dot_product_attention(*padded),
          "sdpa-mask": lambda: F.scaled_dot_product_attention(*padded, attn_mask=mask),
          "linear": lambda: F.linear(x, w), "layer_norm": lambda: F.layer_norm(x, (192,)), "add": lambda: x + x}
    lo = off.long()
    def nested():
        s = lambda t: torch.nested.nested_tensor_from_jagged(t, lo, min_seqlen=1, max_seqlen=top).transpose(1, 2)
        return F.scaled_dot_product_attention(*map(s, packed))
    fs["nested"] = nested
    if dev.type == "cuda":
        from torch.nn.attention.varlen import varlen_attn
        fs["varlen"] = lambda: varlen_attn(*packed, off, off, top, top)
        try:
            fa4 = load_fa4()
            fs["fa4"] = lambda: first(fa4(*packed, cu_seqlens_q=off, cu_seqlens_k=off, max_seqlen_q=top, max_seqlen_k=top))
        except ImportError: pass
    for mode, f in fs.items():
        if mode in skip: continue
        try:
            for _ in range(50): f()
            sync(); best = []
            for _ in range(20):
                t = time.perf_counter()
                for _ in range(100): f()
                best.append((time.perf_counter() - t) / 100); sync()
            say(floor=mode, host_us_median=statistics.median(best) * 1e6, host_us_min=min(best) * 1e6)
        except Exception as e:
            say(floor=mode, error=repr(e)[:200])


if __name__ == "__main__": main()
