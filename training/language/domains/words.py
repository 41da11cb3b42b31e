# SPDX-License-Identifier: Apache-2.0
# Names and nouns that more than one domain draws from, and small helpers for English sentences.
SHE = "Ada Alice Amy Anna Clara Dora Ella Emma Eva Fay Gina Grace Hana Ida Iris Ivy Jane Julia Kate Lena Lily Lucy Maya " \
      "Mia Nina Nora Olga Rosa Ruth Sara Sofia Tina Vera Zoe".split()
HE = "Adam Alan Ben Carl Dan David Eli Eric Felix Finn George Henry Hugo Ian Jack Jonas Karl Leo Liam Luke Mark Max " \
     "Noah Omar Oscar Paul Peter Ray Sam Simon Theo Tom Victor Will".split()
NAMES = SHE + HE
NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def listed(words, joint="and"):
    """a, b and c"""
    words = list(words)
    if len(words) == 1:
        return words[0]
    return ", ".join(words[:-1]) + f" {joint} " + words[-1]


def a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def capital(text):
    return text[0].upper() + text[1:]


def ordinal(i):
    return ("first", "second", "third", "fourth", "fifth", "sixth")[i]
