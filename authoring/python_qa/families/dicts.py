"""Tasks on dictionaries."""

from collections.abc import Callable
from typing import Any

from authoring.python_qa.family import OPERATORS, Case, Family, Setting, calls, grid, table

NOUNS = table(
    "things thing",
    ("stock", "article"),
    ("prices", "product"),
    ("scores", "player"),
    ("ages", "person"),
    ("votes", "candidate"),
    ("goals", "team"),
)


def _group(keys: list[Any], items: list[Any]) -> dict[str, list[Any]]:
    return {key: [item for other, item in zip(keys, items, strict=True) if other == key] for key in keys}


def _group_tests(setting: Setting) -> list[Case]:
    key: Callable[[str], str] = setting["key"]
    return calls(
        setting["name"],
        lambda words: _group(list(map(key, words)), words),
        (["apple", "Avocado", "bean", "beet", "corn", "Fig"],),
        (["Kiwi-7", "lime", "lemon-7"],),
        ([],),
    )


def _total_tests(setting: Setting) -> list[Case]:
    key, value = setting["key"], setting["value"]

    def oracle(rows: list[dict[str, Any]]) -> dict[str, int]:
        return {
            name: sum(row[value] for row in rows if row[key] == name)
            for name in dict.fromkeys(row[key] for row in rows)
        }

    return calls(
        setting["name"],
        oracle,
        ([{key: "a", value: 3}, {key: "b", value: 5}, {key: "a", value: -1}],),
        ([{value: 7, key: "x"}],),
        ([],),
    )


FAMILIES = (
    Family(
        topic="dicts",
        name="total-per-key",
        settings=[
            s | {"name": f"{s['value']}_per_{s['key']}"}
            for s in table(
                "key value",
                ("city", "sales"),
                ("team", "goals"),
                ("month", "rain"),
                ("shop", "profit"),
                ("author", "pages"),
                ("color", "count"),
                ("driver", "distance"),
                ("room", "hours"),
                ("country", "medals"),
                ("user", "clicks"),
                ("day", "steps"),
                ("farm", "eggs"),
                ("server", "errors"),
                ("class", "points"),
                ("product", "amount"),
                ("station", "trains"),
                ("project", "minutes"),
                ("dish", "orders"),
            )
        ],
        phrasings="""
Write a function `$name` that gets a list of dicts with the keys "$key" and "$value" and returns a dict
mapping each $key to the sum of its "$value" numbers.

I have rows like {"$key": "a", "$value": 3}. How do I add up "$value" for every "$key"? The function should be
called `$name` and return a plain dict.

I need `$name(rows)`: total "$value" grouped by "$key". No rows, empty dict.

Please implement `$name` without imports. For each row add row["$value"] to the total of row["$key"], and
return the totals.

Given records that each hold a "$key" and a number under "$value", compute the sum per $key as a dictionary.
Name it `$name`.

it's basically GROUP BY $key with SUM($value), but on a list of dictionaries. can you write `$name(rows)`?
""",
        answer="""
def $name(rows: list[dict]) -> dict[str, int]:
    totals = {}
    for row in rows:
        totals[row["$key"]] = totals.get(row["$key"], 0) + row["$value"]
    return totals
""",
        tests=_total_tests,
    ),
    Family(
        topic="dicts",
        name="group-words",
        settings=table(
            "name code text key",
            ("by_first_letter", "word[0]", "their first character", lambda w: w[:1]),
            ("by_last_letter", "word[-1]", "their last character", lambda w: w[len(w) - 1 :]),
            ("by_two_letters", "word[:2]", "their first two characters", lambda w: w[0] + w[1]),
            ("by_ending", "word[-2:]", "their last two characters", lambda w: w[len(w) - 2 :]),
            (
                "by_lower_start",
                "word[0].lower()",
                "their first character in lower case",
                lambda w: w.lower()[0],
            ),
            (
                "by_upper_start",
                "word[0].upper()",
                "their first character in upper case",
                lambda w: w.upper()[0],
            ),
            ("by_length_text", "str(len(word))", "their length as a string", lambda w: f"{len(w)}"),
            ("by_second_letter", "word[1]", "their second character", lambda w: w[1:2]),
            ("by_third_letter", "word[2]", "their third character", lambda w: w[2:3]),
            ("by_stem", 'word.split("-")[0]', 'the part before the first "-"', lambda w: w.partition("-")[0]),
            (
                "by_upper_end",
                "word[-1].upper()",
                "their last character in upper case",
                lambda w: w.upper()[-1],
            ),
            ("by_lowest_letter", "min(word)", "their smallest character", lambda w: sorted(w)[0]),
            ("by_highest_letter", "max(word)", "their largest character", lambda w: sorted(w)[-1]),
            (
                "by_sorted_letters",
                '"".join(sorted(word))',
                "their sorted characters",
                lambda w: "".join(ch * w.count(ch) for ch in map(chr, range(128))),
            ),
            (
                "by_lower_word",
                "word.lower()",
                "their lower-case form",
                lambda w: "".join(c.lower() for c in w),
            ),
            (
                "by_middle",
                "word[len(word) // 2]",
                "the character at index len(word) // 2",
                lambda w: w[(len(w) - len(w) % 2) // 2],
            ),
            (
                "by_e_count",
                'str(word.count("e"))',
                'the number of "e" in them, as a string',
                lambda w: str(len(w.split("e")) - 1),
            ),
            (
                "by_title",
                "word[:3].title()",
                "their first three characters in title case",
                lambda w: w[0].upper() + w[1:3].lower(),
            ),
        ),
        phrasings="""
Write a function `$name` that groups words by $text. It returns a dict from `$code` to the list of words, in
their original order.

How do I group a list of words by $text? I'd like a dict of lists from a function called `$name`.

I need `$name(words)`: every word goes into a list under the key `$code`.

Please implement `$name` with `setdefault`. The key for a word is $text (`$code`), the value is the list of
all words with that key.

Given a list of non-empty words, return a dictionary in which each key is `$code` and each value holds the
words that belong to it. Function name: `$name`.

Sort words into boxes labelled with $text, i.e. return {label: [words]}. The function `$name` takes the list
of words.
""",
        answer="""
def $name(words: list[str]) -> dict[str, list[str]]:
    groups = {}
    for word in words:
        groups.setdefault($code, []).append(word)
    return groups
""",
        tests=_group_tests,
    ),
    Family(
        topic="dicts",
        name="filter-by-value",
        settings=[
            s | n | {"name": f"{n['things']}_{s['word']}_{s['limit']}"}
            for k, s in enumerate(
                g | o
                for g in grid(limit=[5, 10, 30])
                for o in table(
                    "word op text",
                    ("above", ">", "greater than"),
                    ("below", "<", "less than"),
                    ("at_least", ">=", "at least"),
                    ("at_most", "<=", "at most"),
                    ("exactly", "==", "equal to"),
                    ("other_than", "!=", "different from"),
                )
            )
            for n in [NOUNS[(k + k // 6) % 6]]
        ],
        phrasings="""
Write a function `$name` that keeps only the entries of a dict whose value is $text $limit and returns them as
a new dict.

How do I filter a dictionary by value? The function `$name` gets a dict ($thing -> number) and keeps the items
with value $op $limit.

I need `$name($things)`: a copy of the dict without the entries that fail `value $op $limit`.

Please implement `$name` as a dict comprehension. An entry stays if its number is $text $limit.

Given a dict that maps each $thing to an int, return the sub-dict of all entries with a value $text $limit.
The function is called `$name`.

from {"a": 4, ...} i only want the pairs where the value is $text $limit - what does `$name($things)` look
like?
""",
        answer="""
def $name($things: dict[str, int]) -> dict[str, int]:
    return {$thing: value for $thing, value in $things.items() if value $op $limit}
""",
        tests=lambda s: calls(
            s["name"],
            lambda things: dict(item for item in things.items() if OPERATORS[s["op"]](item[1], s["limit"])),
            ({"a": s["limit"] - 1, "b": s["limit"], "c": s["limit"] + 1},),
            ({"x": 0, "y": 100},),
            ({},),
        ),
    ),
    Family(
        topic="dicts",
        name="rename-keys",
        settings=[
            s | {"name": f"rename_{s['thing']}"}
            for s in table(
                "thing a b c d",
                ("person", "fname", "first", "lname", "last"),
                ("book", "auth", "author", "yr", "year"),
                ("address", "str", "street", "no", "number"),
                ("point", "x", "lat", "y", "lon"),
                ("order", "qty", "quantity", "prod", "product"),
                ("song", "len", "seconds", "art", "artist"),
                ("car", "hp", "power", "col", "color"),
                ("user", "uid", "id", "mail", "email"),
                ("event", "ts", "time", "loc", "place"),
                ("file", "nm", "name", "sz", "size"),
                ("animal", "kg", "weight", "cm", "height"),
                ("invoice", "amt", "amount", "cur", "currency"),
                ("city", "pop", "people", "alt", "height"),
                ("film", "dir", "director", "min", "minutes"),
                ("match", "hm", "home", "aw", "away"),
                ("sensor", "temp", "celsius", "hum", "humidity"),
                ("task", "prio", "priority", "own", "owner"),
                ("recipe", "ingr", "ingredients", "prep", "steps"),
            )
        ],
        phrasings="""
Write a function `$name` that returns a copy of a dict in which the key "$a" is called "$b" and the key "$c"
is called "$d". Other keys stay.

How do I rename dictionary keys? In every $thing record "$a" should become "$b" and "$c" should become "$d".
Call the function `$name`.

I need `$name(record)`: same values and same order, but "$a" -> "$b" and "$c" -> "$d". Missing keys are no
problem.

Please implement `$name`, which maps the old key names "$a" and "$c" to the new names "$b" and "$d" and leaves
any other key as it is.

Given a $thing as a dict, return a new dict with "$a" renamed to "$b", "$c" renamed to "$d", everything else
unchanged. Use the name `$name`.

An API gives me short keys ("$a", "$c"); our code expects "$b" and "$d". Can you write the translation as
`$name(record)`? Unknown keys pass through.
""",
        answer="""
def $name(record: dict) -> dict:
    names = {"$a": "$b", "$c": "$d"}
    return {names.get(key, key): value for key, value in record.items()}
""",
        tests=lambda s: calls(
            s["name"],
            lambda record: {
                s["b"] if key == s["a"] else s["d"] if key == s["c"] else key: record[key] for key in record
            },
            ({s["a"]: 1, "other": 2, s["c"]: 3},),
            ({s["c"]: "z"},),
            ({},),
        ),
    ),
    Family(
        topic="dicts",
        name="pick-fields",
        settings=[
            s | {"name": f"{s['thing']}_summary"}
            for s in table(
                "thing a b",
                ("user", "name", "email"),
                ("book", "title", "author"),
                ("car", "brand", "year"),
                ("order", "id", "total"),
                ("city", "name", "country"),
                ("song", "title", "length"),
                ("film", "title", "director"),
                ("game", "name", "genre"),
                ("hotel", "stars", "price"),
                ("flight", "origin", "target"),
                ("plant", "name", "light"),
                ("team", "coach", "city"),
                ("recipe", "title", "minutes"),
                ("sensor", "id", "value"),
                ("letter", "sender", "date"),
                ("pet", "name", "species"),
                ("course", "topic", "teacher"),
                ("ticket", "seat", "row"),
            )
        ],
        phrasings="""
Write a function `$name` that reduces a $thing dict to the keys "$a" and "$b". A key that is missing in the
input is left out.

How can I copy just "$a" and "$b" from a dictionary and skip those that don't exist? Please call the function
`$name`.

I need `$name($thing)`, a dict with at most two entries, "$a" and "$b" in this order, taken from the argument
if present.

Please implement `$name`: only "$a" and "$b" of the $thing survive, and there must be no KeyError when one of
them is absent.

Given a dict that describes a $thing, return a smaller dict with nothing but its "$a" and "$b" (if they are
there). Name: `$name`.

Before sending a $thing to the browser I want to drop all fields except "$a" and "$b". `$name($thing)` should
cope with missing fields.
""",
        answer="""
def $name($thing: dict) -> dict:
    return {key: $thing[key] for key in ("$a", "$b") if key in $thing}
""",
        tests=lambda s: calls(
            s["name"],
            lambda record: dict(pair for pair in record.items() if pair[0] in {s["a"], s["b"]}),
            ({"secret": 1, s["a"]: "A", s["b"]: "B"},),
            ({s["b"]: 5, "note": None},),
            ({},),
        ),
    ),
    Family(
        topic="dicts",
        name="merge-with-rule",
        settings=[
            s | n | {"name": f"merge_{n['things']}_{s['word']}"}
            for n in NOUNS[:3]
            for s in table(
                "word code text fold",
                ("adding", "result[key] + value", "the sum of both", lambda a, b: b + a),
                ("largest", "max(result[key], value)", "the larger one", lambda a, b: a if a > b else b),
                ("smallest", "min(result[key], value)", "the smaller one", lambda a, b: b if a > b else a),
                ("keeping", "result[key]", "the one from the first dict", lambda a, b: a),
                ("multiplying", "result[key] * value", "the product of both", lambda a, b: b * a),
                ("minus", "result[key] - value", "first minus second", lambda a, b: -b + a),
            )
        ],
        phrasings="""
Write a function `$name` that merges two dicts of numbers. If a key is in both, the result holds $text. The
arguments are not changed.

How do I merge two dictionaries such that a common key gets $text? It's about $things, so call it
`$name(first, second)`.

I need `$name(first, second)`: all keys of both dicts; for keys that occur twice use `$code`, where `result`
starts as a copy of `first` and `value` comes from `second`.

Please implement `$name`, which combines two dicts ($thing -> number). Values of keys that only one dict has
are taken over; for shared keys take $text.

Given two dictionaries with int values, return a new one with the keys of both. On a clash the value is $text.
Name it `$name`.

`first | second` just overwrites. What I want for a key in both is $text! Please write `$name(first, second)`
for my $things.
""",
        answer="""
def $name(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    result = dict(first)
    for key, value in second.items():
        result[key] = $code if key in result else value
    return result
""",
        tests=lambda s: calls(
            s["name"],
            lambda first, second: {
                key: s["fold"](first[key], second[key]) if key in first and key in second else {**first, **second}[key]
                for key in first | second
            },
            ({"a": 2, "b": 9}, {"b": 4, "c": 5}),
            ({"k": 3}, {"k": 8}),
            ({}, {"z": 1}),
            ({"y": -6}, {}),
        ),
    ),
    Family(
        topic="dicts",
        name="nested-lookup",
        settings=[
            s | {"name": f"{s['outer']}_{s['inner']}"}
            for s in table(
                "outer inner default",
                ("user", "email", "unknown"),
                ("address", "city", "nowhere"),
                ("owner", "name", "nobody"),
                ("car", "color", "grey"),
                ("weather", "wind", "calm"),
                ("order", "status", "open"),
                ("book", "author", "anonymous"),
                ("server", "host", "localhost"),
                ("theme", "font", "mono"),
                ("shop", "currency", "EUR"),
                ("profile", "language", "en"),
                ("parent", "phone", "none"),
                ("team", "coach", "vacant"),
                ("photo", "format", "png"),
                ("settings", "mode", "light"),
                ("train", "track", "?"),
                ("course", "level", "basic"),
                ("garden", "soil", "sand"),
            )
        ],
        phrasings="""
Write a function `$name` that reads record["$outer"]["$inner"] from a nested dict, but returns "$default" if
either key is missing.

How do I safely get "$inner" from the inner dict "$outer"? If one of the two isn't there, the result is
"$default". Name it `$name`.

I need `$name(record)`: the value under "$outer" and then "$inner", with "$default" as the fallback for
missing keys.

Please implement `$name` by chaining two `get` calls. Path: "$outer", "$inner". Default: "$default".

Given a dict that may contain a dict under "$outer", return that inner dict's "$inner", or "$default" when the
path does not exist. The function is `$name`.

KeyErrors drive me mad. I want the "$inner" of the "$outer", otherwise "$default", in a function
`$name(record)`.
""",
        answer="""
def $name(record: dict) -> str:
    return record.get("$outer", {}).get("$inner", "$default")
""",
        tests=lambda s: calls(
            s["name"],
            lambda record: (
                record[s["outer"]][s["inner"]]
                if s["outer"] in record and s["inner"] in record[s["outer"]]
                else s["default"]
            ),
            ({s["outer"]: {s["inner"]: "found"}},),
            ({s["outer"]: {"else": "x"}},),
            ({s["inner"]: "not here"},),
            ({},),
        ),
    ),
    Family(
        topic="dicts",
        name="key-of-extreme",
        settings=[
            s | n | {"name": f"{s['word']}_in_{n['things']}", "word_text": s["word"]}
            for n in NOUNS
            for s in table(
                "word sign text default",
                ("top", "-", "largest", "nobody"),
                ("last", "", "smallest", "none"),
                ("leader", "-", "largest", "-"),
            )
        ],
        phrasings="""
Write a function `$name` that returns the key with the $text value of a dict. Among equal values the
alphabetically first key wins; for an empty dict return "$default".

How do I find the $thing with the $text number in a dict? Ties are decided alphabetically, and {} gives
"$default". The function should be called `$name`.

I need `$name($things)`: the $thing whose value is the $text one (alphabetically first if several), or
"$default" if the dict is empty.

Please implement `$name` using `min` with a tuple as key. It picks the key with the $text value; equal values
are ordered by key; no entries means "$default".

Given a dict of $things ($thing -> int), return the key that belongs to the $text value. If there are several,
take the smallest key. If there are none, return "$default". Name: `$name`.

Who has the $text value? `$name($things)` should tell, with alphabetical order as tie-break and "$default" for
an empty dict.
""",
        answer="""
def $name($things: dict[str, int]) -> str:
    return min($things, key=lambda key: (${sign}$things[key], key), default="$default")
""",
        tests=lambda s: calls(
            s["name"],
            lambda things: (
                (
                    [k for k in sorted(things) if things[k] == (max if s["sign"] else min)(things.values())]
                    + [s["default"]]
                )[0]
                if things
                else s["default"]
            ),
            ({"zoe": 9, "ben": 2, "ann": 9, "tom": 2},),
            ({"b": -1, "a": -1, "c": -1},),
            ({"x": 4, "y": 7},),
            ({},),
        ),
    ),
    Family(
        topic="dicts",
        name="fill-defaults",
        settings=[
            s | {"name": f"{s['thing']}_options"}
            for s in table(
                "thing a x b y",
                ("print", "copies", 1, "color", False),
                ("download", "retries", 3, "timeout", 10),
                ("plot", "width", 6, "grid", True),
                ("search", "limit", 20, "exact", False),
                ("mail", "priority", 2, "html", True),
                ("game", "lives", 3, "sound", True),
                ("backup", "keep", 7, "compress", True),
                ("server", "port", 8080, "debug", False),
                ("train", "epochs", 5, "shuffle", True),
                ("export", "indent", 2, "header", True),
                ("image", "quality", 85, "resize", False),
                ("log", "level", 1, "rotate", False),
                ("timer", "minutes", 25, "repeat", False),
                ("camera", "zoom", 1, "flash", False),
                ("music", "volume", 50, "loop", False),
                ("test", "workers", 4, "verbose", False),
                ("cache", "size", 128, "shared", True),
                ("upload", "chunk", 64, "public", False),
            )
        ],
        phrasings="""
Write a function `$name` that completes a dict of options with the defaults "$a" = $x and "$b" = $y. Given
options win over the defaults.

How do I fill in missing options? Defaults: "$a" is $x and "$b" is $y; whatever the caller passes has
priority. Please return a new dict from `$name`.

I need `$name(options)` to return the defaults {"$a": $x, "$b": $y} overridden by `options`.

Please implement `$name` with the dict union operator. "$a" defaults to $x, "$b" to $y, and extra keys are
kept.

Given a dict of user settings, return a dict in which "$a" falls back to $x and "$b" falls back to $y. The
function is named `$name`.

The $thing dialog passes only what the user changed. `$name(options)` must add "$a": $x and "$b": $y where
they are not set.
""",
        answer="""
def $name(options: dict) -> dict:
    return {"$a": $x, "$b": $y} | options
""",
        tests=lambda s: calls(
            s["name"],
            lambda options: (
                {s["a"]: options.get(s["a"], s["x"]), s["b"]: options.get(s["b"], s["y"])}
                | {k: v for k, v in options.items() if k not in (s["a"], s["b"])}
            ),
            ({},),
            ({s["a"]: 99},),
            ({s["b"]: None, "extra": "e"},),
        ),
    ),
)
