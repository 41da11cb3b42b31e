# SPDX-License-Identifier: Apache-2.0
# Every checkpoint variant that is said to load, built with timm and transformers on random weights, saved as they save,
# and run by the program: logits within 1e-4 of theirs (f32 arithmetic on the stored values).
#   python3 compare_variants.py PROGRAM [--only distilled]
import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from program import classify

TOLERANCE, PICTURES, CLASSES = 1e-4, 3, 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def randomise(model, seed):
    """Weights that let signals through: library defaults (std 0.02) would make every logit nearly zero."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if p.ndim == 1:
                p.copy_((1 if "norm" in name and name.endswith("weight") else 0) + 0.1 * noise)
            elif name.endswith(("token", "pos_embed", "position_embeddings")):
                p.copy_(0.5 * noise)
            else:
                p.copy_(noise * p[0].numel() ** -0.5)
    return model.eval()


def store(tensors, folder, dtype, shards):
    tensors = {k: v.detach().to(dtype).contiguous() for k, v in tensors.items()}
    if shards == 1:
        return save_file(tensors, folder / "model.safetensors")
    names, index = sorted(tensors), {}
    for s in range(shards):
        file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
        part = {k: tensors[k] for k in names[s::shards]}
        save_file(part, folder / file)
        index.update({k: file for k in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def timm_model(folder, dim, heads, image=224, patch=16, layers=2, distilled=False, dtype=torch.float32, shards=1, run_at=None,
               qkv_bias=True):
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    make = VisionTransformerDistilled if distilled else VisionTransformer
    arguments = dict(img_size=image, patch_size=patch, embed_dim=dim, num_heads=heads, depth=layers, num_classes=CLASSES,
                     qkv_bias=qkv_bias)
    model = randomise(make(**arguments), seed=dim + heads + patch)
    model.load_state_dict({k: v.to(dtype).float() for k, v in model.state_dict().items()})
    store(model.state_dict(), folder, dtype, shards)
    (folder / "config.json").write_text(json.dumps({
        "architecture": "deit_tiny_distilled_patch16_224" if distilled else "vit_tiny_patch16_224", "num_classes": CLASSES,
        "global_pool": "token", "model_args": {"img_size": image, "patch_size": patch, "num_heads": heads},
        "pretrained_cfg": {"input_size": [3, image, image], "crop_pct": 1.0, "crop_mode": "center", "interpolation": "bicubic",
                           "mean": MEAN, "std": STD}}))
    if run_at:
        model.set_input_size(img_size=(run_at, run_at))
    return run_at or image, model


def huggingface_model(folder, dim, heads, image=224, patch=16, layers=2, kind="vit", dtype=torch.float32, shards=1, run_at=None,
                      **more):
    import transformers

    transformers.utils.logging.disable_progress_bar()

    config_class = transformers.ViTConfig if kind == "vit" else transformers.DeiTConfig
    make = {"vit": transformers.ViTForImageClassification, "deit": transformers.DeiTForImageClassificationWithTeacher,
            "deit one head": transformers.DeiTForImageClassification}[kind]
    config = config_class(hidden_size=dim, num_attention_heads=heads, num_hidden_layers=layers, intermediate_size=4 * dim,
                          image_size=image, patch_size=patch, num_labels=CLASSES, **more)
    model = randomise(make(config), seed=dim + heads + patch)
    model = model.to(dtype)
    if shards == 1:
        model.save_pretrained(folder)
    else:
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        model.save_pretrained(folder, max_shard_size=int(size / shards) + 1)
    model = model.float()
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "do_resize": True, "size": {"height": image, "width": image}, "resample": 3, "do_normalize": True,
        "image_mean": MEAN, "image_std": STD, "rescale_factor": 1 / 255}))
    if run_at:
        return run_at, lambda x: model(x, interpolate_pos_encoding=True).logits
    return image, lambda x: model(x).logits


CASES = {
    "timm tiny 224": (timm_model, dict(dim=192, heads=3, layers=12)),
    "timm small 224": (timm_model, dict(dim=384, heads=6)),
    "timm base 224": (timm_model, dict(dim=768, heads=12)),
    "timm tiny 384": (timm_model, dict(dim=192, heads=3, image=384)),
    "timm base 384": (timm_model, dict(dim=768, heads=12, image=384)),
    "timm distilled 224": (timm_model, dict(dim=192, heads=3, distilled=True)),
    "timm distilled 384": (timm_model, dict(dim=192, heads=3, image=384, distilled=True)),
    "timm patch 4": (timm_model, dict(dim=64, heads=1, image=128, patch=4)),
    "timm patch 4 at 224": (timm_model, dict(dim=64, heads=1, image=224, patch=4, layers=1)),
    "timm patch 8": (timm_model, dict(dim=192, heads=3, patch=8)),
    "timm patch 14": (timm_model, dict(dim=192, heads=3, patch=14)),
    "timm patch 32": (timm_model, dict(dim=192, heads=3, patch=32)),
    "timm patch 32 384": (timm_model, dict(dim=384, heads=6, image=384, patch=32)),
    "timm heads of 32": (timm_model, dict(dim=192, heads=6)),
    "timm heads of 128": (timm_model, dict(dim=384, heads=3)),
    "timm f16": (timm_model, dict(dim=192, heads=3, dtype=torch.float16)),
    "timm bf16": (timm_model, dict(dim=192, heads=3, dtype=torch.bfloat16)),
    "timm 3 shards": (timm_model, dict(dim=192, heads=3, shards=3)),
    "timm distilled f16 2 shards": (timm_model, dict(dim=192, heads=3, distilled=True, dtype=torch.float16, shards=2)),
    "timm without qkv bias": (timm_model, dict(dim=192, heads=3, qkv_bias=False)),
    "timm 224 run at 384": (timm_model, dict(dim=192, heads=3, run_at=384)),
    "timm 224 run at 160": (timm_model, dict(dim=192, heads=3, run_at=160)),
    "timm distilled 224 run at 320": (timm_model, dict(dim=192, heads=3, distilled=True, run_at=320)),
    "hf vit tiny": (huggingface_model, dict(dim=192, heads=3, layers=4)),
    "hf vit small": (huggingface_model, dict(dim=384, heads=6)),
    "hf vit base 384": (huggingface_model, dict(dim=768, heads=12, image=384)),
    "hf vit heads of 32": (huggingface_model, dict(dim=192, heads=6)),
    "hf vit heads of 128": (huggingface_model, dict(dim=384, heads=3)),
    "hf vit patch 8": (huggingface_model, dict(dim=192, heads=3, patch=8)),
    "hf vit patch 32": (huggingface_model, dict(dim=192, heads=3, patch=32)),
    "hf vit eps 1e-6, gelu tanh": (huggingface_model, dict(dim=192, heads=3, layer_norm_eps=1e-6, hidden_act="gelu_new")),
    "hf vit without qkv bias": (huggingface_model, dict(dim=192, heads=3, qkv_bias=False)),
    "hf vit bf16": (huggingface_model, dict(dim=192, heads=3, dtype=torch.bfloat16)),
    "hf vit f16 sharded": (huggingface_model, dict(dim=192, heads=3, dtype=torch.float16, shards=3)),
    "hf vit 224 run at 320": (huggingface_model, dict(dim=192, heads=3, run_at=320)),
    "hf deit distilled": (huggingface_model, dict(dim=192, heads=3, kind="deit")),
    "hf deit distilled 384": (huggingface_model, dict(dim=384, heads=6, image=384, kind="deit")),
    "hf deit distilled sharded": (huggingface_model, dict(dim=192, heads=3, kind="deit", shards=2)),
    "hf deit one head": (huggingface_model, dict(dim=192, heads=3, kind="deit one head")),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--only", default="")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    failed = 0
    for name, (make, options) in CASES.items():
        if args.only not in name:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder, pictures = Path(temporary) / "model", Path(temporary) / "pictures"
            folder.mkdir(), pictures.mkdir()
            side, model = make(folder, **options)
            random = np.random.default_rng(7)
            worst, size = 0.0, 0.0
            levels = {f"p{i}": random.integers(0, 256, (side, side, 3), dtype=np.uint8) for i in range(PICTURES)}
            for stem, values in levels.items():
                Image.fromarray(values).save(pictures / (stem + ".png"))
            flags = ["--size", side] if options.get("run_at") else []
            try:
                ours, _ = classify(args.program, pictures, folder, *flags, threads=args.threads)
            except SystemExit as error:
                failed += 1
                print(f"FAIL {name}: {error}")
                continue
            for stem, values in levels.items():
                x = torch.from_numpy(values).permute(2, 0, 1).float()[None] / 255
                x = (x - torch.tensor(MEAN).reshape(1, 3, 1, 1)) / torch.tensor(STD).reshape(1, 3, 1, 1)
                with torch.no_grad():
                    theirs = model(x)[0]
                worst = max(worst, (torch.tensor(ours[stem]["logits"]) - theirs).abs().max().item())
                size = max(size, theirs.abs().max().item())
            good = worst <= TOLERANCE
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {name:32s} max logit difference {worst:.2e} (logits to {size:.1f})", flush=True)
    print("all variants agree" if not failed else f"{failed} variants disagree")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
