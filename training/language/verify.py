#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Checks an exported folder: transformers' Llama, tokenizer and chat template give the same greedy answers as model.py, to
# every request of a prompts file. Exits 1 if one differs.
#
#   python3 verify.py --model models/hedgerow-lm-mini --prompts models/hedgerow-lm-mini/prompts.json
import argparse
import json
import os
import sys

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from conversations import render
from evaluate import load
from model import generate


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--show", action="store_true", help="print every answer")
    args = parser.parse_args()
    ours, theirs = load(args.model), AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    tokenizer, their_tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json")), AutoTokenizer.from_pretrained(args.model)
    ends = theirs.generation_config.eos_token_id
    with open(args.prompts) as file:
        prompts = json.load(file)
    count = differ = 0
    for domain, texts in prompts.items():
        for text in texts:
            messages = [{"role": "user", "content": text}]
            rendered = their_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids = their_tokenizer(rendered, add_special_tokens=False)["input_ids"]
            mine = tokenizer.encode(render(messages, ask=True)).ids
            answer = generate(ours, [mine], args.most, ends)[0]
            made = theirs.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=args.most, do_sample=False)
            count += 1
            if ids != mine or made[0, len(ids):].tolist() != answer:
                differ += 1
                print(f"differs: {text!r}\n  ours   {tokenizer.decode(answer)!r}\n  theirs {tokenizer.decode(made[0, len(ids):].tolist())!r}")
            elif args.show:
                print(f"[{domain}] {text}\n{tokenizer.decode(answer, skip_special_tokens=False)}\n")
    print(f"{count - differ} of {count} answers are equal")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
