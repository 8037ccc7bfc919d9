"""Tasks for generator functions."""

from itertools import accumulate, combinations

from authoring.python_qa.family import METHODS, OPERATORS, Case, Family, Setting, calls, table


def _endless_tests(setting: Setting) -> list[Case]:
    def first(count: int) -> list[int]:
        values = [setting["start"]]
        while len(values) < count:
            values.append(OPERATORS[setting["op"]](values[-1], setting["by"]))
        return values[:count]

    take = "(lambda g: [next(g) for _ in range({})])({}())"
    return [Case(take.format(count, setting["name"]), first(count)) for count in (1, 3, 6)]


FAMILIES = (
    Family(
        topic="generators",
        name="endless-sequence",
        settings=[
            s | {"rule": {"+": "plus", "-": "minus", "*": "times"}[s["op"]]}
            for s in table(
                "name start op by",
                ("odd_numbers", 1, "+", 2),
                ("powers_of_two", 1, "*", 2),
                ("countdown", 100, "-", 1),
                ("tens", 10, "+", 10),
                ("powers_of_three", 1, "*", 3),
                ("sevens", 7, "+", 7),
                ("falling_fives", 50, "-", 5),
                ("leap_years", 2000, "+", 4),
                ("tenfold", 5, "*", 10),
                ("ids", 1000, "+", 1),
                ("temperatures", 20, "-", 3),
                ("growing_fours", 2, "*", 4),
                ("bus_times", 6, "+", 20),
                ("negatives", 0, "-", 1),
                ("doubling_price", 99, "*", 2),
                ("house_numbers", 2, "+", 2),
                ("depths", -10, "-", 10),
                ("flipping", 1, "*", -1),
            )
        ],
        phrasings="""
Write a generator function `$name` that yields $start first and then, without end, the previous value $rule
$by.

How do I write an infinite generator in Python that starts at $start and continues with "last value $op $by"?
Name it `$name`.

I need a generator `$name()` without arguments. Values: $start, then always $op $by, never stopping.

Please implement `$name` with `while True` and `yield`. The first value is $start and each next value is the
one before it $rule $by.

Create an endless generator called `$name`: it begins with $start, and every further value is value $op $by.

`next(g)` should give me $start, then $start $op $by, and so on forever. How does the generator function
`$name` look?
""",
        answer="""
def $name():
    value = $start
    while True:
        yield value
        value $op= $by
""",
        tests=_endless_tests,
    ),
    Family(
        topic="generators",
        name="yield-marked-lines",
        settings=[
            s | {"code": f"line{s['after']}" if s["after"] else "line"}
            for s in table(
                "name prefix after how",
                ("errors", "ERROR ", ".upper()", "in upper case"),
                ("todos", "TODO:", ".strip()", "stripped of outer whitespace"),
                ("answers", "A: ", ".lower()", "in lower case"),
                ("headings", "# ", ".title()", "in title case"),
                ("warnings", "WARN", ".strip()", "stripped of outer whitespace"),
                ("replies", "> ", ".lower()", "in lower case"),
                ("bullets", "- ", ".strip()", "stripped of outer whitespace"),
                ("commands", "$ ", ".upper()", "in upper case"),
                ("imports", "import ", ".lower()", "in lower case"),
                ("stars", "* ", ".upper()", "in upper case"),
                ("names", "Name:", ".title()", "in title case"),
                ("prices", "Price", ".upper()", "in upper case"),
                ("debug_lines", "[debug]", ".strip()", "stripped of outer whitespace"),
                ("chapters", "Chapter", ".lower()", "in lower case"),
                ("plus_lines", "+", ".strip()", "stripped of outer whitespace"),
                ("minus_lines", "-", ".title()", "in title case"),
                ("notes", "Note ", ".upper()", "in upper case"),
                ("links", "http", ".lower()", "in lower case"),
            )
        ],
        phrasings="""
Write a generator `$name` that goes through lines and yields those starting with "$prefix", $how.

How do I filter lines lazily? A generator `$name(lines)` should yield each line that begins with "$prefix",
$how.

I need a generator function `$name`: for every line of the argument that starts with "$prefix", yield `$code`.

Please implement `$name(lines)` with a for loop and `yield`. Only lines with "$prefix" at the start count, and
they come out $how.

Given an iterable of lines, produce one by one the lines whose beginning is "$prefix", $how. Use a generator
called `$name`.

big log, little memory... could you give me a generator `$name(lines)` for all lines beginning with "$prefix",
yielded $how?
""",
        answer="""
def $name(lines):
    for line in lines:
        if line.startswith("$prefix"):
            yield $code
""",
        tests=lambda s: calls(
            s["name"],
            lambda lines: [METHODS[s["after"][1:-2]](x) for x in lines if x[: len(s["prefix"])] == s["prefix"]],
            ([s["prefix"] + "Red fox \n", "other " + s["prefix"], s["prefix"] + " b C"],),
            (["nothing", "here"],),
            ([s["prefix"], "", s["prefix"] + s["prefix"]],),
            form="list({})",
        ),
    ),
    Family(
        topic="generators",
        name="running-result",
        settings=[
            s | {"name": f"running_{s['word']}"}
            for s in table(
                "word start code text fold",
                ("sum", 0, "state + value", "the state plus the value", lambda a, b: b + a),
                ("product", 1, "state * value", "the state times the value", lambda a, b: b * a),
                ("top", 0, "max(state, value)", "the larger of both", lambda a, b: b if b > a else a),
                ("floor", 100, "min(state, value)", "the smaller of both", lambda a, b: b if b < a else a),
                ("balance", 1000, "state - value", "the state minus the value", lambda a, b: -b + a),
                ("savings", 50, "state + value", "the state plus the value", lambda a, b: b + a),
                ("fuel", 500, "state - value", "the state minus the value", lambda a, b: -b + a),
                ("clock", 0, "(state + value) % 12", "(state + value) % 12", lambda a, b: (b + a) % 12),
                (
                    "level",
                    0,
                    "max(0, state + value)",
                    "the state plus the value, but at least 0",
                    lambda a, b: a + b if a + b > 0 else 0,
                ),
                (
                    "limit",
                    0,
                    "min(10, state + value)",
                    "the state plus the value, but at most 10",
                    lambda a, b: a + b if a + b < 10 else 10,
                ),
                ("mix", 0, "state * 2 + value", "twice the state plus the value", lambda a, b: a + a + b),
                (
                    "digits",
                    0,
                    "state * 10 + value",
                    "ten times the state plus the value",
                    lambda a, b: b + 10 * a,
                ),
                (
                    "mean",
                    8,
                    "(state + value) // 2",
                    "half of state plus value, rounded down",
                    lambda a, b: (a + b - (a + b) % 2) // 2,
                ),
                ("parity", 0, "(state + value) % 2", "(state + value) % 2", lambda a, b: (a - b) & 1),
                (
                    "decay",
                    64,
                    "state // 2 + value",
                    "half the state (rounded down) plus the value",
                    lambda a, b: b + (a - a % 2) // 2,
                ),
                (
                    "gap",
                    0,
                    "abs(state - value)",
                    "the absolute difference of both",
                    lambda a, b: max(a, b) - min(a, b),
                ),
                ("turn", 0, "value - state", "the value minus the state", lambda a, b: -a + b),
                ("record", -99, "max(state, value)", "the larger of both", lambda a, b: b if b > a else a),
            )
        ],
        phrasings="""
Write a generator `$name(values)` with a state that is $start at first. For each value the state becomes $text
and is yielded.

How do I yield intermediate results? In `$name` a state starts at $start, turns into `$code` for every value,
and each new state is yielded.

I need a generator `$name(values)`: state = $start, then for each value state = $code, yielding the state
every time.

Please implement `$name` as a generator function. Start with $start; on each value compute $text (`$code`) and
yield it as the new state.

Given an iterable of ints, yield one state per value. The state before the first value is $start, the update
rule is `$code`. Name: `$name`.

something like itertools.accumulate, but written by hand: start at $start, new state = $code, yield it.
function `$name(values)`
""",
        answer="""
def $name(values):
    state = $start
    for value in values:
        state = $code
        yield state
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: list(accumulate(values, s["fold"], initial=s["start"]))[1:],
            ([3, 8, -2, 5],),
            ([-7, 2],),
            ([],),
            ([1, -4, 120, 6, 9],),
            form="list({})",
        ),
    ),
    Family(
        topic="generators",
        name="pairs-that-fit",
        settings=table(
            "name code text fits",
            ("pairs_with_sum_10", "a + b == 10", "whose sum is 10", lambda p: sum(p) == 10),
            ("pairs_with_sum_0", "a + b == 0", "whose sum is 0", lambda p: sum(p) == 0),
            ("even_pairs", "(a + b) % 2 == 0", "with an even sum", lambda p: not sum(p) & 1),
            ("rising_pairs", "a < b", "in which the first is smaller", lambda p: p[1] - p[0] > 0),
            ("falling_pairs", "a > b", "in which the first is larger", lambda p: p[1] - p[0] < 0),
            ("equal_pairs", "a == b", "of equal numbers", lambda p: p[0] - p[1] == 0),
            ("neighbour_pairs", "abs(a - b) == 1", "that differ by 1", lambda p: max(p) - min(p) == 1),
            ("close_pairs", "abs(a - b) <= 3", "that differ by at most 3", lambda p: max(p) - min(p) < 4),
            ("far_pairs", "abs(a - b) > 10", "that differ by more than 10", lambda p: max(p) - min(p) >= 11),
            ("product_pairs", "a * b == 12", "whose product is 12", lambda p: p[1] * p[0] == 12),
            (
                "multiple_pairs",
                "b == 2 * a",
                "in which the second is twice the first",
                lambda p: p[0] + p[0] == p[1],
            ),
            ("positive_pairs", "a > 0 and b > 0", "of positive numbers", lambda p: min(p) >= 1),
            ("mixed_pairs", "a * b < 0", "with different signs", lambda p: min(p) <= -1 and max(p) >= 1),
            ("small_pairs", "a + b < 5", "whose sum is below 5", lambda p: sum(p) <= 4),
            ("large_pairs", "a + b >= 20", "whose sum is at least 20", lambda p: sum(p) > 19),
            ("same_end_pairs", "a % 10 == b % 10", "that agree modulo 10", lambda p: (p[1] - p[0]) % 10 == 0),
            (
                "square_pairs",
                "b == a * a",
                "in which the second is the square of the first",
                lambda p: p[0] ** 2 == p[1],
            ),
            ("other_pairs", "a != b", "of different numbers", lambda p: p[0] - p[1] != 0),
        ),
        phrasings="""
Write a generator `$name` that yields all pairs (a, b) of list items, a standing before b, $text.

How do I go through every pair of a list once and yield just the pairs $text? The generator is called `$name`.

I need a generator `$name(values)`: each a is combined with every b that comes later in the list, and (a, b)
is yielded if `$code`.

Please implement `$name` with two for loops and `yield`. It produces the tuples (a, b), in list order, $text
(`$code`).

Given a list of ints, yield the pairs $text, where a comes earlier in the list than b. Name of the generator:
`$name`.

all combinations of two items with `$code`, as a generator, without itertools. `$name(values)` should yield
(a, b)
""",
        answer="""
def $name(values: list[int]):
    for i, a in enumerate(values):
        for b in values[i + 1 :]:
            if $code:
                yield a, b
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: [list(pair) for pair in combinations(values, 2) if s["fits"](pair)],
            ([3, 4, 7, -3, 6, 3, 9],),
            ([2, 16, 4, 6, -4, 12],),
            ([],),
            ([10, 0, 21, 11],),
            form="[list(pair) for pair in {}]",
        ),
    ),
    Family(
        topic="generators",
        name="until-stop",
        settings=[
            s | {"name": f"until_{s['word']}"}
            for s in table(
                "word code text stops",
                ("zero", "item == 0", "an item is 0", lambda x: x in (0,)),
                ("negative", "item < 0", "an item is negative", lambda x: x <= -1),
                ("big", "item > 100", "an item is above 100", lambda x: x >= 101),
                ("even", "item % 2 == 0", "an item is even", lambda x: not x & 1),
                ("odd", "item % 2 == 1", "an item is odd", lambda x: bool(x & 1)),
                ("nine", "item == 9", "an item is 9", lambda x: x in (9,)),
                ("fifty", "item >= 50", "an item is at least 50", lambda x: x > 49),
                ("small", "item < 10", "an item is below 10", lambda x: x <= 9),
                ("five", "item % 5 == 0", "an item is divisible by 5", lambda x: str(x)[-1] in "05"),
                ("not_one", "item != 1", "an item differs from 1", lambda x: x not in (1,)),
                ("positive", "item > 0", "an item is positive", lambda x: x >= 1),
                ("minus_one", "item == -1", "an item is -1", lambda x: x in (-1,)),
                ("three", "item % 3 == 0", "an item is divisible by 3", lambda x: x // 3 * 3 == x),
                ("below_minus_ten", "item <= -10", "an item is -10 or less", lambda x: x < -9),
                ("two_digits", "item > 9", "an item is above 9", lambda x: x >= 10),
                (
                    "large_size",
                    "abs(item) > 20",
                    "the absolute value of an item is above 20",
                    lambda x: x * x > 400,
                ),
                ("ends_in_seven", "item % 10 == 7", "an item modulo 10 is 7", lambda x: (x - 7) % 10 == 0),
                (
                    "square_over_50",
                    "item * item > 50",
                    "the square of an item is above 50",
                    lambda x: abs(x) >= 8,
                ),
            )
        ],
        phrasings="""
Write a generator `$name` that passes on the items of an iterable, but ends as soon as $text. That item is not
yielded.

How do I stop a generator early? `$name(items)` should yield items one after another and finish, without
yielding it, at the first one with `$code`.

I need a generator `$name(items)`. It yields every item until $text; from there on nothing is yielded.

Please implement `$name` using `return` inside a generator: if `$code`, stop; otherwise yield the item.

Given a sequence of ints, yield the leading ones, up to but excluding the first for which `$code`. The
generator's name is `$name`.

like itertools.takewhile, but self-made: stop when $text (that item is dropped). `$name(items)`
""",
        answer="""
def $name(items):
    for item in items:
        if $code:
            return
        yield item
""",
        tests=lambda s: calls(
            s["name"],
            lambda items: items[: ([i for i, x in enumerate(items) if s["stops"](x)] + [len(items)])[0]],
            ([1, 11, 7, -3, 6, 0, 130],),
            ([22, 14, 8, 4, -2, -15, 9, 5],),
            ([],),
            ([1, 1, 3, 5, -1, 17, 25, 57],),
            ([-4, -8, -30, 60, 3, 10],),
            form="list({})",
        ),
    ),
)
