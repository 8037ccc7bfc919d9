"""Tasks that handle or report errors."""

import ast

from authoring.python_qa.family import Case, Family, Setting, calls, table


def _number(text: str, kind: str) -> bool:
    body = text.strip().removeprefix("-")
    if kind == "float":
        whole, _, part = body.partition(".")
        return (whole + part).isdigit()
    return body.isdigit()


def _validate_tests(setting: Setting) -> list[Case]:
    a, b, least = setting["a"], setting["b"], setting["least"]
    first, second = f"{a} is missing", f"{b} must be at least {least}"
    return [
        Case(f"{setting['name']}({record})", expected)
        for record, expected in [
            ({a: "x", b: least}, []),
            ({a: "", b: least + 1}, [first]),
            ({a: "y", b: least - 1}, [second]),
            ({b: least - 5}, [first, second]),
        ]
    ]


def _collect_tests(setting: Setting) -> list[Case]:
    good, bad, name = setting["good"], setting["bad"], setting["name"]
    return [
        Case(f"list({name}({[*bad, *good]}))", [list(good.values()), bad]),
        Case(f"list({name}({[*good, bad[0], *good]}))", [list(good.values()) * 2, bad[:1]]),
        Case(f"list({name}([]))", [[], []]),
    ]


def _retry_tests(setting: Setting) -> list[Case]:
    times, error, default = setting["times"], setting["error"], setting["default"]
    bad = {
        "ValueError": "int('x')",
        "KeyError": "{}['x']",
        "ZeroDivisionError": "1 // 0",
        "IndexError": "[][0]",
    }[error]
    form = "(lambda todo: {name}(lambda: {bad} if todo.pop() else 7))([0] * 9 + [1] * {fails})"
    return [
        Case(form.format(name=setting["name"], bad=bad, fails=fails), 7 if fails < times else default)
        for fails in (0, times - 1, times, times + 1)
    ]


FAMILIES = (
    Family(
        topic="errors",
        name="convert-or-default",
        settings=[
            s | {"default_value": ast.literal_eval(s["default"])}
            for s in table(
                "name kind default thing",
                ("to_int", "int", "0", "text field"),
                ("to_int_or_none", "int", "None", "text field"),
                ("read_age", "int", "-1", "age"),
                ("read_price", "float", "0.0", "price"),
                ("read_weight", "float", "-1.0", "weight"),
                ("read_count", "int", "0", "count"),
                ("read_factor", "float", "1.0", "factor"),
                ("read_page", "int", "1", "page number"),
                ("read_percent", "int", "100", "percentage"),
                ("to_float_or_none", "float", "None", "text field"),
                ("read_year", "int", "None", "year"),
                ("read_height", "float", "None", "height"),
                ("read_level", "int", "1", "level"),
                ("read_limit", "int", "10", "limit"),
                ("read_rate", "float", "0.0", "rate"),
                ("read_legal_age", "int", "18", "age"),
                ("read_speed", "float", "-1.0", "speed"),
                ("read_scale", "float", "1.0", "scale"),
            )
        ],
        phrasings="""
Write a function `$name` that converts a text to $kind and returns $default if that raises a ValueError.

How do I turn a string into a number ($kind) without crashing on bad input? The fallback is $default. Call it
`$name`.

I need `$name(text)` for a $thing typed by a user: $kind(text), or $default when the text is no valid number.

Please implement `$name` with try and except ValueError. It returns the text as $kind, and $default for
anything that cannot be converted.

Given a string with a $thing, return it as $kind; if the conversion fails, return $default instead. Use the
name `$name`.

what's the pythonic way of "$kind(text), else $default"? as a function `$name(text)` please
""",
        answer="""
def $name(text: str):
    try:
        return $kind(text)
    except ValueError:
        return $default
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: (
                {"int": int, "float": float}[s["kind"]](text) if _number(text, s["kind"]) else s["default_value"]
            ),
            ("42",),
            (" -7 ",),
            ("3.5",),
            ("",),
            ("ten",),
        ),
    ),
    Family(
        topic="errors",
        name="collect-bad-inputs",
        settings=table(
            "name code text error good bad",
            (
                "sort_ints",
                "int(text)",
                "converted with int()",
                "ValueError",
                {"12": 12, "-5": -5},
                ["x", "1.5"],
            ),
            (
                "sort_floats",
                "float(text)",
                "converted with float()",
                "ValueError",
                {"1.5": 1.5, "2": 2.0},
                ["1,5", ""],
            ),
            (
                "sort_binaries",
                "int(text, 2)",
                "read as binary numbers",
                "ValueError",
                {"101": 5, "11": 3},
                ["12", "b"],
            ),
            (
                "sort_hex",
                "int(text, 16)",
                "read as hexadecimal numbers",
                "ValueError",
                {"ff": 255, "10": 16},
                ["g", ""],
            ),
            (
                "sort_octal",
                "int(text, 8)",
                "read as octal numbers",
                "ValueError",
                {"17": 15, "20": 16},
                ["8", "o"],
            ),
            (
                "sort_doubles",
                "int(text) * 2",
                "converted to int and doubled",
                "ValueError",
                {"4": 8, "-1": -2},
                ["4x"],
            ),
            (
                "sort_negatives",
                "-int(text)",
                "converted to int and negated",
                "ValueError",
                {"3": -3, "-9": 9},
                ["--3"],
            ),
            (
                "sort_squares",
                "int(text) ** 2",
                "converted to int and squared",
                "ValueError",
                {"6": 36, "-2": 4},
                ["six"],
            ),
            (
                "sort_inverses",
                "60 // int(text)",
                "converted to int and used as divisors of 60",
                "ZeroDivisionError",
                {"7": 8, "60": 1},
                ["0", "00"],
            ),
            (
                "sort_rests",
                "100 % int(text)",
                "converted to int and used as n in 100 % n",
                "ZeroDivisionError",
                {"7": 2, "30": 10},
                ["0", "-0"],
            ),
            (
                "sort_first_chars",
                "text[0]",
                "cut to their first character",
                "IndexError",
                {"ab": "a", "c": "c"},
                [""],
            ),
            (
                "sort_second_chars",
                "text[1]",
                "cut to their second character",
                "IndexError",
                {"ab": "b", "xyz": "y"},
                ["q"],
            ),
            (
                "sort_third_chars",
                "text[2]",
                "cut to their third character",
                "IndexError",
                {"abc": "c", "wxyz": "y"},
                ["ab"],
            ),
            (
                "sort_comma_places",
                "text.index(',')",
                "replaced by the position of their first comma",
                "ValueError",
                {"a,b": 1, ",": 0},
                ["a.b"],
            ),
            (
                "sort_dash_places",
                "text.index('-')",
                "replaced by the position of their first dash",
                "ValueError",
                {"ab-c": 2, "-1": 0},
                ["a,b"],
            ),
            (
                "sort_after_colon",
                "text.split(':')[1]",
                "cut to the part after their first colon",
                "IndexError",
                {"k:v": "v", "a:": ""},
                ["kv"],
            ),
            (
                "sort_second_words",
                "text.split()[1]",
                "cut to their second word",
                "IndexError",
                {"red fox": "fox", "a b": "b"},
                ["fox", " "],
            ),
            (
                "sort_first_words",
                "text.split()[0]",
                "cut to their first word",
                "IndexError",
                {"red fox": "red", " b": "b"},
                ["", "  "],
            ),
        ),
        phrasings="""
Write a function `$name` that goes through texts and returns two lists: the texts $text (`$code`), and those
texts for which that raises a $error.

How do I process a list of strings and keep the failures? `$name(texts)` returns the pair (results of `$code`,
texts that raised $error).

I need `$name(texts)`: apply `$code` to each text. Results go into a first list; a text with a $error goes
into a second list; return both.

Please implement `$name` with try/except inside a loop. The good list has the texts $text; the bad list has
the texts that caused a $error.

Given a list of strings, compute `$code` for each. Return a tuple of the computed values and of the strings
where a $error occurred. Name: `$name`.

one bad entry should not stop everything: `$name(texts)` -> (good, bad), good = texts $text, bad = texts with
$error
""",
        answer="""
def $name(texts: list[str]) -> tuple[list, list[str]]:
    good, bad = [], []
    for text in texts:
        try:
            good.append($code)
        except $error:
            bad.append(text)
    return good, bad
""",
        tests=_collect_tests,
    ),
    Family(
        topic="errors",
        name="retry-action",
        settings=table(
            "name times error default",
            ("retry", 3, "ValueError", None),
            ("try_twice", 2, "ValueError", 0),
            ("patient_call", 5, "KeyError", None),
            ("fetch", 3, "IndexError", -1),
            ("load_safely", 4, "ValueError", -1),
            ("call_again", 2, "KeyError", 0),
            ("insist", 6, "ZeroDivisionError", None),
            ("persist", 4, "IndexError", None),
            ("compute_safely", 3, "ZeroDivisionError", 0),
            ("knock", 3, "KeyError", 100),
            ("ping", 5, "ValueError", 1),
            ("dial", 2, "IndexError", None),
            ("connect", 4, "KeyError", -1),
            ("guess", 6, "ValueError", 0),
            ("measure", 2, "ZeroDivisionError", 1),
            ("lookup_again", 5, "IndexError", 0),
            ("stubborn", 7, "ValueError", None),
            ("query", 3, "KeyError", 0),
        ),
        phrasings="""
Write a function `$name` that calls `action()` up to $times times. It returns the first result; a $error leads
to the next attempt, and after $times failures it returns $default.

How do I retry a function on $error? `$name(action)` should make at most $times attempts and give $default if
all of them fail.

I need `$name(action)`: call the function without arguments, return its result, and on $error try again.
$times attempts altogether, then return $default.

Please implement `$name`, a retry helper with a limit of $times calls. Only $error is caught. If no call
succeeds, the result is $default.

Given a callable `action`, run it until it works, but not more than $times times. A $error counts as a failed
attempt; $default is returned after the last failure. Name: `$name`.

flaky function raises $error now and then. $times tries, then give up and return $default. `$name(action)`
please!
""",
        answer="""
def $name(action):
    for _ in range($times):
        try:
            return action()
        except $error:
            continue
    return $default
""",
        tests=_retry_tests,
    ),
    Family(
        topic="errors",
        name="list-problems",
        settings=[
            s | {"name": f"check_{s['thing']}"}
            for s in table(
                "thing a b least",
                ("user", "name", "age", 18),
                ("product", "title", "price", 1),
                ("order", "customer", "amount", 5),
                ("car", "brand", "year", 1950),
                ("room", "number", "beds", 2),
                ("course", "teacher", "hours", 10),
                ("team", "coach", "players", 7),
                ("book", "author", "pages", 20),
                ("flight", "code", "seats", 50),
                ("recipe", "cook", "minutes", 3),
                ("song", "artist", "seconds", 30),
                ("photo", "owner", "width", 640),
                ("event", "place", "guests", 4),
                ("server", "host", "port", 1024),
                ("parcel", "sender", "grams", 100),
                ("film", "director", "length", 60),
                ("plant", "kind", "height", 15),
                ("loan", "bank", "years", 6),
            )
        ],
        phrasings="""
Write a function `$name` that returns a list of error texts for a dict: "$a is missing" if "$a" is absent or
empty, and "$b must be at least $least" if "$b" is smaller (an absent "$b" counts as 0).

How do I validate a $thing and report all problems at once? Messages: "$a is missing" (no or empty "$a") and
"$b must be at least $least" (a missing "$b" is 0). Return a list from `$name`.

I need `$name($thing)` for form data. Add "$a is missing" when `get("$a")` is empty, add "$b must be at least
$least" when `get("$b", 0)` is below $least, and return the list.

Please implement `$name`. Without problems it returns []; otherwise the messages "$a is missing" and/or "$b
must be at least $least", in this order. No "$b" means 0.

Given a $thing as a dict with "$a" (text, required) and "$b" (number, $least or more, 0 if not given), return
the list of the texts "$a is missing" and "$b must be at least $least" that apply. Call it `$name`.

don't raise, collect! `$name($thing)` -> list with "$a is missing" (empty or not there) and/or "$b must be at
least $least" (default for "$b": 0)
""",
        answer="""
def $name($thing: dict) -> list[str]:
    problems = []
    if not $thing.get("$a"):
        problems.append("$a is missing")
    if $thing.get("$b", 0) < $least:
        problems.append("$b must be at least $least")
    return problems
""",
        tests=_validate_tests,
    ),
    Family(
        topic="errors",
        name="split-bare-except",
        settings=table(
            "name parameters body error value other second samples",
            (
                "item_at",
                "items, index",
                "items[index]",
                "IndexError",
                "None",
                "TypeError",
                '"bad index"',
                [("['a', 'b'], 1", "b"), ("['a'], 5", None), ("['a'], 'x'", "bad index")],
            ),
            (
                "price_of",
                "prices, name",
                "prices[name]",
                "KeyError",
                "0",
                "TypeError",
                "-1",
                [("{'tea': 3}, 'tea'", 3), ("{}, 'tea'", 0), ("{'tea': 3}, ['tea']", -1)],
            ),
            (
                "share",
                "total, people",
                "total // people",
                "ZeroDivisionError",
                "0",
                "TypeError",
                "None",
                [("9, 2", 4), ("9, 0", 0), ("9, 'two'", None)],
            ),
            (
                "place_of",
                "items, item",
                "items.index(item)",
                "ValueError",
                "-1",
                "AttributeError",
                "None",
                [("[5, 7], 7", 1), ("[5], 8", -1), ("12, 1", None)],
            ),
            (
                "remainder",
                "number, divisor",
                "number % divisor",
                "ZeroDivisionError",
                "-1",
                "TypeError",
                "0",
                [("9, 4", 1), ("9, 0", -1), ("9, None", 0)],
            ),
            (
                "parse_digits",
                "digits, base",
                "int(digits, base)",
                "ValueError",
                "-1",
                "TypeError",
                "-2",
                [("'101', 2", 5), ("'9', 8", -1), ("7, 10", -2)],
            ),
            (
                "letter_at",
                "word, index",
                "word[index]",
                "IndexError",
                '""',
                "TypeError",
                '"?"',
                [("'pear', 0", "p"), ("'pear', 9", ""), ("'pear', '1'", "?")],
            ),
            (
                "color_of",
                "colors, thing",
                "colors[thing]",
                "KeyError",
                '"grey"',
                "TypeError",
                '"none"',
                [("{'sky': 'blue'}, 'sky'", "blue"), ("{}, 'sea'", "grey"), ("None, 'sky'", "none")],
            ),
            (
                "find_mark",
                "text, mark",
                "text.index(mark)",
                "ValueError",
                "None",
                "TypeError",
                "-1",
                [("'a-b', '-'", 1), ("'ab', '-'", None), ("'ab', 5", -1)],
            ),
            (
                "score_of",
                "scores, player",
                "scores[player]",
                "KeyError",
                "0",
                "IndexError",
                "-1",
                [("{'Kim': 4}, 'Kim'", 4), ("{}, 'Kim'", 0), ("[8, 9], 2", -1)],
            ),
            (
                "seat_at",
                "seats, number",
                "seats[number]",
                "IndexError",
                '"free"',
                "KeyError",
                '"unknown"',
                [("['Eva', 'Bo'], 1", "Bo"), ("['Eva'], 3", "free"), ("{1: 'Eva'}, 2", "unknown")],
            ),
            (
                "ratio",
                "part, whole",
                "part / whole",
                "ZeroDivisionError",
                "0.0",
                "TypeError",
                "1.0",
                [("3, 4", 0.75), ("3, 0", 0.0), ("3, '4'", 1.0)],
            ),
            (
                "pick_card",
                "cards, place",
                "cards[place]",
                "IndexError",
                '"joker"',
                "TypeError",
                '"error"',
                [("['ace', 'ten'], 0", "ace"), ("[], 0", "joker"), ("['ace'], None", "error")],
            ),
            (
                "age_of",
                "ages, person",
                "ages[person]",
                "KeyError",
                "None",
                "TypeError",
                "0",
                [("{'Bo': 30}, 'Bo'", 30), ("{}, 'Bo'", None), ("7, 'Bo'", 0)],
            ),
            (
                "last_of",
                "box, count",
                "box.pop() * count",
                "IndexError",
                "0",
                "AttributeError",
                "-1",
                [("[2, 3], 4", 12), ("[], 4", 0), ("'box', 4", -1)],
            ),
            (
                "drop_item",
                "items, item",
                "items.remove(item)",
                "ValueError",
                "False",
                "KeyError",
                "True",
                [("[1, 2], 1", None), ("[1, 2], 3", False), ("{1, 2}, 3", True)],
            ),
            (
                "take_key",
                "record, key",
                "record.pop(key)",
                "KeyError",
                '"absent"',
                "AttributeError",
                '"no dict"',
                [("{'a': 1}, 'a'", 1), ("{}, 'a'", "absent"), ("'text', 'a'", "no dict")],
            ),
            (
                "clean_number",
                "text, sign",
                "int(text.strip(sign))",
                "ValueError",
                "0",
                "AttributeError",
                "1",
                [("'##8#', '#'", 8), ("'eight', '#'", 0), ("8, '#'", 1)],
            ),
        ),
        phrasings="""
My linter complains about the bare except in `$name`. Please catch $error and return $value, and catch $other
and return $second. Other exceptions should pass through.

Make `$name` tell two errors apart instead of catching everything: $error gives $value, $other gives $second.

Please replace the bare `except:` in `$name` by two clauses, `$error` (return $value) and `$other` (return
$second).

How can I improve the error handling of `$name`? On $error I want $value and on $other I want $second; nothing
else should be caught.

Review comment: "never use a bare except". Can you fix `$name` so that it returns $value for a $error and
$second for a $other?

Rewrite this function `$name` with separate handlers. $error -> $value, $other -> $second, anything else is
raised as usual.
""",
        input="""
def $name($parameters):
    try:
        return $body
    except:
        return $value
""",
        answer="""
def $name($parameters):
    try:
        return $body
    except $error:
        return $value
    except $other:
        return $second
""",
        tests=lambda s: [Case(f"{s['name']}({arguments})", expected) for arguments, expected in s["samples"]],
    ),
)
