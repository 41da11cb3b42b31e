#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Writes eight held-out requests a domain, each beginning in its own way, for the demo and the tests.
#
#   python3 prompts.py --out models/hedgerow-lm-mini/prompts.json
import argparse
import json
import random

from conversations import drawn
from domains import DOMAINS


def requests(domain, count, seed):
    rng = random.Random(f"{seed}/{domain}/prompts")
    found, begins = [], set()
    while len(found) < count:
        request = drawn(domain, rng, held_out=True)[0][0]
        begin = " ".join(request.split()[1:4] if domain == "arithmetic" else request.split()[:3])
        if begin not in begins and len(request) < 260:
            begins.add(begin)
            found.append(request)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with open(args.out, "w") as file:
        json.dump({domain: requests(domain, args.count, args.seed) for domain in DOMAINS}, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
