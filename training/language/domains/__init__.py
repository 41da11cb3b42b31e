# SPDX-License-Identifier: Apache-2.0
# The four kinds of text. A domain is a tuple of functions, as often as their share; each takes a random.Random and returns
# a request with its answer, or a list of such turns.
from . import arithmetic, dialogue, logic, programs

DOMAINS = {"code": programs.KINDS, "arithmetic": arithmetic.KINDS, "logic": logic.KINDS, "dialogue": dialogue.KINDS}


def turns(maker, rng):
    made = maker(rng)
    return made if isinstance(made, list) else [made]
