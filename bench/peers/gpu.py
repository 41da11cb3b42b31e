#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hedgerow beside what else runs pruned Vision Transformers on an NVIDIA GPU, in one sitting: at every point each contender
is timed once a round, rounds repeat, medians are kept, and every ratio is formed within its round first.

attention   head_dim 64, f16: one call as one graph of 100 calls / 100, for every side, at the same lengths (spread by 30 %,
            exact mean), several seeds. Peers: SDPA padded to the longest, without a mask (not the same result, but the speed of
            a dense kernel on that shape) and with one; varlen (FlashAttention-2 in PyTorch); fa4 (flash-attn-4, where installed);
            paper (--paper). Ragged results are compared with the masked one first.
host        host time to submit one call on almost no work.
end-to-end  DeiT, f16, pictures on the device: one prune by token norm after block 4 (vit_peers.py's modes, eager and as a graph
            wherever that can be captured; the host knows all counts beforehand), beside `hedgerow bench vit --device cuda`.
            Peers run the whole last block.

--paper DIR: the code of "Dispatch-Aware Ragged Attention for Pruned Vision Transformers" (repository saifmb0/sparse-vits,
micro_benchmark.py and e2e_benchmark.py), run from where it lies: it has no licence. Its pipelines keep a fixed half, and run
with cuDNN as PyTorch has it (the code turns it off).

Usage: gpu.py [--attention-program cuda_attention_sweep] [--program hedgerow] [--parts attention,host,end-to-end] [--paper DIR]
              [--batches 1,8,32,64] [--means 20,...] [--seeds 1,2,3] [--cells B:224:1,...] [--methods paper-l2,...] --json FILE
Needs torch with CUDA; flash-attn-4 and timm (for --paper) where they are to take part.
"""
import argparse, importlib, json, os, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import torch, torch.nn.functional as F
import vit_peers as v

MODES = "dense,padded-full,padded-max,topk,varlen,fa4"
CELLS = ",".join([f"{m}:224:{b}" for m in "TSB" for b in (1, 8, 32, 128, 256)] + [f"B:384:{b}" for b in (1, 8, 32)])
sync = torch.cuda.synchronize
median = statistics.median


class Paper:
    """The first paper's own kernel and pipelines, random weights."""
    def __init__(self, directory):
        from unittest import mock
        sys.path.insert(0, directory)
        for name in ("matplotlib", "matplotlib.pyplot"):
            sys.modules.setdefault(name, mock.MagicMock())
        self.micro, self.e2e = importlib.import_module("micro_benchmark"), importlib.import_module("e2e_benchmark")
        torch.backends.cudnn.enabled = True
        self.model = (None, None)

    def attention(self, packed, off):
        return lambda: self.micro.triton_ragged_attn_ada(*packed, off)

    def pipelines(self, model, image, pictures):
        import timm
        if self.model[0] != (model, image):
            name = dict(T="tiny", S="small", B="base")[model]
            m = timm.create_model(f"deit_{name}_patch16_{image}", pretrained=False).to("cuda", torch.float16).eval()
            self.e2e.EMBED_DIM, self.e2e.NUM_HEADS = v.SIZES[model]
            self.model = ((model, image), {"paper-padded": self.e2e.PaddedPipeline(m), "paper-triton": self.e2e.TritonRaggedPipeline(m)})
        return {name: (lambda p=p: p(pictures)) for name, p in self.model[1].items()}


# ------------------------------------------------------------------------------------------------ attention
def attention_sides(case, paper):
    n, off, top, packed, padded, mask = case
    from torch.nn.attention.varlen import varlen_attn
    sides = {"sdpa-padded-mask": lambda: F.scaled_dot_product_attention(*padded, attn_mask=mask),
             "sdpa-padded-nomask": lambda: F.scaled_dot_product_attention(*padded),
             "varlen": lambda: varlen_attn(*packed, off, off, top, top)}
    try:
        fa4 = v.load_fa4()
        sides["fa4"] = lambda: v.first(fa4(*packed, cu_seqlens_q=off, cu_seqlens_k=off, max_seqlen_q=top, max_seqlen_k=top))
    except ImportError:
        pass
    if paper:
        sides["paper"] = paper.attention(packed, off)
    return sides


def disagreement(sides, case):
    """Largest difference of each ragged side from SDPA with a mask, on the rows that exist."""
    n, top = case[0], case[2]
    alive = (torch.arange(top)[None] < n[:, None]).to("cuda")
    want = sides["sdpa-padded-mask"]().transpose(1, 2)[alive].float()
    return {name: float((v.first(f()).float() - want).abs().max()) for name, f in sides.items() if not name.startswith("sdpa")}


class Replay:
    """100 calls in one graph, timed by events around each replay."""
    def __init__(self, f):
        self.replay = v.graphed(f, 100)

    def us(self, replays):
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * replays)]
        self.replay()
        for a, b in zip(events[::2], events[1::2]):
            a.record()
            self.replay()
            b.record()
        sync()
        return median(a.elapsed_time(b) for a, b in zip(events[::2], events[1::2])) * 10


class Ours:
    """cuda_attention_sweep serve: figures for any lengths, in turn with the peers."""
    def __init__(self, program):
        self.p = subprocess.Popen([program, "f16", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, heads, lengths, replays):
        self.p.stdin.write(f"{heads} {replays} {' '.join(map(str, lengths))}\n")
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line:
            sys.exit("gpu: cuda_attention_sweep ended")
        return json.loads(line)


def attention_point(batch, heads, mean, seeds, rounds, paper, ours):
    us, ratio, report = {}, [], dict(batch=batch, heads=heads, mean=mean, errors={})
    for seed in seeds:
        case = v.attention_cases(batch, heads, mean, "cuda", torch.float16, seed=seed)
        lengths, sides, graphs = case[0].tolist(), attention_sides(case, paper), {}
        if seed == seeds[0]:
            report["max_diff"] = disagreement(sides, case)
        for name, f in sides.items():
            try:
                graphs[name] = Replay(f)
            except Exception as e:
                report["errors"][name] = repr(e)[:200]
        found = {name: [] for name in graphs}
        for _ in range(rounds):
            for name, g in graphs.items():
                found[name].append(g.us(3))
            if ours:
                answer = ours.ask(heads, lengths, 3)
                found.setdefault("ours", []).append(answer["us"])
                report["ours_host_us"] = answer["host_us"]
        for name, values in found.items():
            us.setdefault(name, []).append(median(values))
        if ours:
            ratio.append(median(min(r) / o for *r, o in zip(*(found[k] for k in graphs), found["ours"])))
        del graphs, sides, case
    report["us"] = {name: statistics.mean(values) for name, values in us.items()}
    peers = {k: t for k, t in report["us"].items() if k != "ours"}
    report["best_peer"] = min(peers, key=peers.get)
    if ours:
        report["over_best_peer"], report["each_seed"] = median(ratio), ratio
    return report


# ------------------------------------------------------------------------------------------------ end to end
def our_models(program, model, image, batch, methods, seconds):
    """Our program's adapter: one call, all methods of one cell; name -> its figures."""
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        done = subprocess.run([program, "bench", "vit", "--device", "cuda", "--models", model, "--size", str(image), "--batches", str(batch),
                               "--dtypes", "f16", "--keeps", "0.5", "--spread", "0.2", "--methods", methods, "--layouts", "ragged",
                               "--seconds", str(seconds), "--json", f.name], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{program}: exit {done.returncode}: {done.stderr.strip()[-200:]}")
        results = json.load(open(f.name))["results"]
    marks = lambda r: [r["method"]] + [str(r[k]) for k in ("counts", "last_block", "variant") if r.get(k)]
    return {"ours " + " ".join(marks(r)): r for r in results}


def model_sides(m, model, image, batch, modes, paper, errors):
    pictures = torch.randn(batch, 3, image, image, generator=torch.Generator("cuda").manual_seed(2), device="cuda").half()
    counts = v.keep_counts(batch, m.n, 0.5, 0.2)
    v.counts_known(counts)
    counts, sides = counts.cuda(), {}
    for mode in modes:
        f = lambda mode=mode: v.run_mode(m, mode, pictures, counts)
        try:
            f()
            sides[mode] = f
            sides[mode + "+graph"] = v.graphed(f)
        except Exception as e:
            errors[mode + ("+graph" if mode in sides else "")] = repr(e)[:200]
    if paper:
        try:
            for name, f in paper.pipelines(model, image, pictures).items():
                f()
                sides[name] = f
        except Exception as e:
            errors["paper"] = repr(e)[:200]
    return sides


def cell(m, model, image, batch, a, paper):
    errors = {}
    sides = model_sides(m, model, image, batch, a.modes.split(","), paper, errors)
    rounds = []
    for r in range(a.rounds):
        speed = {name: batch / v.timed(f, sync, a.window, 1) for name, f in sides.items()}
        if a.program:
            try:
                figures = our_models(a.program, model, image, batch, a.methods, a.window)
                speed.update({name: f["images_per_s"] for name, f in figures.items()})
            except Exception as e:
                errors["ours"] = repr(e)[:300]
        rounds.append(speed)
    names = [n for n in rounds[0] if all(n in r for r in rounds)]
    report = dict(model=model, image=image, batch=batch, images_per_s={n: median(r[n] for r in rounds) for n in names}, ratio={},
                  errors=errors)
    peers = [n for n in names if not n.startswith("ours")]
    dense = [n for n in peers if n.startswith("dense")]
    report["best_peer"] = max(peers, key=report["images_per_s"].get)
    over = lambda n, others: median(r[n] / max(r[o] for o in others) for r in rounds)
    for n in names:
        if n.startswith("ours none"):
            report["ratio"][f"{n} over best dense peer"] = over(n, dense)
        elif n.startswith("ours"):
            report["ratio"][f"{n} over best peer"] = over(n, peers)
            for padded in ("padded-full", "padded-max", "paper-padded", "paper-triton"):
                if padded in names:
                    report["ratio"][f"{n} over {padded}"] = over(n, [padded])
    return report


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--attention-program", default=""); p.add_argument("--program", default="")
    p.add_argument("--parts", default="attention,host,end-to-end"); p.add_argument("--paper", default="")
    p.add_argument("--batches", default="1,8,32,64"); p.add_argument("--means", default="20,40,60,99,150,197,288,577,785")
    p.add_argument("--heads", type=int, default=12); p.add_argument("--seeds", default="1,2,3")
    p.add_argument("--cells", default=CELLS); p.add_argument("--modes", default=MODES)
    p.add_argument("--methods", default="paper-l2,paper-dynamicvit,paper-evit,paper-ats")
    p.add_argument("--rounds", type=int, default=3); p.add_argument("--window", type=float, default=0.1)
    p.add_argument("--json", required=True)
    a = p.parse_args()
    numbers = lambda text: [int(x) for x in text.split(",")]
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True).stdout
    out = dict(gpu=torch.cuda.get_device_name(), driver=driver.strip(), torch=torch.__version__, cuda=torch.version.cuda,
               command=" ".join(sys.argv[1:]), rounds=a.rounds, notes=[], attention=[], host=[], end_to_end=[])
    try:
        v.load_fa4()
        from importlib.metadata import version
        out["fa4"] = version("flash-attn-4")
    except Exception as e:
        out["notes"].append(f"no flash-attn-4: {e!r}"[:200])
    begin = time.time()

    def keep(part, report):  # after every point: an interrupted run keeps what it has
        out[part].append(report)
        out["seconds"] = time.time() - begin
        with open(a.json + ".part", "w") as f:
            json.dump(out, f, indent=1)
        os.replace(a.json + ".part", a.json)

    parts = a.parts.split(",")
    with torch.inference_mode():
        try:
            paper = Paper(a.paper) if a.paper else None
        except Exception as e:
            paper = out["notes"].append(f"no paper: {e!r}"[:200])
        ours = Ours(a.attention_program) if a.attention_program else None
        for batch in numbers(a.batches) if "attention" in parts else ():
            for mean in numbers(a.means):
                r = attention_point(batch, a.heads, mean, numbers(a.seeds), a.rounds, paper, ours)
                keep("attention", r)
                print(f"attention {batch} x {mean}: " + ", ".join(f"{k} {t:.1f}" for k, t in r["us"].items()) +
                      (f"; {r['over_best_peer']:.2f} x {r['best_peer']}" if ours else "") + (f" {r['errors']}" if r["errors"] else ""), flush=True)
        if ours and out["attention"]:
            ratios = [r["over_best_peer"] for r in out["attention"]]
            print(f"attention: median {median(ratios):.2f} x the best peer, worst {min(ratios):.2f}, ahead at "
                  f"{sum(r >= 1 for r in ratios)} of {len(ratios)} points", flush=True)
        if "host" in parts:
            v.floor(torch.device("cuda"), torch.float16, sync, lambda **k: (keep("host", k), print("host", k)), skip=("nested",))
            if ours:
                keep("host", dict(floor="ours", host_us_median=ours.ask(3, [20], 3)["host_us"]))
        last = m = None
        for text in a.cells.split(",") if "end-to-end" in parts else ():
            model, image, batch = text.split(":")
            if (model, image) != last:
                m, last = v.Vit(model, int(image), torch.device("cuda"), torch.float16), (model, image)
            r = cell(m, model, int(image), int(batch), a, paper)
            keep("end_to_end", r)
            print(f"{text}: " + ", ".join(f"{k} {s:.0f}" for k, s in r["images_per_s"].items()) + f"; best peer {r['best_peer']}; " +
                  ", ".join(f"{k} {s:.2f}" for k, s in r["ratio"].items()) + (f" {r['errors']}" if r["errors"] else ""), flush=True)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
