# SPDX-License-Identifier: Apache-2.0
# Conversations drawn from the domains, split by a sum of the first request's text (so no held-out request is ever trained
# on), rendered as ChatML, turned into tokens and packed whole into rows. Conversation i of a seed is the same whatever
# the count is.
import os
import random
import zlib
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from domains import DOMAINS, turns

START, END = "<|im_start|>", "<|im_end|>"
SYSTEMS = ("You are a helpful assistant.", "You are Hedgerow, a small and friendly assistant.", "Answer shortly.",
           "You help people with code, numbers, puzzles and everyday questions.", "Be polite and clear.")
HELD_OUT_SHARE = 32  # one in so many
OTHER_WEIGHT = 0.1  # of tokens that are not the assistant's


def is_held_out(request):
    return zlib.crc32(request.encode()) % HELD_OUT_SHARE == 0


def drawn(makers, rng, held_out):
    """Turns of one conversation by one of the makers, from the wanted side of the split."""
    while True:
        found = turns(rng.choice(makers), rng)
        if is_held_out(found[0][0]) == held_out:
            return found


def loosened(request, rng):
    """As people type: now and then without the capital at the start or the mark at the end."""
    if rng.random() < 0.06:
        request = request[0].lower() + request[1:]
    return request[:-1] if rng.random() < 0.06 else request


def conversation(seed, index, held_out=False, domain=None):
    """A list of messages. Without a domain: any, sometimes several in a row, sometimes with a system message."""
    rng = random.Random(f"{seed}/{index}/{domain}")
    messages = []
    if domain is None and rng.random() < 0.08:
        messages.append({"role": "system", "content": rng.choice(SYSTEMS)})
    parts = 1 if domain else rng.choice((1, 1, 1, 1, 1, 2, 2, 3))
    for _ in range(parts):
        for request, answer in drawn(DOMAINS[domain or rng.choice(sorted(DOMAINS))], rng, held_out):
            request = request if held_out else loosened(request, rng)
            messages += [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
    return messages


def render(messages, ask=False):
    """What the chat template of tokenizer.py makes of it."""
    text = "".join(f"{START}{m['role']}\n{m['content']}{END}\n" for m in messages)
    return text + f"{START}assistant\n" if ask else text


def weights(ids, tokenizer):
    """For each token: how much it counts as a thing to predict. The first of a conversation follows from nothing."""
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    header = tokenizer.encode("assistant\n").ids
    weight = np.full(len(ids), OTHER_WEIGHT, np.float16)
    for at in np.flatnonzero(ids == start):
        first = at + 1 + len(header)
        if list(ids[at + 1:first]) == header:
            weight[first:first + list(ids[first:]).index(end) + 1] = 1
    weight[0] = 0
    return weight


def encoded(job):
    seed, first, count, held_out, domain, path, length = job
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(path)
    texts = [render(conversation(seed, first + i, held_out, domain)) for i in range(count)]
    found = []
    for encoding in tokenizer.encode_batch_fast(texts):
        ids = np.array(encoding.ids, np.int16)
        if len(ids) <= length:
            found.append((ids, weights(ids, tokenizer)))
    return packed(found, length)


def rows(tokenizer_path, seed, count, length=512, held_out=False, domain=None, workers=1):
    """Arrays [rows, length]: tokens, weights of tokens as targets, and which conversation of its row a token is of (-1:
    none)."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    step = min(2000, -(-count // workers))
    jobs = [(seed, first, min(step, count - first), held_out, domain, tokenizer_path, length) for first in range(0, count, step)]
    if workers == 1:
        parts = list(map(encoded, jobs))
    else:
        with ProcessPoolExecutor(workers) as pool:
            parts = list(pool.map(encoded, jobs))
    return [np.concatenate(arrays) for arrays in zip(*parts)]


def packed(found, length, window=24):
    """First fit into a window of open rows; the fullest is closed when none has room."""
    closed, open_rows = [], []
    for piece in found:
        size = len(piece[0])
        row = next((r for r in open_rows if r[0] + size <= length), None)
        if row is None:
            if len(open_rows) == window:
                open_rows.sort(key=lambda r: r[0])
                closed.append(open_rows.pop())
            row = [0, []]
            open_rows.append(row)
        row[0] += size
        row[1].append(piece)
    closed += open_rows
    tokens = np.zeros((len(closed), length), np.int16)
    weight = np.zeros((len(closed), length), np.float16)
    owner = np.full((len(closed), length), -1, np.int8)
    for i, (_, pieces) in enumerate(closed):
        at = 0
        for j, (ids, w) in enumerate(pieces):
            tokens[i, at:at + len(ids)], weight[i, at:at + len(ids)], owner[i, at:at + len(ids)] = ids, w, j
            at += len(ids)
    return tokens, weight, owner
