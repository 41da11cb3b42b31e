# SPDX-License-Identifier: Apache-2.0
# Puzzles whose answer follows from the clues, with the reasons: orderings, chains of kinds, who has what, days of the week.
from .words import NAMES, a, capital, listed, ordinal

# more, less, most, least: what one clue says, its inverse, and the two ends of the order
SCALES = (("taller than", "shorter than", "tallest", "shortest"), ("older than", "younger than", "oldest", "youngest"),
          ("faster than", "slower than", "fastest", "slowest"), ("heavier than", "lighter than", "heaviest", "lightest"),
          ("stronger than", "weaker than", "strongest", "weakest"), ("richer than", "poorer than", "richest", "poorest"),
          ("louder than", "quieter than", "loudest", "quietest"), ("happier than", "sadder than", "happiest", "saddest"))
OBJECTS = "box ball lamp chair table book stone cup plate bag car boat bell door coat hat".split()
ADJECTIVES = "red blue green white black yellow brown gray pink".split()
MATTER = (("heavier than", "lighter than", "heaviest", "lightest"), ("bigger than", "smaller than", "biggest", "smallest"),
          ("older than", "newer than", "oldest", "newest"), ("cheaper than", "dearer than", "cheapest", "dearest"))
NONSENSE = "wug dax blick fep zib mip toma lor gazz nup rell sarn vosk plim quon hest jub kern".split()
TRAITS = "blue round warm quick shy loud small bright soft brave old sweet".split()
PETS = "cat dog bird fish horse rabbit mouse turtle".split()
DRINKS = "tea coffee milk water juice cocoa".split()
SPORTS = "tennis chess football golf hockey judo".split()
CITIES = "Paris Rome Oslo Cairo Lima Tokyo Delhi Quito".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def members(rng, count):
    if rng.random() < 0.7:
        return rng.sample(NAMES, count), rng.choice(SCALES)
    if rng.random() < 0.5:
        return ["the " + o for o in rng.sample(OBJECTS, count)], rng.choice(MATTER)
    thing = rng.choice(OBJECTS)
    return [f"the {c} {thing}" for c in rng.sample(ADJECTIVES, count)], rng.choice(MATTER)


def ordering(rng):
    count = rng.choice((3, 3, 4, 4, 5))
    row, (more, less, most, least) = members(rng, count)
    facts = [f"{capital(x)} is {more} {y}." for x, y in zip(row, row[1:])]
    told = [f if rng.random() < 0.7 else f"{capital(y)} is {less} {x}." for f, x, y in zip(facts, row, row[1:])]
    rng.shuffle(told)
    kind = rng.choice(("most", "least", "order", "compare", "place"))
    chain = " ".join(facts) + f" So from {most} to {least}: {listed(row)}."
    if kind in ("most", "least"):
        end, who = (most, row[0]) if kind == "most" else (least, row[-1])
        noun = "Who" if row[0][0].isupper() else "Which one"
        return f"{' '.join(told)} {noun} is the {end}?", f"{chain} The {end} is {who}."
    if kind == "order":
        noun = "them" if row[0][0].isupper() else "the things"
        return f"{' '.join(told)} Order {noun} from {most} to {least}.", f"{chain}"
    if kind == "place":
        at = rng.randint(1, count - 2)
        noun = "Who" if row[0][0].isupper() else "Which one"
        return (f"{' '.join(told)} {noun} is {ordinal(at)} if we start with the {most}?", f"{chain} In the {ordinal(at)} place is {row[at]}.")
    i, j = rng.sample(range(count), 2)
    word = "Yes" if i < j else "No"
    relation = f"{row[i]} comes {'before' if i < j else 'after'} {row[j]}"
    return f"{' '.join(told)} Is {row[i]} {more} {row[j]}?", f"{chain} {capital(relation)}. {word}, {row[i]} is {'' if i < j else 'not '}{more} {row[j]}."


def race(rng):
    count = rng.choice((3, 4, 4, 5))
    row = rng.sample(NAMES, count)
    facts = [f"{x} finished right before {y}." for x, y in zip(row, row[1:])]
    told = [f if rng.random() < 0.6 else f"{y} finished right after {x}." for f, x, y in zip(facts, row, row[1:])]
    rng.shuffle(told)
    at = rng.randint(0, count - 1)
    words = ["first", *(ordinal(i) for i in range(1, count - 1)), "last"]
    start = rng.choice((f"{count} friends ran a race.", f"{count} people took part in a race.", f"In a race with {count} runners:"))
    return (f"{start} {' '.join(told)} Who came {words[at]}?",
            f"{' '.join(facts)} So the order is {listed(row)}. {row[at]} came {words[at]}.")


def kinds(rng):
    count = rng.choice((2, 3, 3, 4))
    chain = rng.sample(NONSENSE, count)
    trait = rng.choice(TRAITS)
    name = rng.choice(NAMES)
    facts = [f"every {x} is a {y}." for x, y in zip(chain, chain[1:])] + [f"every {chain[-1]} is {trait}."]
    told = [capital(f) for f in facts]
    rng.shuffle(told)
    if rng.random() < 0.65:
        steps = [f"{name} is a {chain[0]}."] + [f"{capital(f[:-1])}, so {name} is {'a ' + k if k else trait}."
                                               for f, k in zip(facts, chain[1:] + [""])]
        return f"{' '.join(told)} {name} is a {chain[0]}. Is {name} {trait}?", " ".join(steps) + f" Yes, {name} is {trait}."
    other = rng.choice([t for t in TRAITS if t != trait])
    steps = [f"{name} is a {chain[0]}."] + [f"{capital(f[:-1])}, so {name} is {'a ' + k if k else trait}."
                                           for f, k in zip(facts, chain[1:] + [""])]
    return (f"{' '.join(told)} {name} is a {chain[0]}. Do we know that {name} is {other}?",
            " ".join(steps) + f" Nothing says {other}. No, we do not know that.")


def belongings(rng):
    names = rng.sample(NAMES, 3)
    verb, pool, what = rng.choice((("has", [a(p) for p in PETS], "pet"), ("drinks", DRINKS, "drink"), ("plays", SPORTS, "sport"),
                                   ("lives in", CITIES, "city"), ("wears", [a(c + " hat") for c in ADJECTIVES], "hat")))
    have = rng.sample(pool, 3)
    plain = {"has": "have", "drinks": "drink", "plays": "play", "lives in": "live in", "wears": "wear"}[verb]
    # The first is told; the second does not have the third thing; the third one is left.
    told = [f"{names[0]} {verb} {have[0]}.", f"{names[1]} does not {plain} {have[2]}."]
    if rng.random() < 0.5:
        told.reverse()
    order, who = rng.sample(names, 3), rng.randint(1, 2)
    shown = rng.sample(have, 3)
    ask = (f"{listed(order)} each {plain} something else: {listed(shown, 'or')}. {' '.join(told)} "
           f"What does {names[who]} {plain}?")
    return ask, (f"{names[0]} {verb} {have[0]}. That leaves {have[1]} and {have[2]}. {names[1]} does not {plain} {have[2]}, so {names[1]} {verb} "
                 f"{have[1]}. {names[2]} {verb} {have[2]}. The answer is {have[who]}.")


def week(rng):
    start, steps = rng.randrange(7), rng.randint(2, 6)
    back = rng.random() < 0.4
    walk = [DAYS[(start + (-i if back else i)) % 7] for i in range(steps + 1)]
    today = rng.choice(("Today is", "It is", "The party is on", "The meeting is on", "The train leaves on", "The test is on"))
    ask = rng.choice((f"{today} {DAYS[start]}. What day is {steps} days {'earlier' if back else 'later'}?",
                      f"{today} {DAYS[start]}. Which day of the week is {steps} days {'before' if back else 'after'} that?",
                      f"If {today[0].lower() + today[1:]} {DAYS[start]}, what day is {steps} days {'before' if back else 'after'} it?"))
    return ask, f"Counting {'back' if back else 'on'} from {walk[0]}: {listed(walk[1:])}. " \
                f"That is {steps} {'steps back' if back else 'steps'}. The answer is {walk[-1]}."


def implication(rng):
    name, other = rng.sample(NAMES, 2)
    cause, effect = rng.choice((("it rains", "stays at home"), ("it snows", "builds a snowman"), ("the sun shines", "goes to the park"),
                                ("the shop is open", "buys bread"), ("the bus is late", "walks to school"), ("the lamp is on", "reads a book"),
                                ("the dog barks", "opens the door"), ("the bell rings", "goes to lunch"), ("it is Sunday", "sleeps late"),
                                ("the phone rings", "answers it"), ("the wind blows", "flies a kite"), ("the tea is hot", "waits a while")))
    second = rng.choice(("smiles", "sings", "laughs", "waves", "dances", "whistles", "cooks soup", "paints", "calls home"))
    told = [f"If {cause}, {name} {effect}.", f"If {name} {effect}, {other} {second}."]
    rng.shuffle(told)
    return (f"{' '.join(told)} Today {cause}. What does {other} do?",
            f"Today {cause}, so {name} {effect}. If {name} {effect}, {other} {second}. So {other} {second}.")


KINDS = (ordering,) * 5 + (race,) * 2 + (kinds,) * 3 + (belongings,) * 3 + (week, implication)
