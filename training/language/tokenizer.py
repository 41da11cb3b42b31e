#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Trains the byte-level BPE (GPT-2's pattern) and writes tokenizer.json, tokenizer_config.json and generation_config.json.
# Digits never merge with each other, so that a number is always read place by place.
#
#   python3 tokenizer.py --out DIR [--conversations 20000] [--seed 1]
import argparse
import json
import os
import re

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from conversations import conversation

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ENTRIES = 1536
CHAT_TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
                 "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def texts(seed, count):
    for i in range(count):
        for message in conversation(seed, i):
            # A digit ends the word it is in: "\n" keeps the next one from merging with it.
            yield re.sub(r"(\d)", "\\1\n", message["role"] + "\n" + message["content"])


def train(seed, count):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=ENTRIES, special_tokens=list(CONTROL), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts(seed, count), trainer)
    if tokenizer.get_vocab_size() != ENTRIES:
        raise SystemExit(f"a vocabulary of {ENTRIES} was wanted, {tokenizer.get_vocab_size()} entries came of the text")
    return tokenizer


def write(tokenizer, folder):
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    end = tokenizer.token_to_id("<|im_end|>")
    added = {str(tokenizer.token_to_id(c)): {"content": c, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                                             "special": True} for c in CONTROL}
    save(folder, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024, "add_prefix_space": False, "bos_token": None,
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "added_tokens_decoder": added,
        "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE})
    save(folder, "generation_config.json", {
        "eos_token_id": [end, tokenizer.token_to_id("<|endoftext|>")], "pad_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "do_sample": False})


def save(folder, name, value):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--conversations", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    write(train(args.seed, args.conversations), args.out)


if __name__ == "__main__":
    main()
