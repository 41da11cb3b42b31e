# SPDX-License-Identifier: Apache-2.0
# Lines on which tokenizers are compared: prompts, code, scripts of the world, emoji, control characters, nonsense.
import json
import random
import sysconfig
import unicodedata
from pathlib import Path

# First and last code points that lines are drawn from, a stretch a script.
SCRIPTS = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x590, 0x5FF), (0x600, 0x6FF),
           (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F),
           (0x2190, 0x27BF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFDFF),
           (0xFE00, 0xFFEF), (0x1F300, 0x1FAFF), (0x10000, 0x10FFF), (0x1D400, 0x1D7FF), (0xE0000, 0xE01EF)]
# What pre-tokenizers decide on.
TRICKY = ["'s", "'S", "'re", "'LL", "'\u017f", "'", "\u2019s", " ", "  ", "   ", "\n", "\r\n", "\n\n ", "\t", "\u00a0", "\u3000",
          "\u2028", "\x85", "\x0b", "\x1c", "\u200b", "\ufeff", "1", "12", "1234", "\u00b2", "\u2167", "\u0663", "\u4e09", "a", "Z",
          "word", "\u00e9", "e\u0301", "\u212b", "\uac00", "\u1100\u1161", "\u0e33", "\U0001f469\u200d\U0001f4bb", "\U0001f1e9\U0001f1ea",
          "_", "-", "...", "(", "//", "==", "\x00", "\x7f", "\ufffd", "<|im_end|>", "<|endoftext|>", "</s>", "<s>", "[INST]"]


def texts_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)


def prompts(folder):
    """Every text in the JSON files of a folder, whole."""
    for path in sorted(Path(folder).glob("*.json*")):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        for line in lines:
            if line.strip():
                yield from texts_in(json.loads(line))


def code(count):
    """Stretches of one to eight lines of the sources that Python comes with."""
    chance = random.Random(1)
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    while count > 0:
        lines = files[chance.randrange(len(files))].read_text(errors="ignore").splitlines(keepends=True)
        for _ in range(min(count, 50)):
            at = chance.randrange(max(1, len(lines)))
            count -= 1
            yield "".join(lines[at:at + chance.randint(1, 8)])


def drawn(count):
    """Characters of one or two scripts, tricky ones between them."""
    chance = random.Random(2)
    for _ in range(count):
        scripts = chance.sample(SCRIPTS, chance.randint(1, 2))
        parts = []
        for _ in range(chance.randint(1, 24)):
            if chance.random() < 0.4:
                parts.append(chance.choice(TRICKY))
                continue
            for _ in range(chance.randint(1, 6)):
                low, high = chance.choice(scripts)
                c = chr(chance.randint(low, high))
                if unicodedata.category(c) not in ("Cn", "Cs"):
                    parts.append(c)
        yield "".join(parts)


def control_bytes(count):
    chance = random.Random(3)
    for _ in range(count):
        yield "".join(chr(chance.randrange(0xA0 if chance.random() < 0.5 else 0x20)) for _ in range(chance.randint(1, 60)))


def runs(count):
    """Few different characters, long runs of them."""
    chance = random.Random(4)
    for _ in range(count):
        yield "".join(chance.choice(" \n\ta1.\u4e00=-") * chance.choice([1, 2, 3, 4, 7, 16, 65]) for _ in range(chance.randint(1, 12)))


def all_lines(prompt_folder):
    kinds = {"prompts": list(prompts(prompt_folder)) if prompt_folder else [], "code": list(code(6000)), "drawn": list(drawn(12000)),
             "control bytes": list(control_bytes(1500)), "runs": list(runs(1500))}
    return {kind: lines for kind, lines in kinds.items() if lines}
