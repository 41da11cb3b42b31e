# SPDX-License-Identifier: Apache-2.0
"""One process of compare.py: holds one runtime's contenders and times them on request. JSON lines in, JSON lines out.

{"cell": {...}} builds what the runtime can run of it, calls it once and says how: {"names", "diff": largest difference of the
logits from PyTorch's in f32 (batches up to 8), "isa": what ran the matrix products, as far as the runtime tells (AMX or not)};
{"time": name, "window": s} runs one contender for that long and answers the seconds of a call.

What is compiled (inductor, zentorch) has its weights frozen into the graph, so that they are repacked once, as the other
runtimes do. Building may use other cores than the timing does.
"""
import fcntl, json, os, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))


def bind(cores):
    """All threads of this process onto these cores."""
    for task in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(task), cores)
        except ProcessLookupError:
            pass


class Build:
    def __init__(self, cell, directory):
        sys.path.insert(0, HERE)
        import torch
        import vit_peers
        from vit_runtimes import Graph
        self.torch, self.v, self.Graph, self.cell, self.directory = torch, vit_peers, Graph, cell, directory
        self.dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[cell["dtype"]]
        self.image = torch.randn(cell["batch"], 3, 224, 224, generator=torch.Generator().manual_seed(2))
        self.f32, self.run, self.isa = self.model(torch.float32), {}, {}
        self.modes = cell["modes"]

    def model(self, dtype):
        return self.v.Vit(self.cell["model"], 224, self.torch.device("cpu"), dtype)

    def pytorch(self):
        v, x = self.v, self.image.to(self.dtype)
        m = self.f32 if self.dtype == self.torch.float32 else self.model(self.dtype)
        counts = v.keep_counts(self.cell["batch"], m.n, self.cell["keep"], self.cell["spread"])
        for mode in self.modes:
            self.run[f"torch {mode}"] = lambda mode=mode: v.run_mode(m, mode, x, counts)

    def onnx(self, mode):
        path = os.path.join(self.directory, f"{self.cell['model']}-{self.cell['batch']}-{mode}.onnx")
        with open(path + ".lock", "w") as lock, self.torch.no_grad():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(path + ".done"):  # else another runtime or dtype was here
                graph = self.Graph(self.f32, mode, self.cell["keep"]).eval()
                self.torch.onnx.export(graph, (self.image,), path, dynamo=True, verbose=False)
                open(path + ".done", "w").close()
        return path

    def ort(self):
        if self.cell["dtype"] != "f32":
            return  # it has no bf16 path on CPUs
        import onnxruntime as ort
        for mode in self.fixed():
            o = ort.SessionOptions()
            o.intra_op_num_threads = self.cell["threads"]
            o.log_severity_level = 3
            s = ort.InferenceSession(self.onnx(mode), o, providers=["CPUExecutionProvider"])
            feed = {s.get_inputs()[0].name: self.image.numpy()}
            self.run[f"ort {mode}"] = lambda s=s, feed=feed: s.run(None, feed)[0]

    def openvino(self):
        import openvino as ov
        core = ov.Core()
        options = {"INFERENCE_NUM_THREADS": self.cell["threads"], "PERFORMANCE_HINT": "LATENCY",
                   "INFERENCE_PRECISION_HINT": self.cell["dtype"], "ENABLE_CPU_PINNING": False}
        for mode in self.fixed():
            compiled = core.compile_model(core.read_model(self.onnx(mode)), "CPU", options)
            request, x = compiled.create_infer_request(), self.image.numpy()
            about = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
            told = lambda info, key: str(getattr(info[key], "value", info[key]))
            self.isa[f"openvino {mode}"] = sorted({f"{told(r, 'layerType')} {told(r, 'primitiveType')}" for r in about if told(r, "layerType") in
                                                   ("FullyConnected", "MatMul", "ScaledDotProductAttention", "Subgraph")})
            self.run[f"openvino {mode}"] = lambda request=request, x=x: list(request.infer([x]).values())[0]

    def compiled(self, backend):
        torch = self.torch
        import torch._inductor.config
        torch._inductor.config.freezing = True
        if backend == "zentorch":
            import zentorch  # noqa: F401
        m = self.f32 if self.dtype == torch.float32 else self.model(self.dtype)
        x = self.image.to(self.dtype)
        for mode in self.fixed():
            with torch.no_grad():
                graph = torch.export.export(self.Graph(m, mode, self.cell["keep"]).eval(), (x,)).module()
            for name, value in list(vars(graph).items()):
                if isinstance(value, torch.Tensor):  # a constant; as a buffer it can be frozen
                    delattr(graph, name)
                    graph.register_buffer(name, value)
            torch._dynamo.reset()
            f = torch.compile(graph, dynamic=False, backend=backend)
            f(x)
            self.run[f"{backend} {mode}"] = lambda f=f: f(x)

    def fixed(self):
        return [mode for mode in ("dense", "topk") if mode in self.modes]

    def build(self, runtime):
        if runtime == "torch":
            self.pytorch()
        elif runtime in ("ort", "openvino"):
            getattr(self, runtime)()
        else:
            self.compiled(runtime)

    def check(self):
        """Largest difference of each dense contender's logits from PyTorch's in f32; what oneDNN said it ran."""
        torch, diff = self.torch, {}
        want = self.v.run_mode(self.f32, "dense", self.image, None) if self.cell["batch"] <= 8 else None
        for name, f in self.run.items():
            with tempfile.TemporaryFile() as said:
                kept = os.dup(1)
                os.dup2(said.fileno(), 1)
                try:
                    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                        got = f()
                finally:
                    os.dup2(kept, 1)
                    os.close(kept)
                said.seek(0)
                kinds = {part[5] for part in (line.split(",") for line in said.read().decode(errors="replace").splitlines())
                         if len(part) > 5 and part[0] == "onednn_verbose" and any(w in part for w in ("matmul", "inner_product"))}
            if kinds:
                self.isa[name] = sorted(kinds)
            if name.endswith("dense") and want is not None:
                diff[name] = float((torch.as_tensor(got).float() - want).abs().max())
        return diff


def main(runtime, directory, build_cores):
    cores = os.sched_getaffinity(0)
    build_cores = build_cores or cores
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(len(build_cores))
    import torch
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print goes to stderr
    run = {}
    with torch.inference_mode():
        for line in sys.stdin:
            ask = json.loads(line)
            if "cell" in ask:
                run, answer, begun = {}, {}, time.time()
                bind(build_cores)
                try:
                    torch.set_num_threads(ask["cell"]["threads"])
                    b = Build(ask["cell"], directory)
                    b.build(runtime)
                    diff = b.check()
                    run = b.run
                    answer = dict(names=list(run), diff=diff, isa=b.isa, build_s=time.time() - begun)
                except Exception as e:  # a contender that can't run this cell is named, the rest go on
                    answer = dict(names=[], error=repr(e)[:300])
                bind(cores)
            else:
                f, calls = run[ask["time"]], 0
                begin = time.perf_counter()
                while calls == 0 or time.perf_counter() - begin < ask["window"]:
                    f()
                    calls += 1
                answer = {"s": (time.perf_counter() - begin) / calls}
            print(json.dumps(answer), file=out, flush=True)


def core_list(text):
    cores = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return cores


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], core_list(sys.argv[3]))
