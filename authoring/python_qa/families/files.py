"""Tasks on files, which live in memory (io.StringIO)."""

import json
from typing import Any

from authoring.python_qa.family import Case, Family, Setting, calls, table


def _csv_tests(setting: Setting) -> list[Case]:
    sep, want, key, value = setting["sep"], setting["want"], setting["key"], setting["value"]

    def text(*rows: tuple[str, str]) -> str:
        return "\n".join([sep.join((want, "extra", key)), *(sep.join((a, "x", b)) for a, b in rows)]) + "\n"

    name = setting["name"]
    return [
        Case(f"{name}({text(('A', value), ('B', 'other'), ('C', value))!r})", ["A", "C"]),
        Case(f"{name}({text(('D', 'none'))!r})", []),
        Case(f"{name}({text(('x y', value), ('z', value + '!'))!r})", ["x y"]),
        Case(f"{name}({text()!r})", []),
    ]


def _jsonl_tests(setting: Setting) -> list[Case]:
    key, kind = setting["key"], setting["type"]
    records: list[dict[str, Any]] = [
        {"type": kind, key: 1},
        {"type": "none", key: 2},
        {"n": 0, "type": kind, key: "x"},
        {"type": kind + "s", key: 3},
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    one = json.dumps({"type": kind, key: None})
    return [
        Case(f"{setting['name']}({text!r})", [1, "x"]),
        Case(f"{setting['name']}({one!r})", [None]),
        Case(f"{setting['name']}('')", []),
    ]


FAMILIES = (
    Family(
        topic="files",
        name="count-lines-with",
        settings=table(
            "name word case text",
            ("count_errors", "ERROR", "", ""),
            ("count_warnings", "warning", ".lower()", ", in any capitalisation"),
            ("count_logins", "login", "", ""),
            ("count_timeouts", "TIMEOUT", ".upper()", ", in any capitalisation"),
            ("count_todos", "TODO", "", ""),
            ("count_comments", "#", "", ""),
            ("count_questions", "?", "", ""),
            ("count_cats", "cat", ".lower()", ", in any capitalisation"),
            ("count_404", " 404 ", "", ""),
            ("count_failures", "failed", ".lower()", ", in any capitalisation"),
            ("count_imports", "import ", "", ""),
            ("count_assignments", " = ", "", ""),
            ("count_refunds", "REFUND", ".upper()", ", in any capitalisation"),
            ("count_mails", "@", "", ""),
            ("count_links", "http", ".lower()", ", in any capitalisation"),
            ("count_percents", "%", "", ""),
            ("count_names", "Anna", "", ""),
            ("count_storms", "STORM", ".upper()", ", in any capitalisation"),
            ("count_arrows", "->", "", ""),
        ),
        phrasings="""
Write a function `$name` that gets the content of a text file as a string and counts the lines that contain
"$word"$text. Read it line by line through `io.StringIO`.

How many lines of a file contain "$word"$text? The function `$name(text)` gets the file's text; please iterate
over an `io.StringIO`.

I need `$name(text)`: open the string with `io.StringIO` and return the number of lines with "$word" in
them$text.

Please implement `$name` for a log file held in memory. It returns how many lines include "$word"$text, by
looping over `io.StringIO(text)`.

Given the text of a file, return the number of its lines in which "$word" occurs$text. Use a `StringIO` as the
file and call the function `$name`.

grep -c for "$word"$text, but in Python and on a string treated as a file (`io.StringIO`). name: `$name`
""",
        answer="""
import io


def $name(text: str) -> int:
    return sum("$word" in line$case for line in io.StringIO(text))
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: len(
                [
                    x
                    for x in text.split("\n")
                    if x.count(s["word"]) or (s["case"] and x.lower().count(s["word"].lower()))
                ]
            ),
            (f"a{s['word']}b\nplain\n{s['word']}{s['word']}\n",),
            (f"{s['word'].swapcase()}\n{s['word'].title()} x\n{s['word']}",),
            ("",),
            ("ERROR warn\nA -> b = 7 %\nimport cat? # 5\n",),
        ),
    ),
    Family(
        topic="files",
        name="write-entries",
        settings=[
            s | {"example": f"{s['before']}a{s['mid']}1{s['end']}"}
            for s in table(
                "name before mid end",
                ("write_settings", "", "=", ""),
                ("write_prices", "", ": ", " EUR"),
                ("write_exports", "export ", "=", ""),
                ("write_yaml", "", ": ", ""),
                ("write_bullets", "- ", ": ", ""),
                ("write_assignments", "", " = ", ";"),
                ("write_headers", "@", " ", ""),
                ("write_arrows", "", " -> ", ""),
                ("write_defines", "#define ", " ", ""),
                ("write_tags", "<", ">", "</>"),
                ("write_scores", "* ", " has ", " points"),
                ("write_columns", "", ";", ""),
                ("write_pairs", "(", ", ", ")"),
                ("write_sets", "set ", " to ", ""),
                ("write_weights", "", " weighs ", " kg"),
                ("write_cells", "| ", " | ", " |"),
                ("write_rules", "let ", " be ", "."),
                ("write_ages", "", " is ", ""),
            )
        ],
        phrasings="""
Write a function `$name` that writes a dict into an `io.StringIO`, one line per entry like "$example", and
returns the whole text. Every line ends with a newline.

How do I write a dictionary to an in-memory file so that {"a": 1} gives the line "$example"? Return the file's
content from `$name`.

I need `$name(entries)`: for each key and value write "${before}<key>${mid}<value>${end}" and a newline to a
`StringIO`; the result is `getvalue()`.

Please implement `$name` with `io.StringIO`. For the entry "a" with 1 the line is "$example"; the function
returns all lines as one string.

Given a dict, produce the text of a file with one line per entry ("$example" for a: 1), each closed by a
newline. Build it in an `io.StringIO`; the name is `$name`.

dict -> text file in memory, format "$example" per line. could you write `$name(entries)` with StringIO and
return its value?
""",
        answer="""
import io


def $name(entries: dict) -> str:
    file = io.StringIO()
    for key, value in entries.items():
        file.write(f"$before{key}$mid{value}$end\\n")
    return file.getvalue()
""",
        tests=lambda s: calls(
            s["name"],
            lambda entries: "".join(
                "".join([s["before"], key, s["mid"], str(entries[key]), s["end"], "\n"]) for key in entries
            ),
            ({"a": 1, "b": 22},),
            ({"name": "Ida"},),
            ({},),
        ),
    ),
    Family(
        topic="files",
        name="csv-filter",
        settings=[
            s | {"name": f"{s['want']}_by_{s['key']}"}
            for s in table(
                "want key value sep",
                ("name", "city", "Rome", ","),
                ("title", "genre", "crime", ";"),
                ("email", "role", "admin", ","),
                ("song", "artist", "Moss", ";"),
                ("player", "team", "red", ","),
                ("plate", "brand", "Saab", "|"),
                ("product", "status", "sold", ";"),
                ("country", "continent", "Asia", ","),
                ("room", "floor", "2", "|"),
                ("task", "owner", "Kim", ","),
                ("plant", "light", "shade", ";"),
                ("flight", "gate", "B7", "|"),
                ("film", "year", "1999", ","),
                ("dish", "kind", "vegan", ";"),
                ("ticket", "state", "open", "|"),
                ("animal", "food", "fish", ","),
                ("course", "room", "A1", ";"),
                ("server", "zone", "north", "|"),
            )
        ],
        phrasings="""
Write a function `$name` that reads CSV text (separator "$sep", header line first) and returns the "$want" of
all rows whose "$key" is "$value".

How do I use `csv.DictReader` on a string? From rows with $key "$value" I want the list of "$want" values; the
delimiter is "$sep". Name: `$name`.

I need `$name(text)`: the text is a CSV file with delimiter "$sep". Collect row["$want"] where row["$key"]
equals "$value".

Please implement `$name` with `csv` and `io.StringIO`. Columns are divided by "$sep"; keep the rows with
"$key" equal to "$value" and return their "$want" as a list.

Given the content of a "$sep"-separated file with a header, list the entries of the column "$want" for which
the column "$key" says "$value". Function: `$name`.

csv question: text in, delimiter "$sep", list of "$want" out, only where $key == "$value". how does
`$name(text)` look?
""",
        answer="""
import csv
import io


def $name(text: str) -> list[str]:
    rows = csv.DictReader(io.StringIO(text), delimiter="$sep")
    return [row["$want"] for row in rows if row["$key"] == "$value"]
""",
        tests=_csv_tests,
    ),
    Family(
        topic="files",
        name="json-lines-of-type",
        settings=[
            s | {"name": f"{s['type']}_{s['key']}s"}
            for s in table(
                "type key",
                ("click", "target"),
                ("login", "user"),
                ("order", "total"),
                ("error", "code"),
                ("message", "author"),
                ("sale", "price"),
                ("goal", "minute"),
                ("upload", "path"),
                ("sensor", "value"),
                ("flight", "gate"),
                ("comment", "text"),
                ("visit", "page"),
                ("payment", "amount"),
                ("search", "term"),
                ("move", "square"),
                ("alarm", "zone"),
                ("vote", "choice"),
                ("trip", "length"),
            )
        ],
        phrasings="""
Write a function `$name` for a JSON Lines file given as text: return the "$key" of every object whose "type"
is "$type".

How do I read JSON Lines from a string (via `io.StringIO`) and collect "$key" from the objects with "type"
equal to "$type"? Name it `$name`.

I need `$name(text)`. Each line is a JSON object; if its "type" is "$type", its "$key" goes into the list that
is returned.

Please implement `$name` with `json.loads` per line. It returns a list of the "$key" values of all "$type"
records (see the field "type").

Given text with one JSON object per line, return the list of "$key" values for objects of "type" "$type". The
function is named `$name`.

event log, one json per line. i want every "$key" where "type" is "$type". `$name(text)` should loop over an
io.StringIO
""",
        answer="""
import io
import json


def $name(text: str) -> list:
    records = (json.loads(line) for line in io.StringIO(text))
    return [record["$key"] for record in records if record["type"] == "$type"]
""",
        tests=_jsonl_tests,
    ),
    Family(
        topic="files",
        name="last-lines",
        settings=[
            s | {"mark_text": f'"{s["skip"]}"', "tail": "line" if s["n"] == 1 else f"{s['n']} lines"}
            for s in table(
                "name n skip",
                ("tail_log", 3, "#"),
                ("last_entries", 2, "--"),
                ("latest_news", 5, "//"),
                ("recent_orders", 4, "*"),
                ("final_words", 1, "%"),
                ("newest_mails", 3, ">"),
                ("last_moves", 6, ";"),
                ("recent_errors", 2, "INFO"),
                ("end_of_list", 4, "!"),
                ("last_scores", 3, "x"),
                ("latest_prices", 7, "#"),
                ("newest_users", 2, "@"),
                ("last_rows", 5, "--"),
                ("recent_jobs", 1, "DONE"),
                ("latest_trips", 4, "//"),
                ("last_steps", 6, "*"),
                ("closing_lines", 3, "END"),
                ("recent_votes", 2, "%"),
            )
        ],
        phrasings="""
Write a function `$name` that returns the last $tail of a file's text as a list without newlines. Lines
starting with $mark_text are ignored.

How do I get the last $tail of a file, not counting lines that begin with $mark_text? Use `deque` with
`maxlen` and name it `$name`; the file is given as a string.

I need `$name(text)`: go over `io.StringIO(text)`, leave out lines that start with $mark_text, and return the
final $tail as a list (newline characters removed).

Please implement `$name`, a small `tail`: of all lines that don't begin with $mark_text it returns the last $n
as a list of strings without line ends.

Given the text of a file, skip each line with $mark_text at its start and return the last $tail of the rest,
stripped of the newline. Fewer lines: return all. The function is `$name`.

tail -n $n in Python, ignoring lines that start with $mark_text... `$name(text)` -> list of lines
""",
        answer="""
import io
from collections import deque


def $name(text: str) -> list[str]:
    lines = (line.rstrip("\\n") for line in io.StringIO(text))
    return list(deque((line for line in lines if not line.startswith("$skip")), maxlen=$n))
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: [x for x in text.split("\n")[:-1] if x[: len(s["skip"])] != s["skip"]][-s["n"] :],
            (f"a\nb\n{s['skip']} c\nd\ne\nf\ng\nh\n{s['skip']}\ni\n{s['skip']} j\n",),
            ("one\n",),
            ("",),
            ("# 1\n-- 2\n// 3\n* 4\n% 5\n> 6\n; 7\nINFO\n! 8\nx\n@\nDONE\nEND\n",),
        ),
    ),
)
