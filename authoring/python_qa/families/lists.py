"""Tasks on lists."""

from authoring.python_qa.family import GATHERERS, OPERATORS, Family, calls, grid, table

GATHER = {"sum": "sum", "max": "largest value", "min": "smallest value"}

FAMILIES = (
    Family(
        topic="lists",
        name="sliding-windows",
        settings=[
            s | {"name": f"{s['gather']}_of_{s['size']}", "what": GATHER[s["gather"]], "less": s["size"] - 1}
            for s in grid(gather=["sum", "max", "min"], size=[2, 3, 4, 5, 6, 7])
        ],
        phrasings="""
Write a function `$name` that slides a window of $size neighbouring numbers over a list and returns the list
with the $what of each window. Too short a list gives [].

How do I get the $what of every $size consecutive elements of a list? The function should be called `$name`
and return a list, empty if there are fewer than $size values.

I have daily measurements and want `$name(values)`: for each run of $size days in a row its $what, in order.

Please implement `$name`. For values at positions 0 to $less, then 1 to $size, and so on, collect the $what in
a list.

Given a list of ints, compute the $what of all windows of width $size that move one step at a time. Return a
list; with fewer than $size values it is empty. Name: `$name`.

whats a compact way to do a rolling $gather over $size values with plain lists? `$name(values)` please
""",
        answer="""
def $name(values: list[int]) -> list[int]:
    return [$gather(values[i : i + $size]) for i in range(len(values) - $size + 1)]
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: [
                GATHERERS[s["gather"]](window) for window in zip(*[values[k:] for k in range(s["size"])], strict=False)
            ],
            ([4, -1, 7, 3, 3, 9, 0, -5, 2],),
            ([5, 6, 1, 8],),
            ([],),
            ([2, 2, 3, 1, 2, 2, 6],),
        ),
    ),
    Family(
        topic="lists",
        name="split-into-chunks",
        settings=[
            s
            | {"name": ("chunks_of_" if s["turn"] == "" else "turned_chunks_of_") + str(s["size"])}
            | {"extra": "" if s["turn"] == "" else ", each part in reverse order"}
            for s in grid(turn=["", "[::-1]"], size=[2, 3, 4, 5, 6, 7, 8, 10, 12])
        ],
        phrasings="""
Write a function `$name` that cuts a list into parts of $size items$extra. The last part may be shorter.

How do I split a list into pieces of length $size$extra? The rest at the end forms a smaller piece. Name it
`$name`.

I need `$name(items)`: a list of lists with $size items per sub-list$extra, and whatever is left over in the
last one.

We send records in blocks of $size. Implement `$name` so that it returns the list of blocks$extra; the final
block holds the remainder.

Given any list, return its elements grouped by $size in their order of appearance$extra. If the length isn't a
multiple of $size, the last group is shorter. Function name: `$name`.

Can you show me `$name`? It breaks a list up into consecutive sub-lists of $size elements$extra (the last one
can have fewer).
""",
        answer="""
def $name(items: list) -> list[list]:
    return [items[i : i + $size]$turn for i in range(0, len(items), $size)]
""",
        tests=lambda s: calls(
            s["name"],
            lambda items: [
                [item for k, item in enumerate(items) if k // s["size"] == part][:: -1 if s["turn"] else 1]
                for part in range(-(-len(items) // s["size"]))
            ],
            (list(range(13)),),
            (["a", "b", "c", "d", "e", "f", "g"],),
            ([],),
            ([1],),
        ),
    ),
    Family(
        topic="lists",
        name="rotate",
        settings=[
            s | {"name": f"rotate_{s['way']}_{s['by']}", "sign": "" if s["way"] == "left" else "-"}
            for s in grid(way=["left", "right"], by=[2, 3, 4, 5, 6, 7, 8, 9, 10])
        ],
        phrasings="""
Write a function `$name` that rotates a list to the $way by $by places and returns the new list. An empty list
stays empty.

How can I rotate a Python list $by steps to the $way? It must also work for lists shorter than $by and for [].
Call it `$name`.

I need `$name(items)`: items that drop out on the $way side come back in on the other side, $by times in
total. Lists may be short or empty.

Please implement `$name`, a rotation by $by to the $way. It should not change its argument, and [] gives [].

Given a list of players in a circle, move everyone $by seats to the $way and return the new order (also for
fewer than $by players, or none). The function is called `$name`.

rotate a list by $by to the $way, wrapping around, without modules... `$name(items)`, and [] should not crash
""",
        answer="""
def $name(items: list) -> list:
    if not items:
        return []
    k = $sign$by % len(items)
    return items[k:] + items[:k]
""",
        tests=lambda s: calls(
            s["name"],
            lambda items: [
                items[(i + (s["by"] if s["way"] == "left" else -s["by"])) % len(items)] for i in range(len(items))
            ],
            (list(range(11)),),
            (list("abcdefghijklm"),),
            ([],),
            ([7, 8],),
            (list(range(20)),),
        ),
    ),
    Family(
        topic="lists",
        name="compare-neighbours",
        settings=[
            s | {"name": f"{s['word']}_{s['lag']}_apart" if s["lag"] > 1 else f"neighbour_{s['word']}"}
            for s in [
                t | {"lag": lag, "places": "1 place" if lag == 1 else f"{lag} places"}
                for lag in (1, 2, 3)
                for t in table(
                    "word code text fold",
                    ("growth", "b - a", "the later value minus the earlier one", lambda a, b: b - a),
                    ("drop", "a - b", "the earlier value minus the later one", lambda a, b: a - b),
                    ("gap", "abs(a - b)", "the absolute difference", lambda a, b: max(a, b) - min(a, b)),
                    ("total", "a + b", "the sum", lambda a, b: b + a),
                    ("product", "a * b", "the product", lambda a, b: b * a),
                    ("peak", "max(a, b)", "the larger value", lambda a, b: a if a > b else b),
                )
            ]
        ],
        phrasings="""
Write a function `$name` that pairs each number of a list with the one $places further on and returns $text
for every pair.

How do I compare values that are $lag apart in a list? For `$name` I want $text of each such pair, as a list.

I need `$name(values)`. For all positions i it takes values[i] and values[i + $lag], as long as both exist,
and collects $text.

Please implement `$name` with `zip`: combine the list with itself, shifted by $lag, and return $text of each
pair.

Given a list of ints, return a list with $text for each pair of elements whose positions differ by $lag. If
there is no such pair, return []. Name it `$name`.

For a time series I'm looking for `$name`: element by element, $text, where the later value stands $places
further on.
""",
        answer="""
def $name(values: list[int]) -> list[int]:
    return [$code for a, b in zip(values, values[$lag:])]
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: [s["fold"](values[k - s["lag"]], values[k]) for k in range(s["lag"], len(values))],
            ([3, 8, 5, -2, 9, 4],),
            ([1, 1, 2, 7],),
            ([],),
            ([10, 6, 6, 0],),
        ),
    ),
    Family(
        topic="lists",
        name="part-by-threshold",
        settings=[
            s
            | {"name": f"split_at_{s['limit']}" if s["limit"] >= 0 else "split_at_minus_" + str(-s["limit"])}
            | {"text": {"<": "below", "<=": "not above", ">": "above", ">=": "not below"}[s["op"]]}
            | {"other": {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[s["op"]]}
            for s in grid(op=["<", "<=", ">", ">="], limit=[-5, 0, 3, 7, 10, 18, 50, 100])
        ],
        phrasings="""
Write a function `$name` that splits a list of numbers in two: first the numbers $text $limit, then all
others. Return both lists, each in the original order.

How do I divide a list into values that are $op $limit and the rest? `$name` should return a tuple of two
lists.

I need `$name(values)` to return two lists: the values with value $op $limit, and those with value $other
$limit.

Please implement `$name`. It separates the numbers $text $limit from the remaining ones and returns the pair
(matching, others).

Given a list of ints, return a pair: the elements $text $limit and the elements that are $other $limit,
keeping the order. Call the function `$name`.

Two list comprehensions should do it: one for `$op $limit`, one for `$other $limit`, both returned from
`$name`. Can you write that down for me?
""",
        answer="""
def $name(values: list[int]) -> tuple[list[int], list[int]]:
    matching = [value for value in values if value $op $limit]
    others = [value for value in values if value $other $limit]
    return matching, others
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: [
                [v for v in values if OPERATORS[s["op"]](v, s["limit"]) is wanted] for wanted in (True, False)
            ],
            ([s["limit"] + 1, s["limit"], s["limit"] - 1],),
            ([200, 42, 12, 8, 5, 1, -3, -9],),
            ([],),
            form="list({})",
        ),
    ),
    Family(
        topic="lists",
        name="unique-in-order",
        settings=table(
            "name code text key kind samples",
            (
                "unique_lower",
                "item.lower()",
                "lower-cased",
                lambda x: x.lower(),
                "str",
                ["Tea", "tea", "Oat", "TEA"],
            ),
            (
                "unique_upper",
                "item.upper()",
                "upper-cased",
                lambda x: x.upper(),
                "str",
                ["ab", "AB", "c", "Ab"],
            ),
            (
                "unique_stripped",
                "item.strip()",
                "stripped",
                lambda x: x.strip(),
                "str",
                [" a", "b ", "a", "b"],
            ),
            (
                "unique_titles",
                "item.title()",
                "title-cased",
                lambda x: x.title(),
                "str",
                ["new york", "New York"],
            ),
            (
                "unique_starts",
                "item[0]",
                "cut to their first character",
                lambda x: x[:1],
                "str",
                ["ax", "bx", "ay"],
            ),
            (
                "unique_ends",
                "item[-1]",
                "cut to their last character",
                lambda x: x[::-1][0],
                "str",
                ["xa", "yb", "za"],
            ),
            ("unique_lengths", "len(item)", "replaced by their length", len, "str", ["to", "it", "", "yes"]),
            (
                "unique_prefixes",
                "item[:3]",
                "cut to 3 characters",
                lambda x: x[0:3],
                "str",
                ["monday", "money", "sun"],
            ),
            ("unique_sizes", "abs(item)", "replaced by their absolute value", abs, "int", [3, -3, 5, -4, 4]),
            ("unique_squares", "item * item", "squared", lambda x: x**2, "int", [2, -2, 0, 3, 2]),
            (
                "unique_tens",
                "item // 10",
                "divided by 10 (rounded down)",
                lambda x: (x - x % 10) // 10,
                "int",
                [11, 15, 27, -3],
            ),
            (
                "unique_last_digits",
                "item % 10",
                "reduced to item % 10",
                lambda x: x - x // 10 * 10,
                "int",
                [11, 21, 32, 42],
            ),
            ("unique_halves", "item / 2", "halved", lambda x: x * 0.5, "int", [3, 4, 3, 8]),
            ("unique_texts", "str(item)", "turned into text", lambda x: f"{x}", "int", [7, 7, 70, 0]),
            ("unique_doubles", "item + item", "doubled", lambda x: 2 * x, "int", [1, 1, 5, -2]),
            (
                "unique_capitalized",
                "item.capitalize()",
                "capitalized",
                lambda x: x.capitalize(),
                "str",
                ["red wine", "Red Wine", "ale"],
            ),
            ("unique_steps", "item + 1", "increased by 1", lambda x: x - -1, "int", [10, 255, 10]),
            (
                "unique_swapped",
                "item.swapcase()",
                "with swapped case",
                lambda x: x.swapcase(),
                "str",
                ["aB", "Ab", "aB"],
            ),
        ),
        phrasings="""
Write a function `$name` that returns the items of a list $text (`$code`), each result only once and in the
order of its first appearance.

How do I remove duplicates without losing the order, if I want the items $text first? Name it `$name`; the
conversion is `$code`.

I need `$name(items)`: the list of items $text, i.e. `$code` for each item, with no value twice and the order
kept.

Please implement `$name`. Apply `$code` to each element and drop results that came up before. The order of the
others must not change.

Given a list of $kind values, return the distinct values of `$code` in order of appearance. Use the name
`$name`.

`set()` destroys my order. Can you write `$name`, which takes a list, converts every element with `$code` and
keeps only the first of equal results?
""",
        answer="""
def $name(items: list[$kind]) -> list:
    return list(dict.fromkeys($code for item in items))
""",
        tests=lambda s: calls(
            s["name"],
            lambda items: [
                value for i, value in enumerate(map(s["key"], items)) if value not in list(map(s["key"], items[:i]))
            ],
            (s["samples"],),
            (["Blue sky", "blue moon ", "GREEN", "b", "green"] if s["kind"] == "str" else [12, -5, 35, 12, 4, 41],),
            ([],),
        ),
    ),
    Family(
        topic="lists",
        name="first-match",
        settings=[
            s
            | {"name": f"first_{s['word']}" + {"-1": "", "0": "_or_zero", "None": "_or_none"}[s["default"]]}
            | {"hint": "int | None" if s["default"] == "None" else "int"}
            for s in [
                t | {"default": default}
                for t in table(
                    "word code text check",
                    ("negative", "value < 0", "negative number", lambda v: v < 0),
                    ("even", "value % 2 == 0", "even number", lambda v: not v & 1),
                    ("odd", "value % 2 == 1", "odd number", lambda v: bool(v & 1)),
                    ("big", "value > 100", "number greater than 100", lambda v: v >= 101),
                    ("two_digit", "10 <= value <= 99", "number from 10 to 99", lambda v: v in range(10, 100)),
                    ("fifth", "value % 5 == 0", "multiple of 5", lambda v: str(v)[-1] in "05"),
                )
                for default in ("-1", "0", "None")
            ]
        ],
        phrasings="""
Write a function `$name` that returns the first $text in a list, or $default if there is none.

How do I find the first $text of a list (condition: `$code`) without a loop of my own? It should give $default
when nothing matches. Name: `$name`.

I need `$name(values)`: look for the first element with `$code`; if no element fits, the result is $default.

Please implement `$name` with `next` and a generator expression. It searches for the first $text and falls
back to $default.

Given a list of ints, return the earliest $text. For a list without one, return $default. The function is
called `$name`.

Is there a one-liner for "first $text, else $default"? Please wrap it in `$name(values)`.
""",
        answer="""
def $name(values: list[int]) -> $hint:
    return next((value for value in values if $code), $default)
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: ([v for v in values if s["check"](v)] + [{"-1": -1, "0": 0, "None": None}[s["default"]]])[0],
            ([3, 250, 44, -7, 15, 101],),
            ([8, 1, -4, 10, 99, 500],),
            ([],),
            ([-13, 7, 100, 1000, 0],),
        ),
    ),
    Family(
        topic="lists",
        name="put-between",
        settings=table(
            "name value literal sample",
            ("join_with_zero", "0", 0, [1, 2, 3]),
            ("join_with_none", "None", None, [1, 2, 3]),
            ("join_with_minus_one", "-1", -1, [5, 6]),
            ("join_with_dash", '"-"', "-", ["a", "b", "c"]),
            ("join_with_plus", '"+"', "+", ["x", "y", "z"]),
            ("join_with_comma", '","', ",", ["red", "blue"]),
            ("join_with_and", '"and"', "and", ["Ann", "Bo", "Cy"]),
            ("join_with_or", '"or"', "or", ["tea", "milk"]),
            ("join_with_true", "True", True, [False, False]),
            ("join_with_false", "False", False, [1, 1, 1]),
            ("join_with_arrow", '"->"', "->", ["start", "end"]),
            ("join_with_bar", '"|"', "|", ["left", "mid", "right"]),
            ("join_with_blank", '""', "", ["line", "line"]),
            ("join_with_star", '"*"', "*", ["2", "3", "5"]),
            ("join_with_99", "99", 99, [4, 5, 6, 7]),
            ("join_with_half", "0.5", 0.5, [1.0, 2.0]),
            ("join_with_versus", '"vs"', "vs", ["home", "away"]),
            ("join_with_pause", '"pause"', "pause", ["song", "song", "song"]),
        ),
        phrasings="""
Write a function `$name` that returns a new list with the value `$value` placed between neighbouring items
(not at the start, not at the end).

How do I put `$value` between all elements of a list? It's like `str.join`, only for lists. Call it `$name`.

I need `$name(items)`: after each item but the last comes a `$value`. An empty list gives an empty list.

Please implement `$name`. It weaves `$value` in between the elements, so three items give a list of five.

Given a list, return one in which every two adjacent items are separated by `$value`. Lists with fewer than
two items come back as they are. Name: `$name`.

what would be the list version of "sep".join(...)? the separator is `$value`, the function `$name`, and []
stays []
""",
        answer="""
def $name(items: list) -> list:
    result = []
    for item in items:
        result += [item, $value]
    return result[:-1]
""",
        tests=lambda s: calls(
            s["name"],
            lambda items: [items[k // 2] if k % 2 == 0 else s["literal"] for k in range(max(0, 2 * len(items) - 1))],
            (s["sample"],),
            ([],),
            (["only"],),
        ),
    ),
    Family(
        topic="lists",
        name="loop-to-comprehension",
        settings=[
            s | {"op": s["code"].split()[1], "name": f"{s['verb']}_{s['word']}"}
            for s in [
                v | c
                for v, c in zip(
                    table(
                        "verb code fold",
                        ("doubled", "n * 2", lambda n: n + n),
                        ("squared", "n ** 2", lambda n: n * n),
                        ("raised", "n + 10", lambda n: n - -10),
                        ("lowered", "n - 1", lambda n: n + -1),
                        ("halved", "n // 2", lambda n: (n - n % 2) // 2),
                        ("tripled", "n * 3", lambda n: n + n + n),
                        ("cubed", "n ** 3", lambda n: n * n * n),
                        ("scaled", "n * 100", lambda n: n * 10 * 10),
                        ("shifted", "n + 5", lambda n: n - -5),
                    )
                    * 2,
                    table(
                        "word test keep",
                        ("positives", "n > 0", lambda n: n >= 1),
                        ("evens", "n % 2 == 0", lambda n: not n & 1),
                        ("negatives", "n < 0", lambda n: n <= -1),
                        ("odds", "n % 2 == 1", lambda n: bool(n & 1)),
                        ("large_ones", "n >= 50", lambda n: n > 49),
                        ("small_ones", "n <= 20", lambda n: n < 21),
                        ("nonzeros", "n != 0", lambda n: bool(n)),
                    )
                    * 3,
                    strict=False,
                )
            ]
        ],
        phrasings="""
Rewrite this loop as a list comprehension. Keep the function name `$name`.

Can this be written in one line? Please use a list comprehension and leave the signature of `$name` as it is.

My reviewer says `$name` is too long and should be a comprehension. How would that look?

Simplify the body of `$name` to a single return with a list comprehension. The behaviour must not change.

Please turn the for loop in `$name` into a comprehension.

I want to learn comprehensions. What is the comprehension version of the function `$name` below?
""",
        input="""
def $name(numbers: list[int]) -> list[int]:
    result = []
    for n in numbers:
        if $test:
            result.append($code)
    return result
""",
        answer="""
def $name(numbers: list[int]) -> list[int]:
    return [$code for n in numbers if $test]
""",
        tests=lambda s: calls(
            s["name"],
            lambda numbers: list(map(s["fold"], filter(s["keep"], numbers))),
            ([4, -3, 0, 51, 20, 7],),
            ([-8, 50, 13, 21, 100],),
            ([],),
        ),
    ),
)
