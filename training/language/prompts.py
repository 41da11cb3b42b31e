#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Writes eight held-out requests a domain, its kinds in turn, for the demo and the tests.
#
#   python3 prompts.py --out models/hedgerow-lm-mini/prompts.json
import argparse
import json
import random

from conversations import drawn
from domains import DOMAINS


def requests(domain, count, seed):
    rng = random.Random(f"{seed}/{domain}/prompts")
    makers, found = list(dict.fromkeys(DOMAINS[domain])), []
    while len(found) < count:
        request = drawn([makers[len(found) % len(makers)]], rng, held_out=True)[0][0]
        if len(request) < 260 and request not in found:
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
