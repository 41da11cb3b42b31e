# SPDX-License-Identifier: Apache-2.0
# Word problems on small numbers, answered step by step. A story starts with a number of things and goes through events;
# the other kinds are single questions on groups, prices, sharing, ages, speed, time, and plain sums.
from .words import HE, NAMES, NUMBER_WORDS, SHE, capital, listed

THINGS = ("apples pears plums cherries lemons oranges nuts cookies cakes candies pencils pens books stamps coins shells stones "
          "marbles buttons cards stickers balloons eggs roses tulips photos tickets toys ribbons beads bottles").split()
HOLDERS = ("box", "bag", "basket", "shelf", "jar", "drawer", "tray", "crate", "row", "table")
PLURAL = {"box": "boxes", "shelf": "shelves"}
MOST = 99

GAINS = ("buys {n} more", "finds {n} more", "gets {n} from {friend}", "wins {n} in a game", "is given {n} by {friend}",
         "picks up {n} more", "receives {n} as a gift", "brings {n} from home")
LOSSES = ("gives {n} to {friend}", "loses {n}", "sells {n}", "gives away {n}", "puts {n} aside", "leaves {n} at school",
          "trades {n} away", "drops {n}", "hands {n} to {friend}")
STARTS = ("{name} has {n} {things}.", "{name} owns {n} {things}.", "{name} starts the day with {n} {things}.",
          "There are {n} {things} on the desk of {name}.", "{name} collects {things} and has {n} of them.",
          "In the morning {name} counts {n} {things}.")
ENDS = ("How many {things} does {name} have now?", "How many {things} does {name} have in the end?",
        "How many {things} are left for {name}?", "What is the number of {things} that {name} has now?")


def person(rng):
    name = rng.choice(NAMES)
    return name, ("She" if name in SHE else "He"), rng.choice([n for n in (rng.sample(SHE, 2) + rng.sample(HE, 2)) if n != name])


def plural(noun):
    return PLURAL.get(noun, noun + "s")


def story(rng):
    name, pronoun, friend = person(rng)
    things = rng.choice(THINGS)
    have = rng.randint(4, 60)
    told = [rng.choice(STARTS).format(name=name, n=have, things=things)]
    steps = [f"{name} starts with {have} {things}."]
    for i in range(rng.choice((1, 2, 2, 3))):
        options = [k for k, fits in (("gain", have < 80), ("loss", have > 3), ("double", 2 <= have <= 45), ("triple", 2 <= have <= 30),
                                     ("half", have % 2 == 0 and have > 3)) if fits]
        kind = rng.choice([k for k in options for _ in range(4 if k in ("gain", "loss") else 1)])
        first = rng.choice(("", "Then ", "Later ", "After that ")) if i else ""
        who = pronoun.lower() if first else pronoun
        if kind in ("gain", "loss"):
            n = rng.randint(2, min(40, MOST - have)) if kind == "gain" else rng.randint(1, have - 2)
            event = rng.choice(GAINS if kind == "gain" else LOSSES).format(n=n, friend=friend)
            sign, after = ("+", have + n) if kind == "gain" else ("-", have - n)
            line = f"{pronoun} {event}: {have} {sign} {n} = {after}."
        elif kind in ("double", "triple"):
            times = 2 if kind == "double" else 3
            event, after = f"{kind}s the number of {things}", have * times
            line = f"{pronoun} {event}: {have} * {times} = {after}."
        else:
            event, after = f"gives half of the {things} to {friend}", have // 2
            line = f"{pronoun} {event}: {have} / 2 = {after}."
        told.append(f"{first}{who} {event}.")
        steps.append(line)
        have = after
    told.append(rng.choice(ENDS).format(things=things, name=name))
    return " ".join(told), " ".join(steps) + f" So {name} has {have} {things}."


def groups(rng):
    name, pronoun, _ = person(rng)
    things, holder = rng.choice(THINGS), rng.choice(HOLDERS)
    m, n = rng.randint(2, 12), rng.randint(2, 12)
    while m * n > MOST:
        m, n = rng.randint(2, 12), rng.randint(2, 12)
    all_of = m * n
    start = rng.choice((f"{name} has {m} {plural(holder)} with {n} {things} each.", f"There are {m} {plural(holder)} with {n} {things} in each.",
                        f"{name} fills {m} {plural(holder)} and puts {n} {things} in each {holder}.",
                        f"Each {holder} holds {n} {things}. {name} has {m} {plural(holder)}."))
    step = f"There are {m} {plural(holder)} with {n} {things} each: {m} * {n} = {all_of}."
    kind = rng.choice(("plain", "more", "less"))
    if kind == "more":
        k = rng.randint(2, MOST + 10 - all_of)
        return (f"{start} {rng.choice(('There are', 'On the floor are'))} {k} more {things}. How many {things} are there in total?",
                f"{step} Then {k} more: {all_of} + {k} = {all_of + k}. So there are {all_of + k} {things} in total.")
    if kind == "less":
        k = rng.randint(1, all_of - 2)
        verb = rng.choice(("takes out", "sells", "gives away", "removes"))
        return (f"{start} {name} {verb} {k} of them. How many {things} are left?",
                f"{step} {name} {verb} {k}: {all_of} - {k} = {all_of - k}. So {all_of - k} {things} are left.")
    return f"{start} How many {things} are there?", f"{step} So there are {all_of} {things}."


def sharing(rng):
    name, pronoun, friend = person(rng)
    things = rng.choice(THINGS)
    n, each = rng.randint(2, 10), rng.randint(2, 10)
    rest = rng.choice((0, 0, rng.randint(1, n - 1)))
    total = n * each + rest
    who = rng.choice(("friends", "children", "players", "students", "neighbors", "guests"))
    start = rng.choice((f"{name} shares {total} {things} equally among {n} {who}.", f"{total} {things} are split evenly between {n} {who}.",
                        f"{n} {who} divide {total} {things} fairly."))
    if rest:
        return (f"{start} How many does each get, and how many are left over?",
                f"{n} * {each} = {n * each} and {total} - {n * each} = {rest}. So each gets {each} {things} and {rest} "
                f"{'is' if rest == 1 else 'are'} left over.")
    return f"{start} How many {things} does each get?", f"{total} / {n} = {each}. So each gets {each} {things}."


def shopping(rng):
    name, pronoun, _ = person(rng)
    one, two = rng.sample(THINGS, 2)
    p, q = rng.randint(2, 9), rng.randint(2, 9)
    m, n = rng.randint(2, 6), rng.randint(2, 6)
    first, second = m * p, n * q
    total = first + second
    ask = f"{capital(one)} cost {p} dollars each and {two} cost {q} dollars each. {name} buys {m} {one} and {n} {two}."
    work = f"The {one} cost {m} * {p} = {first} dollars. The {two} cost {n} * {q} = {second} dollars. Together: {first} + {second} = {total}."
    if rng.random() < 0.5:
        paid = total + rng.randint(2, 20)
        return (f"{ask} {pronoun} pays with {paid} dollars. How much change does {name} get?",
                f"{work} The change is {paid} - {total} = {paid - total}. So {name} gets {paid - total} dollars back.")
    return f"{ask} How much does {name} pay?", f"{work} So {name} pays {total} dollars."


def comparing(rng):
    one, two = rng.sample(NAMES, 2)
    things = rng.choice(THINGS)
    n, k = rng.randint(5, 40), rng.randint(2, 20)
    more = rng.random() < 0.5 or k >= n - 1
    other = n + k if more else n - k
    word, sign = ("more", "+") if more else ("fewer", "-")
    ask = f"{one} has {n} {things}. {two} has {k} {word} {things} than {one}."
    step = f"{two} has {n} {sign} {k} = {other} {things}."
    if rng.random() < 0.5:
        return f"{ask} How many {things} does {two} have?", f"{step} So the answer is {other}."
    return (f"{ask} How many {things} do they have together?",
            f"{step} Together: {n} + {other} = {n + other}. So they have {n + other} {things} together.")


def ages(rng):
    one, two = rng.sample(NAMES, 2)
    n, k, years = rng.randint(5, 40), rng.randint(2, 15), rng.randint(2, 20)
    ask = f"{one} is {n} years old. {two} is {k} years older than {one}. How old will {two} be in {years} years?"
    return ask, f"{two} is {n} + {k} = {n + k} years old now. In {years} years: {n + k} + {years} = {n + k + years}. " \
                f"So {two} will be {n + k + years}."


def rates(rng):
    name, pronoun, _ = person(rng)
    verb, thing, unit = rng.choice((("reads", "pages", "day"), ("walks", "miles", "day"), ("bakes", "loaves", "hour"), ("writes", "letters", "week"),
                                    ("paints", "pictures", "month"), ("plants", "trees", "day"), ("rides", "miles", "hour"),
                                    ("packs", "parcels", "hour"), ("learns", "words", "day"), ("saves", "dollars", "week")))
    plain = {"reads": "read", "walks": "walk", "bakes": "bake", "writes": "write", "paints": "paint", "plants": "plant", "rides": "ride",
             "packs": "pack", "learns": "learn", "saves": "save"}[verb]
    n, m = rng.randint(2, 12), rng.randint(2, 8)
    if rng.random() < 0.5:
        return (f"{name} {verb} {n} {thing} every {unit}. How many {thing} does {name} {plain} in {m} {unit}s?",
                f"{name} {verb} {n} {thing} in one {unit}. In {m} {unit}s: {n} * {m} = {n * m}. So the answer is {n * m} {thing}.")
    return (f"{name} {verb} {n} {thing} every {unit}. How many {unit}s does {name} need for {n * m} {thing}?",
            f"{name} {verb} {n} {thing} in one {unit}. {n * m} / {n} = {m}. So {name} needs {m} {unit}s.")


def sums(rng):
    kind = rng.choice("+-*/+-")
    if kind in "+-":
        m, n = rng.randint(2, 60), rng.randint(2, 39)
        m, n = (m, n) if kind == "+" else (max(m, n) + 1, min(m, n))
        result, word = (m + n, "plus") if kind == "+" else (m - n, "minus")
    else:
        m, n = rng.randint(2, 12), rng.randint(2, 9)
        result, word = m * n, "times"
        if kind == "/":
            m, result, word = m * n, m, "divided by"
    k = rng.choice((0, rng.randint(2, 20)))
    spoken = f"{m} {word} {n}" if rng.random() < 0.5 else f"{m} {kind} {n}"
    ask = rng.choice(("What is {}?", "Compute {}.", "How much is {}?", "Please work out {}.", "Can you calculate {}?", "Tell me what {} is."))
    if k:
        return ask.format(f"{spoken}, plus {k}"), f"{m} {kind} {n} = {result}. Then {result} + {k} = {result + k}. The answer is {result + k}."
    return ask.format(spoken), f"{m} {kind} {n} = {result}. The answer is {result}."


def three(rng):
    names = rng.sample(NAMES, 3)
    things = rng.choice(THINGS)
    n = [rng.randint(3, 30) for _ in names]
    parts = [f"{who} has {k}" for who, k in zip(names, n)]
    parts[0] += " " + things
    two = n[0] + n[1]
    return (f"{listed(parts)}. How many {things} do the {NUMBER_WORDS[3]} have together?",
            f"First {n[0]} + {n[1]} = {two}. Then {two} + {n[2]} = {two + n[2]}. So they have {two + n[2]} {things} together.")


KINDS = (story,) * 6 + (groups,) * 3 + (sharing,) * 2 + (shopping,) * 3 + (comparing,) * 2 + (ages, rates, rates, sums, three)
