#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# What the pair is worth, by domain, on conversations that training never saw: loss and perplexity of answers; the target's
# greedy answers (are they what the generator wrote? do they end? does code parse?); how often the draft's first choice
# is the target's on those answers, and how many tokens a pass yields with a chain of 3.
#
#   python3 evaluate.py --target models/hedgerow-lm-mini --draft models/hedgerow-lm-mini-draft [--conversations 512]
import argparse
import ast
import json
import os

import torch
from tokenizers import Tokenizer

from conversations import conversation, render, rows
from domains import DOMAINS
from model import Llama, Shape, generate, packed_visible
from train import Rows

SEED = 900001  # of what is evaluated on
CHAIN = 3


def load(folder):
    from safetensors.torch import load_file
    with open(os.path.join(folder, "config.json")) as file:
        c = json.load(file)
    model = Llama(Shape(c["vocab_size"], c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"], c["num_key_value_heads"],
                        c["intermediate_size"], c["max_position_embeddings"], c["rope_theta"], c["rms_norm_eps"]))
    weights = load_file(os.path.join(folder, "model.safetensors"))
    model.load_state_dict({name.removeprefix("model."): t.float() for name, t in weights.items()})
    return model.eval()


@torch.no_grad()
def answer_loss(model, held, batch):
    total = count = 0.0
    for at in range(0, len(held), batch):
        tokens, weight, owner = held.batch(slice(at, at + batch))
        logits = model(tokens, packed_visible(owner))[:, :-1].float()
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        counted = (weight[:, 1:] == 1).flatten()
        total += each[counted].sum().item()
        count += counted.sum().item()
    return total / count


@torch.no_grad()
def draft_matches(draft, prompt, answer):
    """For each token of the answer: is it the draft's first choice after all before it?"""
    device = draft.embed_tokens.weight.device
    tokens = torch.tensor([prompt + answer], device=device)
    best = draft(tokens, packed_visible(torch.zeros_like(tokens)))[0].argmax(-1)
    return (best[len(prompt) - 1:-1] == tokens[0, len(prompt):]).tolist()


def chain_lengths(matches):
    """Accepted drafts of each pass when every pass drafts a chain and yields one more token of its own. As drafts count
    only while all before them were right, what the draft says after the target's own text decides."""
    at, accepted = 0, []
    while at < len(matches):
        run = 0
        while run < CHAIN and at + run < len(matches) and matches[at + run]:
            run += 1
        accepted.append(run)
        at += run + 1
    return accepted


def parses(answer):
    try:
        ast.parse(answer.split("```python\n")[1].split("```")[0])
        return True
    except (SyntaxError, IndexError):
        return False


def evaluate(target, draft, tokenizer_path, count, generated, device, batch):
    """Per domain a dict of figures."""
    tokenizer = Tokenizer.from_file(tokenizer_path)
    end = tokenizer.token_to_id("<|im_end|>")
    results = {}
    for domain in DOMAINS:
        held = Rows(rows(tokenizer_path, SEED, count, held_out=True, domain=domain), device)
        pairs = [conversation(SEED + 1, i, True, domain)[:2] for i in range(generated)]
        prompts = [tokenizer.encode(render([ask], ask=True)).ids for ask, _ in pairs]
        answers = []
        for at in range(0, len(prompts), batch):
            answers += generate(target, prompts[at:at + batch], 300, (end,))
        texts = [tokenizer.decode(a, skip_special_tokens=True) for a in answers]
        matches = [draft_matches(draft, p, a) for p, a in zip(prompts, answers)]
        accepted = [n for m in matches for n in chain_lengths(m)]
        loss = {name: answer_loss(model, held, batch) for name, model in (("target", target), ("draft", draft))}
        results[domain] = {
            "loss": loss, "finished": sum(a[-1] == end for a in answers) / len(answers),
            "exact": sum(t == answer["content"] for t, (_, answer) in zip(texts, pairs)) / len(texts),
            "parses": sum(map(parses, texts)) / len(texts) if domain == "code" else None,
            "right": sum(last_sentence(t) == last_sentence(answer["content"]) for t, (_, answer) in zip(texts, pairs)) / len(texts)
            if domain in ("arithmetic", "logic") else None,
            "agreement": sum(map(sum, matches)) / sum(map(len, matches)), "accepted": sum(accepted) / len(accepted)}
    return results


def last_sentence(text):
    return text.rstrip(".").rsplit(". ", 1)[-1]


def table(results):
    from math import exp
    lines = ["| domain | loss, target | perplexity | loss, draft | perplexity | first choices equal | accepted of a chain of 3 | ended | "
             "word for word the generator's | right |", "|---|---|---|---|---|---|---|---|---|---|"]
    for domain, r in results.items():
        t, d = r["loss"]["target"], r["loss"]["draft"]
        right = f"{100 * r['parses']:.1f} % parse" if r["parses"] is not None else f"{100 * r['right']:.1f} %" if r["right"] is not None else ""
        lines.append(f"| {domain} | {t:.4f} | {exp(t):.3f} | {d:.4f} | {exp(d):.3f} | {100 * r['agreement']:.1f} % | {r['accepted']:.2f} | "
                     f"{100 * r['finished']:.1f} % | {100 * r['exact']:.1f} % | {right} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--draft", required=True)
    parser.add_argument("--conversations", type=int, default=512, help="of each domain, for loss")
    parser.add_argument("--generated", type=int, default=128, help="of each domain, answered greedily")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    target, draft = load(args.target).to(device), load(args.draft).to(device)
    print(table(evaluate(target, draft, os.path.join(args.target, "tokenizer.json"), args.conversations, args.generated, device, 32)))


if __name__ == "__main__":
    main()
