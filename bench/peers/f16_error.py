#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What PyTorch's own f16 costs on the pictures, and with the kept sets, that `cuda_agreement MODEL FOLDER f16 400 DUMP` left in DUMP:
largest difference of the logits from our CPU path in f32. The yardstick for our own f16 error.

Usage: f16_error.py MODEL_DIR DUMP [--dtype f16|bf16|f32] [--after 4]        (timm, safetensors; a GPU)
"""
import argparse, glob, json, os

import numpy as np
import timm
import torch
from safetensors.torch import load_file


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model"); p.add_argument("dump")
    p.add_argument("--dtype", default="f16"); p.add_argument("--after", type=int, default=4)
    p.add_argument("--device", default="cuda")
    a = p.parse_args()
    dtype = dict(f16=torch.float16, bf16=torch.bfloat16, f32=torch.float32)[a.dtype]
    net = timm.create_model("vit_tiny_patch16_224")
    net.load_state_dict(load_file(os.path.join(a.model, "model.safetensors")))
    net = net.eval().to(a.device, dtype)
    pixels = torch.from_numpy(np.fromfile(os.path.join(a.dump, "pixels.f32"), np.float32).reshape(-1, 3, 224, 224))
    for file in sorted(glob.glob(os.path.join(a.dump, "*.logits"))):
        method = os.path.basename(file)[: -len(".logits")]
        want = np.fromfile(file, np.float32).reshape(len(pixels), -1)
        sets = [[int(i) for i in line.split()] for line in open(file[: -len("logits")] + "sets")]
        got = []
        with torch.inference_mode():
            for image, kept in zip(pixels, sets):
                x = net._pos_embed(net.patch_embed(image[None].to(a.device, dtype)))
                for i, block in enumerate(net.blocks):
                    x = block(x)
                    if i + 1 == a.after and method != "none":
                        x = x[:, [0] + [1 + k for k in kept]]
                got.append(net.forward_head(net.norm(x)).float().cpu().numpy()[0])
        got = np.stack(got)
        print(json.dumps(dict(what=f"PyTorch {torch.__version__} {a.dtype} against our CPU f32, same sets", method=method,
                              pictures=len(got), worst=float(np.abs(got - want).max()),
                              top1_agreement=float((got.argmax(1) == want.argmax(1)).mean()))), flush=True)


if __name__ == "__main__":
    main()
