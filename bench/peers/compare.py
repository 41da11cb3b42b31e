#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hedgerow beside what else runs a pruned Vision Transformer on a CPU, in one run: every contender is timed once a round,
rounds repeat, medians are kept, and every round's ratio is formed before the median is taken.

Contenders: PyTorch (dense, padded-full, padded-max, top-k), ONNX Runtime and OpenVINO (dense, top-k), and with --zentorch
PYTHON torch.compile with zentorch from another environment. `topk` is one count for the whole batch fixed in the graph, the
strongest a static runtime can do; ours is ragged, keep +- spread per picture.

Usage: compare.py PROGRAM [--models T,S,B] [--batches 1,8,32] [--dtypes f32,bf16] [--rounds 3] [--window 0.6] [--json FILE]
                  [--zentorch PYTHON] [--methods paper-l2]
Needs torch, onnx, onnxscript, onnxruntime, openvino in the Python that runs it.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))


# ---------------------------------------------------------------------------------------------------- worker
def build(cell, runtimes, directory):
    """name -> callable that runs one batch."""
    sys.path.insert(0, HERE)
    import torch
    import vit_peers as v
    from vit_runtimes import Graph
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[cell["dtype"]]
    f32 = v.Vit(cell["model"], 224, torch.device("cpu"), torch.float32)
    own = f32 if dtype == torch.float32 else v.Vit(cell["model"], 224, torch.device("cpu"), dtype)
    image = torch.randn(cell["batch"], 3, 224, 224, generator=torch.Generator().manual_seed(2))
    run = {}
    if "torch" in runtimes:
        counts = v.keep_counts(cell["batch"], f32.n, cell["keep"], cell["spread"])
        x = image.to(dtype)
        for mode in ("dense", "padded-full", "padded-max", "topk"):
            run[f"torch {mode}"] = lambda mode=mode: v.run_mode(own, mode, x, counts)
    for mode in ("dense", "topk"):
        graph = Graph(f32, mode, cell["keep"]).eval()
        path = os.path.join(directory, f"{mode}.onnx")
        wants_ort = "ort" in runtimes and cell["dtype"] == "f32"
        if wants_ort or "openvino" in runtimes:
            with torch.no_grad():
                torch.onnx.export(graph, (image,), path, dynamo=True, verbose=False)
        if wants_ort:
            import onnxruntime as ort
            o = ort.SessionOptions()
            o.intra_op_num_threads = cell["threads"]
            s = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
            feed = {s.get_inputs()[0].name: image.numpy()}
            run[f"ort {mode}"] = lambda s=s, feed=feed: s.run(None, feed)
        if "openvino" in runtimes:
            import openvino as ov
            core = ov.Core()
            options = {"INFERENCE_NUM_THREADS": cell["threads"], "PERFORMANCE_HINT": "LATENCY",
                       "INFERENCE_PRECISION_HINT": cell["dtype"]}
            request = core.compile_model(core.read_model(path), "CPU", options).create_infer_request()
            run[f"openvino {mode}"] = lambda request=request: request.infer([image.numpy()])
        for backend in ("inductor", "zentorch"):
            if backend not in runtimes:
                continue
            if backend == "zentorch":
                import zentorch  # noqa: F401
            torch._dynamo.reset()
            compiled = torch.compile(Graph(own, mode, cell["keep"]).eval(), dynamic=False, backend=backend)
            run[f"{backend} {mode}"] = lambda compiled=compiled, x=image.to(dtype): compiled(x)
    return run


def worker(runtimes):
    import torch
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print goes to stderr
    directory = tempfile.TemporaryDirectory()
    run = {}
    with torch.inference_mode():
        for line in sys.stdin:
            ask = json.loads(line)
            if "cell" in ask:
                torch.set_num_threads(ask["cell"]["threads"])
                run, answer = {}, {}
                try:
                    run = build(ask["cell"], runtimes, directory.name)
                    for f in run.values():
                        f()
                    answer = {"names": list(run)}
                except Exception as e:  # a contender that can't run this cell is named, the rest go on
                    answer = {"names": [], "error": repr(e)[:300]}
            else:
                f, calls = run[ask["time"]], 0
                begin = time.perf_counter()
                while calls == 0 or time.perf_counter() - begin < ask["window"]:
                    f()
                    calls += 1
                answer = {"s": (time.perf_counter() - begin) / calls}
            print(json.dumps(answer), file=out, flush=True)


class Worker:
    def __init__(self, python, runtimes):
        self.p = subprocess.Popen([python, __file__, "--worker", runtimes], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)

    def ask(self, **what):
        self.p.stdin.write(json.dumps(what) + "\n")
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line:
            sys.exit("compare: a peer's process ended")
        return json.loads(line)


# ---------------------------------------------------------------------------------------------------- ours
def ours(program, cell, methods, window):
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        subprocess.run([program, "bench", "vit", "--models", cell["model"], "--batches", str(cell["batch"]), "--dtypes",
                        cell["dtype"], "--keeps", str(cell["keep"]), "--spread", str(cell["spread"]), "--methods", methods,
                        "--layouts", "ragged", "--threads", str(cell["threads"]), "--seconds", str(window), "--json", f.name],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        results = json.load(open(f.name))["results"]
    return {f"ours {r['method']}": r for r in results}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("--models", default="T,S,B"); p.add_argument("--batches", default="1,8,32")
    p.add_argument("--dtypes", default="f32,bf16"); p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--window", type=float, default=0.6); p.add_argument("--keep", type=float, default=0.5)
    p.add_argument("--spread", type=float, default=0.2); p.add_argument("--threads", type=int, default=2)
    p.add_argument("--methods", default="paper-l2"); p.add_argument("--runtimes", default="torch,ort,openvino")
    p.add_argument("--zentorch", default=""); p.add_argument("--json", default="")
    a = p.parse_args()
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    workers = [Worker(sys.executable, a.runtimes)] + ([Worker(a.zentorch, "zentorch")] if a.zentorch else [])
    everything = []
    for dtype in a.dtypes.split(","):
        for model in a.models.split(","):
            for batch in map(int, a.batches.split(",")):
                cell = dict(dtype=dtype, model=model, batch=batch, keep=a.keep, spread=a.spread, threads=a.threads)
                names = []
                for w in workers:
                    answer = w.ask(cell=cell)
                    names += [(w, n) for n in answer["names"]]
                    if "error" in answer:
                        print(f"{dtype} {model} {batch}: {answer['error']}", file=sys.stderr)
                rounds = []
                for _ in range(a.rounds):
                    speed, share = {}, {}
                    for w, n in names:
                        speed[n] = batch / w.ask(time=n, window=a.window)["s"]
                    for n, r in ours(a.program, cell, a.methods, a.window).items():
                        speed[n], share[n] = r["images_per_s"], r["share_of_peak"]
                        flops = 2 * r["macs_per_image"] / r["share_of_peak"] * r["images_per_s"]
                        if n == "ours none":
                            dense_macs = r["macs_per_image"]
                    for n in speed:  # peers: dense arithmetic, the last block's shortcut not credited to them
                        if n.endswith(" dense"):
                            share[n] = speed[n] * 2 * dense_macs / flops
                    rounds.append((speed, share))
                report = dict(cell, commit=commit, rounds=a.rounds, images_per_s={}, share_of_peak={}, ratio={})
                for n in rounds[0][0]:
                    report["images_per_s"][n] = statistics.median(r[0][n] for r in rounds)
                    if n in rounds[0][1]:
                        report["share_of_peak"][n] = statistics.median(r[1][n] for r in rounds)
                best = lambda r, end: max((r[n] for n in r if n.endswith(end) and not n.startswith("ours")), default=float("nan"))
                pruned = [n for n in rounds[0][0] if n.startswith("ours ") and n != "ours none"]
                report["ratio"]["dense over best peer"] = statistics.median(r[0]["ours none"] / best(r[0], " dense") for r in rounds)
                for n in pruned:
                    report["ratio"][f"{n} over best top-k peer"] = statistics.median(r[0][n] / best(r[0], " topk") for r in rounds)
                    if "torch padded-full" in rounds[0][0]:
                        for padded in ("padded-full", "padded-max"):
                            report["ratio"][f"{n} over torch {padded}"] = statistics.median(r[0][n] / r[0][f"torch {padded}"] for r in rounds)
                everything.append(report)
                print(f"{dtype} {model} {batch}: " + ", ".join(f"{n} {s:.1f}" for n, s in report["images_per_s"].items()))
                print("    " + ", ".join(f"{n} {r:.2f}x" for n, r in report["ratio"].items()) +
                      f"; share of peak: ours dense {100 * report['share_of_peak']['ours none']:.0f} %", flush=True)
                if a.json:  # after every cell: an interrupted run keeps what it has
                    with open(a.json + ".part", "w") as f:
                        json.dump(everything, f, indent=1)
                    os.replace(a.json + ".part", a.json)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--worker":
        worker(sys.argv[2].split(","))
    else:
        main()
