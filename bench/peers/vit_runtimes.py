#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same Vision Transformer in the runtimes people deploy on CPUs: ONNX Runtime, OpenVINO, torch.compile (Inductor, zentorch).

Graphs exported from vit_peers.py's model: `dense`, and `topk` (one kept count for the whole batch, fixed in the graph:
the strongest thing a static runtime can do). Prints one JSON object a line; a figure is the median of --repeat windows.

Usage: vit_runtimes.py --models T,S,B --batches 1,8,32 --threads 2 [--dtype f32|bf16] [--runtimes ort,openvino,inductor,zentorch]
bf16: OpenVINO's inference precision hint; torch.compile on bf16 weights; ONNX Runtime has no bf16 CPU path and is skipped.
zentorch needs its own venv: pip install "torch==2.14.*" zentorch==2.14.0.1
"""
import argparse, json, os, tempfile, torch
import vit_peers as v


class Graph(torch.nn.Module):
    def __init__(self, m, mode, keep):
        super().__init__()
        self.m, self.mode, self.k = m, mode, int(round(keep * (m.n - 1))) + 1

    def forward(self, img):
        m, x = self.m, self.m.embed(img)
        full = m.dense_attend()
        for b in m.blocks[:4]: x = m.block(x, b, full)
        if self.mode == "topk":
            score = x[:, 1:].float().square().sum(-1)
            idx = score.topk(self.k - 1, 1).indices.sort(1).values + 1
            rows = x.gather(1, idx[..., None].expand(-1, -1, m.d))
            x = torch.cat([x[:, :1], rows], 1)
        for b in m.blocks[4:]: x = m.block(x, b, full)
        return m.logits(x[:, 0])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--models", default="T,S,B"); p.add_argument("--batches", default="1,8,32")
    p.add_argument("--image", type=int, default=224); p.add_argument("--keep", type=float, default=0.5)
    p.add_argument("--dtype", default="f32"); p.add_argument("--threads", type=int, default=2)
    p.add_argument("--runtimes", default="ort,openvino,inductor"); p.add_argument("--modes", default="dense,topk")
    p.add_argument("--window", type=float, default=0.5); p.add_argument("--repeat", type=int, default=5)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    none = lambda: None
    for name in a.models.split(","):
        m = v.Vit(name, a.image, torch.device("cpu"), torch.float32)
        for batch in map(int, a.batches.split(",")):
            img = torch.randn(batch, 3, a.image, a.image, generator=torch.Generator().manual_seed(2))
            for mode in a.modes.split(","):
                def say(runtime, t, **k): print(json.dumps(dict(where=f"cpu x{a.threads}", dtype=a.dtype, model=name, image=a.image, batch=batch,
                                                keep=a.keep, mode=mode, runtime=runtime, ms=t * 1e3, img_s=batch / t, **k)), flush=True)
                g = Graph(m, mode, a.keep).eval()
                with torch.inference_mode(): want = g(img)
                with tempfile.TemporaryDirectory() as d:
                    path = os.path.join(d, "vit.onnx")
                    if "ort" in a.runtimes or "openvino" in a.runtimes:
                        with torch.no_grad(): torch.onnx.export(g, (img,), path, dynamo=True, verbose=False)
                    if "ort" in a.runtimes and a.dtype == "f32":
                        import onnxruntime as ort
                        o = ort.SessionOptions(); o.intra_op_num_threads = a.threads
                        s = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
                        x = {s.get_inputs()[0].name: img.numpy()}
                        err = float((torch.from_numpy(s.run(None, x)[0]) - want).abs().max())
                        say("ort", v.timed(lambda: s.run(None, x), none, a.window, a.repeat), version=ort.__version__, max_diff=err)
                    if "openvino" in a.runtimes:
                        import openvino as ov
                        c = ov.Core(); cfg = {"INFERENCE_NUM_THREADS": a.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": a.dtype}
                        q = c.compile_model(c.read_model(path), "CPU", cfg).create_infer_request()
                        x = img.numpy()
                        err = float((torch.from_numpy(list(q.infer([x]).values())[0]).float() - want).abs().max())
                        say("openvino", v.timed(lambda: q.infer([x]), none, a.window, a.repeat), version=ov.__version__, max_diff=err)
                for backend in ("inductor", "zentorch"):
                    if backend not in a.runtimes: continue
                    if backend == "zentorch": import zentorch
                    dt = {"f32": torch.float32, "bf16": torch.bfloat16}[a.dtype]
                    mi = m if a.dtype == "f32" else v.Vit(name, a.image, torch.device("cpu"), dt)
                    gi, xi = Graph(mi, mode, a.keep).eval(), img.to(dt)
                    with torch.inference_mode():
                        torch._dynamo.reset(); f = torch.compile(gi, dynamic=False, backend=backend)
                        say(backend, v.timed(lambda: f(xi), none, a.window, a.repeat), version=torch.__version__)


if __name__ == "__main__": main()
