"""Tasks that order, rank or select by order."""

from authoring.python_qa.family import OPERATORS, Case, Family, Setting, calls, grid, table


def _two_key_tests(setting: Setting) -> list[Case]:
    first, second = setting["first"], setting["second"]

    def oracle(rows: list[dict[str, int]]) -> list[dict[str, int]]:
        by_second = sorted(rows, key=lambda row: row[second], reverse=setting["sign2"] == "-")
        return sorted(by_second, key=lambda row: row[first], reverse=setting["sign1"] == "-")

    rows = [{first: a, second: b} for a, b in [(2, 5), (1, 7), (2, 9), (1, 3), (0, 4)]]
    return calls(setting["name"], oracle, (rows,), (rows[1:4],), ([],))


def _extreme_tests(setting: Setting) -> list[Case]:
    def oracle(values: list[int]) -> list[int]:
        return sorted(values, key=setting["fold"], reverse=setting["side"] == "largest")[: setting["n"]]

    return calls(
        setting["name"],
        oracle,
        ([40, 15, -7, 81, 2, 67, 39, 6],),
        ([5, 101],),
        ([],),
        ([-20, 13, 6, -1, 44, 37],),
    )


ORDER_SAMPLES = [
    [1, 2],
    [2, 1],
    [5, 5],
    [-3, 2],
    [3, -4],
    [19, 21],
    [21, 19],
    [-7, 7],
    [30, 4],
    [12, 15],
    [-2, -9],
]


def _ordered_tests(setting: Setting) -> list[Case]:
    def oracle(values: list[int]) -> bool:
        folded = [setting["fold"](value) for value in values]
        return False not in map(OPERATORS[setting["op"]], folded[:-1], folded[1:])

    name = setting["name"]
    pairs = Case(f"[{name}(pair) for pair in {ORDER_SAMPLES}]", list(map(oracle, ORDER_SAMPLES)))
    return [*calls(name, oracle, ([],), ([10, 21, 32, 21],), ([34, 23, 11, 29],)), pairs]


RECORDS = table(
    "things first second",
    ("players", "level", "score"),
    ("books", "year", "pages"),
    ("cars", "price", "age"),
    ("tasks", "priority", "day"),
    ("flats", "rooms", "rent"),
    ("hotels", "stars", "price"),
)

FAMILIES = (
    Family(
        topic="sorting",
        name="sort-records-two-keys",
        settings=[
            s
            | {"name": f"sort_{s['things']}"}
            | {"order1": "highest first" if s["sign1"] else "lowest first"}
            | {"order2": "highest first" if s["sign2"] else "lowest first"}
            for s in [r | g for r in RECORDS for g in grid(sign1=["", "-"], sign2=["", "-"])][:-4]
        ],
        phrasings="""
Write a function `$name` that sorts a list of dicts by "$first" ($order1) and, where that is equal, by
"$second" ($order2).

How do I sort $things by two fields? "$first" comes first ($order1), "$second" breaks ties ($order2). Name the
function `$name`; both fields are ints.

I need `$name($things)`: sorted by "$first", $order1; rows with the same "$first" by "$second", $order2.
Return a new list.

Please implement `$name` with a tuple as sort key. Main key "$first" with the $order1, second key "$second"
with the $order2.

Given $things as dicts with int fields, return them ordered by "$first" ($order1), then by "$second"
($order2). Call it `$name`.

sorting question: list of dicts, "$first" $order1, then "$second" $order2. what would `$name($things)` look
like?
""",
        answer="""
def $name($things: list[dict]) -> list[dict]:
    return sorted($things, key=lambda row: (${sign1}row["$first"], ${sign2}row["$second"]))
""",
        tests=_two_key_tests,
    ),
    Family(
        topic="sorting",
        name="sort-words-by",
        settings=[
            s
            | {
                "name": f"{s['word']}{'_down' if s['down'] else '_up'}",
                "way": "descending" if s["down"] else "ascending",
            }
            for s in [
                t | {"down": down}
                for t in table(
                    "word code text key",
                    ("by_length", "len", "length", lambda w: sum(1 for _ in w)),
                    (
                        "ignoring_case",
                        "str.lower",
                        "their lower-case form",
                        lambda w: "".join(c.lower() for c in w),
                    ),
                    ("by_largest_letter", "max", "their largest character", lambda w: sorted(w)[-1]),
                    ("by_smallest_letter", "min", "their smallest character", lambda w: sorted(w)[0]),
                    ("by_letters", "sorted", "their sorted characters", lambda w: "".join(sorted(w))),
                    (
                        "by_swapped_case",
                        "str.swapcase",
                        "their swapped-case form",
                        lambda w: "".join(c.lower() if c.isupper() else c.upper() for c in w),
                    ),
                    (
                        "by_title",
                        "str.title",
                        "their title-case form",
                        lambda w: w[:1].upper() + w[1:].lower(),
                    ),
                    (
                        "by_upper_form",
                        "str.upper",
                        "their upper-case form",
                        lambda w: "".join(c.upper() for c in w),
                    ),
                    ("by_stripped", "str.strip", "their stripped form", lambda w: w.lstrip().rstrip()),
                )
                for down in (False, True)
            ]
        ],
        phrasings="""
Write a function `$name` that returns the words of a list sorted by $text in $way order. Equal words keep
their order.

How do I sort strings by $text ($way)? Please use `key=$code` and name the function `$name`.

I need `$name(words)`: a new list, sorted with the key `$code`, `reverse=$down`.

Please implement `$name` using `sorted`. The criterion is $text (`$code`), the direction is $way.

Given a list of words, return them ordered by $text, $way. The original list must not change. Use the name
`$name`.

Sorted by plain text isn't what I need; it should go by $text, in $way order. Can you write `$name(words)`?
""",
        answer="""
def $name(words: list[str]) -> list[str]:
    return sorted(words, key=$code, reverse=$down)
""",
        tests=lambda s: calls(
            s["name"],
            lambda words: sorted(words, key=s["key"], reverse=s["down"]),
            (["pear", "Fig", "apricot", "kiwi", "Zest"],),
            (["bA", "Ab", "aB", "ba", "AB"],),
            ([" zz", "mm", "a~a", "Q", "qa b"],),
            ([],),
        ),
    ),
    Family(
        topic="sorting",
        name="sort-by-given-order",
        settings=[
            s | {"name": f"sort_{s['things']}"}
            for s in table(
                "things a b c",
                ("priorities", "low", "medium", "high"),
                ("sizes", "small", "medium", "large"),
                ("meals", "breakfast", "lunch", "dinner"),
                ("medals", "gold", "silver", "bronze"),
                ("lights", "red", "yellow", "green"),
                ("states", "todo", "doing", "done"),
                ("seasons", "spring", "summer", "winter"),
                ("levels", "easy", "normal", "hard"),
                ("tickets", "child", "student", "adult"),
                ("steaks", "rare", "medium", "well"),
                ("ranks", "private", "sergeant", "captain"),
                ("courses", "soup", "main", "dessert"),
                ("tenses", "past", "present", "future"),
                ("tides", "low", "rising", "high"),
                ("answers", "yes", "maybe", "no"),
                ("phases", "plan", "build", "test"),
                ("voices", "soprano", "alto", "bass"),
                ("times", "morning", "noon", "night"),
            )
        ],
        phrasings="""
Write a function `$name` that sorts a list of the words "$a", "$b" and "$c" in exactly this order, not
alphabetically.

How do I sort $things with a custom order? "$a" comes before "$b", and "$b" before "$c". Name it `$name`.

I need `$name(items)`: every "$a" first, then every "$b", then every "$c".

Please implement `$name`; the items are only "$a", "$b" or "$c" and must come out in that order, as a new
list.

Given a list that contains "$a", "$b" and "$c" in any number, return it sorted by the order $a < $b < $c. The
function is called `$name`.

alphabetical sorting of $things makes no sense... `$name(items)` should sort them as $a, $b, $c
""",
        answer="""
def $name(items: list[str]) -> list[str]:
    order = ["$a", "$b", "$c"]
    return sorted(items, key=order.index)
""",
        tests=lambda s: calls(
            s["name"],
            lambda items: [word for word in (s["a"], s["b"], s["c"]) for _ in range(items.count(word))],
            ([s["c"], s["a"], s["b"], s["a"]],),
            ([s["b"], s["a"]],),
            ([s["c"], s["b"], s["c"]],),
            ([],),
        ),
    ),
    Family(
        topic="sorting",
        name="n-most-extreme",
        settings=[
            s | {"name": f"{s['side']}_{s['n']}{s['word']}"}
            for s in [
                k | g
                for k in table(
                    "word lead text fold",
                    ("", "value", "value", lambda v: v),
                    ("_by_last_digit", "value % 10", "value % 10", lambda v: v - v // 10 * 10),
                    ("_by_distance", "abs(value - 20)", "distance from 20", lambda v: max(v - 20, 20 - v)),
                )
                for g in grid(side=["largest", "smallest"], n=[2, 3, 4])
            ]
        ],
        phrasings="""
Write a function `$name` that returns the $n $side numbers of a list, measured by $text, with the $side first.
Fewer numbers than $n: return them all.

How do I get the $n $side elements by $text with `heapq`? The $side one comes first. Call it `$name`.

I need `$name(values)`: the top $n when the $side `$lead` counts as best, in that order (all of them if the
list is short).

Please implement `$name` with `heapq.n$side`. It returns $n values, compared by $text.

Given a list of ints, return up to $n of them, the ones with the $side $text, starting with the most extreme.
The function is named `$name`.

Can you pick the $n $side values of a list for me, judged by `$lead`? In order, $side first. I'll call
`$name(values)`.
""",
        answer="""
import heapq


def $name(values: list[int]) -> list[int]:
    return heapq.n$side($n, values, key=lambda value: $lead)
""",
        tests=_extreme_tests,
    ),
    Family(
        topic="sorting",
        name="grade-by-bisect",
        settings=[
            s | {"label_text": ", ".join(f'"{x}"' for x in s["labels"]), "count": len(s["labels"])}
            for s in table(
                "name bounds labels",
                ("grade", [50, 65, 80], ["D", "C", "B", "A"]),
                ("shirt_size", [90, 100, 110], ["S", "M", "L", "XL"]),
                ("age_group", [6, 14, 18, 65], ["infant", "child", "teen", "adult", "senior"]),
                ("tax_class", [1000, 5000], ["none", "low", "high"]),
                ("wind_class", [12, 39, 75], ["calm", "breeze", "gale", "storm"]),
                ("ticket_zone", [5, 15, 40], ["A", "B", "C", "D"]),
                ("parcel_class", [1, 5, 10, 31], ["XS", "S", "M", "L", "none"]),
                ("season_of", [80, 172, 264], ["winter", "spring", "summer", "autumn"]),
                ("part_of_day", [6, 12, 18], ["night", "morning", "afternoon", "evening"]),
                ("bmi_class", [19, 25, 30], ["under", "normal", "over", "high"]),
                ("star_rating", [20, 40, 60, 80], ["*", "**", "***", "****", "*****"]),
                ("disk_state", [70, 90], ["fine", "filling", "full"]),
                ("air_quality", [51, 101, 151], ["good", "fair", "poor", "bad"]),
                ("boat_class", [7, 12, 24], ["dinghy", "boat", "yacht", "ship"]),
                ("chess_title", [1400, 1800, 2200], ["novice", "club", "expert", "master"]),
                ("cold_level", [-20, -5, 8], ["extreme", "frost", "cold", "mild"]),
                ("loan_rate", [600, 700], ["9%", "6%", "3%"]),
                ("decade_name", [1980, 1990, 2000], ["older", "eighties", "nineties", "newer"]),
            )
        ],
        phrasings="""
Write a function `$name` that uses `bisect_right` on the bounds $bounds to choose one of the labels
$label_text. A value equal to a bound belongs to the higher label.

How do I assign labels to number ranges with the bisect module? Bounds: $bounds. Labels from low to high:
$label_text. On a bound the higher label applies. Name: `$name`.

I need `$name(value)`. The limits $bounds cut the numbers into $count ranges, called $label_text; each limit
is the start of its upper range.

Please implement `$name` without if/else chains: find the position of the value in $bounds with
`bisect_right`, and take the label at this position from $label_text.

Given an int, return its class. Classes in rising order: $label_text. They change at $bounds, and a value on a
limit is already in the next class. The function is `$name`.

Is there something nicer than a chain of ifs? Limits $bounds, names $label_text (a limit belongs to the upper
name). I'd like `$name(value)` with bisect.
""",
        answer="""
from bisect import bisect_right


def $name(value: int) -> str:
    return [$label_text][bisect_right($bounds, value)]
""",
        tests=lambda s: calls(
            s["name"],
            lambda value: s["labels"][len([bound for bound in s["bounds"] if not value < bound])],
            (s["bounds"][0] - 1,),
            (s["bounds"][0],),
            (s["bounds"][1] - 1,),
            (s["bounds"][-1] + 1000,),
        ),
    ),
    Family(
        topic="sorting",
        name="places-by-score",
        settings=[
            s | {"name": f"{s['things']}_places", "order": "highest" if s["down"] else "lowest"}
            for s in table(
                "things thing start down",
                ("team", "points", 1, True),
                ("runner", "seconds", 1, False),
                ("quiz", "answers", 1, True),
                ("golf", "strokes", 1, False),
                ("swimmer", "time", 0, False),
                ("song", "votes", 0, True),
                ("city", "people", 1, True),
                ("price", "cents", 1, False),
                ("chess", "rating", 1, True),
                ("queue", "ticket", 1, False),
                ("website", "visits", 0, True),
                ("bike", "weight", 0, False),
                ("cake", "stars", 1, True),
                ("ski", "millis", 1, False),
                ("startup", "profit", 100, True),
                ("grid", "laptime", 1, False),
                ("podium", "score", 0, True),
                ("error", "count", 10, False),
            )
        ],
        phrasings="""
Write a function `$name` that takes a dict name -> $thing and returns a dict name -> place. The $order $thing
gets place $start, the next one $start + 1, and so on.

How do I turn {"name": $thing} into places? Counting starts at $start with the $order value. No two values are
equal. Call it `$name`.

I need `$name($thing)`: for each name its position when sorted by value, $order first, where the first
position is number $start.

Please implement `$name` with `sorted` and `enumerate`. Names are ordered by their $thing ($order first) and
numbered from $start.

Given a dict with the $thing of everybody, return a dict with everybody's place. Best is the $order value; the
best place has the number $start. Name it `$name`.

For our results page: `$name($thing)` maps each name to its rank. $order value first, first rank = $start, all
values are different.
""",
        answer="""
def $name($thing: dict[str, int]) -> dict[str, int]:
    ordered = sorted($thing, key=$thing.get, reverse=$down)
    return {name: place for place, name in enumerate(ordered, start=$start)}
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: {
                name: s["start"] + sum((v > values[name]) if s["down"] else (v < values[name]) for v in values.values())
                for name in values
            },
            ({"ann": 30, "bob": 10, "cid": 20},),
            ({"x": 5, "y": -5},),
            ({"solo": 1},),
            ({},),
        ),
    ),
    Family(
        topic="sorting",
        name="is-ordered",
        settings=[
            s | {"name": f"{s['word']}_{s['what']}"}
            for s in [
                o | k
                for o in table(
                    "word op text",
                    ("rising", "<", "strictly increasing"),
                    ("falling", ">", "strictly decreasing"),
                    ("never_falling", "<=", "in ascending order (equal neighbours allowed)"),
                    ("never_rising", ">=", "in descending order (equal neighbours allowed)"),
                )
                for k in table(
                    "what left right of fold",
                    ("values", "a", "b", "the values", lambda v: v),
                    ("sizes", "abs(a)", "abs(b)", "the absolute values", lambda v: -v if v < 0 else v),
                    ("last_digits", "a % 10", "b % 10", "the values modulo 10", lambda v: v - v // 10 * 10),
                    (
                        "tens",
                        "a // 10",
                        "b // 10",
                        "the values divided by 10 (rounded down)",
                        lambda v: (v - v % 10) // 10,
                    ),
                    ("thirds", "a % 3", "b % 3", "the values modulo 3", lambda v: v - v // 3 * 3),
                )
            ]
        ],
        phrasings="""
Write a function `$name` that checks whether $of of a list are $text. Lists with fewer than two numbers give
True.

How do I test that $of in a list are $text, without sorting? Return a bool; [] is fine (True). Name: `$name`.

I need `$name(values)`, which is True if `$left $op $right` holds for all neighbours a, b.

Please implement `$name` with `all` and `zip`: compare each element a with its successor b by `$left $op
$right`.

Given a list of ints, say whether $of are $text. For an empty list the answer is True. Call the function
`$name`.

sanity check for my data: are $of $text? bool please, function `$name(values)`
""",
        answer="""
def $name(values: list[int]) -> bool:
    return all($left $op $right for a, b in zip(values, values[1:]))
""",
        tests=_ordered_tests,
    ),
    Family(
        topic="sorting",
        name="bubble-sort",
        settings=[
            s | {"name": f"bubble_{s['word']}_{s['way']}"}
            for s in [
                k | o
                for o in table("op way lead", (">", "up", "smallest"), ("<", "down", "largest"))
                for k in table(
                    "word left right of fold",
                    ("numbers", "items[j]", "items[j + 1]", "value", lambda v: v),
                    ("sizes", "abs(items[j])", "abs(items[j + 1])", "absolute value", lambda v: max(v, -v)),
                    (
                        "last_digits",
                        "items[j] % 10",
                        "items[j + 1] % 10",
                        "value modulo 10",
                        lambda v: v - v // 10 * 10,
                    ),
                    (
                        "tens",
                        "items[j] // 10",
                        "items[j + 1] // 10",
                        "value // 10",
                        lambda v: (v - v % 10) / 10,
                    ),
                    (
                        "thirds",
                        "items[j] % 3",
                        "items[j + 1] % 3",
                        "value modulo 3",
                        lambda v: v - v // 3 * 3,
                    ),
                    (
                        "texts",
                        "str(items[j])",
                        "str(items[j + 1])",
                        "text form `str(value)`",
                        lambda v: f"{v}",
                    ),
                    (
                        "fifths",
                        "items[j] % 5",
                        "items[j + 1] % 5",
                        "value modulo 5",
                        lambda v: v - v // 5 * 5,
                    ),
                    (
                        "hundreds",
                        "items[j] // 100",
                        "items[j + 1] // 100",
                        "value // 100",
                        lambda v: (v - v % 100) / 100,
                    ),
                )
            ]
        ],
        phrasings="""
Write a function `$name` that sorts a list of ints with bubble sort by their $of, $lead first, and returns a
new list. Equal ones keep their order.

How does bubble sort look in Python if I compare by $of and want the $lead first? It should be stable and not
change the argument. Call it `$name`.

I need `$name(values)` for a lesson: copy the list, then swap neighbours while `$left $op $right`, and return
the copy.

Please implement `$name` without `sorted` or `.sort`. Use two nested loops; neighbours change places if `$left
$op $right`.

Given a list of integers, return a list ordered by $of with the $lead in front, using a hand-written bubble
sort named `$name` (stable).

We have to write bubble sort ourselves (no built-in sorting), ordering by $of, $lead at the start. Please show
me `$name(values)`, which returns a new list.
""",
        answer="""
def $name(values: list[int]) -> list[int]:
    items = list(values)
    for end in range(len(items) - 1, 0, -1):
        for j in range(end):
            if $left $op $right:
                items[j], items[j + 1] = items[j + 1], items[j]
    return items
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: sorted(values, key=s["fold"], reverse=s["op"] == "<"),
            ([34, -7, 120, 5, -61, 18, 205],),
            ([3, 1],),
            ([],),
            ([9, 99, 10, 100, 109, -110, 2],),
        ),
    ),
)
