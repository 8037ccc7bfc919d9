"""Tasks that read structure out of text."""

import json
from typing import Any

from authoring.python_qa.family import Case, Family, Setting, calls, table


def _json_tests(setting: Setting) -> list[Case]:
    outer, inner = setting["outer"], setting["inner"]
    which = ["first", "second", "third", "last"].index(setting["which"])
    columns: list[list[Any]] = [["A", "B", "C", "D"], [10, 20, 30, 40], [None, [1], True, {"x": 0.5}]]
    texts = [json.dumps({"n": 0, outer: [{"n": 1, inner: value} for value in column]}) for column in columns]
    return [Case(f"{setting['name']}({text!r})", column[which]) for text, column in zip(texts, columns, strict=True)]


def _pairs(text: str, between: str, assign: str) -> dict[str, str]:
    parted = [piece.partition(assign) for piece in text.split(between)]
    return {key: value for key, _, value in parted if key}


def _column_tests(setting: Setting) -> list[Case]:
    name, sep, index = setting["name"], setting["sep"], setting["index"]
    tables = [[["1", "20", "300", "4000"], ["5", "6", "7", "8"]], [["12", "9", "31", "77"]], []]
    totals = [(6, 26, 307, 4008), (12, 9, 31, 77), (0, 0, 0, 0)]
    texts = ["\n".join(map(sep.join, [["a", "b", "c", "d"], *lines])) for lines in tables]
    return [Case(f"{name}({text!r})", total[index]) for text, total in zip(texts, totals, strict=True)]


def _line_tests(setting: Setting) -> list[Case]:
    keys, sep = (setting["a"], setting["b"], setting["c"]), setting["sep"].replace("\\t", "\t")
    samples = [("one", "two", "three"), ("1", "x", "last"), ("A", "", f"more{sep}text")]
    return [
        Case(f"{setting['name']}({sep.join(values)!r})", dict(zip(keys, values, strict=True))) for values in samples
    ]


FAMILIES = (
    Family(
        topic="parsing",
        name="pairs-to-dict",
        settings=table(
            "name between assign thing",
            ("parse_options", ";", "=", "options"),
            ("parse_query", "&", "=", "a query string"),
            ("parse_headers", "|", ":", "headers"),
            ("parse_tags", ",", ":", "tags"),
            ("parse_style", ";", ":", "a style text"),
            ("parse_env", " ", "=", "environment settings"),
            ("parse_routes", ",", ">", "routes"),
            ("parse_prices", "/", "=", "prices"),
            ("parse_labels", "|", "=", "labels"),
            ("parse_cookies", "; ", "=", "cookies"),
            ("parse_words", ",", "-", "a word list"),
            ("parse_flags", "+", "=", "flags"),
            ("parse_roles", "|", "@", "roles"),
            ("parse_scores", ";", "->", "scores"),
            ("parse_keys", "#", ":", "key bindings"),
            ("parse_aliases", " ", ":=", "aliases"),
            ("parse_units", ", ", "=", "units"),
            ("parse_moods", "*", "~", "moods"),
        ),
        phrasings="""
Write a function `$name` that turns a text such as "a${assign}1${between}b${assign}2" into a dict of strings.
Empty parts are skipped.

How do I parse $thing where "$between" separates the pairs and "$assign" separates key and value? Return a
dict of strings from `$name` and ignore empty parts.

I need `$name(text)`: split at "$between", drop empty pieces, split each piece at its first "$assign", and
make a dict.

Please implement `$name`. Pairs are divided by "$between"; inside a pair the first "$assign" ends the key. An
empty text gives {}.

Given a string with key${assign}value pairs joined by "$between", return them as a dict (all strings). Skip
empty pieces. A value may contain "$assign" again. Name: `$name`.

tiny parser for $thing: "x${assign}5${between}y${assign}7" should become {"x": "5", "y": "7"}, and "" becomes
{}. call it `$name`
""",
        answer="""
def $name(text: str) -> dict[str, str]:
    return dict(part.split("$assign", 1) for part in text.split("$between") if part)
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: _pairs(text, s["between"], s["assign"]),
            (f"a{s['assign']}1{s['between']}b{s['assign']}2",),
            (f"k{s['assign']}v{s['assign']}w{s['between']}",),
            ("",),
        ),
    ),
    Family(
        topic="parsing",
        name="sum-column",
        settings=[
            s | {"ordinal": ["first", "second", "third", "fourth"][s["index"]]}
            for s in table(
                "name sep index thing",
                ("total_price", ",", 2, "prices"),
                ("total_hours", ";", 1, "hours"),
                ("total_weight", "|", 3, "weights"),
                ("total_votes", ",", 1, "votes"),
                ("total_rain", ";", 2, "rainfall"),
                ("total_goals", "-", 1, "goals"),
                ("total_stock", ",", 3, "stock"),
                ("total_points", ":", 1, "points"),
                ("total_pages", "/", 2, "page counts"),
                ("total_steps", ",", 0, "step counts"),
                ("total_fees", ";", 3, "fees"),
                ("total_seats", "|", 0, "seats"),
                ("total_miles", "#", 1, "miles"),
                ("total_eggs", ":", 2, "eggs"),
                ("total_size", ";", 0, "sizes"),
                ("total_clicks", "|", 1, "clicks"),
                ("total_visits", "/", 1, "visits"),
                ("total_coins", "|", 2, "coins"),
            )
        ],
        phrasings="""
Write a function `$name` that gets a table as text (a header line, then data lines with fields separated by
"$sep") and returns the sum of the ints in the $ordinal column.

How do I add up the $ordinal column of a "$sep"-separated text? Line one is a header and doesn't count. The
function is `$name`.

I need `$name(text)`: skip the first line, split every other line at "$sep", and sum up field number $index
(counted from 0) as ints.

Please implement `$name` for a small export file that is already in a string. Separator: "$sep". Add up the
$ordinal field ($thing) of every line except the header.

Given multi-line text with one heading line, return the total of column $index (zero-based) as an int; columns
are divided by "$sep". Name it `$name`.

no pandas here... sum of the $ordinal field over all lines except the header, fields split by "$sep".
`$name(text)` please
""",
        answer="""
def $name(text: str) -> int:
    return sum(int(line.split("$sep")[$index]) for line in text.splitlines()[1:])
""",
        tests=_column_tests,
    ),
    Family(
        topic="parsing",
        name="two-unit-amount",
        settings=table(
            "name big factor small unit",
            ("to_minutes", "h", 60, "m", "minutes"),
            ("to_hours", "d", 24, "h", "hours"),
            ("to_days", "w", 7, "d", "days"),
            ("to_centimetres", "m", 100, "c", "centimetres"),
            ("to_grams", "k", 1000, "g", "grams"),
            ("to_months", "y", 12, "m", "months"),
            ("to_cents", "E", 100, "c", "cents"),
            ("to_seconds", "m", 60, "s", "seconds"),
            ("to_inches", "f", 12, "i", "inches"),
            ("to_ounces", "p", 16, "o", "ounces"),
            ("to_bits", "B", 8, "b", "bits"),
            ("to_eggs", "D", 12, "e", "eggs"),
            ("to_pence", "P", 100, "p", "pence"),
            ("to_millis", "s", 1000, "m", "milliseconds"),
            ("to_sheets", "R", 500, "s", "sheets"),
            ("to_feet", "Y", 3, "f", "feet"),
            ("to_bottles", "C", 6, "b", "bottles"),
            ("to_pixels", "T", 16, "p", "pixels"),
        ),
        phrasings="""
Write a function `$name` that reads texts like "2$big 5$small" or "7$small" and returns the amount in $unit.
One $big is $factor $unit, one $small is one of them.

How do I convert "3$big 4$small" to a number of $unit? "$big" stands for $factor and "$small" for 1; either
part can be missing. Name: `$name`.

I need `$name(text)`. The text consists of parts separated by spaces, each an integer followed by "$big"
(worth $factor) or "$small" (worth 1). Return the sum.

Please implement `$name` with a dict of factors: "$big" is $factor, "$small" is 1. "1$big 1$small" gives the
factor plus one, and an empty text gives 0.

Given an amount such as "10$big 2$small", return it in $unit as an int ($factor for each $big). Parts are
divided by spaces. The function is called `$name`.

people type "1$big", "30$small" or "1$big 30$small" into a form and i need $unit ($big = $factor). can you
write `$name(text)`?
""",
        answer="""
def $name(text: str) -> int:
    factors = {"$big": $factor, "$small": 1}
    return sum(int(part[:-1]) * factors[part[-1]] for part in text.split())
""",
        tests=lambda s: [
            Case(f"{s['name']}('2{s['big']} 5{s['small']}')", 2 * s["factor"] + 5),
            Case(f"{s['name']}('7{s['small']}')", 7),
            Case(f"{s['name']}('10{s['big']}')", 10 * s["factor"]),
            Case(f"{s['name']}('')", 0),
        ],
    ),
    Family(
        topic="parsing",
        name="accepted-words",
        settings=[
            s | {"listed": ", ".join(f'"{word}"' for word in s["words"])}
            for s in table(
                "name words",
                ("is_yes", ("yes", "y", "1")),
                ("is_no", ("no", "n", "0")),
                ("is_true", ("true", "t", "on")),
                ("is_false", ("false", "f", "off")),
                ("is_quit", ("quit", "exit", "q")),
                ("is_help", ("help", "h", "?")),
                ("is_north", ("north", "n", "up")),
                ("is_south", ("south", "s", "down")),
                ("is_greeting", ("hello", "hi", "hey")),
                ("is_goodbye", ("bye", "ciao", "later")),
                ("is_weekend_word", ("saturday", "sunday")),
                ("is_warm_color", ("red", "orange", "yellow")),
                ("is_cold_color", ("blue", "green", "violet")),
                ("is_missing", ("", "na", "none", "-")),
                ("is_admin", ("root", "admin")),
                ("is_article", ("a", "an", "the")),
                ("is_undo", ("undo", "back", "u")),
                ("is_euro_sign", ("eur", "euro", "euros")),
            )
        ],
        phrasings="""
Write a function `$name` that returns True if a text, stripped and in lower case, is one of $listed.

How can I test user input against the words $listed, ignoring case and outer spaces? Call the function
`$name`; it returns a bool.

I need `$name(text)`: spaces around the text and capital letters must not matter, and the accepted values are
$listed.

Please implement `$name`. It cleans the text with `strip` and `lower` and looks it up in a set of these words:
$listed.

Given what a user typed, decide whether it means one of $listed (case-insensitive, surrounding blanks
allowed). Name it `$name`.

accept $listed in any capitalisation, with or without blanks around. everything else is False. `$name(text)`
please
""",
        answer="""
def $name(text: str) -> bool:
    return text.strip().lower() in {$listed}
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: any(text.upper().split() == word.upper().split() for word in s["words"]),
            (s["words"][0],),
            (f"  {s['words'][1].upper()}\n",),
            (s["words"][0] + "x",),
            ("maybe not",),
            (s["words"][-1].title(),),
        ),
    ),
    Family(
        topic="parsing",
        name="read-json-sample",
        settings=[
            s
            | {
                "which": {0: "first", 1: "second", 2: "third", -1: "last"}[s["place"]],
                "name": f"{s['word']}_{s['inner']}",
            }
            for s in table(
                "outer word inner place",
                ("users", "first_user", "email", 0),
                ("orders", "last_order", "total", -1),
                ("songs", "second_song", "title", 1),
                ("flights", "first_flight", "gate", 0),
                ("books", "third_book", "author", 2),
                ("events", "last_event", "date", -1),
                ("cities", "second_city", "country", 1),
                ("players", "top_player", "score", 0),
                ("films", "third_film", "year", 2),
                ("prices", "latest_price", "value", -1),
                ("posts", "first_post", "likes", 0),
                ("mails", "newest_mail", "subject", -1),
                ("tasks", "second_task", "owner", 1),
                ("rooms", "third_room", "floor", 2),
                ("photos", "last_photo", "size", -1),
                ("jobs", "second_job", "salary", 1),
                ("cars", "first_car", "brand", 0),
                ("teams", "third_team", "coach", 2),
            )
        ],
        phrasings="""
This is what the server sends. Write `$name(text)`, which takes such a JSON text and returns the "$inner" of
the $which entry in "$outer".

How do I get "$inner" of the $which element of "$outer" out of this JSON string? The function should be
`$name`.

Here's a sample of my data. I need `$name(text)` to return the "$inner" value of the $which item under
"$outer".

Please implement `$name` for JSON like the one below: it should parse the text and give back "$inner" from the
$which dict in the list "$outer".

Given JSON text of this shape, return the $which entry's "$inner" (the entries are in "$outer"). Call the
function `$name`.

see the example - i want only "$inner" from number $place in the "$outer" list (python index). `$name(text)`,
with the json module
""",
        input="""
{"$outer": [{"$inner": "A", "n": 1}, {"$inner": "B", "n": 2}, {"$inner": "C", "n": 3}]}
""",
        answer="""
import json

def $name(text: str):
    return json.loads(text)["$outer"][$place]["$inner"]
""",
        tests=_json_tests,
    ),
    Family(
        topic="parsing",
        name="split-sample-line",
        settings=[
            s | {"name": f"parse_{s['thing']}", "shown": f'"{s["sep"]}"' if s["sep"] != " " else "a space"}
            for s in table(
                "thing sep a b c sample",
                ("log_line", " ", "day", "level", "message", "2024-05-01 ERROR disk is full"),
                ("contact", ";", "name", "phone", "note", "Ada;555-1234;call after six; not on Sunday"),
                ("todo", "|", "priority", "owner", "text", "high|Ben|fix the door | oil the lock"),
                ("chat", ": ", "room", "user", "text", "kitchen: eva: my idea: we leave early"),
                ("track", " - ", "number", "artist", "title", "07 - The Owls - Night - Live"),
                ("entry", "\\t", "id", "kind", "comment", "12\tbird\tseen\tat dawn"),
                ("command", " ", "verb", "object", "rest", "put lamp on the wooden table"),
                ("recipe_line", ",", "amount", "unit", "food", "200,g,flour, sieved"),
                ("address", "/", "country", "city", "street", "NO/Oslo/Harbour Road 5/b"),
                ("alert", "!", "code", "place", "reason", "E42!pump!too hot! stop now"),
                ("quote", " | ", "author", "year", "words", "Lin | 1999 | less | is more"),
                ("ticket", "#", "event", "seat", "extra", "concert#B12#drink #1 included"),
                ("path_rule", "->", "source", "target", "options", "/old->/new->keep->query"),
                ("measure", ";", "sensor", "value", "remark", "north;12.5;windy;cloudy"),
                ("dict_line", "=", "word", "type", "meaning", "sum=noun=a total, 1+1=2"),
                ("book_line", "_", "shelf", "author", "title", "B7_Moss_The_Last_Tree"),
                ("job_line", "~", "role", "city", "text", "cook~Rome~evenings ~ 30 hours"),
                ("move", ",", "player", "piece", "way", "white,rook,a1,a5"),
            )
        ],
        phrasings="""
Here is a sample line. Write `$name(line)`, which splits at the first two separators ($shown) and returns a
dict with the keys "$a", "$b" and "$c".

How can I parse lines like this one? The parts are separated by $shown and should be called "$a", "$b" and
"$c"; the last part may contain the separator too. Function: `$name`.

I need `$name(line)` for such lines. Result: {"$a": ..., "$b": ..., "$c": ...}, split by $shown, at most two
splits.

Please implement `$name`. A line has three fields, "$a", "$b" and "$c", with $shown between them, and
everything after the second separator belongs to "$c".

Given a line in this format, return its fields as a dict ("$a", "$b", "$c"). Separator: $shown, which may
occur again inside the last field. Name it `$name`.

line format below, fields are $a, $b, $c, split on $shown but only twice. can you write `$name(line)`
returning a dict?
""",
        input="""
$sample
""",
        answer="""
def $name(line: str) -> dict[str, str]:
    $a, $b, $c = line.split("$sep", 2)
    return {"$a": $a, "$b": $b, "$c": $c}
""",
        tests=_line_tests,
    ),
)
