"""Tasks to be solved by a function that calls itself."""

from functools import cache
from typing import Any

from authoring.python_qa.family import OPERATORS, Case, Family, Setting, calls, grid, table


def _recurrence_tests(setting: Setting) -> list[Case]:
    def oracle(n: int) -> int:
        values = [setting["a"], setting["b"]]
        while len(values) <= n:
            values.append(OPERATORS[setting["op"]](setting["p"] * values[-1], setting["q"] * values[-2]))
        return int(values[n])

    return calls(setting["name"], oracle, (0,), (1,), (2,), (5,), (9,))


def _leaves(items: Any) -> list[Any]:
    found, waiting = [], [items]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(reversed(item))
        else:
            found.append(item)
    return found


def _node(setting: Setting, value: int, *below: dict[str, Any]) -> dict[str, Any]:
    return {setting["value"]: value, setting["kids"]: list(below)}


def _tree_tests(setting: Setting) -> list[Case]:
    def node(value: int, *below: dict[str, Any]) -> dict[str, Any]:
        return _node(setting, value, *below)

    def values(tree: dict[str, Any]) -> list[int]:
        found, level = [], [tree]
        while level:
            found += [below[setting["value"]] for below in level]
            level = [kid for below in level for kid in below[setting["kids"]]]
        return found

    return calls(
        setting["name"],
        lambda tree: sum(values(tree)),
        (node(4, node(-1), node(7, node(10))),),
        (node(3),),
        (node(0, node(2), node(2), node(5)),),
    )


def _depth_tests(setting: Setting) -> list[Case]:
    def node(*below: dict[str, Any]) -> dict[str, Any]:
        return {"name": "x", setting["kids"]: list(below)}

    name = setting["name"]
    trees = [
        (node(), 1),
        (node(node(), node(node())), 3),
        (node(node(), node()), 2),
        (node(node(node(node()))), 4),
    ]
    return [Case(f"{name}({tree})", depth + setting["base"] - 1) for tree, depth in trees]


@cache
def _ways(n: int, steps: tuple[int, ...]) -> int:
    ways = [1] + [0] * n
    for reached in range(1, n + 1):
        ways[reached] = sum(ways[reached - step] for step in steps if step <= reached)
    return ways[n]


def _base_case_tests(setting: Setting) -> list[Case]:
    def oracle(n: int) -> int:
        result = setting["value"]
        for number in reversed(range(n, setting["stop"], -setting["step"])):
            result = OPERATORS[setting["op"]](number, result)
        return int(result)

    name = setting["name"]
    many = Case(f"[{name}(n) for n in range(1, 16)]", list(map(oracle, range(1, 16))))
    return [*calls(name, oracle, (10,), (setting["stop"],), (-4,)), many]


FAMILIES = (
    Family(
        topic="recursion",
        name="two-term-recurrence",
        settings=[
            s | {"plus": "plus" if s["op"] == "+" else "minus"}
            for s in table(
                "name a b p op q",
                ("rabbits", 1, 2, 2, "+", 3),
                ("tiles", 2, 3, 3, "+", 2),
                ("shells", 0, 1, 2, "+", 5),
                ("jumps", 1, 1, 4, "+", 3),
                ("spiral", 5, 4, 3, "-", 2),
                ("wave", 1, 3, 2, "-", 2),
                ("garden", 2, 1, 2, "+", 4),
                ("domino", 3, 5, 2, "+", 2),
                ("swing", 0, 2, 5, "-", 2),
                ("branches", 1, 4, 3, "+", 3),
                ("crystals", 7, 1, 2, "-", 3),
                ("echo", 1, 0, 3, "+", 5),
                ("mirror", 4, 2, 2, "-", 6),
                ("pulse", 6, 2, 4, "-", 2),
                ("ladder", 1, 6, 5, "+", 2),
                ("snow", 3, 3, 4, "+", 2),
                ("orbit", 2, 5, 3, "-", 4),
                ("chain", 0, 3, 4, "+", 5),
            )
        ],
        phrasings="""
Write a recursive function `$name` for the sequence that starts with $a (n = 0) and $b (n = 1); after that
each term is $p times the previous one $plus $q times the one before that.

How do I program this sequence recursively? `$name(0)` is $a, `$name(1)` is $b, and `$name(n)` is $p *
`$name(n - 1)` $op $q * `$name(n - 2)`.

I need `$name(n)` with the rule f(n) = $p * f(n - 1) $op $q * f(n - 2), where f(0) = $a and f(1) = $b. Use
recursion.

Please implement `$name`, defined by f(0) = $a, f(1) = $b and f(n) = $p f(n-1) $op $q f(n-2).

Given n >= 0, return term number n of the sequence $a, $b, ... in which a term equals $p times its predecessor
$plus $q times the term two places earlier. The function `$name` should call itself.

recursion exercise: start values $a and $b, then always $p * last $op $q * second last. Write `$name(n)`,
counting from n = 0.
""",
        answer="""
def $name(n: int) -> int:
    if n == 0:
        return $a
    if n == 1:
        return $b
    return $p * $name(n - 1) $op $q * $name(n - 2)
""",
        tests=_recurrence_tests,
    ),
    Family(
        topic="recursion",
        name="flatten-and-change",
        settings=table(
            "name leaf text fold kind",
            ("flat_doubled", "item * 2", "doubled", lambda x: x + x, "int"),
            ("flat_squared", "item ** 2", "squared", lambda x: x * x, "int"),
            ("flat_negated", "-item", "with the sign flipped", lambda x: 0 - x, "int"),
            ("flat_raised", "item + 1", "increased by 1", lambda x: x - -1, "int"),
            ("flat_lowered", "item - 10", "decreased by 10", lambda x: x + -10, "int"),
            ("flat_halved", "item // 2", "halved (rounded down)", lambda x: (x - x % 2) // 2, "int"),
            ("flat_rests", "item % 3", "reduced modulo 3", lambda x: x - x // 3 * 3, "int"),
            ("flat_sizes", "abs(item)", "as absolute values", lambda x: max(x, -x), "int"),
            ("flat_texts", "str(item)", "turned into strings", lambda x: f"{x}", "int"),
            ("flat_hex", "hex(item)", "as hex() text", lambda x: f"{x:#x}", "int"),
            ("flat_upper", "item.upper()", "in upper case", lambda x: "".join(c.upper() for c in x), "str"),
            ("flat_lower", "item.lower()", "in lower case", lambda x: "".join(c.lower() for c in x), "str"),
            ("flat_stripped", "item.strip()", "stripped", lambda x: x.lstrip().rstrip(), "str"),
            ("flat_first", "item[0]", "cut to their first character", lambda x: x[:1], "str"),
            ("flat_lengths", "len(item)", "replaced by their length", lambda x: sum(1 for _ in x), "str"),
            ("flat_reversed", "item[::-1]", "written backwards", lambda x: "".join(reversed(x)), "str"),
            ("flat_marked", 'item + "!"', 'with a "!" at the end', lambda x: f"{x}!", "str"),
            ("flat_quoted", "repr(item)", "as repr() text", lambda x: "'" + x + "'", "str"),
        ),
        phrasings="""
Write a recursive function `$name` that flattens a list nested to any depth and returns all its items $text.

How do I flatten lists inside lists inside lists and get each item $text (`$leaf`)? Name the function `$name`.

I need `$name(items)`: the argument is a list of $kind values and further lists of that kind. Return one flat
list with `$leaf` for each value, in order.

Please implement `$name` with recursion. Sub-lists are unpacked, however deep they are, and every other item
appears as `$leaf` in the result.

Given a nested list, return a flat list of its items $text. Empty sub-lists contribute nothing. Call it
`$name`.

`$name([[..], [.., [..]]])` -> flat list, every element $text, any depth. How would you write that
recursively?
""",
        answer="""
def $name(items: list) -> list:
    result = []
    for item in items:
        result += $name(item) if isinstance(item, list) else [$leaf]
    return result
""",
        tests=lambda s: calls(
            s["name"],
            lambda items: list(map(s["fold"], _leaves(items))),
            *(
                [([1, [2, [-3, [14]]], 5],), ([[], [[7]], []],), ([],), ([[20, -8], 0],)]
                if s["kind"] == "int"
                else [(["Ab", [" cd", ["eF g "]]],), ([[], [["Tea"]]],), ([],), ([["x "], "YY"],)]
            ),
        ),
    ),
    Family(
        topic="recursion",
        name="sum-over-tree",
        settings=[
            s | {"name": f"total_{s['value']}"}
            for s in table(
                "thing value kids",
                ("folder", "size", "folders"),
                ("department", "staff", "teams"),
                ("part", "weight", "parts"),
                ("task", "hours", "subtasks"),
                ("region", "people", "districts"),
                ("branch", "leaves", "branches"),
                ("chapter", "pages", "sections"),
                ("menu", "clicks", "items"),
                ("box", "toys", "boxes"),
                ("comment", "likes", "replies"),
                ("river", "length", "inflows"),
                ("company", "profit", "children"),
                ("budget", "cost", "posts"),
                ("cave", "gems", "tunnels"),
                ("group", "points", "subgroups"),
                ("galaxy", "stars", "clusters"),
                ("recipe", "minutes", "steps"),
                ("person", "coins", "kids"),
            )
        ],
        phrasings="""
Write a recursive function `$name` for a tree of dicts. Each $thing has a number "$value" and a list "$kids"
of the same kind. Return the sum of all "$value" numbers.

How do I add up "$value" over a whole tree? A node looks like {"$value": 3, "$kids": [...]}, where "$kids"
holds more such nodes. Name: `$name`.

I need `$name(tree)`: the node's own "$value" plus that of everything below it in "$kids".

Please implement `$name` recursively. The tree is made of dicts with the keys "$value" (int) and "$kids" (list
of dicts, maybe empty), and the result is the total.

Given a nested $thing with "$value" and "$kids", return the "$value" total of the $thing itself and all its
descendants. The function is called `$name`.

tree question: every $thing has "$value" and "$kids" (more of them). `$name(tree)` should sum "$value"
everywhere
""",
        answer="""
def $name(tree: dict) -> int:
    return tree["$value"] + sum($name(child) for child in tree["$kids"])
""",
        tests=_tree_tests,
    ),
    Family(
        topic="recursion",
        name="depth-of-tree",
        settings=[
            s | {"name": f"{s['thing']}_depth", "alone": s["base"]}
            for s in table(
                "thing kids base",
                ("folder", "folders", 1),
                ("comment", "replies", 1),
                ("menu", "items", 0),
                ("family", "children", 1),
                ("box", "boxes", 1),
                ("task", "subtasks", 0),
                ("outline", "points", 1),
                ("cave", "tunnels", 0),
                ("part", "parts", 1),
                ("topic", "subtopics", 1),
                ("plant", "branches", 0),
                ("team", "teams", 1),
                ("page", "links", 0),
                ("call", "calls", 1),
                ("mail", "answers", 0),
                ("tag", "tags", 1),
                ("rule", "exceptions", 0),
                ("layer", "layers", 1),
            )
        ],
        phrasings="""
Write a recursive function `$name` that returns the depth of a tree of dicts, where "$kids" lists the nodes
one level down. A node with an empty "$kids" list has depth $alone.

How deep is my tree? Each $thing is a dict with a list under "$kids". A $thing without any has depth $alone,
each level adds 1. The function is `$name`.

I need `$name(node)`: $alone for a node whose "$kids" is empty, otherwise 1 more than the deepest of its
"$kids".

Please implement `$name` with `max` and recursion. The children of a node are in node["$kids"]; without
children the depth is $alone.

Given nested dicts linked by "$kids", return how many levels there are, counting a single $thing as $alone.
Name it `$name`.

A $thing can have "$kids", and these can have "$kids" again, and so on. Can you write `$name(node)` to measure
the nesting? Just one node -> $alone.
""",
        answer="""
def $name(node: dict) -> int:
    if not node["$kids"]:
        return $base
    return 1 + max($name(child) for child in node["$kids"])
""",
        tests=_depth_tests,
    ),
    Family(
        topic="recursion",
        name="ways-to-climb",
        settings=[
            s | {"either": ", ".join(map(str, s["steps"][:-1])) + f" or {s['steps'][-1]}"}
            for s in table(
                "name steps",
                ("stair_ways", (1, 3)),
                ("coin_rows", (2, 5)),
                ("frog_ways", (1, 4)),
                ("tile_ways", (2, 3)),
                ("train_ways", (1, 2, 4)),
                ("brick_ways", (3, 4)),
                ("ladder_ways", (1, 2, 3)),
                ("rope_ways", (2, 3, 5)),
                ("plank_ways", (1, 5)),
                ("tower_ways", (2, 4, 5)),
                ("bead_ways", (1, 3, 5)),
                ("fence_ways", (3, 5)),
                ("stamp_rows", (1, 2, 5)),
                ("pipe_ways", (1, 6)),
                ("song_ways", (2, 6)),
                ("track_ways", (1, 3, 4)),
                ("march_ways", (1, 2, 6)),
                ("snack_ways", (2, 3, 4)),
            )
        ],
        phrasings="""
Write a recursive function `$name` that counts in how many ordered ways n can be written as a sum of $either.
For n = 0 the answer is 1.

In how many ways can I cover a length of n with pieces of length $either, if the order matters? Name the
recursive function `$name`; nothing to cover counts as one way.

I need `$name(n)`: 0 for negative n, 1 for n = 0, otherwise the sum of `$name(n - step)` over the steps
$steps.

Please implement `$name` recursively. You climb n stairs and each move takes $either of them; different orders
are different ways, and n = 0 gives 1.

Given n, return the number of sequences of steps (each $either) that add up to exactly n. The empty sequence
is the only one for 0. Function: `$name`.

classic step counting, but with the step sizes $either: how would `$name(n)` look with recursion? (`$name(0)`
is 1)
""",
        answer="""
def $name(n: int) -> int:
    if n < 0:
        return 0
    if n == 0:
        return 1
    return sum($name(n - step) for step in $steps)
""",
        tests=lambda s: calls(s["name"], lambda n: _ways(n, s["steps"]), (0,), (4,), (7,), (10,), (12,)),
    ),
    Family(
        topic="recursion",
        name="add-base-case",
        settings=[
            s | {"name": f"{s['word']}_down_by_{s['step']}", "stop": stop, "value": value}
            for s in [
                o | g
                for o in table("word op", ("add", "+"), ("multiply", "*"), ("alternate", "-"))
                for g in grid(step=[1, 2, 3, 4, 5, 10])
            ]
            for stop, value in [{"+": (0, 0), "*": (1, 1), "-": (0, 0)}[s["op"]]]
        ],
        phrasings="""
My function `$name` never stops. Please add the missing base case: for n <= $stop the result is $value.

I get a RecursionError from `$name`. It should return $value as soon as n <= $stop. How do I fix that?

Fix `$name` so that the recursion ends: when n is $stop or less, return $value.

What is missing in `$name`? The recursion should end with $value once n has come down to $stop or below.

Complete `$name` with a base case. If n <= $stop, it returns $value; the recursive step stays as it is.

Python says "maximum recursion depth exceeded" for `$name`. The end of the recursion is meant to be n <=
$stop, with result $value. Can you repair it?
""",
        input="""
def $name(n: int) -> int:
    return n $op $name(n - $step)
""",
        answer="""
def $name(n: int) -> int:
    if n <= $stop:
        return $value
    return n $op $name(n - $step)
""",
        tests=_base_case_tests,
    ),
)
