#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hedgerow beside what else runs a pruned Vision Transformer on a CPU, in one run: every contender is timed once a round,
rounds repeat, medians are kept, and every round's ratio is formed before the median is taken.

Contenders: PyTorch (dense, padded-full, padded-max, top-k); torch.compile with Inductor and zentorch, ONNX Runtime, OpenVINO
(dense, top-k). `topk` is one count for the whole batch fixed in the graph, the strongest a static runtime can do; ours is
ragged, keep +- spread per picture. PyTorch's padded runs score by the token norm, the cheapest score of the four methods.

On CPUs with AMX the peers use its matrix tiles for bf16; ours has no AMX path. There each bf16 peer runs as it comes and those of
--noamx once more without AMX (NAME-noamx; by ONEDNN_MAX_CPU_ISA; what it then ran is under "isa"), and the ratios say which.

Usage: compare.py PROGRAM [--models T,S,B] [--batches 1,8,32] [--dtypes f32,bf16] [--rounds 3] [--window 0.6]
                  [--methods paper-l2] [--runtimes torch,ort,openvino,inductor,zentorch=PYTHON] [--levels auto,avx512]
                  [--json FILE] [--resume] [--budget SECONDS] [--cell-seconds S] [--build-cores 4-7] [--graphs DIR]
                  [--noamx torch,openvino]
--json: one line a cell, appended. --resume leaves out cells that FILE has; --budget starts no cell that the last one's time
says would end later: so a long run can be cut into slices; --cell-seconds: no further round of a cell that would end later.
Pin it from outside: taskset -c 12,14 compare.py ... With --build-cores, cells are built ahead on those (compilers take longer
than the timing); leave the timed ones and those that share their physical cores out. --graphs DIR keeps exported graphs.
Needs torch, onnx, onnxscript, onnxruntime, openvino in the Python that runs it; zentorch may live in another.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
median = statistics.median
SETTLE = 0.4  # s before each contender: by then the threads of the one before have stopped spinning


class Worker:
    """A runtime's process. It starts when first asked and a dead one is left out, not the end of everything."""
    def __init__(self, spec, directory, build_cores, noamx=False):
        self.runtime, _, self.python = spec.partition("=")
        self.noamx, self.arguments, self.p = noamx, [directory, build_cores], None

    def end(self):
        if self.p:
            self.p.kill()

    def named(self, name):
        return name.replace(self.runtime, self.runtime + "-noamx", 1) if self.noamx else name

    def ask(self, **what):
        if not self.p:
            env = dict(os.environ, ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16", DNNL_MAX_CPU_ISA="AVX512_CORE_BF16") if self.noamx else None
            self.p = subprocess.Popen([self.python or sys.executable, os.path.join(HERE, "worker.py"), self.runtime, *self.arguments],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        try:
            self.p.stdin.write(json.dumps(what) + "\n")
            self.p.stdin.flush()
            line = self.p.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.p = None
            return dict(names=[], error="its process ended")
        return json.loads(line)


def ours(program, cell, methods, rounds, level):
    """Our figures for one cell, by name, and the machine as our program names it."""
    env = dict(os.environ, HEDGEROW_KERNELS=level) if level != "auto" else None
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        subprocess.run([program, "bench", "vit", "--models", cell["model"], "--batches", str(cell["batch"]), "--dtypes",
                        cell["dtype"], "--keeps", str(cell["keep"]), "--spread", str(cell["spread"]), "--methods", methods,
                        "--layouts", "ragged", "--threads", str(cell["threads"]), "--rounds", str(rounds), "--json", f.name],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        out = json.load(open(f.name))
    return {(f"ours-{level}" if level != "auto" else "ours") + f" {r['method']}": r for r in out["results"]}, out["machine"]


def one_round(program, cell, peers, a, levels):
    """name -> images/s, share of the multiply-add peak, our own figures."""
    speed, share, machine, peak = {}, {}, "", 0
    for w, name in peers:
        time.sleep(SETTLE)
        answer = w.ask(time=name, window=a.window)
        if "s" in answer:
            speed[w.named(name)] = cell["batch"] / answer["s"]
    fastest = max((s for n, s in speed.items() if n.endswith("dense")), default=10)
    rounds = max(1, min(40, round(a.window * fastest / cell["batch"])))
    for level in levels:
        time.sleep(SETTLE)
        try:
            figures, machine_now = ours(program, cell, a.methods, rounds, level)
        except subprocess.CalledProcessError:
            if level == "auto":
                raise
            continue  # a level that this machine has not
        for name, r in figures.items():
            speed[name], share[name] = r["images_per_s"], r["share_of_peak"]
            if level == "auto":
                machine, peak = machine_now, r["peak_flops"]
    for name in speed:  # peers: by our dense run's arithmetic and its peak; the last block's rest is not credited to them
        if name.endswith(" dense"):
            share[name] = speed[name] / speed["ours none"] * share["ours none"]
    return speed, share, machine, peak


def ratios(rounds):
    """Of each of our runs over the best peer of its kind; where there is AMX, also over the best of those run without it."""
    def best(speed, end, noamx):
        fits = lambda n: n.endswith(end) and not n.startswith("ours") and (not noamx or "-noamx " in n)
        return max((speed[n] for n in speed if fits(n)), default=float("nan"))
    speeds = [r[0] for r in rounds]
    names = [n for n in speeds[0] if all(n in s for s in speeds)]
    over = {}
    for n in (n for n in names if n.startswith("ours")):
        end = " dense" if n.endswith(" none") else " topk"
        for noamx in (False, True) if any("-noamx " in m for m in names) else (False,):
            key = f"{n} over best{end} peer" + (" without AMX" if noamx else "")
            over[key] = median(s[n] / best(s, end, noamx) for s in speeds)
        for padded in (m for m in names if "padded" in m and end == " topk"):
            over[f"{n} over {padded}"] = median(s[n] / s[padded] for s in speeds)
    return over


def build(cell, workers):
    """All runtimes build their contenders at once: (peers, a report with what they said)."""
    begin, peers, report = time.time(), [], dict(cell, errors={}, isa={}, diff={}, builds_s={})
    with ThreadPoolExecutor(len(workers)) as pool:
        answers = list(pool.map(lambda w: w.ask(cell=cell), workers))
    for w, answer in zip(workers, answers):
        peers += [(w, n) for n in answer["names"]]
        if "error" in answer:
            report["errors"][w.named(w.runtime)] = answer["error"]
        report["builds_s"][w.named(w.runtime)] = answer.get("build_s")
        for what in ("isa", "diff"):
            report[what].update({w.named(n): x for n, x in answer.get(what, {}).items()})
    report["build_s"] = time.time() - begin
    return peers, report


def measure(cell, peers, report, a):
    begin = time.time()
    levels = [x for x in a.levels.split(",") if x == "auto" or cell["dtype"] == "bf16"]
    rounds, last = [], 0
    while len(rounds) < a.rounds and (not rounds or time.time() - begin + last < a.cell_seconds):
        start = time.time()
        rounds.append(one_round(a.program, cell, peers, a, levels))
        last = time.time() - start
    collect = lambda i: {n: median(r[i][n] for r in rounds) for n in rounds[0][i] if all(n in r[i] for r in rounds)}
    report.update(machine=rounds[0][2], peak_flops=median(r[3] for r in rounds), rounds=len(rounds), images_per_s=collect(0),
                  share_of_peak=collect(1), ratio=ratios(rounds), seconds=time.time() - begin)
    return report


def cpu():
    """Model and the instruction sets that matter, as the kernel names them."""
    lines = dict(line.split(":", 1) for line in open("/proc/cpuinfo").read().split("\n\n")[0].splitlines() if ":" in line)
    lines = {k.strip(): x.strip() for k, x in lines.items()}
    return dict(name=lines.get("model name", ""), family=lines.get("cpu family", ""), model=lines.get("model", ""),
                flags=[f for f in lines.get("flags", "").split() if f.startswith(("avx512", "amx", "avx2", "avx_vnni"))])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("--models", default="T,S,B"); p.add_argument("--batches", default="1,8,32")
    p.add_argument("--dtypes", default="f32,bf16"); p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--window", type=float, default=0.6); p.add_argument("--keep", type=float, default=0.5)
    p.add_argument("--spread", type=float, default=0.2); p.add_argument("--threads", type=int, default=2)
    p.add_argument("--methods", default="paper-l2"); p.add_argument("--runtimes", default="torch,ort,openvino,inductor")
    p.add_argument("--levels", default="auto"); p.add_argument("--json", default="")
    p.add_argument("--resume", action="store_true"); p.add_argument("--budget", type=float, default=0)
    p.add_argument("--build-cores", default=""); p.add_argument("--noamx", default="torch,openvino")
    p.add_argument("--cell-seconds", type=float, default=600); p.add_argument("--graphs", default="")
    p.add_argument("--commit", default="", help="what PROGRAM was built from, where that is not this checkout")
    a = p.parse_args()
    begin, machine = time.time(), cpu()
    git = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    commit = a.commit or git
    scratch = tempfile.TemporaryDirectory()
    directory = a.graphs or scratch.name  # of exported graphs
    os.makedirs(directory, exist_ok=True)
    specs = a.runtimes.split(",")
    twins = [x for x in specs if x.split("=")[0] in a.noamx.split(",")] if "amx_bf16" in machine["flags"] else []
    # Two sets of processes where building has cores of its own: one builds the next cell while the other is timed.
    sets = [([Worker(x, directory, a.build_cores) for x in specs],
             [Worker(x, directory, a.build_cores, noamx=True) for x in twins]) for _ in range(2 if a.build_cores else 1)]
    key = lambda c: (c["dtype"], c["model"], c["batch"])
    done = {key(json.loads(line)) for line in open(a.json)} if a.resume and os.path.exists(a.json) else set()
    cells = [dict(dtype=dtype, model=model, batch=batch, keep=a.keep, spread=a.spread, threads=a.threads,
                  modes=["dense", "padded-full", "padded-max", "topk"])
             for batch in map(int, a.batches.split(",")) for model in a.models.split(",") for dtype in a.dtypes.split(",")]
    cells = [c for c in cells if key(c) not in done]
    longest, ahead = 0, ThreadPoolExecutor(1)
    start = lambda i: ahead.submit(build, cells[i], sets[i % len(sets)][0] + (sets[i % len(sets)][1] if cells[i]["dtype"] == "bf16" else []))
    built = start(0) if cells else None
    for i, cell in enumerate(cells):
        if a.budget and time.time() - begin + longest > a.budget:
            print("compare: the rest in another slice", flush=True)
            break
        begun = time.time()
        peers, report = built.result()
        if not peers:
            sys.exit(f"compare: no peer runs here: {report['errors']}")
        if i + 1 < len(cells) and len(sets) > 1:
            built = start(i + 1)
        report = measure(cell, peers, report, a)
        if i + 1 < len(cells) and len(sets) == 1:
            built = start(i + 1)
        longest = max(longest, time.time() - begun)
        report.update(commit=commit, cpu=machine, cores=sorted(os.sched_getaffinity(0)))
        if a.json:
            with open(a.json, "a") as f:
                f.write(json.dumps(report) + "\n")
        print("{dtype} {model} {batch}: ".format(**cell) + ", ".join(f"{n} {s:.1f}" for n, s in report["images_per_s"].items()))
        print("    " + ", ".join(f"{n} {r:.2f}x" for n, r in report["ratio"].items()) +
              f"; share of peak: ours dense {100 * report['share_of_peak']['ours none']:.0f} %; "
              f"{report['rounds']} rounds, {report['build_s']:.0f} + {report['seconds']:.0f} s {report['errors'] or ''}", flush=True)
    for w in (w for pair in sets for some in pair for w in some):
        w.end()


if __name__ == "__main__":
    main()
