# SPDX-License-Identifier: Apache-2.0
# Writes a model as a Hugging Face folder: config.json, model.safetensors in float16, the tokenizer's files and the card.
import json
import os
import shutil

import torch
from safetensors.torch import save_file

from tokenizer import save

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
CARD = """---
license: apache-2.0
---

# {name}

{what}
Architecture: Llama, {layers} layers of {dim} channels, {heads} heads of {width}, {kv_heads} for keys and values, gated SiLU of {hidden},
head tied to the embedding, {context} places, {parameters:,} parameters in float16. Vocabulary: {vocab} entries, byte-level BPE with
GPT-2's pattern, digits never merged; ChatML turns. It knows four kinds of short text, all written by generators in
`training/language`, and nothing else: small Python functions, arithmetic word problems, logic puzzles, and everyday dialogue.

Trained by `training/language/run` {how}.

On requests that training never saw ({conversations} conversations a domain for loss, of the answers' tokens; {generated} greedy answers a domain
for the rest; draft and target side by side; "accepted" is the mean number of drafted tokens a pass keeps when it drafts three):

{table}

`prompts.json` of hedgerow-lm-mini holds eight requests a domain that were held out.
"""


def write_model(model, folder, tokenizer_folder, name, what, **told):
    """`model` is rounded to float16 here; evaluate what was written, not what was trained."""
    os.makedirs(folder, exist_ok=True)
    for file in TOKENIZER_FILES:
        shutil.copyfile(os.path.join(tokenizer_folder, file), os.path.join(folder, file))
    with open(os.path.join(folder, "generation_config.json")) as file:
        ends = json.load(file)["eos_token_id"]
    save(folder, "config.json", {**model.shape.config(), "torch_dtype": "float16", "bos_token_id": None, "eos_token_id": ends[0],
                                 "pad_token_id": ends[1]})
    weights = {"model." + key: t.detach().to("cpu", torch.float16).contiguous() for key, t in model.state_dict().items()}
    save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    s = model.shape
    with open(os.path.join(folder, "README.md"), "w") as file:
        file.write(CARD.format(name=name, what=what, layers=s.layers, dim=s.dim, heads=s.heads, width=s.dim // s.heads, kv_heads=s.kv_heads,
                               hidden=s.hidden, context=s.context, vocab=s.vocab,
                               parameters=sum(p.numel() for p in model.parameters()), **told))
