#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our tokenizer against Hugging Face's `tokenizers` and against SentencePiece, from the same vocabulary and merges, on more
than 20,000 lines of prompts, code, scripts of the world, emoji and control characters. Vocabularies are trained here (GPT-2,
Llama 3, Qwen2 and SmolLM patterns; SentencePiece BPE, also as the tokenizer.json that Llama 2 has) or given.

    compare_tokenizers.py TOOL [--prompts FOLDER] [--gguf FILE]... [--sentencepiece FILE]...

TOOL is tests/tokenizer_tool. Needs tokenizers and sentencepiece; gguf for --gguf. Ends with the lines that differ, by
vocabulary; exit 1 if there is one."""
import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path

from tokenizer_cases import all_lines

SPLIT = {
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
GGUF_PATTERN = {"gpt-2": "gpt2", "llama-bpe": "llama3", "qwen2": "qwen2", "smollm": "smollm"}


def ours(tool, vocabulary, asked):
    """One answer a line of `asked`, JSON values."""
    lines = "".join(json.dumps(one) + "\n" for one in asked)
    run = subprocess.run([str(tool), str(vocabulary)], input=lines, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{tool} {vocabulary}: exit {run.returncode}: {run.stderr.strip()[-500:]}")
    return [json.loads(line) for line in run.stdout.splitlines()]


def byte_level(pattern):
    """Normalizer and pre-tokenizer of a family."""
    from tokenizers import Regex, normalizers, pre_tokenizers as pre

    if pattern == "gpt2":
        return None, pre.ByteLevel(add_prefix_space=False)
    if pattern == "smollm":
        return None, pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    split = pre.Split(Regex(SPLIT[pattern]), "isolated")
    return (normalizers.NFC() if pattern == "qwen2" else None,
            pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)]))


def train_byte_level(folder, pattern, lines, size=6000):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    model = models.BPE(ignore_merges=pattern == "llama3")
    peer = Tokenizer(model)
    normalizer, peer.pre_tokenizer = byte_level(pattern)
    if normalizer:
        peer.normalizer = normalizer
    peer.decoder = decoders.ByteLevel()
    peer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    path = Path(folder) / f"bpe-{pattern}"
    path.mkdir()
    peer.save(str(path / "tokenizer.json"))
    return path, peer


def from_gguf(path):
    """`tokenizers` over the vocabulary in a GGUF file; llama.cpp composes nothing, so neither does this."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models

    fields = GGUFReader(path).fields
    text = lambda key: fields[f"tokenizer.ggml.{key}"].contents()
    tokens, types = text("tokens"), text("token_type")
    peer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in text("merges")]))
    _, peer.pre_tokenizer = byte_level(GGUF_PATTERN[text("pre")])
    peer.decoder = decoders.ByteLevel()
    peer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, types) if kind in (3, 4)])
    return peer


def train_sentencepiece(folder, lines, size=12000):
    import sentencepiece

    prefix = Path(folder) / "trained"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(l[:2000] for l in lines if l.strip()), model_prefix=str(prefix), model_type="bpe", vocab_size=size,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=0.99, minloglevel=2)
    return prefix.with_suffix(".model")


def as_llama2_json(model, folder, metaspace):
    """The tokenizer.json that a SentencePiece BPE becomes: merges are all pairs of pieces that make a piece, best first."""
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    sp = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [sp.id_to_piece(i) for i in range(len(sp))]
    ids = {p: i for i, p in enumerate(pieces)}
    merges = []
    for i, piece in enumerate(pieces):
        if sp.is_byte(i) or sp.is_control(i) or sp.is_unknown(i):
            continue
        local = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece)) if piece[:cut] in ids and piece[cut:] in ids]
        merges += [(sp.get_score(i), pair) for pair in sorted(local, key=lambda p: (ids[p[0]], ids[p[1]]))]
    merges = [pair for _, pair in sorted(merges, key=lambda m: -m[0])]
    peer = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        peer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    else:
        peer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    peer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    peer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    path = Path(folder) / ("json-metaspace" if metaspace else "json-llama2")
    path.mkdir()
    peer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False}))
    return path, peer


def with_control(lines, specials):
    """Conversations: control tokens of the template, texts of users between them."""
    chance = random.Random(5)
    for _ in range(2000):
        pieces = []
        for _ in range(chance.randint(1, 5)):
            template = chance.choice(specials) + chance.choice(["", "user\n", "\n", " "])
            pieces += [{"text": template, "control": True}, {"text": chance.choice(lines), "control": False}]
        if not any(s in p["text"] for p in pieces[1::2] for s in specials):
            yield pieces


def report(name, kinds, answers, expected, decode):
    """Counts the lines that differ in tokens or in what these are as text, shows the first of each kind. Where the vocabulary
    has no token for a byte, the peer drops it and we refuse the text."""
    answers, expected = iter(answers), iter(expected)
    total = refused = faults = 0
    for kind, lines in kinds.items():
        shown = False
        for line in lines:
            answer, ids = next(answers), next(expected)
            total += 1
            if "for byte" in answer.get("error", "") and decode(ids) != line:
                refused += 1
            elif answer.get("ids") != ids or isinstance(line, str) and answer["text"] != decode(ids):
                faults += 1
                if not shown:
                    print(f"  {name}, {kind}: {line!r}\n    ours {answer}\n    peer {ids}")
                shown = True
    print(f"{name:42} {total:6} lines, {faults} differing" + (f", {refused} refused where bytes have no token" if refused else ""), flush=True)
    return faults


def compare_hugging_face(tool, name, path, peer, kinds):
    lines = [line for group in kinds.values() for line in group]
    peer.encode_special_tokens = True  # a user's text
    expected = [e.ids for e in peer.encode_batch(lines, add_special_tokens=False)]
    faults = report(name, kinds, ours(tool, path, lines), expected, peer.decode)
    peer.encode_special_tokens = False
    specials = [t.content for t in peer.get_added_tokens_decoder().values()]
    talks = list(with_control(kinds.get("prompts", kinds["code"]), specials))
    expected = [peer.encode("".join(p["text"] for p in talk), add_special_tokens=False).ids for talk in talks]
    return faults + report(name + ", conversations", {"conversations": talks}, ours(tool, path, talks), expected, peer.decode)


def compare_sentencepiece(tool, path, kinds):
    import sentencepiece

    sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
    lines = [line for group in kinds.values() for line in group]
    answers = ours(tool, path, lines)
    return report(f"SentencePiece {path.name}", kinds, answers, [sp.encode(line) for line in lines], sp.decode)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", type=Path)
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--gguf", type=Path, action="append", default=[])
    parser.add_argument("--sentencepiece", type=Path, action="append", default=[])
    args = parser.parse_args()
    kinds = all_lines(args.prompts)
    lines = [line for group in kinds.values() for line in group]
    print(", ".join(f"{len(group)} {kind}" for kind, group in kinds.items()))
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        for pattern in ("gpt2", "llama3", "qwen2", "smollm"):
            path, peer = train_byte_level(folder, pattern, lines[::3])
            faults += compare_hugging_face(args.tool, f"byte-level BPE, {pattern}", path, peer, kinds)
        for path in args.gguf:
            faults += compare_hugging_face(args.tool, f"GGUF {path.name}", path, from_gguf(path), kinds)
        trained = train_sentencepiece(folder, lines[::3])
        for path in [trained, *args.sentencepiece]:
            faults += compare_sentencepiece(args.tool, path, kinds)
        for metaspace in (False, True):
            path, peer = as_llama2_json(trained, folder, metaspace)
            faults += compare_hugging_face(args.tool, path.name, path, peer, kinds)
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
