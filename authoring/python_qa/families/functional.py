"""Tasks with functions as values: reduce, accumulate, closures, decorators, dispatch tables."""

from functools import reduce
from itertools import accumulate

from authoring.python_qa.family import OPERATORS, Case, Family, Setting, calls, table


def _decorator_tests(setting: Setting) -> list[Case]:
    name, after = setting["name"], setting["after"]
    return [
        Case(f"{name}(lambda a, b: a + b)(3, 4)", after(7)),
        Case(f"{name}(lambda: -5)()", after(-5)),
        Case(f"{name}(max)(2, 16, 8)", after(16)),
        Case(f"{name}(len).__name__", "len"),
    ]


def _dispatch_tests(setting: Setting) -> list[Case]:
    return [
        *[
            Case(f"{setting['name']}({setting[word]!r}, {a}, {b})", OPERATORS[setting[op]](a, b))
            for word, op, a, b in [
                ("one", "op1", 7, 2),
                ("two", "op2", 7, 2),
                ("one", "op1", -3, 5),
                ("two", "op2", 9, 4),
            ]
        ],
        Case(f"{setting['name']}('nothing', 7, 2)", None),
    ]


def _chain_tests(setting: Setting) -> list[Case]:
    pairs = zip((setting["a"], setting["b"], setting["c"]), (setting["x"], setting["y"], setting["z"]), strict=True)
    return [
        *[Case(f"{setting['name']}({key!r})", value) for key, value in pairs],
        Case(f"{setting['name']}('???')", setting["other"]),
        Case(f"{setting['name']}('')", setting["other"]),
    ]


FOLDS = table(
    "word code text fold",
    ("total", "a + b", "a + b", lambda a, b: b + a),
    ("product", "a * b", "a * b", lambda a, b: b * a),
    ("largest", "max(a, b)", "the larger of a and b", lambda a, b: a if a > b else b),
    ("smallest", "min(a, b)", "the smaller of a and b", lambda a, b: b if a > b else a),
    ("difference", "a - b", "a - b", lambda a, b: -b + a),
    ("digits", "a * 10 + b", "a * 10 + b", lambda a, b: b + 10 * a),
    ("mixed", "2 * a + b", "2 * a + b", lambda a, b: a + b + a),
    ("rest", "(a + b) % 7", "(a + b) % 7", lambda a, b: (a % 7 + b % 7) % 7),
    ("mean", "(a + b) // 2", "(a + b) // 2", lambda a, b: (a + b - (a + b) % 2) // 2),
    ("gap", "abs(a - b)", "the absolute difference of a and b", lambda a, b: max(a, b) - min(a, b)),
    ("sizes", "a + abs(b)", "a + abs(b)", lambda a, b: a + max(b, -b)),
    ("squares", "a + b * b", "a + b * b", lambda a, b: a + b**2),
    ("capped", "min(a + b, 100)", "a + b, but at most 100", lambda a, b: a + b if a + b < 100 else 100),
    ("floored", "max(a + b, 0)", "a + b, but at least 0", lambda a, b: a + b if a + b > 0 else 0),
    ("flipped", "b - a", "b - a", lambda a, b: -a + b),
    ("cubes", "a + b ** 3", "a + b ** 3", lambda a, b: a + b * b * b),
    ("turns", "(a - b) % 12", "(a - b) % 12", lambda a, b: (a % 12 - b % 12) % 12),
    ("halved", "a // 2 + b", "a // 2 + b", lambda a, b: b + (a - a % 2) // 2),
)

FAMILIES = (
    Family(
        topic="functional",
        name="reduce-list",
        settings=[
            s | {"name": f"reduce_to_{s['word']}", "start": start}
            for s, start in zip(FOLDS, [0, 1, -100, 100, 50, 0, 1, 3, 8, 0, 10, 0, 0, 5, 0, 2, 6, 64], strict=True)
        ],
        phrasings="""
Write a function `$name` that folds a list of ints with `functools.reduce`: a is the result so far (at first
$start), b the next value, and the new result is $text.

How do I use `reduce` with a lambda for "$code", starting from $start? Put it into `$name`, which takes a
list.

I need `$name(values)`: begin with $start and replace the result a by $text for each value b. Please use
`functools.reduce`.

Please implement `$name` as a single `reduce` call. Initial value $start, step `$code` (a: result so far, b:
value).

Given a list of ints, return the final result of a fold in which a, initially $start, becomes $text for every
b. An empty list gives $start. Name: `$name`.

functional style homework: `$name(values)` = reduce over the list, lambda a, b -> $code, start value $start
""",
        answer="""
from functools import reduce


def $name(values: list[int]) -> int:
    return reduce(lambda a, b: $code, values, $start)
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: list(accumulate(values, s["fold"], initial=s["start"]))[-1],
            ([3, 8, -2, 5],),
            ([],),
            ([17],),
            ([-9, 4, 130, 6],),
        ),
    ),
    Family(
        topic="functional",
        name="accumulate-list",
        settings=[s | {"name": f"{s['word']}_so_far"} for s in FOLDS],
        phrasings="""
Write a function `$name` that returns all intermediate results of folding a list: the first is the first value
itself, and after that each is $text, with a the previous result and b the next value.

How do I get running results with `itertools.accumulate` and the function "$code"? Return them as a list from
`$name`.

I need `$name(values)`: a list as long as the input whose first entry is values[0], and each next entry is
$text (a: entry before, b: current value).

Please implement `$name` with `accumulate` and a lambda that computes `$code`. The result is a list.

Given a list of ints, return the list of partial results when two numbers a (result so far) and b (next value)
are combined to $text. No initial value is used; [] gives []. Name it `$name`.

list(accumulate(...)) with `$code` as the step - could you write that as `$name(values)`?
""",
        answer="""
from itertools import accumulate


def $name(values: list[int]) -> list[int]:
    return list(accumulate(values, lambda a, b: $code))
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: [reduce(s["fold"], values[: n + 1]) for n in range(len(values))],
            ([3, 8, -2, 5],),
            ([],),
            ([17],),
            ([-9, 4, 130, 6, 1],),
        ),
    ),
    Family(
        topic="functional",
        name="result-decorator",
        settings=table(
            "name code text after",
            ("doubled", "func(*args) * 2", "doubles the result", lambda r: r + r),
            ("squared", "func(*args) ** 2", "squares the result", lambda r: r * r),
            ("negated", "-func(*args)", "flips the sign of the result", lambda r: 0 - r),
            ("as_text", "str(func(*args))", "turns the result into a string", lambda r: f"{r}"),
            ("absolute", "abs(func(*args))", "takes the absolute value of the result", lambda r: max(r, -r)),
            ("plus_one", "func(*args) + 1", "adds 1 to the result", lambda r: r - -1),
            ("minus_ten", "func(*args) - 10", "subtracts 10 from the result", lambda r: r + -10),
            ("halved", "func(*args) // 2", "halves the result (rounded down)", lambda r: (r - r % 2) // 2),
            ("capped", "min(func(*args), 10)", "limits the result to 10", lambda r: r if r < 10 else 10),
            ("floored", "max(func(*args), 0)", "replaces negative results by 0", lambda r: r if r > 0 else 0),
            ("in_list", "[func(*args)]", "puts the result into a list", lambda r: [r]),
            ("inverted", "not func(*args)", "returns `not` result", lambda r: r in (0,)),
            ("modulo_seven", "func(*args) % 7", "takes the result modulo 7", lambda r: r - r // 7 * 7),
            ("tenfold", "func(*args) * 10", "multiplies the result by 10", lambda r: r * 5 * 2),
            ("as_hex", "hex(func(*args))", "turns the result into hex() text", lambda r: f"{r:#x}"),
            ("as_float", "float(func(*args))", "converts the result to float", lambda r: r * 1.0),
            ("is_positive", "func(*args) > 0", "tells whether the result is above 0", lambda r: r >= 1),
            ("cubed", "func(*args) ** 3", "raises the result to the third power", lambda r: r * r * r),
        ),
        phrasings="""
Write a decorator `$name` that calls the function with its positional arguments and $text. Keep the function's
name with `wraps`.

How do I write a decorator in Python that $text? It should be called `$name`, pass on positional arguments and
use `functools.wraps`.

I need a decorator `$name`: the wrapped function returns `$code`, and its `__name__` stays that of the
original.

Please implement `$name(func)`, which returns a wrapper for any positional arguments. The wrapper $text
(`$code`). Use `wraps`.

Given a function, `$name` should give back a new one which $text. It takes the same positional arguments and
keeps the name of the original function.

decorator exercise: `$name`, written as `@$name` above a function, $text. positional args only, don't forget
functools.wraps
""",
        answer="""
from functools import wraps


def $name(func):
    @wraps(func)
    def wrapper(*args):
        return $code

    return wrapper
""",
        tests=_decorator_tests,
    ),
    Family(
        topic="functional",
        name="operation-table",
        settings=table(
            "name one op1 two op2",
            ("calculate", "add", "+", "sub", "-"),
            ("compute", "times", "*", "power", "**"),
            ("apply_sign", "plus", "+", "mul", "*"),
            ("compare", "less", "<", "more", ">"),
            ("check", "equal", "==", "different", "!="),
            ("divide", "quotient", "//", "rest", "%"),
            ("combine", "and", "&", "or", "|"),
            ("bits", "xor", "^", "and", "&"),
            ("judge", "atleast", ">=", "atmost", "<="),
            ("evaluate", "minus", "-", "times", "*"),
            ("operate", "sum", "+", "rest", "%"),
            ("work_out", "product", "*", "quotient", "//"),
            ("test_pair", "equal", "==", "less", "<"),
            ("solve", "power", "**", "minus", "-"),
            ("merge_bits", "or", "|", "xor", "^"),
            ("relate", "more", ">", "other", "!="),
            ("run_command", "add", "+", "div", "//"),
            ("execute", "mod", "%", "mul", "*"),
        ),
        phrasings="""
Write a function `$name(word, a, b)` with a dict of lambdas: "$one" means a $op1 b and "$two" means a $op2 b.
For any other word return None.

How do I choose an operation by name without if statements? "$one" should do a $op1 b, "$two" a $op2 b, and
unknown words give None. Signature: `$name(word, a, b)`.

I need `$name(word, a, b)`, which looks up a function in a dict ("$one" -> `a $op1 b`, "$two" -> `a $op2 b`)
and calls it; None if the word isn't in there.

Please implement `$name` as a dispatch table. Its arguments are a word and two ints; "$one" stands for $op1
and "$two" for $op2. Otherwise the result is None.

Given a command word and two numbers, return a $op1 b for "$one", a $op2 b for "$two", and None for everything
else. Use a dictionary of lambdas; the name is `$name`.

mini calculator: `$name("$one", a, b)` -> a $op1 b, `$name("$two", a, b)` -> a $op2 b, else None. with a dict
please
""",
        answer="""
def $name(word: str, a: int, b: int):
    table = {"$one": lambda: a $op1 b, "$two": lambda: a $op2 b}
    return table[word]() if word in table else None
""",
        tests=_dispatch_tests,
    ),
    Family(
        topic="functional",
        name="function-factory",
        settings=table(
            "name code text fold",
            ("make_adder", "value + n", "adds n", lambda v, n: v - -n),
            ("make_multiplier", "value * n", "multiplies by n", lambda v, n: n * v),
            ("make_divider", "value // n", "divides by n, rounded down", lambda v, n: divmod(v, n)[0]),
            ("make_rest", "value % n", "gives the remainder for n", lambda v, n: divmod(v, n)[1]),
            ("make_power", "value ** n", "raises to the power of n", pow),
            ("make_limit", "min(value, n)", "returns at most n", lambda v, n: v if v < n else n),
            ("make_floor", "max(value, n)", "returns at least n", lambda v, n: v if v > n else n),
            ("make_subtractor", "value - n", "subtracts n", lambda v, n: v + -n),
            ("make_above", "value > n", "tells whether a value is above n", lambda v, n: v - n >= 1),
            ("make_below", "value < n", "tells whether a value is below n", lambda v, n: n - v >= 1),
            (
                "make_multiple_test",
                "value % n == 0",
                "tells whether n divides a value",
                lambda v, n: v // n * n == v,
            ),
            (
                "make_distance",
                "abs(value - n)",
                "gives the distance from n",
                lambda v, n: max(v, n) - min(v, n),
            ),
            ("make_mirror", "n - value", "subtracts a value from n", lambda v, n: -v + n),
            ("make_rounder", "value // n * n", "rounds down to a multiple of n", lambda v, n: v - v % n),
            ("make_equal", "value == n", "tells whether a value equals n", lambda v, n: v - n == 0),
            (
                "make_repeater",
                "str(value) * n",
                "writes a value n times as text",
                lambda v, n: "".join([f"{v}"] * n),
            ),
            (
                "make_digit",
                "value // 10 ** n % 10",
                "gives the digit for 10 ** n",
                lambda v, n: int(f"{v:012d}"[::-1][n]),
            ),
            (
                "make_scorer",
                "value * 10 - n",
                "multiplies by 10 and subtracts n",
                lambda v, n: -n + 5 * v * 2,
            ),
        ),
        phrasings="""
Write a function `$name` that takes an int n and returns a function of one argument which $text.

How do I return a function from a function? `$name(n)` should give a function that $text, so f(value) is
`$code`.

I need `$name(n)`, a factory: the function it returns maps a value to `$code`.

Please implement `$name` with an inner function. For example, `$name(3)(14)` must equal `$code` with value =
14 and n = 3.

Given a number n, build and return a function that $text (formula: `$code`). The factory is called `$name`.

closures: `f = $name(5)`, then `f(value)` should compute `$code` with n = 5. how do I write `$name`?
""",
        answer="""
def $name(n: int):
    def inner(value: int):
        return $code

    return inner
""",
        tests=lambda s: [
            Case(f"{s['name']}({n})({value})", s["fold"](value, n))
            for n, value in [(3, 14), (2, 36), (5, 5), (9, 4), (1, 130)]
        ],
    ),
    Family(
        topic="functional",
        name="if-chain-to-dict",
        settings=table(
            "name a x b y c z other",
            ("color_code", "red", "R", "green", "G", "blue", "B", "?"),
            ("arrow", "north", "^", "south", "v", "east", ">", "."),
            ("greeting", "en", "hello", "de", "hallo", "fr", "salut", "hi"),
            ("sound", "dog", "woof", "cat", "meow", "cow", "moo", "..."),
            ("suffix", "python", ".py", "text", ".txt", "image", ".png", ".bin"),
            ("weekday", "mon", "Monday", "wed", "Wednesday", "fri", "Friday", "free"),
            ("currency", "US", "USD", "JP", "JPY", "UK", "GBP", "EUR"),
            ("rank", "gold", "first", "silver", "second", "bronze", "third", "none"),
            ("opposite", "up", "down", "left", "right", "in", "out", "same"),
            ("plural", "mouse", "mice", "foot", "feet", "child", "children", "things"),
            ("capital", "Norway", "Oslo", "Peru", "Lima", "Kenya", "Nairobi", "unknown"),
            ("symbol", "iron", "Fe", "gold", "Au", "lead", "Pb", "X"),
            ("roman", "one", "I", "five", "V", "ten", "X", "N"),
            ("key_name", "esc", "Escape", "ret", "Return", "tab", "Tabulator", "Key"),
            ("season", "snow", "winter", "bloom", "spring", "heat", "summer", "autumn"),
            ("status_text", "200", "fine", "404", "missing", "500", "broken", "other"),
            ("unit_name", "g", "gram", "l", "litre", "s", "second", "unit"),
            ("chess_piece", "K", "king", "Q", "queen", "N", "knight", "pawn"),
        ),
        phrasings="""
Replace the if chain in `$name` by a dict lookup, please. The function must behave as before.

How can I write `$name` without all these ifs? I'm thinking of a dictionary with `get`.

Shorten `$name` with a dict. The default "$other" has to stay.

Can you turn this chain of conditions into a table? Same name `$name`, same results.

Please refactor `$name`: one dictionary, one `get` with the default "$other".

Too many ifs in `$name`, says my teacher, use a dict. What would that look like?
""",
        input="""
def $name(key: str) -> str:
    if key == "$a":
        return "$x"
    if key == "$b":
        return "$y"
    if key == "$c":
        return "$z"
    return "$other"
""",
        answer="""
def $name(key: str) -> str:
    return {"$a": "$x", "$b": "$y", "$c": "$z"}.get(key, "$other")
""",
        tests=_chain_tests,
    ),
)
