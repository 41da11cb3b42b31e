# SPDX-License-Identifier: Apache-2.0
# The four kinds of text. Each module's make(rng) returns one conversation: a list of (user, assistant) turns.
from . import arithmetic, dialogue, logic, programs

DOMAINS = {"code": programs.make, "arithmetic": arithmetic.make, "logic": logic.make, "dialogue": dialogue.make}
