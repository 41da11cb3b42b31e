#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/tokenizers: small vocabularies of every kind and what Hugging Face's `tokenizers` and SentencePiece make of
some texts with them. Needs tokenizers, sentencepiece and protobuf. Usage: record_tokenizers.py"""
import json
import shutil
import tempfile
from pathlib import Path

from compare_tokenizers import SPECIAL, as_llama2_json, train_byte_level, train_sentencepiece, with_unused
from tokenizer_cases import TRICKY, drawn

DATA = Path(__file__).resolve().parent.parent / "data" / "tokenizers"
TEXT = ["The quick brown fox jumps over the lazy dog; it's what they'll do, don't they?",
        "def sum_of(numbers):\n    total = 0\n    for n in numbers:\n        total += n\n    return total\n",
        "She had 12 apples, gave 3 away and bought 45 more. How many has she now?",
        "the there then them other another mother brother together", "caf\u00e9 na\u00efve \u00fcber \u6771\u4eac \u4eac\u90fd"] * 3
CASES = ["Hello, world!", " leading", "trailing  ", "a  b   c", "it's IT'S they'll THEY'LL", "123456 1 22 \u00b2\u2167", "x\r\n\r\n  y\n", "\t\tif x:",
         "\u6771\u4eac\u3068\u4eac\u90fd", "cafe\u0301 \u212b \uac00\u11a7", "\U0001f469\u200d\U0001f4bb ok", "<|im_end|>", "a<|im_start|>b", "\u2581x", "\x00\x01\x7f",
         "the mother of them all", "def f(n):\n    return n\n", "   ", " ", "\n"]


def main():
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    texts = CASES + ["".join(TRICKY[i:i + 6]) for i in range(0, len(TRICKY), 6)] + [line[:40] for line in drawn(24) if line]
    recorded = {}

    def record(name, peer, source):
        shutil.copy(source, DATA / name)
        recorded[name] = [{"text": t, "ids": peer(t)} for t in texts]

    with tempfile.TemporaryDirectory() as folder:
        for pattern in ("gpt2", "llama3", "qwen2", "smollm"):
            path, peer = train_byte_level(folder, pattern, TEXT, 340)
            if pattern == "llama3":
                from tokenizers import processors

                peer.post_processor = processors.TemplateProcessing(single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], 0)])
            peer.save(str(path / "tokenizer.json"), pretty=False)
            peer.encode_special_tokens = True
            record(f"{pattern}.json", lambda t: peer.encode(t, add_special_tokens=False).ids, path / "tokenizer.json")
        import sentencepiece

        model = train_sentencepiece(folder, TEXT, 400, 0.9995)
        for name, path in (("pieces.model", model), ("unused.model", with_unused(model, folder))):
            sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
            record(name, sp.encode, path)
        for metaspace in (False, True):
            path, peer = as_llama2_json(model, folder, metaspace)
            peer.save(str(path / "tokenizer.json"), pretty=False)
            peer.encode_special_tokens = True
            record("metaspace.json" if metaspace else "llama2.json", lambda t: peer.encode(t, add_special_tokens=False).ids, path / "tokenizer.json")
    (DATA / "expected.json").write_text(json.dumps(recorded, separators=(",", ":")).replace('],"', '],\n"').replace("},{", "},\n{"))


if __name__ == "__main__":
    main()
