# SPDX-License-Identifier: Apache-2.0
# Requests for small Python functions, and the functions: composed from filters, maps and reductions, or one of the
# families in programs_more.py. A Job is what a function does, in words and in lines.
from dataclasses import dataclass

from . import programs_more
from .words import capital

ASKS = ("Write a Python function that {does}.", "Write a function that {does}.", "Please write a Python function that {does}.",
        "Can you write a Python function that {does}?", "I need a Python function that {does}.", "Give me a Python function that {does}.",
        "Show me a function in Python that {does}.", "Could you write a function that {does}?",
        "How do I write a Python function that {does}?", "Write a Python function to {do}.", "Write a function to {do}.",
        "Please write a function to {do}.", "How do I {do} in Python?", "How can I {do} in Python?")
LISTS = ("numbers", "values", "items", "data", "scores", "prices", "sizes", "points")
ONE_OF = {"numbers": "number", "values": "value", "items": "item", "data": "entry", "scores": "score", "prices": "price",
          "sizes": "size", "points": "point"}
OWN_NAMES = "compute solve process handle run work calculate evaluate check_it helper apply_to my_function result_of task".split()


@dataclass
class Job:
    """do: "return the sum of ...", an imperative; body: lines of the function; why: a closing sentence."""
    do: str
    name: str
    arguments: str
    body: list
    why: str


def filters(rng, x):
    k = rng.randint(2, 30)
    return rng.choice([
        ("even", "", f"{x} % 2 == 0", "even"), ("odd", "", f"{x} % 2 == 1", "odd"), ("positive", "", f"{x} > 0", "positive"),
        ("negative", "", f"{x} < 0", "negative"), ("", f" greater than {k}", f"{x} > {k}", "large"),
        ("", f" less than {k}", f"{x} < {k}", "small"), ("", f" that are at least {k}", f"{x} >= {k}", "large"),
        ("", f" divisible by {k}", f"{x} % {k} == 0", "divisible"), ("", f" not equal to {k}", f"{x} != {k}", "other"),
        ("", "", None, "")])


def maps(rng, x):
    k = rng.randint(2, 12)
    return rng.choice([
        ("", x, ""), ("", x, ""), ("squares of the ", f"{x} ** 2", "squares"), ("cubes of the ", f"{x} ** 3", "cubes"),
        ("absolute values of the ", f"abs({x})", "absolutes"), ("doubles of the ", f"{x} * 2", "doubles"),
        ("halves of the ", f"{x} / 2", "halves"),
        (f"products with {k} of the ", f"{x} * {k}", "products")])


def named(*parts):
    """A name for the function; never that of a builtin, which its body may call."""
    parts = [p for p in parts if p]
    return "_".join(parts) if len(parts) > 1 else {"sum": "total_of", "list": "copy_of"}.get(parts[0], parts[0] + "_of") + "_list"


def over_a_list(rng):
    called = rng.random() < 0.5
    xs = rng.choice(LISTS) if called else "numbers"
    x = ONE_OF[xs]
    before, after, condition, short = filters(rng, x)
    of, value, mapped = maps(rng, x)
    while not condition and not of:
        of, value, mapped = maps(rng, x)
    what = rng.choice(("sum", "sum", "product", "count", "list", "list", "average", "largest", "smallest"))
    group = f"the {before + ' ' if before else ''}numbers{after} in "
    style = rng.choice(("", "", "loop", "short"))
    where = " if " + condition if condition else ""
    inner = f"{value} for {x} in {xs}{where}"
    loop = [f"for {x} in {xs}:"] + ([f"    if {condition}:"] if condition else [])
    pad = "        " if condition else "    "
    words = of.replace("of the ", "of ") + group if of else group
    the = "the " if of else ""
    if what in ("sum", "product"):
        start, sign = ("0", "+=") if what == "sum" else ("1", "*=")
        name = "total" if what == "sum" else "result"
        long = [f"{name} = {start}", *loop, f"{pad}{name} {sign} {value}", f"return {name}"]
        short_body = [f"return sum({inner})"] if what == "sum" else long
        why = f"It starts at {start} and {'adds' if what == 'sum' else 'multiplies in'} each value that qualifies."
        job = Job(f"return the {what} of {the}{words}", named(what, short, mapped), xs, short_body if style == "short" else long, why)
    elif what == "count":
        long = ["count = 0", *loop, f"{pad}count += 1", "return count"]
        why = "It adds one to the count for each match."
        brief = [f"return sum(1 for {x} in {xs}{where})"]
        job = Job(f"count {group}", named("count", short), xs, brief if style == "short" else long, why)
    elif what == "list":
        long = ["result = []", *loop, f"{pad}result.append({value})", "return result"]
        why = "It builds a new list and leaves the old one as it was."
        job = Job(f"return a list of {the}{words}", named(short or "all", mapped or "numbers"), xs,
                  [f"return [{inner}]"] if style == "short" else long, why)
    elif what == "average":
        body = [f"chosen = [{inner}]", "if not chosen:", "    return 0", "return sum(chosen) / len(chosen)"]
        job = Job(f"return the average of {the}{words}", named("average", short, mapped), xs, body,
                  "An empty selection gives 0, so nothing is divided by zero.")
        style = ""
    else:
        pick = "max" if what == "largest" else "min"
        body = [f"chosen = [{inner}]", "if not chosen:", "    return None", f"return {pick}(chosen)"]
        job = Job(f"return the {what} of {the}{words}", named(what, short, mapped), xs, body,
                  "If no number qualifies, it returns None.")
        style = ""
    job.do += f"a list called {xs}" if called else "a list"
    hint = {"loop": " Use a loop.", "short": " Keep it short.", "": ""}[style]
    return job, hint


def quantified(rng):
    k = rng.randint(2, 40)
    xs = rng.choice(LISTS)
    x = ONE_OF[xs]
    every = rng.random() < 0.5
    words, condition, short = rng.choice([
        ("even", f"{x} % 2 == 0", "even"), ("odd", f"{x} % 2 == 1", "odd"), ("positive", f"{x} > 0", "positive"),
        ("negative", f"{x} < 0", "negative"), (f"greater than {k}", f"{x} > {k}", f"above_{k}"),
        (f"less than {k}", f"{x} < {k}", f"below_{k}"), (f"divisible by {k}", f"{x} % {k} == 0", f"divisible_by_{k}")])
    all_any = "all" if every else "any"
    subject = f"all numbers in a list called {xs} are" if every else f"any number in a list called {xs} is"
    if rng.random() < 0.5:
        body = [f"return {all_any}({condition} for {x} in {xs})"]
    else:
        body = [f"for {x} in {xs}:", f"    if {'not ' + condition if every else condition}:",
                f"        return {not every}", f"return {every}"]
    hint = "" if len(body) == 1 else " Use a loop."
    why = "It stops at the first number that decides the answer."
    return Job(f"check whether {subject} {words}", f"{all_any}_{short}", xs, body, why), hint


def wanted(do):
    verb, rest = do.split(" ", 1)
    return f"{verb}s {rest}"


def written(job):
    lines = [f"def {job.name}({job.arguments}):", f'    """{capital(job.do)}."""', *("    " + line for line in job.body)]
    return "```python\n" + "\n".join(lines) + "\n```\n" + job.why


def answered(rng, job, hint=""):
    ask = rng.choice(ASKS).format(does=wanted(job.do), do=job.do) + hint
    if rng.random() < 0.25:
        job.name = rng.choice(OWN_NAMES)
        ask += f" Call it {job.name}."
    return ask, written(job)


def list_task(rng):
    return answered(rng, *over_a_list(rng))


def check_task(rng):
    return answered(rng, *quantified(rng))


def text_task(rng):
    return answered(rng, Job(*programs_more.text(rng)))


def number_task(rng):
    return answered(rng, Job(*programs_more.number(rng)))


def collection_task(rng):
    return answered(rng, Job(*programs_more.collection(rng)))


KINDS = (list_task,) * 7 + (text_task, number_task, collection_task, programs_more.class_task) * 2 + (check_task,)
