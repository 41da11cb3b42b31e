# SPDX-License-Identifier: Apache-2.0
# Short helpful chat: advice, meals, notes and invitations, plans, lists, polite rewordings, opposites and small facts; some
# with a second question on the same subject.
from . import facts
from .words import NAMES, a, capital, listed, ordinal

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
OPENERS = ("", "", "", "", "Hi! ", "Hello! ", "Hi there. ", "Good morning. ", "Hey, ")
CLOSERS = ("", "", "", " Thank you!", " Thanks.", " Please help me.")
TIMES = [f"{h} in the {part}" for part, hours in (("morning", "eight nine ten eleven"), ("afternoon", "two three four five"),
                                                  ("evening", "six seven eight nine")) for h in hours.split()]


def asked(rng, question):
    opener = rng.choice(OPENERS)
    question = question if not opener.endswith(", ") else question[0].lower() + question[1:] if question[:2] != "I " else question
    return opener + question + rng.choice(CLOSERS)


def advice(rng):
    topic = rng.choice(sorted(facts.ADVICE))
    tips = facts.ADVICE[topic]
    chosen = sorted(rng.sample(range(len(tips)), 4))
    ask = rng.choice(("How can I {}?", "Can you help me to {}?", "I want to {}. What should I do?", "What is a good way to {}?",
                      "Give me some tips to {}.", "Do you have advice on how to {}?", "I would like to {}. Any ideas?")).format(topic)
    count = rng.choice((2, 3))
    first = [tips[i] for i in chosen[:count]]
    if rng.random() < 0.5:
        answer = f"Here are {'two' if count == 2 else 'three'} ideas to {topic}:\n" + \
            "\n".join(f"{i}. {capital(t)}." for i, t in enumerate(first, 1))
        ask += f" Give me a list of {'two' if count == 2 else 'three'}."
    else:
        answer = f"To {topic}, {first[0]}. It also helps to {first[1]}." + (f" And {first[2]}." if count == 3 else "")
    turns = [(asked(rng, ask), answer)]
    if rng.random() < 0.3:
        turns.append((rng.choice(("Do you have one more idea?", "What else can I do?", "Anything else?", "Can you give me another tip?")),
                      f"You can also {tips[chosen[3]]}."))
    return turns


def meal(rng):
    one, two = rng.sample(facts.FOODS, 2)
    dish, how = rng.choice(sorted(facts.DISHES.items()))
    ask = rng.choice(("What can I cook with {} and {}?", "I have {} and {}. What can I make?", "Can you suggest a dinner with {} and {}?",
                      "Which dish uses {} and {}?", "I bought {} and {}. Any idea for lunch?")).format(one, two)
    if rng.random() < 0.6:
        ask += rng.choice((f" I would like {a(dish)}.", f" Maybe {a(dish)}?", f" I love {dish}."))
    answer = f"You can make {a(dish)} with {one} and {two}. " + how.format(one=one, two=two)
    turns = [(asked(rng, ask), answer)]
    if rng.random() < 0.3:
        drink = rng.choice(facts.DRINKS)
        turns.append((rng.choice(("And what should I drink with it?", "Which drink goes well with it?", "What drink do you suggest?")),
                      f"{capital(drink)} goes well with {a(dish)}."))
    return turns


def note(rng):
    who, me = rng.sample(NAMES, 2)
    day, time = rng.choice(DAYS), rng.choice(TIMES)
    event, wish = rng.choice(sorted(facts.EVENTS.items()))
    gift, reason, hobby = rng.choice(facts.GIFTS), rng.choice(facts.REASONS), rng.choice(facts.HOBBIES)
    invitation = f"Dear {who},\n\nI would like to invite you to {event} on {day} at {time}. {wish} I hope to see you there!"
    return [rng.choice((
        (f"Write a short invitation to {who} for {event} on {day} at {time}.", invitation),
        (f"Please write an invitation for {event}. It is on {day} at {time}, and the guest is {who}.", invitation),
        (f"Write a thank you note to {who} for the {gift}. My name is {me}.",
         f"Dear {who},\n\nThank you very much for the {gift}. I like it a lot and think of you when I see it.\n\nBest wishes,\n{me}"),
        (f"Help me to say sorry to {who} because {reason}. I am {me}.",
         f"Dear {who},\n\nI am sorry that {reason}. It will not happen again. I hope we can talk about it soon.\n\nYours,\n{me}"),
        (f"Write a reminder to {who} about {event} on {day}.",
         f"Hi {who},\n\nThis is a short reminder: {event} is on {day}. Please let me know if you can come."),
        (f"Write a birthday wish for {who} who likes {hobby}.",
         f"Happy birthday, {who}! I wish you a wonderful year with much time for {hobby}.")))]


def weather(rng):
    kind = rng.choice(sorted(facts.WEATHER))
    wear, do = facts.WEATHER[kind]
    when, place = rng.choice(("today", "tomorrow", "this morning", "this evening")), rng.choice(facts.PLACES)
    start = rng.choice((f"It is {kind} {when}.", f"It will be {kind} in {place} {when}.", f"I am going to {place} {when} and it is {kind}."))
    if rng.random() < 0.5:
        question, answer = "What should I wear?", f"When it is {kind}, wear {wear}."
        more = ("And what could I do?", f"It is a good time to {do}.")
    else:
        question, answer = "What can I do?", f"When it is {kind}, it is a good time to {do}."
        more = ("And what should I wear?", f"Wear {wear}.")
    return [(asked(rng, f"{start} {question}"), answer)] + ([more] if rng.random() < 0.3 else [])


def plan(rng):
    acts = rng.sample(facts.ACTIVITIES, rng.choice((2, 3, 3, 4)))
    day = rng.choice(DAYS)
    ask = rng.choice(("Plan my {day}. I want to {acts}.", "Make a plan for {day}: I have to {acts}.", "Help me plan {day}. I would like to {acts}."))
    first = ("First", "Then", "After that", "Finally")
    words = [first[i] if i < len(acts) - 1 else "Finally" for i in range(len(acts))]
    return [(asked(rng, ask.format(day=day, acts=listed(acts))),
             f"Here is a plan for {day}. " + " ".join(f"{w}, {act}." for w, act in zip(words, acts)) + " Do not forget to take a break!")]


def shopping_list(rng):
    items = rng.sample(facts.FOODS, rng.randint(3, 5))
    style = rng.choice(("numbers", "dashes"))
    if rng.random() < 0.3:
        at = rng.randrange(len(items))
        return [(asked(rng, f"My list is {listed(items)}. What is the {ordinal(at)} thing?"), f"The {ordinal(at)} thing on your list is {items[at]}.")]
    ask = rng.choice(("Make a shopping list of {}.", "Write a list with {}.", "I need to buy {}. Make a list.")).format(listed(items))
    lines = [f"{i}. {x}" for i, x in enumerate(items, 1)] if style == "numbers" else [f"- {x}" for x in items]
    return [(asked(rng, f"{ask} Use {style}."), "Here is your list:\n" + "\n".join(lines))]


def polite(rng):
    verb, noun = rng.choice(sorted(facts.REQUESTS.items()))
    thing = rng.choice(noun)
    ask = rng.choice(("Make this polite: {}!", "Say this in a friendly way: {}!", "How can I say politely: {}!")).format(capital(f"{verb} {thing}"))
    when = rng.choice(("", " now", " today", " tomorrow", " before lunch"))
    ask = ask.replace(f"{thing}!", f"{thing}{when}!")
    return [(ask, f"Could you please {verb} {thing}{when}?")]


def words(rng):
    kind = rng.choice(("opposite", "plural", "sentence", "group", "baby", "color"))
    if kind == "opposite":
        one, two = rng.choice(facts.OPPOSITES)
        one, two = (one, two) if rng.random() < 0.5 else (two, one)
        ask, answer = f"What is the opposite of {one}?", f"The opposite of {one} is {two}."
    elif kind == "plural":
        one, many = rng.choice(facts.PLURALS)
        ask, answer = f"What is the plural of {one}?", f"The plural of {one} is {many}."
    elif kind == "sentence":
        who, place = rng.choice(NAMES), rng.choice(facts.PLACES)
        animal = rng.choice(sorted(facts.ANIMALS))
        ask, answer = f"Write a sentence with {who}, {a(animal)} and {place}.", f"{who} saw {a(animal)} on the way to {place}."
    elif kind == "group":
        name, things = rng.choice(sorted(facts.GROUPS.items()))
        some = [things[i] for i in sorted(rng.sample(range(len(things)), 3))]
        ask, answer = f"Name three {name}.", f"Three {name} are {listed(some)}."
    elif kind == "baby":
        animal = rng.choice(sorted(facts.ANIMALS))
        ask, answer = f"Tell me something about the {animal}.", f"The {animal} {facts.ANIMALS[animal]}."
    else:
        one, two, mixed = rng.choice(facts.MIXES)
        ask, answer = f"Which color do I get from {one} and {two}?", f"If you mix {one} and {two}, you get {mixed}."
    return [(asked(rng, ask), answer)]


def greeting(rng):
    name, hobby = rng.choice(NAMES), rng.choice(facts.HOBBIES)
    mood, reply = rng.choice(sorted(facts.MOODS.items()))
    turns = [rng.choice((
        (f"Hello, my name is {name} and I like {hobby}.", f"Hello {name}! It is nice to meet you. {capital(hobby)} is a fine hobby. How can I help you?"),
        (f"Hi, I am {name}. I feel {mood} today.", f"Hi {name}! {reply}"),
        (f"Good evening! This is {name}. I feel {mood} because of {hobby}.", f"Good evening, {name}! {reply}"),
        (f"My friend {name} feels {mood}. What can I say?", f"You can say: {reply}"),
        (f"What is a good gift for {name} who likes {hobby}?",
         f"A good gift for {name} is {facts.HOBBY_GIFTS[hobby]}, since {name} likes {hobby}.")))]
    if turns[0][0].startswith("H") and rng.random() < 0.4:
        turns.append(("What is my name?", f"Your name is {name}."))
    return turns


KINDS = (advice,) * 5 + (meal,) * 4 + (note,) * 4 + (weather,) * 2 + (plan,) * 3 + (shopping_list,) * 2 + (polite,) * 2 + \
    (words,) * 2 + (greeting,) * 3
