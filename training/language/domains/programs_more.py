# SPDX-License-Identifier: Apache-2.0
# More families of functions (text, numbers, lists, dictionaries) and small classes. A function is a tuple: what it does
# in words, its name, its arguments, the lines of its body, and a closing sentence.
from .words import a, capital, listed

TEXT = ("text", "word", "line", "name", "message", "sentence")
KINDS = (("vowels", "in \"aeiou\""), ("digits", ".isdigit()"), ("spaces", "== \" \""), ("letters", ".isalpha()"),
         ("capital letters", ".isupper()"), ("commas", "== \",\""), ("small letters", ".islower()"))


def test_of(kind, c):
    return f"{c}{kind}" if kind.startswith(".") else f"{c} {kind}"


def text(rng):
    s = rng.choice(TEXT)
    the = f"a {s}" if s != "text" else "a text"
    letter = rng.choice("abcdefghiklmnoprstuwy")
    k = rng.randint(2, 9)
    kind, test = rng.choice(KINDS)
    condition = test_of(test, "letter")
    return rng.choice([
        (f"count the {kind} in {the}", f"count_{kind.replace(' ', '_')}", s,
         ["count = 0", f"for letter in {s}:", f"    if {condition}:", "        count += 1", "return count"],
         "It looks at each letter once."),
        (f"remove all {kind} from {the}", f"remove_{kind.replace(' ', '_')}", s,
         ["result = \"\"", f"for letter in {s}:", f"    if not {condition}:" if test.startswith(".") else
          f"    if {condition.replace('==', '!=').replace(' in ', ' not in ')}:", "        result += letter", "return result"],
         "It keeps every other letter in order."),
        (f"count how often the letter {letter} occurs in {the}", f"count_{letter}", s,
         [f"return {s}.count(\"{letter}\")"], "Strings can count a part by themselves."),
        (f"return {the} in reverse", f"reverse_{s}", s, [f"return {s}[::-1]"], "A slice with step -1 runs backwards."),
        (f"check whether {the} is a palindrome", "is_palindrome", s,
         [f"cleaned = {s}.lower()", "return cleaned == cleaned[::-1]"], "It ignores upper and lower case."),
        (f"return the first {k} letters of {the}", f"first_{k}", s, [f"return {s}[:{k}]"],
         f"If there are fewer than {k} letters, it returns all of them."),
        (f"return the last {k} letters of {the}", f"last_{k}", s, [f"return {s}[-{k}:]"],
         f"If there are fewer than {k} letters, it returns all of them."),
        (f"check whether {the} starts with the letter {letter}", f"starts_with_{letter}", s,
         [f"return {s}.startswith(\"{letter}\")"], "It returns True or False."),
        (f"check whether {the} ends with the letter {letter}", f"ends_with_{letter}", s,
         [f"return {s}.endswith(\"{letter}\")"], "It returns True or False."),
        (f"replace each {letter} in {the} with a dash", f"replace_{letter}", s,
         [f"return {s}.replace(\"{letter}\", \"-\")"], "It returns a new string."),
        (f"repeat {the} {k} times", f"repeat_{k}_times", s, [f"return {s} * {k}"], "A string times a number repeats it."),
        (f"return the longest word of {the}", "longest_word", s, [f"words = {s}.split()", "return max(words, key=len)"],
         "It splits at spaces and compares the lengths."),
        (f"return the words of {the} that start with {letter}", f"words_with_{letter}", s,
         [f"words = {s}.split()", f"return [word for word in words if word.startswith(\"{letter}\")]"],
         "It splits at spaces and keeps the matching words."),
        (f"return the words of {the} that are longer than {k} letters", f"words_longer_than_{k}", s,
         [f"words = {s}.split()", f"return [word for word in words if len(word) > {k}]"],
         "It splits at spaces and keeps the long words.")])


def number(rng):
    k, low, high = rng.randint(2, 30), rng.randint(0, 9), rng.randint(10, 99)
    n = rng.choice(("n", "number", "limit", "x"))
    return rng.choice([
        (f"return the factorial of {n}", "factorial", n,
         ["result = 1", f"for i in range(2, {n} + 1):", "    result *= i", "return result"], "It multiplies all numbers up to the last."),
        (f"return the factorial of {n} with recursion", "factorial", n,
         [f"if {n} <= 1:", "    return 1", f"return {n} * factorial({n} - 1)"], "The function calls itself until it reaches 1."),
        (f"return the Fibonacci number at place {n}", "fibonacci", n,
         ["a, b = 0, 1", f"for i in range({n}):", "    a, b = b, a + b", "return a"], "Each number is the sum of the two before it."),
        (f"check whether {n} is a prime number", "is_prime", n,
         [f"if {n} < 2:", "    return False", f"for i in range(2, {n}):", f"    if {n} % i == 0:", "        return False", "return True"],
         "It tries every possible divisor."),
        (f"check whether {n} is divisible by {k}", f"is_divisible_by_{k}", n, [f"return {n} % {k} == 0"], "The remainder must be zero."),
        (f"check whether {n} is between {low} and {high}", "is_between", n, [f"return {low} <= {n} <= {high}"], "Both ends count as inside."),
        (f"limit {n} to the range from {low} to {high}", "clamp", n,
         [f"if {n} < {low}:", f"    return {low}", f"if {n} > {high}:", f"    return {high}", f"return {n}"],
         "Values inside the range stay as they are."),
        (f"return the sum of the digits of {n}", "digit_sum", n,
         ["total = 0", f"for digit in str({n}):", "    total += int(digit)", "return total"], "It turns the number into text first."),
        (f"return all multiples of {k} up to {n}", f"multiples_of_{k}", n, [f"return list(range({k}, {n} + 1, {k}))"],
         "A range can count in steps."),
        (f"return the sum of all numbers from {low} to {n}", "sum_up_to", n, [f"return sum(range({low}, {n} + 1))"],
         "The end of a range is not part of it, so one is added."),
        (f"return the largest power of {k} that is at most {n}", f"largest_power_of_{k}", n,
         ["result = 1", f"while result * {k} <= {n}:", f"    result *= {k}", "return result"], "It multiplies while the result still fits."),
        (f"return all divisors of {n}", "divisors", n,
         ["result = []", f"for i in range(1, {n} + 1):", f"    if {n} % i == 0:", "        result.append(i)", "return result"],
         "A divisor leaves no remainder."),
        (f"count how often {n} can be divided by {k}", f"count_factor_{k}", n,
         ["count = 0", f"while {n} % {k} == 0:", f"    {n} //= {k}", "    count += 1", "return count"], "It divides until a remainder is left."),
        (f"print the numbers from {n} down to {low}", "countdown", n,
         [f"while {n} >= {low}:", f"    print({n})", f"    {n} -= 1"], "Each round prints one number."),
        ("return the greatest common divisor of a and b", "gcd", "a, b", ["while b:", "    a, b = b, a % b", "return a"],
         "This is the method of Euclid."),
        ("return the larger of a and b", "larger", "a, b", ["if a > b:", "    return a", "return b"], "If both are equal, it returns b."),
        ("return the area of a rectangle", "rectangle_area", "width, height", ["return width * height"], "The area is width times height."),
        ("return the area of a triangle", "triangle_area", "base, height", ["return base * height / 2"], "A triangle is half of a rectangle."),
        ("convert a temperature from Celsius to Fahrenheit", "to_fahrenheit", "celsius", ["return celsius * 9 / 5 + 32"],
         "Zero degrees Celsius are 32 degrees Fahrenheit."),
        (f"raise {n} to the power of {k}", f"power_{k}", n, [f"return {n} ** {k}"], "Two stars mean a power."),
        (f"add {k} percent to {n}", f"add_{k}_percent", n, [f"return {n} * (100 + {k}) / 100"], "The whole is 100 percent."),
        (f"return the remainder of {n} divided by {k}", f"remainder_by_{k}", n, [f"return {n} % {k}"], "The percent sign gives the remainder.")])


def collection(rng):
    xs = rng.choice(("items", "values", "numbers", "words", "names", "elements"))
    k = rng.randint(2, 20)
    d = rng.choice(("prices", "ages", "scores", "stock", "points", "table"))
    return rng.choice([
        (f"remove the duplicates from {xs}", "remove_duplicates", xs,
         ["result = []", f"for item in {xs}:", "    if item not in result:", "        result.append(item)", "return result"],
         "The order stays the same."),
        (f"count how often each element occurs in {xs}", "count_each", xs,
         ["counts = {}", f"for item in {xs}:", "    counts[item] = counts.get(item, 0) + 1", "return counts"],
         "A dictionary holds one count for each element."),
        (f"return {xs} in reverse order", f"reverse_{xs}", xs, [f"return {xs}[::-1]"], "It returns a new list."),
        (f"split {xs} into chunks of {k}", f"chunks_of_{k}", xs,
         [f"return [{xs}[i:i + {k}] for i in range(0, len({xs}), {k})]"], "The last chunk may be shorter."),
        (f"return every element of {xs} at a place divisible by {k}", "every_nth", xs, [f"return {xs}[::{k}]"], "A slice can have a step."),
        (f"return the first {k} elements of {xs}", f"first_{k}", xs, [f"return {xs}[:{k}]"], "A short list is returned whole."),
        (f"return the last {k} elements of {xs}", f"last_{k}", xs, [f"return {xs}[-{k}:]"], "A short list is returned whole."),
        (f"move the first {k} elements of {xs} to the end", f"rotate_{k}", xs, [f"return {xs}[{k}:] + {xs}[:{k}]"], "Two slices are joined."),
        (f"return the second largest of {xs}", "second_largest", xs, [f"ordered = sorted({xs})", "return ordered[-2]"],
         "After sorting, it is the last but one."),
        (f"return the index of the largest of {xs}", "index_of_largest", xs,
         ["best = 0", f"for i in range(len({xs})):", f"    if {xs}[i] > {xs}[best]:", "        best = i", "return best"],
         "It remembers the best place so far."),
        (f"check whether {xs} is sorted", "is_sorted", xs, [f"return {xs} == sorted({xs})"], "It compares the list with a sorted copy."),
        (f"flatten a list of lists called {xs}", "flatten", xs,
         ["result = []", f"for part in {xs}:", "    result.extend(part)", "return result"], "It joins all inner lists."),
        (f"swap the first and the last of {xs}", "swap_ends", xs, [f"{xs}[0], {xs}[-1] = {xs}[-1], {xs}[0]", f"return {xs}"],
         "Python can swap two places in one line."),
        (f"insert {k} at the start of {xs}", f"insert_{k}", xs, [f"return [{k}] + {xs}"], "It returns a new list."),
        (f"return the elements of {xs} that occur more than once", "repeated", xs,
         [f"return [item for item in set({xs}) if {xs}.count(item) > 1]"], "A set holds each element once."),
        ("return the elements that are in both a and b", "common", "a, b", ["return [item for item in a if item in b]"],
         "The order is that of the first list."),
        ("build a dictionary from keys and values", "to_dictionary", "keys, values", ["return dict(zip(keys, values))"],
         "Zip pairs the keys with the values."),
        (f"return the keys of {d} whose value is greater than {k}", f"keys_above_{k}", d,
         [f"return [key for key, value in {d}.items() if value > {k}]"], "It goes through all pairs of the dictionary."),
        (f"return the keys of {d} whose value is less than {k}", f"keys_below_{k}", d,
         [f"return [key for key, value in {d}.items() if value < {k}]"], "It goes through all pairs of the dictionary."),
        (f"return the key of {d} with the highest value", "best_key", d, [f"return max({d}, key={d}.get)"], "The key function looks up the value."),
        (f"return the total of all values of {d}", f"total_of_{d}", d, [f"return sum({d}.values())"], "Only the values are added."),
        (f"swap the keys and values of {d}", f"invert_{d}", d, [f"return {{value: key for key, value in {d}.items()}}"],
         "If a value occurs twice, the last key stays."),
        (f"add {k} to every value of {d}", f"add_{k}", d, [f"return {{key: value + {k} for key, value in {d}.items()}}"],
         "It returns a new dictionary."),
        (f"group {xs} by their first letter", "group_by_letter", xs,
         ["groups = {}", f"for word in {xs}:", "    groups.setdefault(word[0], []).append(word)", "return groups"],
         "Each letter has a list of its own.")])


CLASSES = {
    "Book": ("title", "author", "pages", "price"), "Car": ("brand", "color", "speed", "price"), "Dog": ("name", "age", "breed", "weight"),
    "Player": ("name", "score", "level", "team"), "House": ("address", "rooms", "price", "size"), "Song": ("title", "artist", "length", "rating"),
    "Student": ("name", "age", "grade", "school"), "Plant": ("name", "height", "color", "age"), "Ship": ("name", "length", "crew", "speed"),
    "Shop": ("name", "address", "stock", "rating"), "Robot": ("name", "battery", "speed", "model"), "Phone": ("brand", "model", "price", "battery"),
    "Account": ("owner", "balance", "number", "limit"), "Recipe": ("title", "minutes", "servings", "author"),
    "City": ("name", "country", "size", "height"), "Train": ("number", "speed", "length", "stops")}
COUNTED = {"pages", "price", "speed", "age", "weight", "score", "level", "rooms", "size", "length", "rating", "grade", "height", "crew",
           "stock", "battery", "balance", "minutes", "servings", "stops", "limit"}


def class_task(rng):
    name = rng.choice(sorted(CLASSES))
    fields = rng.sample(CLASSES[name], rng.randint(2, 3))
    counted = [f for f in fields if f in COUNTED]
    lines = [f"class {name}:", f'    """{capital(a(name.lower()))} with {listed(map(a, fields))}."""', "",
             f"    def __init__(self, {', '.join(fields)}):", *(f"        self.{f} = {f}" for f in fields)]
    ask = rng.choice(("Write a Python class {} with {}", "I need a class {} with {}", "Please write a class {} with {}",
                      "Show me a Python class {} with {}")).format(name, listed(map(a, fields)))
    k = rng.randint(2, 50)
    f = rng.choice(counted) if counted else None
    methods = [("describe", "that returns its values as text", [f"return f\"{', '.join('{self.' + x + '}' for x in fields)}\""])]
    if f:
        methods += [(f"add_{f}", f"that adds an amount to the {f}", [f"self.{f} += amount"]),
                    (f"is_{f}_above", f"that checks whether the {f} is above {k}", [f"return self.{f} > {k}"]),
                    (f"reset_{f}", f"that sets the {f} to {k}", [f"self.{f} = {k}"])] * 2
    method, does, body = rng.choice(methods)
    argument = ", amount" if method.startswith("add") else ""
    lines += ["", f"    def {method}(self{argument}):", *("        " + line for line in body)]
    return f"{ask} and a method {method} {does}.", "```python\n" + "\n".join(lines) + "\n```\n" + \
        f"Each {name.lower()} keeps its own values."
