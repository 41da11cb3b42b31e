#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hedgerow beside what else runs pruned Vision Transformers on an NVIDIA GPU, in one sitting: at every point each contender
is timed once a round, rounds repeat, medians are kept.

attention   head_dim 64, f16: one call as one graph of 100 calls / 100, for every side, at the same lengths (spread by 30 %,
            exact mean), several seeds; ratios are formed within a round. Peers: SDPA padded to the longest, without a mask
            (not the same result, but the speed of a dense kernel on that shape) and with one; varlen (FlashAttention-2 in
            PyTorch); fa4 (flash-attn-4, where installed); paper (--paper). Ragged results are compared with the masked one first.
host        host time to submit one call on almost no work.
end-to-end  DeiT, f16, pictures on the device: one prune by token norm after four blocks (vit_peers.py's modes, eager and as a graph
            wherever that can be captured; the host knows all counts beforehand), and `hedgerow bench vit --device cuda`
            before and after each model's peers, after them once more with the whole last block, as peers run it.

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
OUR_MARKS = ("whole_last_block", "batch_invariant", "rule")  # what else tells our runs of one method apart, where our JSON has it
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
                found[name].append(g.us(1 if found[name] and found[name][0] > 200 else 3))
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
def our_models(program, model, image, batches, methods, seconds, errors, *more):
    """The adapter to our program: one call, all batches and methods of a model. batch -> name -> images/s."""
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        done = subprocess.run([program, "bench", "vit", "--device", "cuda", "--models", model, "--size", str(image), "--batches", batches,
                               "--dtypes", "f16", "--keeps", "0.5", "--spread", "0.2", "--methods", methods, "--layouts", "ragged",
                               "--seconds", str(seconds), "--json", f.name, *more], capture_output=True, text=True)
        if done.returncode:  # what it has measured before counts
            errors["ours"] = f"exit {done.returncode}: {done.stderr.strip()[-300:]}"
        text = open(f.name).read()
    found = {}
    for r in json.loads(text)["results"] if text else ():
        marks = [r["method"]] + [k if r[k] is True else f"{k}={r[k]}" for k in OUR_MARKS if r.get(k) and r[k] != "rate"]
        found.setdefault(r["batch"], {})["ours " + " ".join(marks)] = r
    return found


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
    rounds = [{name: batch / v.timed(f, sync, a.window, 1) for name, f in sides.items()} for _ in range(a.rounds)]
    speed = {n: median(r[n] for r in rounds) for n in sides}
    return dict(model=model, image=image, batch=batch, images_per_s=speed, best_peer=max(speed, key=speed.get), errors=errors)


def beside(report, ours):
    """Adds our figures of one cell, each call's, and their ratios to the peers'."""
    speed = report["images_per_s"]
    peers, over = dict(speed), {}
    report["ours"] = ours
    for n in ours[0] if ours else ():
        speed[n] = median(figures[n]["images_per_s"] for figures in ours if n in figures)
        if n.startswith("ours none"):
            over[f"{n} over best dense peer"] = speed[n] / max(t for p, t in peers.items() if p.startswith("dense"))
        else:
            over[f"{n} over best peer"] = speed[n] / max(peers.values())
            over.update({f"{n} over {p}": speed[n] / t for p, t in peers.items() if p.startswith(("padded", "paper"))})
    report["ratio"] = over
    return report


def models(a, paper, keep):
    groups = {}
    for text in a.cells.split(","):
        model, image, batch = text.split(":")
        groups.setdefault((model, int(image)), []).append(int(batch))
    for (model, image), batches in groups.items():
        errors = {}
        def call(*more):
            return our_models(a.program, model, image, ",".join(map(str, batches)), a.methods, a.window, errors, *more) if a.program else {}
        m, ours = v.Vit(model, image, torch.device("cuda"), torch.float16), [call()]
        reports = []
        for batch in batches:
            reports.append(cell(m, model, image, batch, a, paper))
            torch.cuda.empty_cache()
        ours.append(call())
        whole = call("--whole-last-block")
        for r in reports:
            r["errors"].update(errors)
            r = beside(r, [{**o[r["batch"]], **whole.get(r["batch"], {})} for o in ours if r["batch"] in o])
            keep("end_to_end", r)
            print(f"{model} {image} {r['batch']}: " + ", ".join(f"{k} {s:.0f}" for k, s in r["images_per_s"].items()) +
                  f"; best peer {r['best_peer']}; " + ", ".join(f"{k} {s:.2f}" for k, s in r["ratio"].items()) +
                  (f" {r['errors']}" if r["errors"] else ""), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--attention-program", default=""); p.add_argument("--program", default="")
    p.add_argument("--parts", default="attention,host,end-to-end"); p.add_argument("--paper", default="")
    p.add_argument("--batches", default="1,8,32,64"); p.add_argument("--means", default="20,40,60,99,150,197,288,577,785")
    p.add_argument("--heads", type=int, default=12); p.add_argument("--seeds", default="1,2,3")
    p.add_argument("--cells", default=CELLS); p.add_argument("--modes", default=MODES)
    p.add_argument("--methods", default="paper-l2,paper-dynamicvit,paper-evit,paper-ats")
    p.add_argument("--rounds", type=int, default=3); p.add_argument("--window", type=float, default=0.1)
    p.add_argument("--attention-rounds", type=int, default=0, help="of each seed; default: as --rounds")
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
                r = attention_point(batch, a.heads, mean, numbers(a.seeds), a.attention_rounds or a.rounds, paper, ours)
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
        if "end-to-end" in parts:
            models(a, paper, keep)


if __name__ == "__main__":
    main()
