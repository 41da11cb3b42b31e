# SPDX-License-Identifier: Apache-2.0
# Running the `hedgerow` program from the comparison scripts, and the pictures both sides look at.
import json
import subprocess
import time
from pathlib import Path


def classify(program, pictures, model, *flags, threads=2):
    """One JSON object a picture, by file stem. Logits and kept patches included."""
    command = [str(program), "classify", str(pictures), "--model", str(model), "--json", "--logits", "--kept",
               "--threads", str(threads), *map(str, flags)]
    start = time.time()
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nexit {run.returncode}: {run.stderr.strip()[-2000:]}")
    rows = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    if not rows:
        raise SystemExit(f"{' '.join(command)}\nprinted no pictures: {run.stderr.strip()[-2000:]}")
    return {Path(r["path"]).stem: r for r in rows}, time.time() - start


def list_pictures(folder, limit=None):
    names = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in (".jpeg", ".jpg", ".png"))
    return names[:limit]


def decode_with_pillow(files, folder):
    """8-bit RGB PNGs of what Pillow decodes, so that both sides start from the same pixels. Returns the open images."""
    from PIL import Image

    images = {}
    for file in files:
        images[file.stem] = Image.open(file).convert("RGB")
        images[file.stem].save(Path(folder) / (file.stem + ".png"), compress_level=1)
    return images
